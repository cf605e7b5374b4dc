import { describe, expect, it } from 'vitest'
import { orthogonalityError } from '../../test/support/matrices.ts'
import { relativeError } from '../../test/support/tensors.ts'
import { WhittleError } from '../core/index.ts'
import { randomTt, Tensor, type TtTensor, toFloat64, ttToTensor, validateTtTensor } from '../tensor/index.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { tensorTrain } from './tensor-train.ts'
import { ttRound } from './tt-round.ts'

const plain = createPlainMatrixEngine()

/** The train of a + b: cores side by side on the diagonal. */
function sum(a: TtTensor, b: TtTensor): TtTensor {
  const last = a.factors.length - 1
  return {
    factors: a.factors.map((x, k) => {
      const y = b.factors[k]!
      const [ra, n, sa] = x.shape as [number, number, number]
      const [rb, , sb] = y.shape as [number, number, number]
      const [r, s] = [k === 0 ? 1 : ra + rb, k === last ? 1 : sa + sb]
      const out = new Float64Array(r * n * s)
      const put = (from: Tensor, row: number, column: number): void => {
        const [rows, , columns] = from.shape as [number, number, number]
        const data = toFloat64(from)
        for (let i = 0; i < rows; i++)
          for (let j = 0; j < n; j++)
            for (let l = 0; l < columns; l++)
              out[((row + i) * n + j) * s + column + l]! += data[(i * n + j) * columns + l]!
      }
      put(x, 0, 0)
      put(y, k === 0 ? 0 : ra, k === last ? 0 : sa)
      return Tensor.of(out, [r, n, s])
    }),
  }
}

describe('ttRound', () => {
  it('finds the ranks that a sum of a train with itself needs', async () => {
    const train = randomTt([6, 5, 7, 4], [1, 3, 4, 2, 1], { seed: 1 })
    const double = sum(train, train)
    expect(validateTtTensor(double).rank).toEqual([1, 6, 8, 4, 1])
    const rounded = await ttRound(plain, double, { error: 1e-12 })
    expect(validateTtTensor(rounded).rank).toEqual([1, 3, 4, 2, 1])
    expect(relativeError(ttToTensor(double), ttToTensor(rounded))).toBeLessThan(1e-13)
    expect(rounded.relativeError).toBeLessThan(1e-13)
  })

  it('keeps the error it was given and states the one it has, as TT-SVD of the full tensor would', async () => {
    const train = randomTt([6, 5, 7, 4], [1, 6, 12, 4, 1], { seed: 2 })
    const full = ttToTensor(train)
    for (const error of [0.7, 0.3, 0.1]) {
      const rounded = await ttRound(plain, train, { error })
      const actual = relativeError(full, ttToTensor(rounded))
      expect(actual).toBeLessThanOrEqual(error)
      expect(rounded.relativeError).toBeCloseTo(actual, 12)
      const direct = await tensorTrain(plain, full, { error })
      expect(validateTtTensor(rounded).rank).toEqual(validateTtTensor(direct).rank)
    }
    const given = await ttRound(plain, train, [1, 2, 3, 2, 1])
    const direct = await tensorTrain(plain, full, [1, 2, 3, 2, 1])
    expect(given.relativeError).toBeCloseTo(direct.relativeError, 12)
    expect(relativeError(full, ttToTensor(given))).toBeCloseTo(given.relativeError, 12)
  })

  it('makes cores orthonormal, keeps the type and never raises ranks', async () => {
    const train = randomTt([6, 5, 4], [1, 3, 2, 1], { seed: 3, dtype: 'float32' })
    const rounded = await ttRound(plain, train, 100)
    expect(validateTtTensor(rounded).rank).toEqual([1, 3, 2, 1])
    for (const { data, shape, dtype } of rounded.factors.slice(0, -1)) {
      expect(dtype).toBe('float32')
      const matrix = { rows: shape[0]! * shape[1]!, cols: shape[2]!, data: data as Float32Array }
      expect(await orthogonalityError(matrix)).toBeLessThan(1e-6)
    }
    expect(relativeError(ttToTensor(train), ttToTensor(rounded))).toBeLessThan(1e-6)
  })

  it('takes zero trains, stops, and refuses infinite cores', async () => {
    const zero = { factors: [Tensor.of(new Float64Array(6), [1, 3, 2]), Tensor.of(new Float64Array(8), [2, 4, 1])] }
    expect((await ttRound(plain, zero, 1)).relativeError).toBe(0)
    const train = randomTt([3, 4], [1, 2, 1])
    await expect(ttRound(plain, train, 1, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    const broken = { factors: [Tensor.of(Float64Array.of(1, Number.NaN), [1, 2, 1])] }
    await expect(ttRound(plain, broken, 1)).rejects.toThrow(
      new WhittleError(
        'NOT_FINITE',
        'Rounding a tensor train: core 0: all elements must be finite numbers; element 1 is NaN. Check where the values come from.',
      ),
    )
  })
})
