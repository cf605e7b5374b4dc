/**
 * Singular value decompositions under the names that tensor software gives them, with signs that do not depend on the
 * route: whole (`economySvd`), of some leading triples (`truncatedSvd` in `svd.ts`), and randomised (`randomizedSvd`).
 */
import type { TaskOptions } from '../core/index.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { checkMatrix } from './matrix-layout.ts'
import { type TruncatedSvd, type TruncatedSvdOptions, truncatedSvd } from './svd.ts'

type Reals = Float32Array | Float64Array

/** Options of {@link economySvd}. */
export interface EconomySvdOptions extends TaskOptions {
  /** Whether signs are those of {@link svdFlip}; default true. */
  readonly flipSign?: boolean
}

/** Options of {@link randomizedSvd}. */
export interface RandomizedSvdOptions extends EconomySvdOptions, Omit<TruncatedSvdOptions, 'method'> {}

/** Which factor {@link svdFlip} looks at. */
export interface SvdFlipOptions {
  /** `'u'` (default): columns of u; `'vt'`: rows of vt. */
  readonly basedOn?: 'u' | 'vt'
}

/**
 * All min(m, n) singular triples of a matrix, A = u diag(s) vt.
 *
 * Not by the Gram matrix: every singular value is right to about 10⁻¹⁵ of the largest, in float64 whatever the type of
 * A, and u and vt are orthonormal also where singular values are zero.
 *
 * @param a `[m, n]`, float32 or float64; u `[m, k]` and vt `[k, n]`, k = min(m, n), have its type.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE` for an empty matrix, `ABORTED`; `UNSUPPORTED`
 *   beyond min(m, n) = 15,900.
 * @see Golub, Kahan, "Calculating the singular values and pseudo-inverse of a matrix", J. SIAM Numer. Anal. 2(2), 1965.
 * @example
 * const { s } = await economySvd(createPlainMatrixEngine(), { rows: 2, cols: 2, data: Float64Array.of(3, 0, 0, 1e-14) })
 * console.log([...s].map((value) => value.toPrecision(4)))
 */
export async function economySvd<T extends Reals>(
  engine: MatrixEngine,
  a: Matrix<T>,
  { flipSign = true, signal }: EconomySvdOptions = {},
): Promise<TruncatedSvd<T>> {
  const svd = await truncatedSvd(engine, a, Math.min(a.rows, a.cols), { method: 'exact', signal })
  return flipSign ? svdFlip(svd) : svd
}

/**
 * The leading singular triples within the span of a randomised range finder: the least accurate and, for ranks far below
 * full, the fastest.
 *
 * @param a `[m, n]`, float32 or float64; u `[m, rank]` and vt `[rank, n]` have its type.
 * @param rank 1 … min(m, n).
 * @param options.iterations multiplications by A Aᵀ, default 3. @param options.oversample default 10.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011, algorithm 5.1.
 * @example
 * const a = { rows: 40, cols: 30, data: toFloat64(randomTensor([40, 30], { seed: 1 })) }
 * const { u, s, vt } = await randomizedSvd(createPlainMatrixEngine(), a, 3)
 * console.log([u.rows, u.cols], s.length, [vt.rows, vt.cols])
 */
export async function randomizedSvd<T extends Reals>(
  engine: MatrixEngine,
  a: Matrix<T>,
  rank: number,
  { flipSign = true, ...options }: RandomizedSvdOptions = {},
): Promise<TruncatedSvd<T>> {
  const svd = await truncatedSvd(engine, a, rank, { ...options, method: 'randomized' })
  return flipSign ? svdFlip(svd) : svd
}

/**
 * The same decomposition with signs that are determined: in every column of u the element of the largest magnitude (the
 * first of them) is positive. The product u diag(s) vt stays what it was.
 *
 * @param svd u `[m, k]`, vt `[k, n]`. Not written to.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`.
 * @example
 * const u = { rows: 2, cols: 1, data: Float64Array.of(-0.8, 0.6) }
 * const vt = { rows: 1, cols: 1, data: Float64Array.of(1) }
 * console.log(svdFlip({ u, s: Float64Array.of(5), vt }).vt.data)
 */
export function svdFlip<T extends Reals>(
  { u, s, vt }: TruncatedSvd<T>,
  { basedOn = 'u' }: SvdFlipOptions = {},
): TruncatedSvd<T> {
  checkMatrix(u, 'svdFlip')
  checkMatrix(vt, 'svdFlip')
  const signs = Float64Array.from({ length: u.cols }, (_, j) =>
    basedOn === 'u' ? signOfLargest(u.data, j, u.cols, u.rows) : signOfLargest(vt.data, j * vt.cols, 1, vt.cols),
  )
  const flippedU = u.data.slice() as T
  for (let at = 0; at < flippedU.length; at++) flippedU[at] = flippedU[at]! * signs[at % u.cols]!
  const flippedVt = vt.data.slice() as T
  for (let at = 0; at < flippedVt.length; at++) flippedVt[at] = flippedVt[at]! * signs[Math.floor(at / vt.cols)]!
  return { u: { ...u, data: flippedU }, s, vt: { ...vt, data: flippedVt } }
}

/** −1 when the element of the largest magnitude is negative, else 1. */
export function signOfLargest(data: Reals, from: number, stride: number, count: number): 1 | -1 {
  let largest = 0
  for (let i = 0; i < count; i++) {
    const value = data[from + i * stride]!
    if (Math.abs(value) > Math.abs(largest)) largest = value
  }
  return largest < 0 ? -1 : 1
}
