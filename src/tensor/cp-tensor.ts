/**
 * CP tensors (CANDECOMP/PARAFAC): sums of weighted outer products, X = Σ_r λ_r a_r ∘ b_r ∘ c_r ….
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 3.
 */
import { fail } from '../core/index.ts'
import { columnGram, columnNorms, withScaledColumns, withUnitColumns } from './factor-columns.ts'
import { factorRows } from './khatri-rao.ts'
import { khatriRaoRowsInto } from './khatri-rao-rows.ts'
import { columnMajor, multiplyInto, rowMajor } from './product.ts'
import { checkRanks, maybeFraction, type RankOptions, type RankRule, roundRank } from './rank-rules.ts'
import { checkMode, checkSameReals, type Reals, realsOf, shapeText, zerosLike } from './reals.ts'
import { sizeOf, Tensor } from './tensor.ts'
import { inOrder, type UnfoldOptions, unfoldingModes } from './unfolding.ts'

/** A tensor `[i_0, …, i_{N−1}]` as a sum of `rank` outer products; float32 or float64 throughout. */
export interface CpTensor {
  /** λ, `[rank]`; absent: ones. */
  readonly weights?: Tensor | undefined
  /** `[i_k, rank]` for every mode k. */
  readonly factors: readonly Tensor[]
}

/** Shape and rank of a CP tensor. */
export interface CpShape {
  /** Of the full tensor. */
  readonly shape: readonly number[]
  /** The number of outer products. */
  readonly rank: number
}

/** Options of {@link cpToTensor}. */
export interface CpToTensorOptions {
  /** Multiplied into the result element by element: a tensor of its shape and type. */
  readonly mask?: Tensor | undefined
}

/**
 * Checks that weights and factors make a CP tensor.
 *
 * @returns the shape of the full tensor and the rank.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const cp = { weights: tensor([2, 1]), factors: [tensor([[1, 0], [0, 1]]), tensor([[1, 1], [0, 2]]), tensor([[1, 0], [1, 3]])] }
 * console.log(validateCpTensor(cp))
 */
export function validateCpTensor({ weights, factors }: CpTensor): CpShape {
  const what = 'CP tensor'
  checkSameReals(factors, what)
  const rank = factors[0]!.shape[1]
  for (const [mode, { shape }] of factors.entries()) {
    if (shape.length !== 2)
      fail('SHAPE_MISMATCH', `${what}: factors must be matrices [extent, rank]; factor ${mode} is ${shapeText(shape)}.`)
    if (shape[1] !== rank)
      fail(
        'SHAPE_MISMATCH',
        `${what}: all factors must have the same number of columns; factor 0 has ${rank}, factor ${mode} has ${shape[1]}.`,
      )
  }
  if (weights) {
    checkSameReals([factors[0]!, weights], what)
    if (weights.shape.join() !== String(rank))
      fail('SHAPE_MISMATCH', `${what} of rank ${rank}: weights must be [${rank}]; got ${shapeText(weights.shape)}.`)
  }
  return { shape: factors.map(({ shape }) => shape[0]!), rank: rank! }
}

/**
 * The full tensor of a CP tensor.
 *
 * @returns `[i_0, …, i_{N−1}]` of the factors' type.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, equation 3.3.
 * @example
 * const cp = { weights: tensor([2, 1]), factors: [tensor([[1, 0], [0, 1]]), tensor([[1, 1], [0, 2]]), tensor([[1, 0], [1, 3]])] }
 * console.log(toNested(cpToTensor(cp)))
 */
export function cpToTensor(cp: CpTensor, { mask }: CpToTensorOptions = {}): Tensor {
  const { shape } = validateCpTensor(cp)
  const full = dense(
    cp,
    shape.map((_, mode) => mode),
  )
  if (mask) {
    checkSameReals([cp.factors[0]!, mask], 'cpToTensor')
    if (mask.shape.join() !== shape.join())
      fail(
        'SHAPE_MISMATCH',
        `cpToTensor: the mask must have the tensor's shape ${shapeText(shape)}; got ${shapeText(mask.shape)}.`,
      )
    const factors = realsOf(mask, 'cpToTensor')
    for (let at = 0; at < full.length; at++) full[at]! *= factors[at]!
  }
  return Tensor.of(full, shape)
}

/**
 * The mode-n unfolding of a CP tensor, computed without unfolding the full tensor.
 *
 * @param mode n, counted from 0.
 * @returns `[i_n, Π_{k≠n} i_k]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, equations 3.2 (their order of columns).
 * @example
 * const cp = { weights: tensor([2, 1]), factors: [tensor([[1, 0], [0, 1]]), tensor([[1, 1], [0, 2]]), tensor([[1, 0], [1, 3]])] }
 * console.log(formatTensor(cpToUnfolded(cp, 0)))
 */
export function cpToUnfolded(cp: CpTensor, mode: number, { order = 'c' }: UnfoldOptions = {}): Tensor {
  const { shape } = validateCpTensor(cp)
  checkMode(shape, mode, 'cpToUnfolded')
  const unfolded = dense(cp, unfoldingModes(shape.length, mode, order, 'cpToUnfolded'))
  return Tensor.of(unfolded, [shape[mode]!, sizeOf(shape.filter((_, k) => k !== mode))])
}

/**
 * The elements of a CP tensor as a vector.
 *
 * @returns `[Π i_k]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const cp = { weights: tensor([2, 1]), factors: [tensor([[1, 0], [0, 1]]), tensor([[1, 1], [0, 2]]), tensor([[1, 0], [1, 3]])] }
 * console.log(toNested(cpToVec(cp)))
 */
export function cpToVec(cp: CpTensor, { order = 'c' }: UnfoldOptions = {}): Tensor {
  const { shape } = validateCpTensor(cp)
  const vector = dense(
    cp,
    inOrder(
      shape.map((_, mode) => mode),
      order,
      'cpToVec',
    ),
  )
  return Tensor.of(vector, [vector.length])
}

/** The elements with the modes in the given order: (the first modes' Khatri–Rao product) @ (the others')ᵀ. */
function dense({ weights, factors }: CpTensor, modes: readonly number[]): Reals {
  const first = factors[0]!
  const rank = first.shape[1]!
  const matrices = modes.map((mode) => factorRows(factors[mode]!))
  const rowsOf = (from: number, to: number): number => sizeOf(matrices.slice(from, to).map(({ rows }) => rows))
  // The cut that makes the two products smallest.
  let cut = 1
  for (let k = 2; k < matrices.length; k++)
    if (rowsOf(0, k) + rowsOf(k, matrices.length) < rowsOf(0, cut) + rowsOf(cut, matrices.length)) cut = k
  const m = rowsOf(0, cut)
  const n = rowsOf(cut, matrices.length)
  const left = new Float64Array(m * rank)
  const right = new Float64Array(n * rank)
  const scale = weights && (weights.data as Reals)
  khatriRaoRowsInto(left, matrices.slice(0, cut), rank, { first: 0, count: m, weights: scale })
  khatriRaoRowsInto(right, matrices.slice(cut), rank, { first: 0, count: n })
  const out = zerosLike(first, m * n)
  multiplyInto(rowMajor(out, n), rowMajor(left, rank), columnMajor(right, rank), [m, rank, n])
  return out
}

/**
 * The Frobenius norm of a CP tensor from the Gram matrices of its factors, ‖X‖² = λᵀ (A₀ᵀA₀ ∗ A₁ᵀA₁ ∗ …) λ, without
 * the full tensor.
 *
 * Where large terms cancel (degenerate tensors), about 1e-8 of their size is the smallest norm that can be told from 0.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Bader, Kolda, "Efficient MATLAB computations with sparse and factored tensors", SIAM J. Sci. Comput. 30(1),
 *   2007, section 5.2.3.
 * @example
 * const cp = { weights: tensor([2, 1]), factors: [tensor([[1, 0], [0, 1]]), tensor([[1, 1], [0, 2]]), tensor([[1, 0], [1, 3]])] }
 * console.log(cpNorm(cp).toFixed(6), norm(cpToTensor(cp)).toFixed(6))
 */
export function cpNorm(cp: CpTensor): number {
  const { rank } = validateCpTensor(cp)
  const product = new Float64Array(rank * rank).fill(1)
  for (const factor of cp.factors) {
    const gram = columnGram(factor.data as Reals, factor.shape[0]!, rank)
    for (let at = 0; at < product.length; at++) product[at]! *= gram[at]!
  }
  const weights = cp.weights && (cp.weights.data as Reals)
  let sum = 0
  for (let r = 0; r < rank; r++)
    for (let s = 0; s < rank; s++) sum += product[r * rank + s]! * (weights ? weights[r]! * weights[s]! : 1)
  return Math.sqrt(Math.max(0, sum))
}

/**
 * The same tensor with columns of length 1 in every factor, their lengths in the weights.
 *
 * Given weights go into the first factor before, so that weights come out non-negative. A column of zeros stays, with
 * weight 0.
 *
 * @returns weights and factors of the same type.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 3.
 * @example
 * const cp = { weights: tensor([2, 1]), factors: [tensor([[1, 0], [0, 1]]), tensor([[1, 1], [0, 2]]), tensor([[1, 0], [1, 3]])] }
 * const { weights, factors } = cpNormalize(cp)
 * console.log(formatTensor(weights))
 * console.log(formatTensor(factors[1]!))
 */
export function cpNormalize(cp: CpTensor): CpTensor & { readonly weights: Tensor } {
  const { rank } = validateCpTensor(cp)
  const given = cp.weights && (cp.weights.data as Reals)
  const lambda = new Float64Array(rank).fill(1)
  const factors = cp.factors.map((factor, mode) => {
    const scaled = mode === 0 && given ? withScaledColumns(factor, (r) => given[r]!) : factor
    const lengths = columnNorms(scaled)
    for (let r = 0; r < rank; r++) lambda[r]! *= lengths[r]!
    return withUnitColumns(scaled, lengths)
  })
  const weights = zerosLike(cp.factors[0]!, rank)
  weights.set(lambda)
  return { weights: Tensor.of(weights, [rank]), factors }
}

/**
 * Numbers in the factors of a CP tensor: rank · Σ i_k, and `rank` more where the weights are counted.
 *
 * @example
 * console.log(cpParameterCount([64, 128, 3, 3], 32))
 */
export function cpParameterCount(shape: readonly number[], rank: number, countWeights = false): number {
  return rank * (shape.reduce((sum, extent) => sum + extent, 0) + (countWeights ? 1 : 0))
}

/**
 * The rank of a CP tensor that a rule asks for.
 *
 * @param shape of the full tensor. @param rank default `'same'`; a fraction f gives f · Π i_k / Σ i_k, at least 1.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * console.log(validateCpRank([64, 128, 3, 3], 'same'), validateCpRank([64, 128, 3, 3], 0.25), validateCpRank([3, 4, 5], 7))
 */
export function validateCpRank(shape: readonly number[], rank: RankRule = 'same', options: RankOptions = {}): number {
  const fraction = maybeFraction(rank, shape, 'CP rank')
  if (fraction === undefined) {
    checkRanks([rank as number], 1, shape, 'CP rank')
    return rank as number
  }
  return roundRank((sizeOf(shape) * fraction) / cpParameterCount(shape, 1), options.rounding)
}
