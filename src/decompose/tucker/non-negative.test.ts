import { describe, expect, it } from 'vitest'
import { randomTensor, relativeError } from '../../../test/support/tensors.ts'
import { WhittleError } from '../../core/index.ts'
import { fromNumbers, randomTucker, Tensor, toFloat64, tuckerToTensor } from '../../tensor/index.ts'
import { createPlainMatrixEngine } from '../plain-matrix-engine.ts'
import { nonNegativeTucker } from './non-negative.ts'
import { tucker } from './tucker.ts'

const plain = createPlainMatrixEngine()
const METHODS = ['hals', 'multiplicative'] as const

const nonNegative = (shape: readonly number[], ranks: readonly number[], seed = 1): Tensor =>
  tuckerToTensor(randomTucker(shape, ranks, { seed, distribution: 'uniform' }))
const smallest = ({ data }: Tensor): number => Math.min(...(data as Float64Array))

describe('nonNegativeTucker', () => {
  it.each(METHODS)('by %s comes near tensors of known non-negative ranks, with nothing negative', async (method) => {
    for (const [shape, ranks] of [
      [
        [9, 8],
        [2, 2],
      ],
      [
        [9, 8, 10],
        [2, 3, 2],
      ],
      [
        [6, 5, 4, 7],
        [2, 2, 2, 2],
      ],
    ] as const)
      for (const init of ['svd', 'random'] as const) {
        const tensor = nonNegative(shape, ranks)
        const found = await nonNegativeTucker(plain, tensor, ranks, {
          method,
          init,
          tolerance: 1e-9,
          maxIterations: 300,
        })
        expect(found.core.shape).toEqual(ranks)
        expect(found.relativeError).toBeLessThan(method === 'hals' ? 5e-3 : 0.1)
        expect(relativeError(tensor, tuckerToTensor(found))).toBeCloseTo(found.relativeError, 9)
        for (const part of [found.core, ...found.factors]) expect(smallest(part)).toBeGreaterThanOrEqual(0)
      }
  })

  it.each(METHODS)('by %s lowers the error with every sweep', async (method) => {
    const tensor = fromNumbers(toFloat64(randomTensor([12, 13, 14], 3)).map(Math.abs), [12, 13, 14], 'float64')
    const found = await nonNegativeTucker(plain, tensor, 4, { method, tolerance: 0, maxIterations: 30 })
    expect(found.errors).toHaveLength(30)
    for (let i = 1; i < 30; i++) expect(found.errors[i]!).toBeLessThanOrEqual(found.errors[i - 1]! + 1e-12)
    expect(relativeError(tensor, tuckerToTensor(found))).toBeCloseTo(found.relativeError, 10)
    // The best without signs is a bound.
    const free = await tucker(plain, tensor, 4)
    expect(found.relativeError).toBeGreaterThan(free.relativeError)
    expect(found.relativeError).toBeLessThan(1.2 * free.relativeError)
  })

  it('has columns of length 1, the type of the tensor, and the same bits for the same seed', async () => {
    const tensor = fromNumbers(toFloat64(nonNegative([9, 8, 7], [2, 2, 2])), [9, 8, 7], 'float32')
    const found = await nonNegativeTucker(plain, tensor, 2, { init: 'random', seed: 4 })
    expect(found.core.dtype).toBe('float32')
    for (const { data, shape } of found.factors)
      for (let j = 0; j < 2; j++) {
        const column = Array.from({ length: shape[0]! }, (_, i) => Number(data[i * 2 + j]))
        expect(Math.hypot(...column)).toBeCloseTo(1, 6)
      }
    const again = await nonNegativeTucker(plain, tensor, 2, { init: 'random', seed: 4 })
    expect(again.core.bytes).toEqual(found.core.bytes)
  })

  it('goes on from a given beginning', async () => {
    const tensor = nonNegative([9, 8, 7], [2, 2, 2])
    const short = await nonNegativeTucker(plain, tensor, 2, { maxIterations: 3, tolerance: 0 })
    const longer = await nonNegativeTucker(plain, tensor, 2, { init: short, maxIterations: 3, tolerance: 0 })
    expect(longer.errors[0]!).toBeLessThan(short.relativeError)
  })

  it('takes zeros, reports progress, stops and refuses', async () => {
    const zero = Tensor.of(new Float64Array(24), [2, 3, 4])
    expect((await nonNegativeTucker(plain, zero, 2)).relativeError).toBe(0)
    const tensor = nonNegative([4, 5, 6], [2, 2, 2])
    const seen: number[] = []
    await nonNegativeTucker(plain, tensor, 2, {
      maxIterations: 2,
      tolerance: 0,
      onProgress: ({ done }) => seen.push(done),
    })
    expect(seen).toEqual([1, 2])
    await expect(nonNegativeTucker(plain, tensor, 2, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    })
    await expect(nonNegativeTucker(plain, tensor, 2, { maxIterations: 0 })).rejects.toThrow(
      new WhittleError(
        'INVALID_ARGUMENT',
        'Non-negative Tucker of [4, 5, 6]: maxIterations must be an integer from 1; got 0.',
      ),
    )
    const init = randomTucker([4, 5, 6], [1, 2, 2])
    await expect(nonNegativeTucker(plain, tensor, 2, { init })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
  })
})
