/** Seeded random tensors, full and in factors: for tests of known rank and for experiments. */
import { createRandom } from '../core/index.ts'
import { type CpTensor, validateCpRank } from './cp-tensor.ts'
import type { RankRule } from './rank-rules.ts'
import { fromNumbers, sizeOf, type Tensor } from './tensor.ts'
import { type TtTensor, validateTtRank } from './tt-tensor.ts'
import { type TuckerTensor, validateTuckerRank } from './tucker-tensor.ts'

/** Options of the random tensors. */
export interface RandomTensorOptions {
  /** Default 0; equal seeds give equal tensors. */
  readonly seed?: number
  /** Of the elements, default `'float64'`. */
  readonly dtype?: 'float32' | 'float64'
  /** `'normal'` (default; mean 0, variance 1) or `'uniform'` in [0, 1). */
  readonly distribution?: 'normal' | 'uniform'
}

function drawing({ seed = 0, dtype = 'float64', distribution = 'normal' }: RandomTensorOptions) {
  const random = createRandom(seed)
  return (shape: readonly number[]): Tensor =>
    fromNumbers(
      Float64Array.from({ length: sizeOf(shape) }, () => random[distribution]()),
      shape,
      dtype,
    )
}

/**
 * A tensor of independent random elements.
 *
 * @example
 * console.log(formatTensor(randomTensor([2, 3], { seed: 1 })))
 */
export function randomTensor(shape: readonly number[], options: RandomTensorOptions = {}): Tensor {
  return drawing(options)(shape)
}

/**
 * A CP tensor with random factors.
 *
 * @param shape of the full tensor. @param rank as `validateCpRank` takes it.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * const cp = randomCp([3, 4, 5], 2)
 * console.log(cp.factors.map(({ shape }) => shape))
 */
export function randomCp(shape: readonly number[], rank: RankRule, options: RandomTensorOptions = {}): CpTensor {
  const columns = validateCpRank(shape, rank)
  const draw = drawing(options)
  return { factors: shape.map((extent) => draw([extent, columns])) }
}

/**
 * A Tucker tensor with a random core and random factors.
 *
 * @param shape of the full tensor. @param ranks as `validateTuckerRank` takes them.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * const tucker = randomTucker([4, 5, 6], [2, 2, 3])
 * console.log(tucker.core.shape, tucker.factors.map(({ shape }) => shape))
 */
export function randomTucker(
  shape: readonly number[],
  ranks: RankRule | readonly number[],
  options: RandomTensorOptions = {},
): TuckerTensor {
  const columns = validateTuckerRank(shape, ranks)
  const draw = drawing(options)
  return { core: draw(columns), factors: shape.map((extent, mode) => draw([extent, columns[mode]!])) }
}

/**
 * A tensor train with random cores.
 *
 * @param shape of the full tensor. @param ranks as `validateTtRank` takes them.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * const train = randomTt([4, 5, 6], [1, 2, 3, 1])
 * console.log(train.factors.map(({ shape }) => shape))
 */
export function randomTt(
  shape: readonly number[],
  ranks: RankRule | readonly number[],
  options: RandomTensorOptions = {},
): TtTensor {
  const inner = validateTtRank(shape, ranks)
  const draw = drawing(options)
  return { factors: shape.map((extent, k) => draw([inner[k]!, extent, inner[k + 1]!])) }
}
