/**
 * Orthonormal bases of the leading singular subspace of a matrix by accelerated randomised subspace iteration: matrix
 * products and Cholesky factors only, never a full decomposition.
 *
 * Each iteration multiplies the basis by A Aᵀ − t I. With t = 0 that is plain subspace iteration (Halko, Martinsson,
 * Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011). Here the shifts t are the roots of a Chebyshev
 * polynomial on [0, b], which damps what is unwanted below b far more than powers do (Rutishauser, "Computational
 * aspects of F. L. Bauer's simultaneous iteration method", Numer. Math. 13, 1969). b stands for the largest unwanted
 * eigenvalue; it is estimated anew each time, and the shifts are taken in ascending order, because it grows at first.
 *
 * Bases are kept with one vector per row.
 */
import { checkAborted, createRandom, fail, type TaskOptions } from '../core/index.ts'
import { type CholeskyFactor, extremeEigenvalues, maybeCholesky, solveLowerInto } from './cholesky.ts'
import { modeGram } from './gram.ts'
import type { Matrix, Matrix64, MatrixEngine } from './matrix.ts'
import { arrayLike, sumOfSquares, toMatrix64, toTypeOf, trace, transposed } from './matrix-layout.ts'
import { thinQr } from './qr.ts'

/** Options of {@link rangeFinder}. */
export interface RangeFinderOptions extends TaskOptions {
  /**
   * Multiplications by A Aᵀ; default 2, which is already closer to the best subspace than
   * plain subspace iteration (`torch.svd_lowrank`) with 2. Each costs 4 · m · n · rank operations.
   */
  readonly iterations?: number
  /** Of the random start; default 0. */
  readonly seed?: number
  /** Use Aᵀ: a basis of the leading right singular subspace. */
  readonly transpose?: boolean
  /** ‖A‖², where it is known already. */
  readonly energy?: number | undefined
}

/** A matrix as an operator on rows: x A and x Aᵀ. */
interface RowOperator {
  readonly engine: MatrixEngine
  readonly a: Matrix
  readonly transpose: boolean
  /** ‖A‖² */
  readonly energy: number
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
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 3, cols: 3, data: Float64Array.of(1, 2, 3, 2, 4, 6, 3, 6, 9) }
 * const basis = await rangeFinder(engine, a, 1)
 * console.log([...basis.data].map((value) => Math.abs(value).toFixed(4)))
 */
export async function rangeFinder<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  options: RangeFinderOptions = {},
): Promise<Matrix<T>> {
  return transposed(await rangeRows(engine, a, rank, options))
}

/**
 * {@link rangeFinder} with one vector per row: `[rank, m]`. As many vectors as wanted: without singular values, which
 * would cost more than an iteration, none could be dropped at the end.
 */
export async function rangeRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  { iterations = 2, seed = 0, transpose = false, ...task }: RangeFinderOptions = {},
): Promise<Matrix<T>> {
  checkRank(rank, a)
  const start = sketchRows(a, transpose, rank, seed)
  return refineInto(engine, a, start, { iterations, transpose, ...task })
}

const COLUMNS_PER_ROW = 4
const TILE = 16

/**
 * `[rank, m]`: each row the sum of some columns of A (of Aᵀ with `transpose`) with random signs. Every column is used, and
 * each row is made of at least four.
 *
 * As good a start as products with a dense random matrix, without their cost: Martinsson, Tropp, "Randomized numerical
 * linear algebra: foundations and algorithms", Acta Numerica 29, 2020, section 9.2.
 */
export function sketchRows<T extends Float32Array | Float64Array>(
  a: Matrix<T>,
  transpose: boolean,
  rank: number,
  seed: number,
): Matrix<T> {
  const [m, inner] = transpose ? [a.cols, a.rows] : [a.rows, a.cols]
  const random = createRandom(seed)
  const passes = Math.ceil((COLUMNS_PER_ROW * rank) / inner)
  const order = Uint32Array.from({ length: inner }, (_, j) => j)
  const used = new Uint32Array(passes * inner)
  for (let pass = 0; pass < passes; pass++) used.set(random.shuffle(order), pass * inner)
  const signs = Float64Array.from(used, () => (random.nextUint32() & 1 ? 1 : -1))
  const out = { rows: rank, cols: m, data: arrayLike(a.data, rank * m) }
  if (transpose) sumRows(a, used, signs, out)
  else sumColumns(a, used, signs, out)
  return out
}

/** Row i of the result: rows i, i + rank, i + 2 rank … of those used, each times its sign. */
function sumRows({ cols, data }: Matrix, used: Uint32Array, signs: Float64Array, out: Matrix): void {
  const rank = out.rows
  const last = used.length - 1
  for (let row = 0; row < rank; row++) {
    const to = row * cols
    // Four at a time; what is beyond the end counts nothing.
    for (let p = row; p < used.length; p += 4 * rank) {
      const [q, r, s] = [p + rank, p + 2 * rank, p + 3 * rank]
      const [a, b, c, d] = [used[p]!, used[Math.min(q, last)]!, used[Math.min(r, last)]!, used[Math.min(s, last)]!]
      addFour(
        out.data,
        to,
        data,
        [a * cols, b * cols, c * cols, d * cols],
        [signs[p]!, signs[q] ?? 0, signs[r] ?? 0, signs[s] ?? 0],
        cols,
      )
    }
  }
}

function addFour(
  out: Float32Array | Float64Array,
  to: number,
  data: Float32Array | Float64Array,
  [a, b, c, d]: readonly [number, number, number, number],
  [w, x, y, z]: readonly [number, number, number, number],
  count: number,
): void {
  for (let j = 0; j < count; j++)
    out[to + j] = out[to + j]! + (w * data[a + j]! + x * data[b + j]! + (y * data[c + j]! + z * data[d + j]!))
}

/** As {@link sumRows}, of columns: some of them at a time, so that what is read stays in the cache. */
function sumColumns({ rows: m, cols, data }: Matrix, used: Uint32Array, signs: Float64Array, out: Matrix): void {
  const rank = out.rows
  const sums = new Float64Array(TILE)
  for (let first = 0; first < m; first += TILE) {
    const count = Math.min(TILE, m - first)
    for (let row = 0; row < rank; row++) {
      sums.fill(0)
      for (let p = row; p < used.length; p += rank) {
        const sign = signs[p]!
        let from = used[p]! + first * cols
        for (let t = 0; t < count; t++) {
          sums[t] = sums[t]! + sign * data[from]!
          from += cols
        }
      }
      for (let t = 0; t < count; t++) out.data[row * m + first + t] = sums[t]!
    }
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
 * @param start `[rank, m]`, one vector per row, need not be orthonormal. Not written to.
 * @returns orthonormal rows `[rank, m]` of the type of `a`.
 */
export async function refineRows<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  start: Matrix<T>,
  options: Omit<RangeFinderOptions, 'seed'> = {},
): Promise<Matrix<T>> {
  return refineInto(engine, a, { ...start, data: start.data.slice() as T }, options)
}

/** {@link refineRows} of rows that may be overwritten. */
async function refineInto<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  start: Matrix<T>,
  {
    iterations = 2,
    transpose = false,
    energy = sumOfSquares(a.data),
    signal,
    onProgress,
  }: Omit<RangeFinderOptions, 'seed'>,
): Promise<Matrix<T>> {
  const operator = { engine, a, transpose, energy }
  let basis: Matrix = start
  await orthonormalizeInto(engine, basis)
  for (let i = 0; i < iterations; i++) {
    checkAborted(signal)
    const root = (1 - Math.cos((Math.PI * (2 * i + 1)) / (2 * iterations))) / 2
    basis = await filterStep(operator, basis, root)
    await orthonormalizeInto(engine, basis)
    onProgress?.({ stage: 'subspace', done: i + 1, total: iterations })
  }
  // Once more: after one pass nearly dependent rows are orthonormal to a few digits only.
  await orthonormalizeInto(engine, basis)
  return toTypeOf(basis, a.data)
}

/** How far below the largest a Ritz value may be before products with A Aᵀ lose it in rounding. */
const widestSpread = (data: Float32Array | Float64Array): number => (data instanceof Float32Array ? 1e5 : 1e12)

/**
 * Shifts are kept this much below the smallest Ritz value: it is estimated a few percent too high, and a shift that meets
 * an eigenvalue of the wanted subspace would erase its vector.
 */
export const CAUTION = 0.9
/**
 * The largest unwanted eigenvalue is hardly more than this multiple of their mean. Where signal and noise are far apart
 * that is far below the smallest Ritz value, and shifts as large as that one would damp the wanted and spare the noise.
 */
export const NOISE_SPREAD = 4

/** About the largest unwanted eigenvalue, from the Ritz values and the energy outside the span. */
function unwantedBound({ a, transpose, energy }: RowOperator, rank: number, { smallest, sum }: RitzValues): number {
  const count = (transpose ? a.cols : a.rows) - rank
  if (count === 0) return 0
  const outside = Math.max(0, energy - sum)
  return Math.min(CAUTION * smallest, (NOISE_SPREAD * outside) / count)
}

/**
 * rows · (A Aᵀ − t I) with t = root · (largest unwanted eigenvalue); in a basis of the same span if that is better, which is then
 * left in `rows`.
 */
async function filterStep(operator: RowOperator, rows: Matrix, root: number): Promise<Matrix> {
  const { engine } = operator
  const image = await applyTo(operator, rows)
  const products = await ritzProducts(engine, image)
  let shift = 0
  if (products) {
    const { factor, largest, smallest } = products
    shift = root * unwantedBound(operator, rows.rows, products)
    if (largest > smallest * widestSpread(rows.data)) {
      // Rows with orthonormal images: the next product then spreads them like singular values, not like their squares.
      await solveLowerInto(engine, factor, image)
      await solveLowerInto(engine, factor, rows)
    }
  }
  const next = await applyTransposedTo(operator, image)
  if (shift !== 0) for (let i = 0; i < next.data.length; i++) next.data[i] = next.data[i]! - shift * rows.data[i]!
  return next
}

/** What the eigenvalues of image · imageᵀ, Ritz values of A Aᵀ, are like. */
interface RitzValues {
  readonly factor: CholeskyFactor
  readonly largest: number
  readonly smallest: number
  readonly sum: number
}

async function ritzProducts(engine: MatrixEngine, image: Matrix): Promise<RitzValues | undefined> {
  const single = image.data instanceof Float32Array
  for (const products of single ? (['float32', 'float64'] as const) : (['float64'] as const)) {
    const gram = await rowProducts(engine, image, products)
    // Pivots below the rounding of the products say nothing.
    const factor = await maybeCholesky(engine, gram, { tolerance: products === 'float32' ? 1e-5 : 1e-13 })
    if (factor) return { factor, sum: trace(gram), ...(await extremeEigenvalues(factor)) }
  }
  return undefined
}

/** Up to this many rows all products of rows are computed; beyond, half of them in blocks, which JavaScript adds up. */
const MOST_WHOLE = 1024

/** rows · rowsᵀ, of many rows its lower triangle. */
function rowProducts(engine: MatrixEngine, rows: Matrix, products: 'float32' | 'float64'): Promise<Matrix64> {
  const single = rows.data instanceof Float32Array
  if (rows.rows > MOST_WHOLE || single !== (products === 'float32'))
    return modeGram(engine, rows.data, [1, rows.rows, rows.cols], { products, symmetric: false })
  return engine.multiply(rows, rows, { transposeB: true }).then(toMatrix64)
}

/**
 * Makes rows orthonormal, keeping their span: Cholesky-QR, and Householder QR for rows that are (nearly) dependent,
 * which are then completed to a basis.
 */
export async function orthonormalizeInto(
  engine: MatrixEngine,
  rows: Matrix,
  precision: 'float32' | 'float64' = rows.data instanceof Float32Array ? 'float32' : 'float64',
): Promise<void> {
  const gram = await rowProducts(engine, rows, precision)
  const factor = await maybeCholesky(engine, gram, { tolerance: precision === 'float32' ? 1e-5 : 1e-11 })
  if (factor) return solveLowerInto(engine, factor, rows)
  if (precision === 'float32') return orthonormalizeInto(engine, rows, 'float64')
  const { q } = await thinQr(engine, toMatrix64(transposed(rows)))
  rows.data.set(transposed(q).data)
}
