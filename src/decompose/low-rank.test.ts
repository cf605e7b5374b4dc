import { describe, expect, it } from 'vitest'
import {
  orthogonalityError,
  randomMatrix,
  relativeDistance,
  single,
  withSingularValues,
} from '../../test/support/matrices.ts'
import { matrixFactors } from './low-rank.ts'
import { transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { relativeErrorCurve } from './rank-policies.ts'

const plain = createPlainMatrixEngine()
const spectrum = Array.from({ length: 50 }, (_, i) => 0.9 ** i)

describe('matrixFactors', () => {
  it.each([
    [50, 70],
    [70, 50],
  ])('of [%i, %i] have the least error, and know it', async (rows, cols) => {
    const a = await withSingularValues(rows, cols, spectrum)
    for (const rank of [1, 10, 30]) {
      const { left, right, orthonormal, relativeError } = await matrixFactors(plain, a, rank)
      expect([left.rows, left.cols, right.rows, right.cols]).toEqual([rows, rank, rank, cols])
      const measured = relativeDistance(await plain.multiply(left, right), a)
      expect(measured).toBeCloseTo(relativeErrorCurve(spectrum)[rank]!, 12)
      expect(relativeError).toBeCloseTo(measured, 12)
      expect(orthonormal).toBe(rows <= cols ? 'left' : 'right')
      expect(await orthogonalityError(orthonormal === 'left' ? left : transposed(right))).toBeLessThan(1e-13)
    }
  })

  it('reproduce a float32 matrix at full rank, and say how well', async () => {
    const a = single(randomMatrix(60, 45))
    const { left, right, relativeError } = await matrixFactors(plain, a, 45)
    const measured = relativeDistance(await plain.multiply(left, right), a)
    expect(measured).toBeLessThan(1e-6)
    expect(relativeError).toBeLessThan(1e-6)
    expect(relativeError).toBeGreaterThan(measured / 2)
  })

  it('know small errors, where the difference of norms would cancel', async () => {
    const a = single(await withSingularValues(40, 60, [1, 0.5, 1e-5]))
    const { relativeError } = await matrixFactors(plain, a, 2)
    expect(relativeError / (1e-5 / Math.hypot(1, 0.5))).toBeCloseTo(1, 1)
  })

  it('take zeros, a single element, and refuse NaN', async () => {
    const zero = await matrixFactors(plain, { rows: 4, cols: 3, data: new Float32Array(12) }, 2)
    expect(zero.relativeError).toBe(0)
    const one = await matrixFactors(plain, { rows: 1, cols: 1, data: Float64Array.of(-3) }, 1)
    expect(one.left.data[0]! * one.right.data[0]!).toBe(-3)
    await expect(
      matrixFactors(plain, { rows: 1, cols: 2, data: Float32Array.of(Number.POSITIVE_INFINITY, 1) }, 1),
    ).rejects.toThrow('Factoring: matrix [1, 2]: all elements must be finite numbers; element 0 is Infinity.')
  })
})
