/** Orthonormal bases of leading singular subspaces, by whichever route is cheaper; never a full decomposition. */
import type { TaskOptions } from '../core/index.ts'
import { modeGram } from './gram.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { toTypeOf, transposed } from './matrix-layout.ts'
import { checkRank, rangeRows } from './range-finder.ts'
import { symmetricEigen } from './symmetric-eigen.ts'

/** Options of {@link leadingLeftSubspace}. */
export interface LeadingSubspaceOptions extends TaskOptions {
  /** Use Aᵀ: the leading right singular subspace. */
  readonly transpose?: boolean
  /**
   * `'gram'`: eigenvectors of the Gram matrix, the best subspace, sorted. `'range'`: {@link rangeFinder}, close to the
   * least error, unsorted. Default `'auto'`: {@link chooseSubspaceMethod}.
   */
  readonly method?: 'auto' | 'gram' | 'range'
  /** Of the range finder; default 0. */
  readonly seed?: number
  /** Of the range finder; default 2, within two percent of the least error (3: one percent). */
  readonly iterations?: number
  /** ‖A‖², where it is known already: elements are then taken to be finite. */
  readonly energy?: number | undefined
}

/** Eigenproblems up to this size take about a second. */
const LARGEST_QUICK_GRAM = 1600

/**
 * `'range'` where the Gram matrix's eigenproblem, n³ on one thread, costs more than products with the matrix: beyond
 * n = 1,600 for ranks below a third of n.
 *
 * @param n rows of the unfolding. @param rank wanted.
 * @internal
 */
export function chooseSubspaceMethod(n: number, rank: number): 'gram' | 'range' {
  return n <= LARGEST_QUICK_GRAM || rank > n / 3 ? 'gram' : 'range'
}

/**
 * An orthonormal basis of the leading left singular subspace of a matrix.
 *
 * @param a `[m, n]`, finite, float32 or float64; the result has its type.
 * @param rank 1 … min(m, n).
 * @returns `[m, rank]` (`[n, rank]` with `transpose`).
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `NOT_FINITE`, `ABORTED`.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 3, cols: 3, data: Float64Array.of(1, 2, 3, 2, 4, 6, 3, 6, 9) }
 * const basis = await leadingLeftSubspace(engine, a, 1)
 * console.log([...basis.data].map((value) => Math.abs(value).toFixed(4)))
 */
export async function leadingLeftSubspace<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  options: LeadingSubspaceOptions = {},
): Promise<Matrix<T>> {
  return transposed(await leadingRows(engine, a, rank, options))
}

/** {@link leadingLeftSubspace} with one vector per row, `[rank, m]` (`[rank, n]` with `transpose`). */
export async function leadingRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  { method = 'auto', ...options }: LeadingSubspaceOptions = {},
): Promise<Matrix<T>> {
  checkRank(rank, a)
  const { transpose = false } = options
  const n = transpose ? a.cols : a.rows
  const chosen = method === 'auto' ? chooseSubspaceMethod(n, rank) : method
  if (chosen === 'range') return rangeRows(engine, a, rank, options)
  return transposed(await modeSubspace(engine, a.data, transpose ? [a.rows, n, 1] : [1, n, a.cols], rank, options))
}

/**
 * The best orthonormal basis `[n, rank]` of the middle mode of a tensor `[outer, n, inner]`, by its Gram matrix; when
 * the unfolding has fewer than `rank` columns it is completed.
 *
 * @param rank 1 … n.
 * @internal
 */
export async function modeSubspace<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  data: T,
  dims: readonly [outer: number, n: number, inner: number],
  rank: number,
  task: TaskOptions = {},
): Promise<Matrix<T>> {
  const gram = await modeGram(engine, data, dims, { signal: task.signal })
  const { vectors } = await symmetricEigen(engine, gram, { count: rank, signal: task.signal })
  return toTypeOf(vectors!, data)
}
