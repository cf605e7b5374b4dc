/**
 * The analytic global solution of empirical variational Bayesian matrix factorisation (EVBMF): how many singular values
 * of a matrix stand out of the noise, and how strong the noise is.
 *
 * Source: Nakajima, Sugiyama, Babacan, Tomioka, "Global Analytic Solution of Fully-observed Variational Bayesian Matrix
 * Factorization", JMLR 14, 2013, theorem 2 and corollary 4 (noise variance by one bounded scalar search). The bounds and
 * stopping rule of that search are AMCT's.
 */
import { fail } from '../core/index.ts'
import { minimizeBounded } from './minimize-bounded.ts'

/** What {@link evbmf} found. */
export interface EvbmfResult {
  /** Singular values above {@link threshold}; 0 when everything looks like noise. */
  readonly rank: number
  /** Estimated variance σ² of the noise on each element. */
  readonly noiseVariance: number
  /** Singular values above it are kept: √(M σ² x̄). */
  readonly threshold: number
}

/** Options of {@link evbmf}. */
export interface EvbmfOptions {
  /**
   * Absolute tolerance of the search for σ². Default 1e-5, which is AMCT's and scipy's: it depends on the scale of the
   * weights and is coarse for small ones. `'relative'` searches to 1e-5 of the variance of the elements instead, so
   * that scaling the matrix does not change its rank.
   */
  readonly tolerance?: number | 'relative'
}

/**
 * The EVBMF rank of a matrix from its singular values.
 *
 * @param singularValues all min(rows, cols) of them, descending.
 * @param rows,cols shape of the matrix, in either order.
 * @throws WhittleError `SHAPE_MISMATCH` when their number is not min(rows, cols); `NOT_FINITE`.
 * @example
 * // Three strong directions, the rest noise of a 20 × 40 matrix.
 * const values = Float64Array.from({ length: 20 }, (_, i) => (i < 3 ? 40 - i : 8 - 0.2 * i))
 * console.log(evbmf(values, 20, 40).rank)
 */
export function evbmf(
  singularValues: ArrayLike<number>,
  rows: number,
  cols: number,
  { tolerance = 1e-5 }: EvbmfOptions = {},
): EvbmfResult {
  const l = Math.min(rows, cols)
  const m = Math.max(rows, cols)
  if (singularValues.length !== l || l < 1)
    fail(
      'SHAPE_MISMATCH',
      `EVBMF of a matrix [${rows}, ${cols}]: all ${l} singular values are needed; got ${singularValues.length}.`,
    )
  const squares = Float64Array.from(singularValues, (s) => s * s)
  if (!squares.every(Number.isFinite))
    fail('NOT_FINITE', `EVBMF of a matrix [${rows}, ${cols}]: singular values must be finite numbers.`)

  const alpha = l / m
  const tauBar = 2.5129 * Math.sqrt(alpha)
  const xBar = (1 + tauBar) * (1 + alpha / tauBar)
  const sumFrom = (start: number): number => squares.subarray(start).reduce((sum, square) => sum + square, 0)
  // e: the largest number of components the model can tell from noise.
  const e = Math.max(Math.min(Math.ceil(l / (1 + alpha)) - 1, l) - 1, 0)
  const upper = sumFrom(0) / (l * m)
  const lower = Math.max((squares[e + 1] ?? 0) / (m * xBar), sumFrom(e) / (l - e) / m)
  if (upper === 0) return { rank: 0, noiseVariance: 0, threshold: 0 }

  const objective = (variance: number): number => freeEnergy(squares, m * variance, alpha, xBar)
  const absolute = tolerance === 'relative' ? 1e-5 * upper : tolerance
  const noiseVariance = minimizeBounded(objective, Math.min(lower, upper), upper, { tolerance: absolute }).x
  const threshold = Math.sqrt(m * noiseVariance * xBar)
  let rank = 0
  while (rank < l && singularValues[rank]! > threshold) rank++
  return { rank, noiseVariance, threshold }
}

/**
 * The free energy up to constants: for z = s²/(Mσ²), Σ over z ≤ x̄ of z − ln z, and over z > x̄ of
 * z − τ + ln((τ+1)/z) + α ln(τ/α + 1) with τ = ½(z − (1+α) + √((z − (1+α))² − 4α)).
 */
function freeEnergy(squares: Float64Array, scale: number, alpha: number, xBar: number): number {
  let sum = 0
  for (const square of squares) {
    const z = square / scale
    if (z > xBar) {
      const b = z - (1 + alpha)
      const tau = 0.5 * (b + Math.sqrt(b * b - 4 * alpha))
      sum += z - tau + Math.log((tau + 1) / z) + alpha * Math.log(tau / alpha + 1)
    } else if (square > 0) sum += z - Math.log(z)
    // s = 0: −ln z is infinite, but only by a constant that moves no minimum; what depends on σ² remains.
    else sum += Math.log(scale)
  }
  return sum
}
