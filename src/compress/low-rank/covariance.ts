/**
 * Covariances from finite data: shrunk towards a multiple of the identity, so that a fit never trusts directions that
 * the data hardly show. With one sample what is left is the fit to the weight.
 *
 * Source: Chen, Wiesel, Eldar, Hero, "Shrinkage algorithms for MMSE covariance estimation", IEEE Trans. Signal
 * Processing 58(10), 2010, eq. 23 (oracle approximating shrinkage).
 */

/** Averages over patches, of one group. */
export interface PatchAverages {
  /** E[x xᵀ], `[d, d]`. */
  readonly second: Float64Array
  /** E[x], `[d]`. */
  readonly mean: Float64Array
}

/** What became of a covariance C: keep · C + added · I. */
export interface Shrinkage {
  readonly keep: number
  readonly added: number
}

/** Rounding of moments that were multiplied in float32, as a share of the mean square. */
const ROUNDING = 1e-6
/** Stands for the covariance of an input that is always zero: any multiple of the identity, small beside other groups. */
const NOTHING = 1e-30

/**
 * Shrinks a covariance in place; it is positive definite afterwards.
 *
 * @param covariance `[d, d]`.
 * @param samples independent samples it was computed from.
 * @param meanSquare mean of E[x²] over the d coordinates, before the mean was taken off.
 */
export function shrinkCovariance(covariance: Float64Array, d: number, samples: number, meanSquare: number): Shrinkage {
  let trace = 0
  for (let i = 0; i < d; i++) trace += Math.max(0, covariance[i * d + i]!)
  let squares = 0
  for (let i = 0; i < covariance.length; i++) squares += covariance[i]! ** 2
  const above = (1 - 2 / d) * squares + trace ** 2
  const below = (Math.max(1, samples) + 1 - 2 / d) * (squares - trace ** 2 / d)
  const share = below > 0 ? Math.min(1, above / below) : 1
  const keep = 1 - share
  const added = (share * trace) / d + ROUNDING * Math.max(0, meanSquare) + NOTHING
  for (let i = 0; i < covariance.length; i++) covariance[i]! *= keep
  for (let i = 0; i < d; i++) covariance[i * d + i]! += added
  return { keep, added }
}

/** Mean of the diagonal of E[x xᵀ] `[d, d]`. */
export function meanSquareOf(second: Float64Array, d: number): number {
  let sum = 0
  for (let i = 0; i < d; i++) sum += second[i * d + i]!
  return d > 0 ? sum / d : 0
}
