/**
 * Tucker tensors: a core times a matrix along every mode, X = G ×₀ A₀ ×₁ A₁ ….
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 4.
 */
import { fail } from '../core/index.ts'
import { contract, inner } from './contract.ts'
import { columnGram, columnNorms, withUnitColumns } from './factor-columns.ts'
import { multiModeDot } from './mode-dot.ts'
import { checkRanks, maybeFraction, type RankOptions, type RankRule, roundRank } from './rank-rules.ts'
import { checkMode, checkSameReals, type Reals, shapeText } from './reals.ts'
import { sizeOf, Tensor, toFloat64 } from './tensor.ts'
import { tensorToVec, type UnfoldOptions, unfold } from './unfolding.ts'

/** A tensor `[i_0, …, i_{N−1}]` as a core and one matrix per mode; float32 or float64 throughout. */
export interface TuckerTensor {
  /** `[r_0, …, r_{N−1}]` */
  readonly core: Tensor
  /** `[i_k, r_k]` for every mode k. */
  readonly factors: readonly Tensor[]
}

/** Shape and ranks of a Tucker tensor. */
export interface TuckerShape {
  /** Of the full tensor. */
  readonly shape: readonly number[]
  /** Of every mode: the shape of the core. */
  readonly rank: readonly number[]
}

/** Options of {@link tuckerToTensor}. */
export interface TuckerToTensorOptions {
  /** A mode whose factor is left out: that mode keeps the core's extent. */
  readonly skipFactor?: number | undefined
  /** Multiplies by the transposes of the factors, default false: projects a tensor `core` on them. */
  readonly transposeFactors?: boolean
}

/** Options of {@link validateTuckerRank}. */
export interface TuckerRankOptions extends RankOptions {
  /** Modes that keep their extent as rank. */
  readonly fixedModes?: readonly number[]
}

/**
 * Checks that core and factors make a Tucker tensor.
 *
 * @returns the shape of the full tensor and the ranks.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const tucker = { core: tensor([[1, 0], [0, 2]]), factors: [tensor([[1, 0], [0, 1], [1, 1]]), tensor([[1, 1], [0, 1]])] }
 * console.log(validateTuckerTensor(tucker))
 */
export function validateTuckerTensor({ core, factors }: TuckerTensor): TuckerShape {
  const what = 'Tucker tensor'
  checkSameReals([core, ...factors], what)
  if (factors.length !== core.shape.length)
    fail(
      'SHAPE_MISMATCH',
      `${what}: needs one factor per mode of the core ${shapeText(core.shape)}; got ${factors.length} factors.`,
    )
  for (const [mode, { shape }] of factors.entries()) {
    if (shape.length !== 2)
      fail('SHAPE_MISMATCH', `${what}: factors must be matrices [extent, rank]; factor ${mode} is ${shapeText(shape)}.`)
    if (shape[1] !== core.shape[mode])
      fail(
        'SHAPE_MISMATCH',
        `${what}: each factor must have as many columns as its mode of the core; factor ${mode} has ${shape[1]}, ` +
          `mode ${mode} of the core has ${core.shape[mode]}.`,
      )
  }
  return { shape: factors.map(({ shape }) => shape[0]!), rank: core.shape }
}

/**
 * The full tensor of a Tucker tensor.
 *
 * @returns `[i_0, …, i_{N−1}]` of the factors' type.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, equation 4.1.
 * @example
 * const tucker = { core: tensor([[1, 0], [0, 2]]), factors: [tensor([[1, 0], [0, 1], [1, 1]]), tensor([[1, 1], [0, 1]])] }
 * console.log(formatTensor(tuckerToTensor(tucker)))
 */
export function tuckerToTensor(
  tucker: TuckerTensor,
  { skipFactor, transposeFactors = false }: TuckerToTensorOptions = {},
): Tensor {
  // A projection has the shapes the other way round, which multiModeDot checks.
  if (!transposeFactors) validateTuckerTensor(tucker)
  return multiModeDot(tucker.core, tucker.factors, { skip: skipFactor, transpose: transposeFactors })
}

/**
 * The mode-n unfolding of a Tucker tensor.
 *
 * @param mode n, counted from 0.
 * @returns `[i_n, Π_{k≠n} i_k]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const tucker = { core: tensor([[1, 0], [0, 2]]), factors: [tensor([[1, 0], [0, 1], [1, 1]]), tensor([[1, 1], [0, 1]])] }
 * console.log(formatTensor(tuckerToUnfolded(tucker, 1)))
 */
export function tuckerToUnfolded(tucker: TuckerTensor, mode: number, options: UnfoldOptions = {}): Tensor {
  checkMode(validateTuckerTensor(tucker).shape, mode, 'tuckerToUnfolded')
  return unfold(tuckerToTensor(tucker), mode, options)
}

/**
 * The elements of a Tucker tensor as a vector.
 *
 * @returns `[Π i_k]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const tucker = { core: tensor([[1, 0], [0, 2]]), factors: [tensor([[1, 0], [0, 1], [1, 1]]), tensor([[1, 1], [0, 1]])] }
 * console.log(toNested(tuckerToVec(tucker)))
 */
export function tuckerToVec(tucker: TuckerTensor, options: UnfoldOptions = {}): Tensor {
  return tensorToVec(tuckerToTensor(tucker), options)
}

/**
 * The Frobenius norm of a Tucker tensor, ‖X‖² = ⟨G, G ×₀ A₀ᵀA₀ ×₁ …⟩, without the full tensor; in float64.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 4.
 * @example
 * const tucker = { core: tensor([[1, 0], [0, 2]]), factors: [tensor([[1, 0], [0, 1], [1, 1]]), tensor([[1, 1], [0, 1]])] }
 * console.log(tuckerNorm(tucker).toFixed(6), norm(tuckerToTensor(tucker)).toFixed(6))
 */
export function tuckerNorm(tucker: TuckerTensor): number {
  const { rank } = validateTuckerTensor(tucker)
  const core = Tensor.of(toFloat64(tucker.core), rank)
  const grams = tucker.factors.map(({ data, shape: [rows, columns] }) =>
    Tensor.of(columnGram(data as Reals, rows!, columns!), [columns!, columns!]),
  )
  return Math.sqrt(Math.max(0, inner(core, multiModeDot(core, grams))))
}

/**
 * The same tensor with columns of length 1 in every factor, their lengths in the core.
 *
 * @returns core and factors of the same type; a column of zeros stays, with zeros in the core.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const tucker = { core: tensor([[1, 0], [0, 2]]), factors: [tensor([[1, 0], [0, 1], [1, 1]]), tensor([[1, 1], [0, 1]])] }
 * const { core, factors } = tuckerNormalize(tucker)
 * console.log(formatTensor(core))
 * console.log(formatTensor(factors[0]!))
 */
export function tuckerNormalize(tucker: TuckerTensor): TuckerTensor {
  const { rank } = validateTuckerTensor(tucker)
  let core = tucker.core
  const factors = tucker.factors.map((factor, mode) => {
    const lengths = columnNorms(factor)
    const scale = Tensor.of(core.dtype === 'float32' ? Float32Array.from(lengths) : lengths, [rank[mode]!])
    core = contract(core, scale, [[], []], { batchedModes: [mode, 0] })
    return withUnitColumns(factor, lengths)
  })
  return { core, factors }
}

/**
 * Numbers in a Tucker tensor: Π r_k in the core and Σ i_k r_k in the factors.
 *
 * @example
 * // Two 1 × 1 convolutions and a 3 × 3 core in the place of 73,728 weights.
 * console.log(tuckerParameterCount([64, 128, 9], [32, 32, 9]) - 9 * 9)
 */
export function tuckerParameterCount(shape: readonly number[], rank: readonly number[]): number {
  return rank.reduce((sum, r, mode) => sum + r * shape[mode]!, sizeOf(rank))
}

/**
 * The ranks of a Tucker tensor that a rule asks for.
 *
 * A fraction gives ranks proportional to the extents, c · i_k, such that core and factors have that fraction of the
 * parameters. Modes in `fixedModes` count with i² parameters each and shrink what is left for the others.
 *
 * @param shape of the full tensor. @param rank default `'same'`; one integer: for every mode; a list: as it is.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * console.log(validateTuckerRank([64, 128, 3, 3], 0.25, { fixedModes: [2, 3] }), validateTuckerRank([3, 4, 5], 2))
 */
export function validateTuckerRank(
  shape: readonly number[],
  rank: RankRule | readonly number[] = 'same',
  { fixedModes = [], rounding }: TuckerRankOptions = {},
): number[] {
  const what = 'Tucker rank'
  for (const mode of fixedModes) checkMode(shape, mode, what, 'each of fixedModes')
  const isFixed = (mode: number): boolean => fixedModes.includes(mode)
  if (typeof rank !== 'object') {
    const fraction = maybeFraction(rank, shape, what)
    if (fraction === undefined) return shape.map((extent, mode) => (isFixed(mode) ? extent : (rank as number)))
    const scale = proportion(shape, isFixed, fraction)
    return shape.map((extent, mode) => (isFixed(mode) ? extent : roundRank(extent * scale, rounding)))
  }
  checkRanks(rank, shape.length, shape, what)
  return rank.map((r, mode) => (isFixed(mode) ? shape[mode]! : r))
}

/** c with Π i_k · c^free + c Σ_free i_k² + Σ_fixed i_k² = fraction · Π i_k; the left side grows with c. */
function proportion(shape: readonly number[], isFixed: (mode: number) => boolean, fraction: number): number {
  const free = shape.filter((_, mode) => !isFixed(mode))
  const squares = (extents: readonly number[]): number => extents.reduce((sum, extent) => sum + extent * extent, 0)
  const size = sizeOf(shape)
  const room = fraction * size - squares(shape.filter((_, mode) => isFixed(mode)))
  const excess = (c: number): number => size * c ** free.length + squares(free) * c - room
  let [low, high] = [0, Math.max(1, fraction)]
  // Bisection down to neighbouring numbers.
  for (;;) {
    const middle = (low + high) / 2
    if (middle <= low || middle >= high) return high
    if (excess(middle) < 0) low = middle
    else high = middle
  }
}
