/**
 * Orthonormal bases of the leading singular subspace of a matrix by accelerated randomised subspace iteration: matrix
 * products and Cholesky factors only, never a full decomposition.
 *
 * Each iteration multiplies the basis by A Aᵀ − t I. With t = 0 that is plain subspace iteration (Halko, Martinsson,
 * Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011). Here the shifts t are the roots of a Chebyshev
 * polynomial on [0, b], which damps what is unwanted below b far more than powers do (Rutishauser, "Computational
 * aspects of F. L. Bauer's simultaneous iteration method", Numer. Math. 13, 1969); b is the smallest Ritz value,
 * measured anew each time, and so the shifts are taken in ascending order, while b still grows.
 *
 * Bases are kept with one vector per row.
 */
import { checkAborted, createRandom, fail, type TaskOptions } from '../core/index.ts'
import { type CholeskyFactor, extremeEigenvalues, maybeCholesky, solveLower } from './cholesky.ts'
import { modeGram } from './gram.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { arrayLike, toMatrix64, toTypeOf, transposed } from './matrix-layout.ts'
import { thinQr } from './qr.ts'

/** Options of {@link rangeFinder}. */
export interface RangeFinderOptions extends TaskOptions {
  /**
   * Multiplications by A Aᵀ after the first product with A; default 2, which is already closer to the best subspace than
   * plain subspace iteration (`torch.svd_lowrank`) with 2. Each costs 4 · m · n · rank operations.
   */
  readonly iterations?: number
  /** Vectors beyond `rank` in the random start, default 0: without singular values none could be dropped at the end. */
  readonly seed?: number
  /** Use Aᵀ: a basis of the leading right singular subspace. */
  readonly transpose?: boolean
}

/** A matrix as an operator on rows: x A and x Aᵀ. */
interface RowOperator {
  readonly engine: MatrixEngine
  readonly a: Matrix
  readonly transpose: boolean
}

const applyTo = ({ engine, a, transpose }: RowOperator, x: Matrix): Promise<Matrix> =>
  engine.multiply(x, a, { transposeB: transpose })
const applyTransposedTo = ({ engine, a, transpose }: RowOperator, x: Matrix): Promise<Matrix> =>
  engine.multiply(x, a, { transposeB: !transpose })

/**
 * An orthonormal basis of (nearly) the leading left singular subspace, `[m, rank]`, in no particular order.
 *
 * @param a `[m, n]`, float32 or float64; the result has its type. Elements must be finite.
 * @param rank 1 … min(m, n).
 * @throws WhittleError `RANK_OUT_OF_RANGE`, `ABORTED`.
 */
export async function rangeFinder<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  options: RangeFinderOptions = {},
): Promise<Matrix<T>> {
  return transposed(await rangeRows(engine, a, rank, options))
}

/** {@link rangeFinder} with one vector per row: `[rank, m]`. */
export async function rangeRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  { iterations = 2, seed = 0, transpose = false, ...task }: RangeFinderOptions = {},
): Promise<Matrix<T>> {
  checkRank(rank, a)
  const inner = transpose ? a.rows : a.cols
  const start = { rows: rank, cols: inner, data: arrayLike(a.data, rank * inner) }
  fillRandom(start.data, seed)
  const first = await applyTransposedTo({ engine, a, transpose }, start)
  const rows = await refineRows(engine, a, toTypeOf(first, a.data), { iterations, transpose, ...task })
  return rows
}

/** Fills with uniform numbers, four of 8 bits from each draw: they serve as well as normal ones at a fraction of the time. */
function fillRandom(data: Float32Array | Float64Array, seed: number): void {
  const random = createRandom(seed)
  for (let i = 0; i < data.length; i += 4) {
    const bits = random.nextUint32()
    data[i] = (bits & 255) - 127.5
    // Beyond the end nothing is written.
    data[i + 1] = ((bits >>> 8) & 255) - 127.5
    data[i + 2] = ((bits >>> 16) & 255) - 127.5
    data[i + 3] = (bits >>> 24) - 127.5
  }
}

/** Throws `RANK_OUT_OF_RANGE` unless 1 ≤ rank ≤ min(m, n). */
export function checkRank(rank: number, { rows, cols }: Matrix): void {
  const full = Math.min(rows, cols)
  if (!Number.isInteger(rank) || rank < 1 || rank > full)
    fail(
      'RANK_OUT_OF_RANGE',
      `Rank of a matrix [${rows}, ${cols}] must be an integer between 1 and ${full}; got ${rank}.`,
    )
}

/**
 * Improves a basis of the leading left singular subspace.
 *
 * @param start `[rank, m]`, one vector per row, need not be orthonormal; random ones make this a range finder, a basis
 *   from a similar matrix converges at once.
 * @returns orthonormal rows `[rank, m]` of the type of `a`.
 */
export async function refineRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  start: Matrix<T>,
  { iterations = 2, transpose = false, signal, onProgress }: Omit<RangeFinderOptions, 'seed'> = {},
): Promise<Matrix<T>> {
  const operator = { engine, a, transpose }
  // A random start is too far from orthogonal for float32.
  let basis: Matrix = await orthonormalRows(engine, start, 'float64')
  for (let i = 0; i < iterations; i++) {
    checkAborted(signal)
    const root = (1 - Math.cos((Math.PI * (2 * i + 1)) / (2 * iterations))) / 2
    basis = await orthonormalRows(engine, await filterStep(operator, basis, root))
    onProgress?.({ stage: 'subspace', done: i + 1, total: iterations })
  }
  // Once more: after one pass nearly dependent rows are orthonormal to a few digits only.
  return toTypeOf(await orthonormalRows(engine, basis), a.data)
}

/** How far below the largest a Ritz value may be before products with A Aᵀ lose it in rounding. */
const widestSpread = (data: Float32Array | Float64Array): number => (data instanceof Float32Array ? 1e4 : 1e12)

/**
 * Shifts are kept this much below the smallest Ritz value: it is estimated a few percent too high, and a shift that meets
 * an eigenvalue of the wanted subspace would erase its vector.
 */
const CAUTION = 0.9

/** basis · (A Aᵀ − t I) with t = root · (smallest Ritz value); in a basis of the same span if that is better. */
async function filterStep(operator: RowOperator, basis: Matrix, root: number): Promise<Matrix> {
  const { engine } = operator
  let rows = basis
  let image = await applyTo(operator, rows)
  const products = await ritzProducts(engine, image)
  let shift = 0
  if (products) {
    const { factor, largest, smallest } = products
    shift = root * CAUTION * smallest
    if (largest > smallest * widestSpread(basis.data)) {
      // Rows with orthonormal images: the next product then spreads them like singular values, not like their squares.
      image = await solveLower(engine, factor, image)
      rows = await solveLower(engine, factor, rows)
    }
  }
  const next = await applyTransposedTo(operator, image)
  if (shift !== 0) for (let i = 0; i < next.data.length; i++) next.data[i] = next.data[i]! - shift * rows.data[i]!
  return next
}

/** Cholesky factor and extreme eigenvalues of image · imageᵀ, whose eigenvalues are Ritz values of A Aᵀ. */
async function ritzProducts(
  engine: MatrixEngine,
  image: Matrix,
): Promise<{ factor: CholeskyFactor; largest: number; smallest: number } | undefined> {
  const single = image.data instanceof Float32Array
  for (const products of single ? (['float32', 'float64'] as const) : (['float64'] as const)) {
    const gram = await modeGram(engine, image.data, [1, image.rows, image.cols], { products })
    // Pivots below the rounding of the products say nothing.
    const factor = await maybeCholesky(engine, gram, { tolerance: products === 'float32' ? 1e-5 : 1e-13 })
    if (factor) return { factor, ...(await extremeEigenvalues(factor)) }
  }
  return undefined
}

/**
 * Orthonormal rows of the same span: Cholesky-QR, and Householder QR for rows that are (nearly) dependent, which are
 * then completed to a basis.
 */
export async function orthonormalRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  rows: Matrix<T>,
  precision: 'float32' | 'float64' = rows.data instanceof Float32Array ? 'float32' : 'float64',
): Promise<Matrix<T>> {
  const gram = await modeGram(engine, rows.data, [1, rows.rows, rows.cols], { products: precision })
  const factor = await maybeCholesky(engine, gram, { tolerance: precision === 'float32' ? 1e-5 : 1e-11 })
  if (factor) return solveLower(engine, factor, rows)
  if (precision === 'float32') return orthonormalRows(engine, rows, 'float64')
  const { q } = await thinQr(engine, toMatrix64(transposed(rows)))
  return toTypeOf(transposed(q), rows.data)
}
