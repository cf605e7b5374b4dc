/** Factors of matrices: W ≈ left @ right. */
import { chooseSubspaceMethod, type LeadingSubspaceOptions, leadingRows } from './leading-subspace.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { checkedEnergy, rowRange, sumOfSquares, transposed } from './matrix-layout.ts'

/** W ≈ left @ right. */
export interface MatrixFactors<T extends Float32Array | Float64Array> {
  /** `[m, rank]` */
  readonly left: Matrix<T>
  /** `[rank, n]` */
  readonly right: Matrix<T>
  /** Which factor has orthonormal vectors: the one on the shorter side of W; the other holds the energy. */
  readonly orthonormal: 'left' | 'right'
  /** ‖W − left · right‖ / ‖W‖; 0 for W = 0. */
  readonly relativeError: number
}

/**
 * Factors a matrix into two of the given rank with (nearly) the least Frobenius error.
 *
 * @param weight `[m, n]`, float32 or float64; the factors have its type.
 * @param rank 1 … min(m, n).
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see Eckart, Young, "The approximation of one matrix by another of lower rank", Psychometrika 1(3), 1936.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 3, cols: 3, data: Float64Array.of(1, 2, 3, 2, 4, 6, 3, 6, 9) }
 * const { left, right, relativeError } = await matrixFactors(engine, a, 1)
 * console.log([left.rows, left.cols], [right.rows, right.cols], relativeError < 1e-7)
 */
export async function matrixFactors<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  weight: Matrix<T>,
  rank: number,
  options: Omit<LeadingSubspaceOptions, 'transpose'> = {},
): Promise<MatrixFactors<T>> {
  const { left, ...rest } = await matrixFactorRows(engine, weight, rank, options)
  return { ...rest, left: transposed(left) }
}

/**
 * {@link matrixFactors} with `left` transposed, `[rank, m]`: both factors have one vector per row, which is how they are
 * computed.
 *
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 3, cols: 3, data: Float64Array.of(1, 2, 3, 2, 4, 6, 3, 6, 9) }
 * const { left, right } = await matrixFactorRows(engine, a, 1)
 * console.log([left.rows, left.cols], [right.rows, right.cols])
 */
export async function matrixFactorRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  weight: Matrix<T>,
  rank: number,
  options: Omit<LeadingSubspaceOptions, 'transpose'> = {},
): Promise<MatrixFactors<T>> {
  const energy = checkedEnergy(weight, 'Factoring', options.energy)
  const { rows, cols } = weight
  const method = options.method === 'auto' ? undefined : options.method
  const chosen = method ?? chooseSubspaceMethod(Math.min(rows, cols), rank)
  // Of a square matrix, the range finder is quicker on sums of rows than of columns, a Gram matrix of rows.
  const tall = rows > cols || (rows === cols && chosen === 'range')
  const basis = await leadingRows(engine, weight, rank, { ...options, energy, method: chosen, transpose: tall })
  const rest = await engine.multiply(basis, weight, { transposeB: tall })
  const [left, right] = tall ? [rest, basis] : [basis, rest]
  const relativeError = await projectionError(energy, sumOfSquares(rest.data), () =>
    squaredDistance(engine, weight, transposed(left), right),
  )
  return { left, right, orthonormal: tall ? 'right' : 'left', relativeError }
}

/**
 * Relative error of an orthogonal projection, √(1 − ‖core‖² / ‖W‖²). Where the difference cancels (errors below about
 * 3 %, with rounding of float32 at 10⁻⁷), the distance is computed directly.
 *
 * @param distance ‖W − Ŵ‖², called when it is needed.
 */
export async function projectionError(
  squaredNorm: number,
  squaredCore: number,
  distance: () => Promise<number>,
): Promise<number> {
  if (squaredNorm === 0) return 0
  const difference = squaredNorm - squaredCore
  return Math.sqrt((difference > 1e-3 * squaredNorm ? difference : await distance()) / squaredNorm)
}

/** Elements of a reconstruction that exist at once. */
const CHUNK = 4 * 1024 * 1024

/** ‖W − left · right‖², reconstructing some rows at a time. */
export async function squaredDistance<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  weight: Matrix<T>,
  left: Matrix<T>,
  right: Matrix<T>,
): Promise<number> {
  const step = Math.max(1, Math.floor(CHUNK / Math.max(1, weight.cols)))
  let sum = 0
  for (let row = 0; row < weight.rows; row += step) {
    const end = Math.min(weight.rows, row + step)
    const { data } = await engine.multiply(rowRange(left, row, end), right)
    const rows = rowRange(weight, row, end).data
    for (let i = 0; i < data.length; i++) sum += (rows[i]! - data[i]!) ** 2
  }
  return sum
}
