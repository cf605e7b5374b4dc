import { describe, expect, it } from 'vitest'
import { matrixOf, randomMatrix, relativeDistance } from '../../test/support/matrices.ts'
import { applyReflections, reflectorTriangle } from './block-reflectors.ts'
import type { Matrix64 } from './matrix.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'

const plain = createPlainMatrixEngine()

/** H_0 H_1 … H_{count−1} x, one reflection after the other. */
function oneByOne(v: Matrix64, tau: Float64Array, x: Matrix64): Matrix64 {
  const data = x.data.slice()
  for (let r = v.rows - 1; r >= 0; r--)
    for (let j = 0; j < x.cols; j++) {
      let sum = 0
      for (let i = 0; i < x.rows; i++) sum += v.data[r * v.cols + i]! * data[i * x.cols + j]!
      for (let i = 0; i < x.rows; i++) data[i * x.cols + j]! -= tau[r]! * sum * v.data[r * v.cols + i]!
    }
  return { ...x, data }
}

/** Factors that make reflections of vectors, but for every seventh: those do nothing. */
function factorsOf(v: Matrix64): Float64Array {
  return Float64Array.from({ length: v.rows }, (_, r) => {
    const row = v.data.subarray(r * v.cols, (r + 1) * v.cols)
    return r % 7 === 6 ? 0 : 2 / row.reduce((sum, value) => sum + value * value, 0)
  })
}

describe('products of reflections', () => {
  it.each([1, 2, 3, 4, 5, 8, 31, 64])('of %i vectors are I − Vᵀ T V, T upper triangular', async (b) => {
    const v = randomMatrix(b, 70, b)
    const tau = factorsOf(v)
    const t = await reflectorTriangle(plain, v, tau)
    for (let i = 0; i < b; i++) for (let j = 0; j < i; j++) expect(t.data[i * b + j]).toBe(0)
    const identity = matrixOf(70, 70, (i, j) => +(i === j))
    const change = await plain.multiply(v, await plain.multiply(t, v), { transposeA: true })
    const product = { ...identity, data: identity.data.map((x, i) => x - change.data[i]!) }
    expect(relativeDistance(product, oneByOne(v, tau, identity))).toBeLessThan(1e-13)
  })

  it.each([0, 1])('are applied block by block, to vectors that are zero before column i + %i', async (shift) => {
    const n = 150
    const random = randomMatrix(n - 1, n)
    const v = matrixOf(n - 1, n, (i, j) => (j < i + shift ? 0 : random.data[i * n + j]!))
    const tau = factorsOf(v)
    const x = randomMatrix(n, 9, 2)
    const expected = oneByOne(v, tau, x)
    await applyReflections(plain, v, tau, shift, x)
    expect(relativeDistance(x, expected)).toBeLessThan(1e-13)
  })
})
