/**
 * Eigenvalues and eigenvectors of symmetric matrices in float64.
 *
 * Householder reduction to tridiagonal form (WebAssembly), divide and conquer, and back-transformation by block
 * reflections (products on the engine). Small matrices take the classical route in plain JavaScript.
 * Residual ‖AV − VΛ‖ / ‖A‖ and orthogonality are of the order of n · 10⁻¹⁶; eigenvalues are exact to about that relative
 * to the largest, not to themselves.
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import { applyReflections } from './block-reflectors.ts'
import { divideAndConquer } from './divide-and-conquer.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { checkedLargest, powerOfTwoScale, rowRange, transposed, zeros64 } from './matrix-layout.ts'
import { tridiagonalEigen, tridiagonalEigenvalues } from './tridiagonal-ql.ts'
import { reduceToTridiagonal } from './tridiagonal-reduction.ts'

/** Options of {@link symmetricEigen}. */
export interface SymmetricEigenOptions extends TaskOptions {
  /** How many of the largest eigenvalues get a vector, 0 … n; default n. */
  readonly count?: number
  /** Whether vectors are wanted; default true. Without them all n values are returned, at a third of the time. */
  readonly vectors?: boolean
}

/** Eigenpairs, the largest eigenvalue first. */
export interface SymmetricEigen {
  /** Descending: `count` of them, or all n without vectors. */
  readonly values: Float64Array
  /** `[n, count]`: eigenvector j in column j. */
  readonly vectors: Matrix64 | undefined
  /** All n values, descending, whatever the count: they are known with the first vector. */
  readonly allValues: Float64Array
}

const SMALL = 48

/**
 * Eigenpairs of a symmetric matrix.
 *
 * About 4/3 n³ operations for the values, on one thread, and as many again times count / n for vectors, on the
 * engine's threads; extra memory for the reduced matrix and about 3 · n · count numbers.
 *
 * @param matrix `[n, n]`; only its lower triangle is read. Not written to.
 * @throws WhittleError `SHAPE_MISMATCH` when it is not square; `NOT_FINITE`; `INVALID_ARGUMENT` for a count outside
 *   0 … n; `UNSUPPORTED` beyond n = 22,900; `ABORTED`.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 2, cols: 2, data: Float64Array.of(2, 1, 1, 2) }
 * const { values } = await symmetricEigen(engine, a)
 * console.log([...values].map((value) => value.toFixed(4)))
 */
export async function symmetricEigen(
  engine: MatrixEngine,
  matrix: Matrix64,
  { count = matrix.rows, vectors = true, signal, onProgress }: SymmetricEigenOptions = {},
): Promise<SymmetricEigen> {
  const n = matrix.rows
  if (matrix.cols !== n)
    fail('SHAPE_MISMATCH', `Symmetric eigenproblem: the matrix must be square; got [${n}, ${matrix.cols}].`)
  if (!Number.isInteger(count) || count < 0 || count > n)
    fail('INVALID_ARGUMENT', `Symmetric eigenproblem [${n}, ${n}]: count must be in 0 … ${n}; got ${count}.`)
  const scale = powerOfTwoScale(checkedLargest(matrix, 'Symmetric eigenproblem'))
  checkAborted(signal)
  if (n === 0) {
    const none = new Float64Array(0)
    return { values: none, allValues: none, vectors: vectors ? zeros64(0, 0) : undefined }
  }

  const reduction = await reduceToTridiagonal(matrix, { scale, vectors, signal })
  onProgress?.({ stage: 'eigen', done: 1, total: 3 })
  const { diagonal, offDiagonal } = reduction
  const unscaled = (values: Float64Array): Float64Array => values.map((value) => value / scale).reverse()
  if (!vectors || count === 0) {
    const allValues = unscaled(tridiagonalEigenvalues(diagonal, offDiagonal))
    if (!vectors) return { values: allValues, allValues, vectors: undefined }
    return { values: new Float64Array(0), allValues, vectors: zeros64(n, 0) }
  }

  const small = n <= SMALL
  const { values, vectors: rows } = small
    ? tridiagonalEigen(diagonal, offDiagonal)
    : await divideAndConquer(engine, diagonal, offDiagonal, { count, signal })
  onProgress?.({ stage: 'eigen', done: 2, total: 3 })
  const columns = descendingColumns(rows, n, count)
  // A = Q T Qᵀ: the vectors of A are Q times those of T.
  const reflectors = rowRange(reduction.reflectors!, 0, n - 1)
  await applyReflections(engine, reflectors, reduction.tau.subarray(0, n - 1), 1, columns, { signal })
  onProgress?.({ stage: 'eigen', done: 3, total: 3 })
  const allValues = unscaled(values)
  return { values: count === n ? allValues : allValues.slice(0, count), allValues, vectors: columns }
}

/** The last `count` rows, ascending → `[n, count]` columns, descending. */
function descendingColumns(rows: Float64Array, n: number, count: number): Matrix64 {
  const columns = transposed({ rows: count, cols: n, data: rows.subarray(rows.length - count * n) })
  for (let i = 0; i < n; i++) columns.data.subarray(i * count, (i + 1) * count).reverse()
  return columns
}
