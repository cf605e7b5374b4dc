/**
 * Tensor trains (matrix product states): every element is a product of matrices, one slice of each core.
 *
 * Source: Oseledets, "Tensor-train decomposition", SIAM J. Sci. Comput. 33(5), 2011.
 */
import { fail } from '../core/index.ts'
import { columnMajor, multiplyInto, rowMajor } from './product.ts'
import { checkRanks, maybeFraction, positiveRoot, type RankOptions, type RankRule, roundRank } from './rank-rules.ts'
import { checkMode, checkSameReals, type Reals, shapeText, zerosLike } from './reals.ts'
import { sizeOf, Tensor } from './tensor.ts'
import { tensorToVec, type UnfoldOptions, unfold } from './unfolding.ts'

/** A tensor `[i_0, …, i_{N−1}]` as a train of cores; float32 or float64 throughout. */
export interface TtTensor {
  /** `[r_k, i_k, r_{k+1}]` for every mode k; r_0 = r_N = 1. */
  readonly factors: readonly Tensor[]
}

/** Shape and ranks of a tensor train. */
export interface TtShape {
  /** Of the full tensor. */
  readonly shape: readonly number[]
  /** r_0 … r_N: one more than modes, the first and the last 1. */
  readonly rank: readonly number[]
}

/** Options of {@link validateTtRank}. */
export interface TtRankOptions extends RankOptions {
  /** For a fraction: the same rank between all cores, default false: proportional to the mean of the neighbouring extents. */
  readonly constantRank?: boolean
  /** Whether ranks may exceed those of the exact train of any tensor of the shape, default true. */
  readonly allowOverparametrization?: boolean
}

/**
 * Checks that the cores make a tensor train.
 *
 * @returns the shape of the full tensor and the ranks.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const train = { factors: [tensor([[[1, 0], [0, 1]]]), tensor([[[1], [2], [3]], [[4], [5], [6]]])] }
 * console.log(validateTtTensor(train))
 */
export function validateTtTensor({ factors }: TtTensor): TtShape {
  checkSameReals(factors, 'Tensor train')
  const rank = checkTrain(factors, 3, 'Tensor train')
  return { shape: factors.map(({ shape }) => shape[1]!), rank }
}

/** The ranks of a train of cores with `order` modes each, the first and last of which are the ranks. */
export function checkTrain(factors: readonly Tensor[], order: number, what: string): number[] {
  for (const [at, { shape }] of factors.entries()) {
    if (shape.length !== order)
      fail('SHAPE_MISMATCH', `${what}: factors must have ${order} modes; factor ${at} is ${shapeText(shape)}.`)
    const before = factors[at - 1]?.shape.at(-1)
    if (before !== undefined && before !== shape[0])
      fail(
        'SHAPE_MISMATCH',
        `${what}: consecutive factors must have matching ranks; factor ${at - 1} ends with ${before}, factor ${at} ` +
          `begins with ${shape[0]}.`,
      )
  }
  const rank = [factors[0]!.shape[0]!, ...factors.map(({ shape }) => shape.at(-1)!)]
  if (rank[0] !== 1 || rank.at(-1) !== 1)
    fail('SHAPE_MISMATCH', `${what}: the first and the last rank must be 1; got ${rank[0]} and ${rank.at(-1)}.`)
  return rank
}

/**
 * The full tensor of a tensor train.
 *
 * @returns `[i_0, …, i_{N−1}]` of the cores' type.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Oseledets 2011, equation 1.3.
 * @example
 * const train = { factors: [tensor([[[1, 0], [0, 1]]]), tensor([[[1], [2], [3]], [[4], [5], [6]]])] }
 * console.log(formatTensor(ttToTensor(train)))
 */
export function ttToTensor(train: TtTensor): Tensor {
  const { shape } = validateTtTensor(train)
  const [first, ...rest] = train.factors
  let full = first!.data as Reals
  for (const factor of rest) {
    const k = factor.shape[0]!
    const m = k === 0 ? 0 : full.length / k
    const n = factor.shape[1]! * factor.shape[2]!
    const product = zerosLike(factor, m * n)
    // [i_0 … i_k, r] @ [r, i_{k+1} · r′]
    multiplyInto(rowMajor(product, n), rowMajor(full, k), rowMajor(factor.data as Reals, n), [m, k, n])
    full = product
  }
  return Tensor.of(full, shape)
}

/**
 * The mode-n unfolding of a tensor train.
 *
 * @param mode n, counted from 0.
 * @returns `[i_n, Π_{k≠n} i_k]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const train = { factors: [tensor([[[1, 0], [0, 1]]]), tensor([[[1], [2], [3]], [[4], [5], [6]]])] }
 * console.log(formatTensor(ttToUnfolded(train, 1)))
 */
export function ttToUnfolded(train: TtTensor, mode: number, options: UnfoldOptions = {}): Tensor {
  checkMode(validateTtTensor(train).shape, mode, 'ttToUnfolded')
  return unfold(ttToTensor(train), mode, options)
}

/**
 * The elements of a tensor train as a vector.
 *
 * @returns `[Π i_k]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const train = { factors: [tensor([[[1, 0], [0, 1]]]), tensor([[[1], [2], [3]], [[4], [5], [6]]])] }
 * console.log(toNested(ttToVec(train)))
 */
export function ttToVec(train: TtTensor, options: UnfoldOptions = {}): Tensor {
  return tensorToVec(ttToTensor(train), options)
}

/**
 * The Frobenius norm of a tensor train, contracted core by core with itself, without the full tensor; in float64.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Oseledets 2011, section 4.2.
 * @example
 * const train = { factors: [tensor([[[1, 0], [0, 1]]]), tensor([[[1], [2], [3]], [[4], [5], [6]]])] }
 * console.log(ttNorm(train).toFixed(6), norm(ttToTensor(train)).toFixed(6))
 */
export function ttNorm(train: TtTensor): number {
  validateTtTensor(train)
  let gram: Float64Array = Float64Array.of(1)
  for (const { data, shape } of train.factors) {
    const [r, extent, next] = shape as [number, number, number]
    const core = data as Reals
    // gram′ = Σ_i G_iᵀ gram G_i, with gram [r, r] and G_i [r, r′].
    const half = new Float64Array(r * extent * next)
    multiplyInto(rowMajor(half, extent * next), rowMajor(gram, r), rowMajor(core, extent * next), [r, r, extent * next])
    gram = new Float64Array(next * next)
    multiplyInto(rowMajor(gram, next), columnMajor(core, next), rowMajor(half, next), [next, r * extent, next])
  }
  return Math.sqrt(Math.max(0, gram[0]!))
}

/**
 * Numbers in the cores of a tensor train: Σ r_k i_k r_{k+1}.
 *
 * @example
 * console.log(ttParameterCount([64, 3, 3, 128], [1, 32, 24, 32, 1]))
 */
export function ttParameterCount(shape: readonly number[], rank: readonly number[]): number {
  return shape.reduce((sum, extent, k) => sum + rank[k]! * extent * rank[k + 1]!, 0)
}

/**
 * The ranks of a tensor train that a rule asks for.
 *
 * @param shape of the full tensor. @param rank default `'same'`; one integer: between all cores; a list r_0 … r_N: as it is.
 * @returns r_0 … r_N.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * console.log(validateTtRank([64, 3, 3, 128], 0.25), validateTtRank([4, 5, 6], 2))
 */
export function validateTtRank(
  shape: readonly number[],
  rank: RankRule | readonly number[] = 'same',
  { constantRank = false, rounding, allowOverparametrization = true }: TtRankOptions = {},
): number[] {
  const what = 'Tensor-train rank'
  const order = shape.length
  if (order === 0) fail('INVALID_ARGUMENT', `${what}: a scalar has no modes; give a shape of at least one.`)
  let ranks: number[]
  if (typeof rank === 'object') ranks = [...rank]
  else {
    const fraction = maybeFraction(rank, shape, what)
    const between = new Array<number>(order - 1).fill(rank as number)
    const chosen = fraction === undefined ? between : fractionalRanks(shape, fraction, constantRank)
    ranks = [1, ...chosen.map((r) => (fraction === undefined ? r : roundRank(r, rounding))), 1]
  }
  checkRanks(ranks, order + 1, shape, what)
  if (ranks[0] !== 1 || ranks[order] !== 1)
    fail(
      'RANK_OUT_OF_RANGE',
      `${what} of ${shapeText(shape)}: the first and the last rank must be 1; got ${ranks[0]} and ${ranks[order]}.`,
    )
  if (!allowOverparametrization)
    for (let k = 1; k < order; k++)
      ranks[k] = Math.min(ranks[k]!, ranks[k - 1]! * shape[k - 1]!, sizeOf(shape.slice(k)))
  return ranks
}

/** Real ranks r_k = c · d_k between the cores with fraction · Π i_k parameters; d_k is 1 or the mean extent around. */
function fractionalRanks(shape: readonly number[], fraction: number, constantRank: boolean): number[] {
  const last = shape.length - 1
  if (last === 0) return []
  const around = shape.slice(1).map((extent, k) => (constantRank ? 1 : (extent + shape[k]!) / 2))
  // Cores in the middle have c² d_{k−1} i_k d_k parameters, those at the ends c i_k d_k.
  let square = 0
  for (let k = 1; k < last; k++) square += around[k - 1]! * shape[k]! * around[k]!
  const linear = shape[0]! * around[0]! + shape[last]! * around[last - 1]!
  const scale = positiveRoot(square, linear, fraction * sizeOf(shape))
  return around.map((d) => d * scale)
}
