import { describe, expect, it } from 'vitest'
import { matrixOf, randomMatrix, relativeDistance, single } from '../../test/support/matrices.ts'
import { WhittleError } from '../core/index.ts'
import { gramOfUnfolding, modeGram } from './gram.ts'
import type { Matrix } from './matrix.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'

const plain = createPlainMatrixEngine()

/** Σ over o, t of data[o, i, t] data[o, j, t], as it is defined. */
function byDefinition(data: ArrayLike<number>, [outer, n, inner]: readonly [number, number, number]): Matrix {
  return matrixOf(n, n, (i, j) => {
    let sum = 0
    for (let o = 0; o < outer; o++)
      for (let t = 0; t < inner; t++) sum += data[(o * n + i) * inner + t]! * data[(o * n + j) * inner + t]!
    return sum
  })
}

describe('modeGram', () => {
  const shapes: [number, number, number][] = [
    [1, 5, 7],
    [7, 5, 1],
    [3, 4, 9],
    [1, 1, 1],
    [40, 17, 25],
    [2, 600, 3],
  ]
  it.each(shapes)('sums products of slices of [%i, %i, %i]', async (...dims) => {
    const data = randomMatrix(dims[0] * dims[1], dims[2]).data
    const gram = await modeGram(plain, data, dims)
    expect(relativeDistance(gram, byDefinition(data, dims))).toBeLessThan(1e-14)
    for (let i = 0; i < gram.rows; i++)
      for (let j = 0; j < i; j++) expect(gram.data[i * gram.rows + j]).toBe(gram.data[j * gram.rows + i])
  })

  it('is the same whatever the chunks are: slices cut in pieces, chunks across their borders, many slices at once', async () => {
    for (const dims of [
      [3, 5, 50],
      [20, 5, 4],
      [1, 5, 33],
      [33, 5, 1],
    ] as const) {
      const data = randomMatrix(dims[0] * dims[1], dims[2]).data
      const expected = byDefinition(data, dims)
      for (const chunk of [1, 5, 35, 60, 85, 250, 1000])
        expect(relativeDistance(await modeGram(plain, data, dims, { chunk }), expected)).toBeLessThan(1e-14)
    }
  })

  it('accumulates float32 data in float64, unless told that float32 will do', async () => {
    const a = single(randomMatrix(30, 5000))
    const exact = byDefinition(a.data, [1, 30, 5000])
    const errorWith = async (products: 'float32' | 'float64'): Promise<number> =>
      relativeDistance(await modeGram(plain, a.data, [1, 30, 5000], { products }), exact)
    expect(await errorWith('float64')).toBeLessThan(1e-14)
    const coarse = await errorWith('float32')
    expect(coarse).toBeLessThan(1e-6)
    expect(coarse).toBeGreaterThan(1e-10)
  })

  it('serves as A Aᵀ and as Aᵀ A', async () => {
    const a = randomMatrix(6, 11)
    expect((await gramOfUnfolding(plain, a)).data).toEqual((await plain.gram(a)).data)
    const rows = await plain.multiply(a, a, { transposeB: true })
    const columns = await plain.multiply(a, a, { transposeA: true })
    expect(relativeDistance(await plain.gram(a), rows)).toBeLessThan(1e-14)
    expect(relativeDistance(await plain.gram(a, { transpose: true }), columns)).toBeLessThan(1e-14)
  })

  it('wants as many elements as the dimensions say, and can be cancelled', async () => {
    await expect(modeGram(plain, new Float32Array(10), [2, 3, 2])).rejects.toThrow(
      new WhittleError('SHAPE_MISMATCH', 'Gram matrix of [2, 3, 2]: needs 12 elements; got 10.'),
    )
    const signal = AbortSignal.abort()
    await expect(modeGram(plain, new Float32Array(12), [2, 3, 2], { signal })).rejects.toThrow('cancelled')
  })
})
