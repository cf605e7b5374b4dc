import { describe, expect, it } from 'vitest'
import { randomTensor, relativeError } from '../../test/support/tensors.ts'
import { createRandom, WhittleError } from '../core/index.ts'
import { fromNumbers, norm, randomTucker, Tensor, toFloat64, transposeTensor, tuckerToTensor } from '../tensor/index.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { robustPca } from './robust-pca.ts'

const plain = createPlainMatrixEngine()

/** A tensor of low rank with a share of its elements far off. */
function corrupted(
  shape: readonly number[],
  ranks: readonly number[],
  share: number,
): { low: Tensor; sparse: Tensor; sum: Tensor } {
  const low = tuckerToTensor(randomTucker(shape, ranks, { seed: 1 }))
  const random = createRandom(2)
  const size = norm(low) / Math.sqrt(low.size)
  const errors = Float64Array.from({ length: low.size }, () =>
    random.uniform() < share ? 10 * size * (random.uniform() - 0.5) : 0,
  )
  const sum = toFloat64(low).map((value, i) => value + errors[i]!)
  return { low, sparse: Tensor.of(errors, shape), sum: Tensor.of(sum, shape) }
}

describe('robustPca', () => {
  it.each([
    [
      [50, 40],
      [3, 3],
    ],
    [
      [25, 60],
      [2, 2],
    ],
    [
      [18, 20, 22],
      [2, 2, 2],
    ],
    [
      [10, 11, 12, 9],
      [2, 2, 2, 2],
    ],
  ] as const)('separates what is of low rank in %j from what is sparse', async (shape, ranks) => {
    const { low, sparse, sum } = corrupted(shape, ranks, 0.05)
    const found = await robustPca(plain, sum)
    expect(found.converged).toBe(true)
    expect(relativeError(low, found.lowRank)).toBeLessThan(1e-4)
    expect(relativeError(sparse, found.sparse)).toBeLessThan(1e-4)
    expect(found.ranks).toEqual(ranks)
    expect(found.errors.at(-1)!).toBeLessThan(1e-6)
  })

  it('does the same in float32, and with a matrix on its side', async () => {
    const { low, sum } = corrupted([50, 30], [2, 2], 0.05)
    const single = fromNumbers(toFloat64(sum), sum.shape, 'float32')
    const found = await robustPca(plain, single, { tolerance: 1e-5 })
    expect(found.lowRank.dtype).toBe('float32')
    expect(relativeError(low, found.lowRank)).toBeLessThan(1e-3)
    const turned = await robustPca(plain, transposeTensor(sum))
    const expected = await robustPca(plain, sum)
    expect(relativeError(expected.lowRank, transposeTensor(turned.lowRank))).toBeLessThan(1e-8)
  })

  it('minimises its objective: neither part can be moved into the other', async () => {
    const { sum } = corrupted([20, 15], [2, 2], 0.1)
    const lambda = 1 / Math.sqrt(20)
    const { lowRank, sparse } = await robustPca(plain, sum, {
      lambda,
      growth: 1.02,
      maxIterations: 3000,
      tolerance: 1e-9,
    })
    const nuclear = async (part: Float64Array): Promise<number> => {
      const { singularValues } = await import('./svd.ts')
      const s = await singularValues(plain, { rows: 20, cols: 15, data: part }, { method: 'exact' })
      return s.reduce((total, value) => total + value, 0)
    }
    const value = async (step: readonly number[]): Promise<number> => {
      const d = toFloat64(lowRank).map((x, i) => x + step[i]!)
      const e = toFloat64(sparse).map((x, i) => x - step[i]!)
      return (await nuclear(d)) + lambda * e.reduce((total, x) => total + Math.abs(x), 0)
    }
    const least = await value(new Array<number>(300).fill(0))
    for (let seed = 0; seed < 10; seed++) {
      const step = [...toFloat64(randomTensor([300], seed))]
      for (const size of [1e-1, 1e-2, 1e-3])
        expect(await value(step.map((x) => x * size))).toBeGreaterThan(least * (1 - 1e-7))
    }
  })

  it('estimates missing elements', async () => {
    const { low, sum } = corrupted([40, 40], [2, 2], 0.03)
    const random = createRandom(3)
    const mask = Tensor.of(
      Uint8Array.from({ length: 1600 }, () => (random.uniform() < 0.1 ? 0 : 1)),
      [40, 40],
      'bool',
    )
    const holes = Tensor.of(
      toFloat64(sum).map((value, i) => (mask.data[i] ? value : Number.NaN)),
      [40, 40],
    )
    const found = await robustPca(plain, holes, { mask })
    expect(relativeError(low, found.lowRank)).toBeLessThan(1e-3)
    for (const [i, value] of toFloat64(found.sparse).entries()) if (!mask.data[i]) expect(value).toBe(0)
  })

  it('gives the same bits each time, reports progress, stops and refuses', async () => {
    const { sum } = corrupted([10, 12], [1, 1], 0.05)
    const first = await robustPca(plain, sum)
    expect((await robustPca(plain, sum)).lowRank.bytes).toEqual(first.lowRank.bytes)
    const seen: number[] = []
    await robustPca(plain, sum, { maxIterations: 3, onProgress: ({ done }) => seen.push(done) })
    expect(seen).toEqual([1, 2, 3])
    await expect(robustPca(plain, sum, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    expect((await robustPca(plain, Tensor.of(new Float64Array(6), [2, 3]))).ranks).toEqual([0, 0])
    await expect(robustPca(plain, randomTensor([5], 1))).rejects.toThrow(
      new WhittleError('INVALID_ARGUMENT', 'Robust PCA of [5]: needs a matrix or a tensor of more modes.'),
    )
    await expect(robustPca(plain, sum, { lambda: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(robustPca(plain, sum, { mask: randomTensor([3], 1) })).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
    })
  })
})
