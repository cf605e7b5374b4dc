/**
 * Matrices of low rank as a product of two: W = left @ right.
 *
 * Source: Eckart, Young, "The approximation of one matrix by another of lower rank", Psychometrika 1(3), 1936.
 */
import { fail } from '../core/index.ts'
import { columnGram } from './factor-columns.ts'
import { columnMajor, multiplyInto, rowMajor } from './product.ts'
import { checkRanks, maybeFraction, type RankOptions, type RankRule, roundRank } from './rank-rules.ts'
import { checkMode, checkSameReals, type Reals, shapeText, zerosLike } from './reals.ts'
import { Tensor } from './tensor.ts'
import { tensorToVec, type UnfoldOptions, unfold } from './unfolding.ts'

/** A matrix `[m, n]` as a product; float32 or float64 throughout. */
export interface FactoredMatrix {
  /** `[m, rank]` */
  readonly left: Tensor
  /** `[rank, n]` */
  readonly right: Tensor
}

/** Shape and rank of a factored matrix. */
export interface FactoredMatrixShape {
  /** `[m, n]` */
  readonly shape: readonly [number, number]
  /** The columns of `left`: an upper bound of the matrix's rank. */
  readonly rank: number
}

/**
 * Checks that two matrices can be multiplied.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { left: tensor([[1], [2], [3]]), right: tensor([[4, 5]]) }
 * console.log(validateFactoredMatrix(matrix))
 */
export function validateFactoredMatrix({ left, right }: FactoredMatrix): FactoredMatrixShape {
  const what = 'Factored matrix'
  checkSameReals([left, right], what)
  if (left.shape.length !== 2 || right.shape.length !== 2)
    fail(
      'SHAPE_MISMATCH',
      `${what}: both factors must be matrices; got ${shapeText(left.shape)} and ${shapeText(right.shape)}.`,
    )
  const [m, rank] = left.shape as [number, number]
  const [rows, n] = right.shape as [number, number]
  if (rank !== rows)
    fail(
      'SHAPE_MISMATCH',
      `${what}: the left factor must have as many columns as the right has rows; got ${rank} and ${rows}.`,
    )
  return { shape: [m, n], rank }
}

/**
 * The product.
 *
 * @returns `[m, n]` of the factors' type, accumulated in float64.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { left: tensor([[1], [2], [3]]), right: tensor([[4, 5]]) }
 * console.log(formatTensor(factoredMatrixToTensor(matrix)))
 */
export function factoredMatrixToTensor(matrix: FactoredMatrix): Tensor {
  const {
    shape: [m, n],
    rank,
  } = validateFactoredMatrix(matrix)
  const out = zerosLike(matrix.left, m * n)
  const [left, right] = [matrix.left.data as Reals, matrix.right.data as Reals]
  multiplyInto(rowMajor(out, n), rowMajor(left, rank), rowMajor(right, n), [m, rank, n])
  return Tensor.of(out, [m, n])
}

/**
 * The mode-n unfolding of the product: itself for mode 0, its transpose for mode 1, in either order.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { left: tensor([[1], [2], [3]]), right: tensor([[4, 5]]) }
 * console.log(formatTensor(factoredMatrixToUnfolded(matrix, 1)))
 */
export function factoredMatrixToUnfolded(matrix: FactoredMatrix, mode: number, options: UnfoldOptions = {}): Tensor {
  checkMode(validateFactoredMatrix(matrix).shape, mode, 'factoredMatrixToUnfolded')
  return unfold(factoredMatrixToTensor(matrix), mode, options)
}

/**
 * The elements of the product as a vector `[m · n]`: row by row in C order, column by column in Kolda and Bader's.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { left: tensor([[1], [2], [3]]), right: tensor([[4, 5]]) }
 * console.log(toNested(factoredMatrixToVec(matrix)))
 */
export function factoredMatrixToVec(matrix: FactoredMatrix, options: UnfoldOptions = {}): Tensor {
  return tensorToVec(factoredMatrixToTensor(matrix), options)
}

/**
 * The Frobenius norm, ‖W‖² = Σ (LᵀL ∗ R Rᵀ), without the product; in float64.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { left: tensor([[1], [2], [3]]), right: tensor([[4, 5]]) }
 * console.log(factoredMatrixNorm(matrix).toFixed(6))
 */
export function factoredMatrixNorm(matrix: FactoredMatrix): number {
  const {
    shape: [m, n],
    rank,
  } = validateFactoredMatrix(matrix)
  const left = columnGram(matrix.left.data as Reals, m, rank)
  const data = matrix.right.data as Reals
  const right = new Float64Array(rank * rank)
  multiplyInto(rowMajor(right, rank), rowMajor(data, n), columnMajor(data, n), [rank, n, rank])
  return Math.sqrt(
    Math.max(
      0,
      left.reduce((sum, value, at) => sum + value * right[at]!, 0),
    ),
  )
}

/**
 * Numbers in both factors: rank · (m + n).
 *
 * @example
 * console.log(factoredMatrixParameterCount([512, 1000], 64))
 */
export function factoredMatrixParameterCount([m, n]: readonly [number, number], rank: number): number {
  return rank * (m + n)
}

/**
 * The rank of a factored matrix that a rule asks for.
 *
 * @param shape `[m, n]`. @param rank default `'same'`; a fraction f gives f · m n / (m + n), at least 1.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * console.log(validateFactoredMatrixRank([512, 1000], 0.5))
 */
export function validateFactoredMatrixRank(
  shape: readonly [number, number],
  rank: RankRule = 'same',
  options: RankOptions = {},
): number {
  const fraction = maybeFraction(rank, shape, 'Matrix rank')
  if (fraction !== undefined)
    return roundRank((fraction * shape[0] * shape[1]) / factoredMatrixParameterCount(shape, 1), options.rounding)
  checkRanks([rank as number], 1, shape, 'Matrix rank')
  return rank as number
}
