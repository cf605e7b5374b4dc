import { describe, expect, it } from 'vitest'
import {
  orthogonalityError,
  randomMatrix,
  relativeDistance,
  scaleColumns,
  single,
  withSingularValues,
} from '../../test/support/matrices.ts'
import { economySvd, randomizedSvd, svdFlip } from './economy-svd.ts'
import { transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'

const plain = createPlainMatrixEngine()

describe('economySvd', () => {
  it.each([
    [40, 25],
    [25, 40],
    [30, 30],
    [1, 7],
    [7, 1],
  ])('of a matrix [%i, %i] has all factors, orthonormal, and the matrix as its product', async (rows, cols) => {
    const a = randomMatrix(rows, cols, 3)
    const { u, s, vt } = await economySvd(plain, a)
    const k = Math.min(rows, cols)
    expect([u.rows, u.cols, s.length, vt.rows, vt.cols]).toEqual([rows, k, k, k, cols])
    expect(relativeDistance(await plain.multiply(scaleColumns(u, s), vt), a)).toBeLessThan(1e-13)
    expect(await orthogonalityError(u)).toBeLessThan(1e-13)
    expect(await orthogonalityError(transposed(vt))).toBeLessThan(1e-13)
    for (let i = 1; i < k; i++) expect(s[i]!).toBeLessThanOrEqual(s[i - 1]!)
  })

  it('finds singular values to 10⁻¹⁵ of the largest, and stays orthonormal where they are zero', async () => {
    const expected = [1, 1e-4, 1e-8, 1e-12, 1e-14, 0, 0]
    const a = await withSingularValues(30, 20, expected)
    const { u, s, vt } = await economySvd(plain, a)
    for (const [i, value] of expected.entries()) expect(Math.abs(s[i]! - value)).toBeLessThan(3e-15)
    expect(await orthogonalityError(u)).toBeLessThan(1e-13)
    expect(await orthogonalityError(transposed(vt))).toBeLessThan(1e-13)
    expect(relativeDistance(await plain.multiply(scaleColumns(u, s), vt), a)).toBeLessThan(1e-14)
  })
})

describe('randomizedSvd', () => {
  it('finds leading triples, the same for the same seed', async () => {
    const s = Array.from({ length: 30 }, (_, i) => 0.6 ** i)
    const a = await withSingularValues(80, 60, s)
    const found = await randomizedSvd(plain, a, 6, { seed: 1 })
    const exact = await economySvd(plain, a)
    for (let i = 0; i < 6; i++) expect(Math.abs(found.s[i]! / s[i]! - 1)).toBeLessThan(1e-8)
    const leading = { rows: 80, cols: 6, data: new Float64Array(480) }
    for (let i = 0; i < 80; i++) for (let j = 0; j < 6; j++) leading.data[i * 6 + j] = exact.u.data[i * 60 + j]!
    // Signs are determined, so that vectors agree and not only their spans.
    expect(relativeDistance(found.u, leading)).toBeLessThan(1e-6)
    expect((await randomizedSvd(plain, a, 6, { seed: 1 })).u.data).toEqual(found.u.data)
  })
})

describe('svdFlip', () => {
  it('makes the largest element of every column of u, or row of vt, positive and keeps the product', async () => {
    const a = single(randomMatrix(9, 12, 5))
    const plainSigns = await economySvd(plain, a, { flipSign: false })
    for (const basedOn of ['u', 'vt'] as const) {
      const { u, s, vt } = svdFlip(plainSigns, { basedOn })
      for (let j = 0; j < 9; j++) {
        const column =
          basedOn === 'u'
            ? Array.from({ length: 9 }, (_, i) => u.data[i * 9 + j]!)
            : [...vt.data.subarray(j * 12, j * 12 + 12)]
        expect(Math.max(...column)).toBe(Math.max(...column.map(Math.abs)))
      }
      const product = await plain.multiply(scaleColumns(u, s), { ...vt, data: Float64Array.from(vt.data) })
      expect(relativeDistance(product, a)).toBeLessThan(1e-6)
    }
  })
})
