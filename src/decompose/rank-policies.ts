/**
 * Ranks from a spectrum: how many singular values to keep for a share of the energy, an error bound or a ratio.
 *
 * The relative error of the best rank-r approximation is √(Σ_{i>r} s_i² / Σ s_i²) (Eckart, Young, "The approximation of
 * one matrix by another of lower rank", Psychometrika 1(3), 1936).
 */
import { fail } from '../core/index.ts'

/**
 * The relative error ‖W − W_r‖ / ‖W‖ of the best approximation of every rank r = 0 … n: n + 1 numbers from 1 to 0,
 * never rising. All 0 for a zero spectrum.
 *
 * @param singularValues descending; sums run from the small end, so that small errors keep their digits.
 * @example
 * console.log([...relativeErrorCurve([3, 2, 1])].map((error) => error.toFixed(4)))
 */
export function relativeErrorCurve(singularValues: ArrayLike<number>): Float64Array {
  const n = singularValues.length
  const largest = singularValues[0] ?? 0
  const curve = new Float64Array(n + 1)
  if (largest === 0) return curve
  // Relative to the largest, so that squares neither overflow nor vanish.
  for (let r = n - 1; r >= 0; r--) curve[r] = curve[r + 1]! + (singularValues[r]! / largest) ** 2
  const total = curve[0]!
  for (let r = 0; r <= n; r++) curve[r] = Math.sqrt(curve[r]! / total)
  return curve
}

/**
 * The smallest rank (at least 1) whose kept energy Σ_{i≤r} s_i² / Σ s_i² is at least `energy`.
 *
 * @param energy in (0, 1].
 * @throws WhittleError `INVALID_ARGUMENT`.
 * @example
 * console.log(rankFromEnergy([3, 2, 1], 0.9))
 */
export function rankFromEnergy(singularValues: ArrayLike<number>, energy: number): number {
  if (!(energy > 0 && energy <= 1))
    fail('INVALID_ARGUMENT', `Rank from energy: the share must be in (0, 1]; got ${energy}. Use a number such as 0.9.`)
  return smallestRank(singularValues, Math.sqrt(1 - energy))
}

/**
 * The smallest rank (at least 1) whose relative error ‖W − W_r‖ / ‖W‖ is at most `relativeError`.
 *
 * @param relativeError in [0, 1).
 * @throws WhittleError `INVALID_ARGUMENT`.
 * @example
 * console.log(rankFromError([3, 2, 1], 0.3))
 */
export function rankFromError(singularValues: ArrayLike<number>, relativeError: number): number {
  if (!(relativeError >= 0 && relativeError < 1))
    fail(
      'INVALID_ARGUMENT',
      `Rank from an error bound: the bound must be in [0, 1); got ${relativeError}. Use a number such as 0.1.`,
    )
  return smallestRank(singularValues, relativeError)
}

function smallestRank(singularValues: ArrayLike<number>, bound: number): number {
  const curve = relativeErrorCurve(singularValues)
  // One part in 10¹² of slack: a bound that came out of the same curve must give its rank back.
  const limit = bound * (1 + 1e-12)
  let rank = Math.max(singularValues.length, 1)
  while (rank > 1 && curve[rank - 1]! <= limit) rank--
  return rank
}

/**
 * `ratio × full` to the nearest integer, between 1 and `full`.
 *
 * @param full what the ratio is a share of, e.g. the output channels.
 * @param ratio in (0, 1].
 * @throws WhittleError `INVALID_ARGUMENT`.
 * @example
 * console.log(rankFromRatio(64, 0.25))
 */
export function rankFromRatio(full: number, ratio: number): number {
  if (!(ratio > 0 && ratio <= 1))
    fail('INVALID_ARGUMENT', `Rank from a ratio: the ratio must be in (0, 1]; got ${ratio}. Use a number such as 0.25.`)
  return Math.min(full, Math.max(1, Math.round(full * ratio)))
}

/**
 * A fixed rank, checked.
 *
 * @throws WhittleError `RANK_OUT_OF_RANGE` unless it is an integer in 1 … full.
 * @example
 * console.log(fixedRank(16, 64))
 */
export function fixedRank(rank: number, full: number): number {
  if (!Number.isInteger(rank) || rank < 1 || rank > full)
    fail('RANK_OUT_OF_RANGE', `Rank must be an integer between 1 and the full rank ${full}; got ${rank}.`)
  return rank
}

/**
 * The rank rounded to a multiple of `align` and kept within 1 … limit. Up by default, so that an energy or error that
 * was asked for still holds; ranks that are no multiple of 16 cost ONNX Runtime's CPU kernels up to half their speed.
 *
 * @param limit the full rank; wins over the multiple.
 * @param direction `'nearest'` rounds half up, and up to one multiple where it would give 0.
 * @example
 * console.log(alignRank(17, 16, 64), alignRank(17, 16, 24))
 */
export function alignRank(
  rank: number,
  align: number,
  limit: number,
  direction: 'up' | 'nearest' | 'down' = 'up',
): number {
  if (!Number.isInteger(align) || align < 1)
    fail('INVALID_ARGUMENT', `Rank alignment must be a positive integer; got ${align}. Use 16, or 1 for none.`)
  const units = rank / align
  const whole = direction === 'up' ? Math.ceil(units) : direction === 'down' ? Math.floor(units) : Math.round(units)
  return Math.max(1, Math.min(limit, Math.max(1, whole) * align))
}
