/**
 * Tensor-train matrices: a matrix whose rows and columns are split into modes, as a train of cores that each carry one
 * mode of the rows and one of the columns.
 *
 * Source: Oseledets, "Approximation of 2^d × 2^d matrices using tensor decomposition", SIAM J. Matrix Anal. Appl.
 * 31(4), 2010; for layers: Novikov et al., "Tensorizing neural networks", NIPS 2015.
 */
import { fail } from '../core/index.ts'
import { permuted } from './permute.ts'
import type { RankRule } from './rank-rules.ts'
import { checkMode, checkSameReals, shapeText } from './reals.ts'
import { sizeOf, type Tensor } from './tensor.ts'
import {
  checkTrain,
  type TtRankOptions,
  type TtTensor,
  ttNorm,
  ttParameterCount,
  ttToTensor,
  validateTtRank,
} from './tt-tensor.ts'
import { tensorToVec, type UnfoldOptions, unfold } from './unfolding.ts'

/** A matrix `[Π m_k, Π n_k]` as a train of cores; float32 or float64 throughout. */
export interface TtMatrix {
  /** `[r_k, m_k, n_k, r_{k+1}]`; r_0 = r_d = 1. */
  readonly factors: readonly Tensor[]
}

/** Shape and ranks of a tensor-train matrix. */
export interface TtMatrixShape {
  /** `[m_0, …, m_{d−1}, n_0, …, n_{d−1}]`, of the full tensor. */
  readonly shape: readonly number[]
  /** m_k, whose product is the number of rows. */
  readonly leftShape: readonly number[]
  /** n_k, whose product is the number of columns. */
  readonly rightShape: readonly number[]
  /** r_0 … r_d, the first and the last 1. */
  readonly rank: readonly number[]
}

/**
 * Checks that the cores make a tensor-train matrix.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { factors: [tensor([[[[1], [0]], [[0], [2]]]]), tensor([[[[1], [1]], [[0], [3]]]])] }
 * console.log(validateTtMatrix(matrix))
 */
export function validateTtMatrix({ factors }: TtMatrix): TtMatrixShape {
  const what = 'Tensor-train matrix'
  checkSameReals(factors, what)
  const rank = checkTrain(factors, 4, what)
  const leftShape = factors.map(({ shape }) => shape[1]!)
  const rightShape = factors.map(({ shape }) => shape[2]!)
  return { shape: [...leftShape, ...rightShape], leftShape, rightShape, rank }
}

/**
 * The full tensor of a tensor-train matrix.
 *
 * @returns `[m_0, …, m_{d−1}, n_0, …, n_{d−1}]` of the cores' type.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Oseledets 2010, section 2.
 * @example
 * const matrix = { factors: [tensor([[[[1], [0]], [[0], [2]]]]), tensor([[[[1], [1]], [[0], [3]]]])] }
 * console.log(ttMatrixToTensor(matrix).shape)
 */
export function ttMatrixToTensor(matrix: TtMatrix): Tensor {
  const { leftShape, rightShape } = validateTtMatrix(matrix)
  const full = ttToTensor(asTrain(matrix))
  const interleaved = full.reshape(leftShape.flatMap((extent, k) => [extent, rightShape[k]!]))
  // [m_0, n_0, m_1, n_1, …] → [m_0, m_1, …, n_0, n_1, …]
  const rows = leftShape.map((_, k) => 2 * k)
  return permuted(interleaved, [...rows, ...rows.map((mode) => mode + 1)], 'ttMatrixToTensor')
}

/**
 * The matrix of a tensor-train matrix.
 *
 * @returns `[Π m_k, Π n_k]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { factors: [tensor([[[[1], [0]], [[0], [2]]]]), tensor([[[[1], [1]], [[0], [3]]]])] }
 * console.log(formatTensor(ttMatrixToMatrix(matrix)))
 */
export function ttMatrixToMatrix(matrix: TtMatrix): Tensor {
  const { leftShape, rightShape } = validateTtMatrix(matrix)
  return ttMatrixToTensor(matrix).reshape([sizeOf(leftShape), sizeOf(rightShape)])
}

/**
 * The mode-n unfolding of the full tensor `[m_0, …, n_0, …]`.
 *
 * @param mode n, counted from 0; rows first.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { factors: [tensor([[[[1], [0]], [[0], [2]]]]), tensor([[[[1], [1]], [[0], [3]]]])] }
 * console.log(ttMatrixToUnfolded(matrix, 0).shape)
 */
export function ttMatrixToUnfolded(matrix: TtMatrix, mode: number, options: UnfoldOptions = {}): Tensor {
  checkMode(validateTtMatrix(matrix).shape, mode, 'ttMatrixToUnfolded')
  return unfold(ttMatrixToTensor(matrix), mode, options)
}

/**
 * The elements of the full tensor `[m_0, …, n_0, …]` as a vector; in C order, those of the matrix row by row.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { factors: [tensor([[[[1], [0]], [[0], [2]]]]), tensor([[[[1], [1]], [[0], [3]]]])] }
 * console.log(toNested(ttMatrixToVec(matrix)))
 */
export function ttMatrixToVec(matrix: TtMatrix, options: UnfoldOptions = {}): Tensor {
  return tensorToVec(ttMatrixToTensor(matrix), options)
}

/**
 * The Frobenius norm, contracted core by core, without the matrix; in float64.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const matrix = { factors: [tensor([[[[1], [0]], [[0], [2]]]]), tensor([[[[1], [1]], [[0], [3]]]])] }
 * console.log(ttMatrixNorm(matrix).toFixed(6))
 */
export function ttMatrixNorm(matrix: TtMatrix): number {
  validateTtMatrix(matrix)
  return ttNorm(asTrain(matrix))
}

/**
 * Numbers in the cores: Σ r_k m_k n_k r_{k+1}.
 *
 * @param tensorizedShape `[m_0, …, m_{d−1}, n_0, …, n_{d−1}]`. @param rank r_0 … r_d.
 * @throws WhittleError `INVALID_ARGUMENT` for an odd number of modes.
 * @example
 * // A 784 × 625 layer as a train of four cores: 490,000 weights become 3,564.
 * console.log(ttMatrixParameterCount([4, 7, 4, 7, 5, 5, 5, 5], [1, 6, 6, 6, 1]))
 */
export function ttMatrixParameterCount(tensorizedShape: readonly number[], rank: readonly number[]): number {
  return ttParameterCount(pairedShape(tensorizedShape, 'Tensor-train matrix'), rank)
}

/**
 * The ranks of a tensor-train matrix that a rule asks for, as those of a tensor train `[m_0 n_0, m_1 n_1, …]`.
 *
 * @param tensorizedShape `[m_0, …, m_{d−1}, n_0, …, n_{d−1}]`.
 * @param rank default `'same'`; one integer: between all cores; a list r_0 … r_d: as it is.
 * @returns r_0 … r_d.
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`.
 * @example
 * console.log(validateTtMatrixRank([4, 7, 4, 7, 5, 5, 5, 5], 6))
 */
export function validateTtMatrixRank(
  tensorizedShape: readonly number[],
  rank: RankRule | readonly number[] = 'same',
  options: TtRankOptions = {},
): number[] {
  return validateTtRank(pairedShape(tensorizedShape, 'Tensor-train matrix rank'), rank, options)
}

/** The train over the modes m_k n_k. */
function asTrain({ factors }: TtMatrix): TtTensor {
  return {
    factors: factors.map((factor) => {
      const [r, m, n, next] = factor.shape as [number, number, number, number]
      return factor.reshape([r, m * n, next])
    }),
  }
}

function pairedShape(shape: readonly number[], what: string): number[] {
  const count = shape.length / 2
  if (!Number.isInteger(count) || count === 0)
    fail(
      'INVALID_ARGUMENT',
      `${what} of ${shapeText(shape)}: rows and columns must be split into the same number of modes, e.g. a matrix ` +
        `[8, 9] into [2, 4, 3, 3]; got ${shape.length} modes in all.`,
    )
  return shape.slice(0, count).map((extent, k) => extent * shape[count + k]!)
}
