import { describe, expect, it } from 'vitest'
import { orthogonalityError, randomMatrix } from '../../test/support/matrices.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { WhittleError } from '../core/index.ts'
import {
  fromNumbers,
  randomTt,
  Tensor,
  toFloat64,
  ttMatrixToMatrix,
  ttMatrixToTensor,
  ttToTensor,
  validateTtTensor,
} from '../tensor/index.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { singularValues } from './svd.ts'
import { tensorTrain, tensorTrainMatrix } from './tensor-train.ts'

const plain = createPlainMatrixEngine()

/** Elements 1 / (1 + i + j + …): singular values fall exponentially. */
function smooth(shape: readonly number[]): Tensor {
  let elements = [1]
  for (const extent of shape) elements = elements.flatMap((x) => Array.from({ length: extent }, (_, i) => x + i))
  return Tensor.of(
    Float64Array.from(elements, (x) => 1 / x),
    shape,
  )
}

describe('tensorTrain', () => {
  it.each([
    { dtype: 'float64', bound: 1e-12 },
    { dtype: 'float32', bound: 1e-6 },
  ] as const)('recovers tensors of known ranks in $dtype', async ({ dtype, bound }) => {
    for (const [shape, rank] of [
      [
        [12, 9],
        [1, 4, 1],
      ],
      [
        [8, 9, 7],
        [1, 3, 5, 1],
      ],
      [
        [6, 5, 7, 4],
        [1, 3, 6, 2, 1],
      ],
      [
        [5, 4, 3, 4, 5],
        [1, 2, 3, 3, 2, 1],
      ],
    ] as const) {
      const exact = ttToTensor(randomTt(shape, rank, { seed: 3 }))
      const tensor = fromNumbers(toFloat64(exact), shape, dtype)
      for (const method of ['gram', 'exact', 'auto'] as const) {
        const train = await tensorTrain(plain, tensor, rank, { method })
        expect(validateTtTensor(train)).toEqual({ shape, rank })
        expect(train.factors.every((factor) => factor.dtype === dtype)).toBe(true)
        expect(relativeError(tensor, ttToTensor(train))).toBeLessThan(bound)
        expect(train.relativeError).toBeLessThan(bound)
      }
      // And finds the ranks by itself.
      const found = await tensorTrain(plain, tensor, { error: dtype === 'float32' ? 1e-5 : 1e-10 })
      expect(validateTtTensor(found).rank).toEqual(rank)
    }
  })

  it('keeps the error it was given, and states the one it has', async () => {
    const random = randomTensor64([7, 6, 5, 4], 1)
    for (const tensor of [smooth([9, 8, 7, 6]), random])
      for (const error of [0.5, 0.1, 1e-2, 1e-4, 1e-7, 1e-11, 0]) {
        const train = await tensorTrain(plain, tensor, { error })
        const actual = relativeError(tensor, ttToTensor(train))
        expect(actual).toBeLessThanOrEqual(Math.max(error, 1e-13))
        expect(Math.abs(train.relativeError - actual)).toBeLessThan(1e-9 * actual + 1e-14)
      }
  })

  it('takes few ranks for a loose error, and at most maxRank', async () => {
    const tensor = smooth([12, 12, 12])
    const loose = validateTtTensor(await tensorTrain(plain, tensor, { error: 1e-2 })).rank
    const tight = validateTtTensor(await tensorTrain(plain, tensor, { error: 1e-6 })).rank
    expect(loose).toEqual([1, 3, 3, 1])
    expect(tight[1]!).toBeGreaterThan(loose[1]!)
    expect(validateTtTensor(await tensorTrain(plain, tensor, { error: 1e-6, maxRank: 4 })).rank).toEqual([1, 4, 4, 1])
  })

  it('is quasi-optimal: at most √(N−1) times the best error of any unfolding', async () => {
    const shape = [6, 5, 4, 7]
    const tensor = randomTensor64(shape, 5)
    const rank = [1, 3, 4, 3, 1]
    const { relativeError: error } = await tensorTrain(plain, tensor, rank)
    const squares = await Promise.all(
      [1, 2, 3].map(async (k) => {
        const rows = shape.slice(0, k).reduce((product, extent) => product * extent, 1)
        const s = await singularValues(plain, { rows, cols: tensor.size / rows, data: toFloat64(tensor) })
        const square = (values: Float64Array): number => values.reduce((sum, value) => sum + value * value, 0)
        return square(s.subarray(rank[k]!)) / square(s)
      }),
    )
    expect(error).toBeGreaterThanOrEqual(Math.sqrt(Math.max(...squares)))
    expect(error).toBeLessThanOrEqual(Math.sqrt(squares.reduce((sum, square) => sum + square, 0)) * (1 + 1e-12))
  })

  it('is exact at full ranks, with ranks lowered to what the shape allows', async () => {
    const tensor = randomTensor64([4, 5, 6, 3], 2)
    const train = await tensorTrain(plain, tensor, 1000)
    expect(validateTtTensor(train).rank).toEqual([1, 4, 18, 3, 1])
    expect(relativeError(tensor, ttToTensor(train))).toBeLessThan(1e-14)
    const one = await tensorTrain(plain, randomTensor([9], 1), [1, 1])
    expect(one).toMatchObject({ relativeError: 0, factors: [{ shape: [1, 9, 1] }] })
  })

  it('has orthonormal cores but for the last', async () => {
    const { factors } = await tensorTrain(plain, randomTensor64([6, 5, 4, 7], 3), 4)
    for (const { data, shape } of factors.slice(0, -1)) {
      const matrix = { rows: shape[0]! * shape[1]!, cols: shape[2]!, data: data as Float64Array }
      expect(await orthogonalityError(matrix)).toBeLessThan(1e-13)
    }
  })

  it('gives the zero tensor, and a fraction of the parameters', async () => {
    const zero = Tensor.of(new Float32Array(60), [3, 4, 5])
    const train = await tensorTrain(plain, zero, 2)
    expect(train.relativeError).toBe(0)
    expect(relativeError(zero, ttToTensor(train))).toBe(0)
    const { factors } = await tensorTrain(plain, randomTensor([10, 10, 10], 1), 0.25)
    const count = factors.reduce((sum, { size }) => sum + size, 0)
    expect(count).toBeGreaterThan(200)
    expect(count).toBeLessThan(300)
  })

  it('gives the same bits for the same seed, reports progress and stops', async () => {
    const tensor = randomTensor([6, 7, 8], 1)
    const bits = async (): Promise<unknown> => (await tensorTrain(plain, tensor, 3)).factors.map(({ bytes }) => bytes)
    expect(await bits()).toEqual(await bits())
    const seen: number[] = []
    await tensorTrain(plain, tensor, 3, { onProgress: ({ done }) => seen.push(done) })
    expect(seen).toEqual([0, 1, 2])
    await expect(tensorTrain(plain, tensor, 3, { signal: AbortSignal.abort() })).rejects.toThrow(
      new WhittleError('ABORTED', 'The work was cancelled.'),
    )
  })

  it('refuses what it cannot decompose', async () => {
    const tensor = randomTensor([3, 4], 1)
    await expect(tensorTrain(plain, tensor, [1, 2])).rejects.toMatchObject({ code: 'RANK_OUT_OF_RANGE' })
    await expect(tensorTrain(plain, tensor, { error: -1 })).rejects.toThrow(
      new WhittleError('INVALID_ARGUMENT', 'Tensor train of [3, 4]: error must be a number from 0; got -1.'),
    )
    await expect(tensorTrain(plain, Tensor.of(new Int32Array(4), [2, 2]), 1)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    })
    const infinite = Tensor.of(Float32Array.of(1, Number.POSITIVE_INFINITY), [2, 1])
    await expect(tensorTrain(plain, infinite, 1)).rejects.toThrow(
      new WhittleError(
        'NOT_FINITE',
        'Tensor train of [2, 1]: all elements must be finite numbers; element 1 is Infinity.',
      ),
    )
  })
})

describe('tensorTrainMatrix', () => {
  it('is exact at full ranks, from a matrix and from a tensor that is already split', async () => {
    const { rows, cols, data } = randomMatrix(12, 30)
    const matrix = Tensor.of(data, [rows, cols])
    const options = { ranks: 1000, rowShape: [3, 4], colShape: [5, 6] }
    const train = await tensorTrainMatrix(plain, matrix, options)
    expect(train.factors.map(({ shape }) => shape)).toEqual([
      [1, 3, 5, 15],
      [15, 4, 6, 1],
    ])
    expect(relativeError(matrix, ttMatrixToMatrix(train))).toBeLessThan(1e-14)
    const split = matrix.reshape([3, 4, 5, 6])
    const again = await tensorTrainMatrix(plain, split, { ranks: 1000 })
    expect(relativeError(split, ttMatrixToTensor(again))).toBeLessThan(1e-14)
  })

  it('finds a Kronecker product of matrices to have ranks 1', async () => {
    const [a, b, c] = [randomMatrix(3, 2, 1), randomMatrix(2, 5, 2), randomMatrix(4, 3, 3)]
    const data = new Float64Array(24 * 30)
    for (let i = 0; i < 24; i++)
      for (let j = 0; j < 30; j++) {
        const [i0, i1, i2] = [Math.floor(i / 8), Math.floor(i / 4) % 2, i % 4]
        const [j0, j1, j2] = [Math.floor(j / 15), Math.floor(j / 3) % 5, j % 3]
        data[i * 30 + j] = a.data[i0 * 2 + j0]! * b.data[i1 * 5 + j1]! * c.data[i2 * 3 + j2]!
      }
    const matrix = Tensor.of(data, [24, 30])
    const train = await tensorTrainMatrix(plain, matrix, {
      rowShape: [3, 2, 4],
      colShape: [2, 5, 3],
      ranks: { error: 1e-10 },
    })
    expect(train.factors.map(({ shape }) => shape.at(-1))).toEqual([1, 1, 1])
    expect(relativeError(matrix, ttMatrixToMatrix(train))).toBeLessThan(1e-14)
  })

  it('refuses modes that do not make the matrix', async () => {
    const matrix = Tensor.of(new Float32Array(12), [4, 3])
    await expect(tensorTrainMatrix(plain, matrix, { rowShape: [2, 3], colShape: [3, 1] })).rejects.toThrow(
      new WhittleError(
        'SHAPE_MISMATCH',
        'Tensor-train matrix of [4, 3]: modes [2, 3] × [3, 1] split a matrix [6, 3]; choose modes with these products.',
      ),
    )
    await expect(tensorTrainMatrix(plain, matrix, { rowShape: [2, 2] })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    await expect(tensorTrainMatrix(plain, matrix, { rowShape: [2, 2], colShape: [3] })).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
    })
    await expect(tensorTrainMatrix(plain, matrix.reshape([4, 3, 1]))).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
  })
})
