/**
 * Singular values and truncated singular value decompositions.
 *
 * Three routes. `'gram'`: eigenvectors of the Gram matrix of the short side; the fastest, but squaring loses singular
 * values below about 10⁻⁸ of the largest (they come out as noise of that size). `'exact'`: reduction to
 * bidiagonal form, of which nothing is squared; right to about 10⁻¹⁵ of the largest, at about three times the work of
 * `'gram'`; for matrices of moderate size where small singular values matter.
 * `'randomized'`: within the span of a {@link rangeRows range finder}; for large matrices and ranks far below full.
 */
import type { TaskOptions } from '../core/index.ts'
import { orthonormalByReflections, squareSingularValues, squareTriples } from './golub-kahan.ts'
import { modeGram } from './gram.ts'
import { chooseSubspaceMethod } from './leading-subspace.ts'
import type { Matrix, Matrix64, MatrixEngine } from './matrix.ts'
import { checkMatrix, rowRange, sumOfSquares, toMatrix64, toTypeOf, transposed } from './matrix-layout.ts'
import { thinQr } from './qr.ts'
import { checkRank, rangeRows } from './range-finder.ts'
import { symmetricEigen } from './symmetric-eigen.ts'

/** A ≈ u diag(s) vt. */
export interface TruncatedSvd<T extends Float32Array | Float64Array> {
  /** `[m, rank]`, orthonormal columns. */
  readonly u: Matrix<T>
  /** `rank` singular values, descending. */
  readonly s: Float64Array
  /** `[rank, n]`, orthonormal rows. */
  readonly vt: Matrix<T>
}

/** Options of {@link truncatedSvd}. */
export interface TruncatedSvdOptions extends TaskOptions {
  /** Default `'auto'`: `'randomized'` where it is much cheaper, else `'gram'`. */
  readonly method?: 'auto' | 'gram' | 'exact' | 'randomized'
  /** Multiplications by A Aᵀ of `'randomized'`; default 3. */
  readonly iterations?: number
  /** Vectors beyond the rank that `'randomized'` works with; default 10, or what there is. */
  readonly oversample?: number
  /** Of `'randomized'`; default 0. */
  readonly seed?: number
}

/** Options of {@link singularValues}. */
export interface SingularValuesOptions extends TaskOptions {
  /** Default `'gram'`. */
  readonly method?: 'gram' | 'exact'
}

/**
 * All min(m, n) singular values, descending.
 *
 * @param a `[m, n]`, float32 or float64.
 * @param options.method `'exact'` where values below 10⁻⁸ of the largest matter.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `ABORTED`; `UNSUPPORTED` for `'exact'` beyond min(m, n) = 15,900.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 4, cols: 3, data: Float64Array.of(1, 0, 2, 0, 3, 0, 2, 0, 4, 0, 3, 0) }
 * const values = await singularValues(engine, a, { method: 'exact' })
 * console.log([...values].map((value) => value.toFixed(4)))
 */
export async function singularValues(
  engine: MatrixEngine,
  a: Matrix,
  { method = 'gram', signal }: SingularValuesOptions = {},
): Promise<Float64Array> {
  checkMatrix(a, 'Singular values')
  if (method === 'exact') {
    const { square } = await squareFactor(engine, a, signal)
    return square.rows === 0 ? new Float64Array(0) : squareSingularValues(square, { signal })
  }
  const gram = await modeGram(engine, a.data, a.rows <= a.cols ? [1, a.rows, a.cols] : [a.rows, a.cols, 1], { signal })
  const { values } = await symmetricEigen(engine, gram, { vectors: false, signal })
  return values.map((value) => Math.sqrt(Math.max(value, 0)))
}

/**
 * The leading singular triples of a matrix.
 *
 * @param a `[m, n]`, float32 or float64; u and vt have its type.
 * @param rank 1 … min(m, n).
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`; `UNSUPPORTED` for `'exact'` beyond
 *   min(m, n) = 15,900.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 4, cols: 3, data: Float64Array.of(1, 0, 2, 0, 3, 0, 2, 0, 4, 0, 3, 0) }
 * const { u, s, vt } = await truncatedSvd(engine, a, 2)
 * console.log([u.rows, u.cols], [...s].map((value) => value.toFixed(4)), [vt.rows, vt.cols])
 */
export async function truncatedSvd<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  options: TruncatedSvdOptions = {},
): Promise<TruncatedSvd<T>> {
  checkMatrix(a, 'Truncated SVD')
  checkRank(rank, a)
  // The short side comes first: u of Aᵀ is v of A.
  if (a.rows > a.cols) {
    const { u, s, vt } = await truncatedSvd(engine, transposed(a), rank, options)
    return { u: transposed(vt), s, vt: transposed(u) }
  }
  const method = options.method ?? 'auto'
  const chosen = method !== 'auto' ? method : chooseSubspaceMethod(a.rows, rank) === 'gram' ? 'gram' : 'randomized'
  const { u, s, vt } = await METHODS[chosen](engine, a, rank, options)
  return { u: toTypeOf(u, a.data), s, vt: toTypeOf(vt, a.data) }
}

type Triples = { readonly u: Matrix; readonly s: Float64Array; readonly vt: Matrix }
type SvdMethod = (engine: MatrixEngine, a: Matrix, rank: number, options: TruncatedSvdOptions) => Promise<Triples>

const METHODS: Readonly<Record<'gram' | 'exact' | 'randomized', SvdMethod>> = {
  async gram(engine, a, rank, { signal }) {
    const gram = await modeGram(engine, a.data, [1, a.rows, a.cols], { signal })
    const { vectors } = await symmetricEigen(engine, gram, { count: rank, signal })
    const u = toTypeOf(vectors!, a.data)
    return { u, ...(await splitScales(engine, await engine.multiply(u, a, { transposeA: true }))) }
  },

  async randomized(engine, a, rank, { iterations = 3, oversample = 10, seed = 0, signal }) {
    const size = Math.min(rank + oversample, a.rows)
    const rows = await rangeRows(engine, a, size, { iterations, seed, signal })
    const projected = await engine.multiply(rows, a)
    const gram = await modeGram(engine, projected.data, [1, size, a.cols], { signal })
    const { vectors } = await symmetricEigen(engine, gram, { count: rank, signal })
    const rotation = toTypeOf(vectors!, a.data)
    const u = await engine.multiply(rows, rotation, { transposeA: true })
    return { u, ...(await splitScales(engine, await engine.multiply(rotation, projected, { transposeA: true }))) }
  },

  async exact(engine, a, rank, { signal }) {
    const { square, q } = await squareFactor(engine, a, signal)
    const { u, s, v } = await squareTriples(engine, square, rank, { signal })
    // A = square · qᵀ: its right vectors are q v.
    const right = q ? await engine.multiply(q, v) : v
    return { u, s, vt: transposed(right) }
  },
}

/** Splits `diag(s) vt` into s, the lengths of its rows, and orthonormal rows. */
async function splitScales(engine: MatrixEngine, scaled: Matrix): Promise<{ s: Float64Array; vt: Matrix }> {
  const { rows, cols } = scaled
  const s = Float64Array.from({ length: rows }, (_, i) => Math.sqrt(sumOfSquares(rowRange(scaled, i, i + 1).data)))
  const smallest = Math.min(...s)
  const precision = scaled.data instanceof Float32Array ? 1e-4 : 1e-6
  if (smallest > precision * s[0]!) {
    for (let i = 0; i < rows; i++) {
      const row = rowRange(scaled, i, i + 1).data
      for (let j = 0; j < cols; j++) row[j] = row[j]! / s[i]!
    }
    return { s, vt: scaled }
  }
  // Rows that are mostly rounding are not orthogonal to the others.
  const vt = transposed(await orthonormalByReflections(engine, toMatrix64(transposed(scaled))))
  return { s: s.sort().reverse(), vt }
}

/** A `[m, n]` with m ≤ n as square · qᵀ; without q when A is (nearly) square itself. */
async function squareFactor(
  engine: MatrixEngine,
  a: Matrix,
  signal: AbortSignal | undefined,
): Promise<{ square: Matrix64; q: Matrix64 | undefined }> {
  const short = toMatrix64(a.rows <= a.cols ? a : transposed(a))
  if (short.rows === short.cols) return { square: short, q: undefined }
  const { q, r } = await thinQr(engine, transposed(short), { signal })
  return { square: transposed(r), q }
}
