import { describe, expect, it } from 'vitest'
import {
  matrixOf,
  orthogonalityError,
  randomMatrix,
  relativeDistance,
  scaleColumns,
  single,
  withSingularValues,
} from '../../test/support/matrices.ts'
import { economySvd, randomizedSvd, svdFlip } from './economy-svd.ts'
import type { Matrix64 } from './matrix.ts'
import { transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { singularValues, truncatedSvd } from './svd.ts'

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

describe('economySvd of', () => {
  const spectrum = (n: number, value: (i: number) => number): Promise<Matrix64> =>
    withSingularValues(
      n,
      n,
      Array.from({ length: n }, (_, i) => value(i)),
    )
  const times = ({ rows, cols, data }: Matrix64, factor: number): Matrix64 => ({
    rows,
    cols,
    data: data.map((x) => x * factor),
  })
  const hard: [string, () => Promise<Matrix64> | Matrix64][] = [
    ['the identity', () => matrixOf(80, 80, (i, j) => +(i === j))],
    ['ones', () => matrixOf(70, 90, () => 1)],
    ['zeros', () => matrixOf(60, 60, () => 0)],
    ['an orthogonal matrix', () => spectrum(110, () => 1)],
    [
      'rank 20',
      () =>
        withSingularValues(
          150,
          150,
          Array.from({ length: 20 }, (_, i) => 1 + i),
        ),
    ],
    ['two clusters 10⁻¹² apart', () => spectrum(100, (i) => (i % 2 ? 1 : 1 + 1e-12 * i))],
    ['a cluster, a gap and noise', () => spectrum(120, (i) => (i < 40 ? 1 : 1e-13 * (1 + i)))],
    ['singular values from 1 down to 10⁻⁷', () => spectrum(70, (i) => 10 ** (-i / 10))],
    ['singular values from 1 down to 10⁻³⁰', () => spectrum(120, (i) => 10 ** (-i / 4))],
    [
      'two equal blocks',
      () => {
        const { data } = randomMatrix(70, 70)
        return matrixOf(140, 140, (i, j) => (i < 70 === j < 70 ? data[(i % 70) * 70 + (j % 70)]! : 0))
      },
    ],
    [
      'rows graded by 10³⁰',
      () => {
        const { data } = randomMatrix(90, 90)
        return matrixOf(90, 90, (i, j) => data[i * 90 + j]! * 10 ** (-i / 3))
      },
    ],
    ['a triangular matrix of ones', () => matrixOf(130, 130, (i, j) => +(j >= i))],
    ['elements of 10⁻²⁰⁰', () => times(randomMatrix(90, 60), 1e-200)],
    ['elements of 10²⁰⁰', () => times(randomMatrix(60, 90), 1e200)],
    ['elements of 10⁻³⁰⁶', () => times(randomMatrix(90, 90), 1e-306)],
  ]
  it.each(hard)('%s', async (_, matrix) => {
    const a = await matrix()
    const { u, s, vt } = await economySvd(plain, a)
    expect(await orthogonalityError(u)).toBeLessThan(1e-13)
    expect(await orthogonalityError(transposed(vt))).toBeLessThan(1e-13)
    expect([...s]).toEqual([...s].sort((x, y) => y - x))
    expect(s.every((value) => value >= 0)).toBe(true)
    // The largest element is brought to 1 first: products of 1e200 would overflow in the check itself.
    const scale = a.data.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0) || 1
    const product = await plain.multiply(
      scaleColumns(
        u,
        s.map((value) => value / scale),
      ),
      vt,
    )
    expect(relativeDistance(product, { ...a, data: a.data.map((x) => x / scale) })).toBeLessThan(1e-13)
    const values = await singularValues(plain, a, { method: 'exact' })
    const column = (data: Float64Array): Matrix64 => ({ rows: s.length, cols: 1, data })
    expect(relativeDistance(column(values), column(s))).toBeLessThan(2e-15)
    // Some of the leading triples are those of the whole.
    const leading = await truncatedSvd(plain, a, 7, { method: 'exact' })
    expect(
      relativeDistance({ rows: 7, cols: 1, data: leading.s }, { rows: 7, cols: 1, data: s.slice(0, 7) }),
    ).toBeLessThan(2e-15)
    expect(await orthogonalityError(leading.u)).toBeLessThan(1e-13)
    expect(await orthogonalityError(transposed(leading.vt))).toBeLessThan(1e-13)
    const image = await plain.multiply({ ...a, data: a.data.map((x) => x / scale) }, leading.vt, { transposeB: true })
    const expected = scaleColumns(
      leading.u,
      leading.s.map((value) => value / scale),
    )
    expect(relativeDistance(image, expected)).toBeLessThan(1e-13)
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
