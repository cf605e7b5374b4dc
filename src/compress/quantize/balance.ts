/**
 * Balancing: outliers of activations move into weights, by a factor per input channel of a layer.
 *
 * SmoothQuant (Xiao et al., ICML 2023, arXiv 2211.10438), which AMCT calls DMQ: with the largest absolute activation a
 * and weight w of an input channel and the migration strength m, f = aᵐ / w¹⁻ᵐ; x ← x / f, W ← W f. Zeros as in AMCT's
 * `dmq_balancer`: both zero → 1; a = 0 → max(w f) / w; w = 0 → a / max(a / f), the maxima over the other channels.
 */
import { fail } from '../../core/index.ts'

/** Below this a number counts as zero, and factors lie between it and its reciprocal: the epsilon of float32. */
export const FACTOR_EPSILON = 2 ** -23

/** Strengths that AMCT allows. */
const STRENGTHS = { least: 0.2, most: 0.8 } as const

/**
 * The factors per input channel.
 *
 * @param activations largest absolute activation per input channel.
 * @param weights largest absolute weight per input channel.
 * @param strength how much goes into the weights, 0.2 … 0.8; default 0.5. Larger outliers want a smaller one.
 * @returns one factor per channel; all 1 when one side is zero everywhere.
 * @throws WhittleError `INVALID_ARGUMENT` for another strength, `SHAPE_MISMATCH`, `NOT_FINITE` for activations or
 *   weights that are not finite, and where a factor leaves 2⁻²³ … 2²³.
 */
export function balanceFactors(activations: Float64Array, weights: Float64Array, strength = 0.5): Float64Array {
  checkInputs(activations, weights, strength)
  const count = activations.length
  const isZero = (value: number): boolean => value < FACTOR_EPSILON
  if (activations.every(isZero) || weights.every(isZero)) return new Float64Array(count).fill(1)
  const factors = new Float64Array(count)
  let activationOutlier = 0
  let weightOutlier = 0
  for (let i = 0; i < count; i++) {
    const [a, w] = [activations[i]!, weights[i]!]
    const factor = isZero(w) ? 0 : a ** strength / w ** (1 - strength)
    factors[i] = factor
    if (isZero(factor)) continue
    activationOutlier = Math.max(activationOutlier, a / factor)
    weightOutlier = Math.max(weightOutlier, w * factor)
  }
  for (let i = 0; i < count; i++) {
    const [a, w] = [activations[i]!, weights[i]!]
    if (isZero(a)) factors[i] = isZero(w) ? 1 : weightOutlier / w
    else if (isZero(w)) factors[i] = a / activationOutlier
  }
  const wrong = factors.findIndex((factor) => !(factor > FACTOR_EPSILON && factor < 1 / FACTOR_EPSILON))
  if (wrong >= 0)
    fail(
      'NOT_FINITE',
      `Balance: factors must lie between 2⁻²³ and 2²³; channel ${wrong} with activations up to ${activations[wrong]} and weights up to ${weights[wrong]} gets ${factors[wrong]}. Leave the layer out.`,
    )
  return factors
}

function checkInputs(activations: Float64Array, weights: Float64Array, strength: number): void {
  if (!(strength >= STRENGTHS.least && strength <= STRENGTHS.most))
    fail('INVALID_ARGUMENT', `Balance: the migration strength must be between 0.2 and 0.8; got ${strength}.`)
  if (activations.length !== weights.length)
    fail(
      'SHAPE_MISMATCH',
      `Balance: activations and weights must have as many channels; got ${activations.length} and ${weights.length}.`,
    )
  const wrong = activations.findIndex((value, i) => !(value >= 0 && value + weights[i]! < Number.POSITIVE_INFINITY))
  if (wrong >= 0)
    fail(
      'NOT_FINITE',
      `Balance: the largest absolute values must be finite; channel ${wrong} has ${activations[wrong]} and ${weights[wrong]}.`,
    )
}
