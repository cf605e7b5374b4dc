/**
 * Leading eigenvectors of a Gram matrix, approximately: subspace iteration with a Chebyshev polynomial of degree two.
 *
 * Once a Gram matrix is there, multiplying by it costs a small part of what multiplying by the matrix behind it does, and
 * all of its eigenvectors cost n³ operations on one thread: this is what lies between.
 *
 * Sources as in `range-finder.ts`.
 */
import { checkAborted } from '../core/index.ts'
import { extremeEigenvalues, maybeCholesky, solveLowerInto } from './cholesky.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { toMatrix64, toTypeOf, trace } from './matrix-layout.ts'
import { CAUTION, NOISE_SPREAD, orthonormalizeInto, sketchRows } from './range-finder.ts'

/** Options of {@link gramSubspaceRows}. */
export interface GramSubspaceOptions {
  /** Orthonormal rows `[rank, n]` that nearly span the subspace; without, sums of rows of the matrix. Not written to. */
  readonly start?: Matrix | undefined
  /** Polynomials applied, default 1 to a given start and 2 to a random one; each multiplies by the matrix twice. */
  readonly steps?: number | undefined
  /** Whether the result is orthonormal to the last digits instead of about half of them; default true. */
  readonly polish?: boolean
  /** Of the random start; default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Ritz values further apart than this are not told from the rounding of products in float32: the smallest is then known
 * to a tenth.
 */
const WIDEST_SINGLE = 1e5

/**
 * An orthonormal basis of (nearly) the leading eigenvectors, one vector per row: `[rank, n]`, in no particular order.
 *
 * @param gram `[n, n]`, symmetric, positive semidefinite; the result has its type. Not written to. Products with a float32
 *   matrix are of float32 as long as the eigenvalues that are wanted allow it.
 * @param rank 1 … n.
 * @throws WhittleError `ABORTED`.
 */
export async function gramSubspaceRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  gram: Matrix<T>,
  rank: number,
  { start, steps = start ? 1 : 2, polish = true, seed = 0, signal }: GramSubspaceOptions = {},
): Promise<Matrix<T>> {
  let matrix: Matrix = gram
  let basis: Matrix = start
    ? toTypeOf({ ...start, data: start.data.slice() }, gram.data)
    : sketchRows(gram, true, rank, seed)
  if (!start) await orthonormalizeInto(engine, basis)
  for (let step = 0; step < steps; step++) {
    checkAborted(signal)
    let next = await maybeFiltered(engine, matrix, basis)
    if (!next) {
      matrix = toMatrix64(matrix)
      basis = toMatrix64(basis)
      next = await maybeFiltered(engine, matrix, basis)
    }
    basis = next!
    await orthonormalizeInto(engine, basis)
  }
  // Once more: after one pass nearly dependent rows are orthonormal to some digits only.
  if (polish) await orthonormalizeInto(engine, basis)
  return toTypeOf(basis, gram.data)
}

/**
 * basis · p(G), p the Chebyshev polynomial of degree two on [0, b], b about the largest unwanted eigenvalue. The basis is
 * first changed to one whose products with G have similar lengths, which keeps the spread of the result within what
 * Cholesky-QR can take; it is overwritten.
 *
 * `undefined`, and the basis as it was, when products in float32 are not enough.
 */
async function maybeFiltered(engine: MatrixEngine, gram: Matrix, basis: Matrix): Promise<Matrix | undefined> {
  const single = gram.data instanceof Float32Array
  const image = await engine.multiply(basis, gram)
  const ritz = toMatrix64(await engine.multiply(image, basis, { transposeB: true }))
  const factor = await maybeCholesky(engine, ritz, { tolerance: single ? 1e-6 : 1e-13 })
  if (!factor && single) return undefined
  let half = 0
  if (factor) {
    const { largest, smallest } = await extremeEigenvalues(factor)
    if (single && largest > smallest * WIDEST_SINGLE) return undefined
    half = unwantedBound(gram, ritz, smallest) / 2
    await solveLowerInto(engine, factor, image)
    await solveLowerInto(engine, factor, basis)
  }
  const next = await engine.multiply(image, gram)
  // 2 (G/h − 1)² − 1, times h² / 2: G² − 2 h G + h² / 2
  const [x, y, z] = [basis.data, image.data, next.data]
  const [linear, constant] = [2 * half, (half * half) / 2]
  for (let i = 0; i < z.length; i++) z[i] = z[i]! - linear * y[i]! + constant * x[i]!
  return next
}

/** About the largest unwanted eigenvalue, from the Ritz values and what is left of the trace. */
function unwantedBound(gram: Matrix, ritz: Matrix, smallestRitz: number): number {
  const unwanted = gram.rows - ritz.rows
  if (unwanted === 0) return 0
  const outside = Math.max(0, trace(gram) - trace(ritz))
  return Math.min(CAUTION * smallestRitz, (NOISE_SPREAD * outside) / unwanted)
}
