import { describe, expect, it } from 'vitest'
import {
  orthogonalityError,
  randomMatrix,
  relativeDistance,
  scaleColumns,
  single,
  withSingularValues,
} from '../../test/support/matrices.ts'
import { WhittleError } from '../core/index.ts'
import { transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { relativeErrorCurve } from './rank-policies.ts'
import { singularValues, truncatedSvd } from './svd.ts'

const plain = createPlainMatrixEngine()
const METHODS = ['gram', 'exact', 'randomized'] as const
const decaying = Array.from({ length: 40 }, (_, i) => 10 * 0.8 ** i)

function worstRelativeTo(largest: number, found: ArrayLike<number>, expected: readonly number[]): number {
  return Math.max(...expected.map((value, i) => Math.abs(found[i]! - value))) / largest
}

describe('singularValues', () => {
  it.each([
    [60, 90],
    [90, 60],
    [40, 40],
  ])('recovers those a matrix [%i, %i] was made of', async (rows, cols) => {
    const a = await withSingularValues(rows, cols, decaying)
    for (const method of ['gram', 'exact'] as const) {
      const s = await singularValues(plain, a, { method })
      expect(s).toHaveLength(Math.min(rows, cols))
      expect(worstRelativeTo(10, s.slice(0, 20), decaying.slice(0, 20))).toBeLessThan(1e-12)
    }
  })

  it('loses what is below 10⁻⁸ of the largest through the Gram matrix, and finds it by the exact method', async () => {
    const s = [1, 1e-3, 1e-6, 1e-9, 1e-12]
    const a = await withSingularValues(30, 50, s)
    const exact = await singularValues(plain, a, { method: 'exact' })
    s.forEach((value, i) => {
      expect(Math.abs(exact[i]! - value)).toBeLessThan(5e-15)
    })
    const gram = await singularValues(plain, a)
    expect(Math.abs(gram[2]! / 1e-6 - 1)).toBeLessThan(1e-3)
    expect(Math.abs(gram[4]! / 1e-12 - 1)).toBeGreaterThan(1)
  })

  it('refuses NaN', async () => {
    await expect(singularValues(plain, { rows: 1, cols: 2, data: Float32Array.of(1, Number.NaN) })).rejects.toThrow(
      'Singular values: matrix [1, 2]: all elements must be finite numbers; element 1 is NaN.',
    )
  })
})

describe.each(METHODS)('truncatedSvd by method %s', (method) => {
  it.each([
    [60, 90],
    [90, 60],
    [50, 50],
  ])('gives the leading triples of a matrix [%i, %i]', async (rows, cols) => {
    const a = await withSingularValues(rows, cols, decaying)
    const rank = 8
    const { u, s, vt } = await truncatedSvd(plain, a, rank, { method, iterations: 6 })
    expect([u.rows, u.cols, s.length, vt.rows, vt.cols]).toEqual([rows, rank, rank, rank, cols])
    expect(worstRelativeTo(10, s, decaying.slice(0, rank))).toBeLessThan(1e-6)
    expect(await orthogonalityError(u)).toBeLessThan(1e-12)
    expect(await orthogonalityError(transposed(vt))).toBeLessThan(1e-12)
    const error = relativeDistance(await plain.multiply(scaleColumns(u, s), vt), a)
    expect(error / relativeErrorCurve(decaying)[rank]!).toBeLessThan(1 + 1e-6)
  })

  it('is finite, orthonormal and right for a matrix of lower rank', async () => {
    const a = await withSingularValues(30, 40, [3, 2, 1])
    const { u, s, vt } = await truncatedSvd(plain, a, 10, { method })
    expect(worstRelativeTo(1, s, [3, 2, 1, 0, 0, 0, 0, 0, 0, 0])).toBeLessThan(1e-7)
    expect(await orthogonalityError(u)).toBeLessThan(1e-12)
    expect(await orthogonalityError(transposed(vt))).toBeLessThan(1e-12)
    expect(relativeDistance(await plain.multiply(scaleColumns(u, s), vt), a)).toBeLessThan(1e-7)
  })

  it('reproduces the matrix at full rank, in its own precision', async () => {
    const a = single(randomMatrix(20, 33))
    const { u, s, vt } = await truncatedSvd(plain, a, 20, { method })
    expect(u.data).toBeInstanceOf(Float32Array)
    const product = await plain.multiply(scaleColumns(u, s), { ...vt, data: Float64Array.from(vt.data) })
    expect(relativeDistance(product, a)).toBeLessThan(1e-6)
  })

  it('takes a zero matrix', async () => {
    const { u, s } = await truncatedSvd(plain, { rows: 6, cols: 9, data: new Float64Array(54) }, 3, { method })
    expect([...s]).toEqual([0, 0, 0])
    expect(await orthogonalityError(u)).toBeLessThan(1e-12)
  })
})

it('truncatedSvd refuses ranks out of range', async () => {
  for (const rank of [0, 7, 1.5])
    await expect(truncatedSvd(plain, randomMatrix(6, 9), rank)).rejects.toThrow(
      new WhittleError('RANK_OUT_OF_RANGE', `Rank of a matrix [6, 9] must be an integer between 1 and 6; got ${rank}.`),
    )
})
