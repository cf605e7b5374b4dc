/**
 * IFMR (Input Feature Map Reconstruction), the default of Huawei's AMCT, to the letter of its open source.
 *
 * The k-th largest and k-th smallest number, k = n − int(p · n) (1 when 1 − p < FLT_EPSILON), widened to contain zero, are
 * the ends; c = max₀ · arange(start, end, step) are the candidates. Asymmetric: scale = (c − min₀) / (2ⁿ − 1), and only the upper
 * end is searched; symmetric: max₀ becomes the larger magnitude, the range is ±c, and scale is c / 2^(n−1) when the
 * negative end was the larger, else c / (2^(n−1) − 1). A scale below FLT_EPSILON becomes 1. The candidate with the least mean
 * squared error of round(clamp(x) / scale) · scale wins; offset = −round(min₀ / scale) − 2^(n−1), 0 if symmetric. Candidates and
 * scales are float32, as there; the errors' sums are float64.
 */
import { fail } from '../../../core/index.ts'
import { roundHalfToEven } from '../affine.ts'
import { type AmctFactors, FLOAT_EPSILON } from './amct-factors.ts'
import { Density, roundingError } from './density.ts'
import type { TensorStatistics } from './statistics.ts'

/** Parameters of IFMR, with AMCT's names and defaults. */
export interface IfmrOptions {
  /** Share of numbers below the upper end, over 0.5 … 1; default 0.999999. */
  readonly maxPercentile?: number | undefined
  /** Share of numbers above the lower end, over 0.5 … 1; default 0.999999. */
  readonly minPercentile?: number | undefined
  /** Candidates as shares of the end, 0 < first < last; default [0.7, 1.3]. */
  readonly searchRange?: readonly [start: number, end: number] | undefined
  /** Step of the candidates, over 0 and at most the range's length; default 0.01. */
  readonly searchStep?: number | undefined
}

/** What is quantized to. */
export interface IfmrTarget {
  readonly bits: number
  readonly symmetric: boolean
}

const { fround } = Math

function checked(options: IfmrOptions): Required<{ [K in keyof IfmrOptions]: NonNullable<IfmrOptions[K]> }> {
  const { maxPercentile = 0.999999, minPercentile = 0.999999, searchRange = [0.7, 1.3], searchStep = 0.01 } = options
  for (const [name, value] of Object.entries({ maxPercentile, minPercentile }))
    if (!(value > 0.5 && value <= 1))
      fail('INVALID_ARGUMENT', `Calibration 'ifmr': ${name} must be over 0.5 and up to 1; got ${value}.`)
  const [start, end] = searchRange
  if (!(start > 0 && start < end && Number.isFinite(end)))
    fail('INVALID_ARGUMENT', `Calibration 'ifmr': searchRange must be 0 < start < end; got [${start}, ${end}].`)
  if (!(searchStep > 0 && searchStep <= end - start))
    fail(
      'INVALID_ARGUMENT',
      `Calibration 'ifmr': searchStep must be over 0 and at most ${end - start}, the length of searchRange; got ${searchStep}.`,
    )
  if ((end - start) / searchStep > 1e6)
    fail('INVALID_ARGUMENT', "Calibration 'ifmr': searchStep must leave at most a million candidates.")
  return { maxPercentile, minPercentile, searchRange, searchStep }
}

/** The place of an end, counted from 1 inward: k of the k-th largest or smallest. */
export function ifmrRank(count: number, percentile: number): number {
  return 1 - percentile < FLOAT_EPSILON ? 1 : count - Math.trunc(percentile * count)
}

/** `torch.arange(start, end, step)` in float32: the count in float64, so that [0.7, 1.3) in steps of 0.01 are 61. */
export function ifmrRatios([start, end]: readonly [number, number], step: number): Float32Array {
  return Float32Array.from({ length: Math.ceil((end - start) / step) }, (_, i) => start + i * step)
}

/** Ends, candidates and scales of a search; what is left is the error of each. */
interface Search {
  readonly min: number
  readonly symmetric: boolean
  readonly candidates: Float32Array
  readonly scales: Float32Array
}

function searchOf(max0: number, min0: number, target: IfmrTarget, ratios: Float32Array): Search {
  const { bits, symmetric } = target
  let max = Math.max(0, max0)
  const min = Math.min(0, min0)
  const negative = Math.abs(max) < Math.abs(min)
  if (symmetric) max = Math.max(Math.abs(max), Math.abs(min))
  const candidates = ratios.map((ratio) => ratio * max)
  const steps = symmetric ? 2 ** (bits - 1) - (negative ? 0 : 1) : 2 ** bits - 1
  const scales = candidates.map((c) => {
    const scale = fround((symmetric ? c : fround(c - min)) / steps)
    return scale < FLOAT_EPSILON ? 1 : scale
  })
  return { min, symmetric, candidates, scales }
}

function factorsOf({ min, symmetric, scales }: Search, losses: Float64Array, bits: number): AmctFactors {
  let best = 0
  for (let i = 1; i < losses.length; i++) if (losses[i]! < losses[best]!) best = i
  const scale = scales[best]!
  return { scale, offset: symmetric ? 0 : -roundHalfToEven(fround(min / scale)) - 2 ** (bits - 1) }
}

/**
 * IFMR over numbers at hand: the reference that {@link ifmrOfStatistics} comes close to without having them.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for options out of range, `INVALID_DATA` without a number.
 */
export function ifmr(data: Float32Array, target: IfmrTarget, options: IfmrOptions = {}): AmctFactors {
  const { maxPercentile, minPercentile, searchRange, searchStep } = checked(options)
  if (data.length === 0) fail('INVALID_DATA', "Calibration 'ifmr': needs at least one number; got none.")
  const sorted = data.slice().sort()
  const max0 = sorted[data.length - ifmrRank(data.length, maxPercentile)]!
  const min0 = sorted[ifmrRank(data.length, minPercentile) - 1]!
  const search = searchOf(max0, min0, target, ifmrRatios(searchRange, searchStep))
  const losses = Float64Array.from(search.candidates, (c, i) => {
    const scale = search.scales[i]!
    const min = search.symmetric ? -c : search.min
    let sum = 0
    for (let j = 0; j < data.length; j++) {
      const x = data[j]!
      const clamped = x < min ? min : x > c ? c : x
      const error = fround(roundHalfToEven(fround(clamped / scale)) * scale) - x
      sum += error * error
    }
    return sum
  })
  return factorsOf(search, losses, target.bits)
}

/**
 * IFMR from statistics: ends from the extremes kept (exact up to 5 · 10⁸ numbers at the default percentiles, beyond from the
 * histogram), errors integrated over the histogram.
 *
 * @param statistics with a histogram.
 */
export function ifmrOfStatistics(
  statistics: TensorStatistics,
  target: IfmrTarget,
  options: IfmrOptions = {},
): AmctFactors {
  const { maxPercentile, minPercentile, searchRange, searchStep } = checked(options)
  const { histogram, extremes, count } = statistics
  if (!histogram) fail('INVALID_ARGUMENT', "Calibration 'ifmr': needs a histogram; collect with statisticNeeds().")
  if (count === 0) fail('INVALID_DATA', "Calibration 'ifmr': needs at least one number; got none.")
  const density = new Density(histogram)
  const high = ifmrRank(count, maxPercentile)
  const low = ifmrRank(count, minPercentile)
  const max0 = extremes?.largest()[high - 1] ?? Math.min(density.quantile(1 - high / count), statistics.max)
  const min0 = extremes?.smallest()[low - 1] ?? Math.max(density.quantile(low / count), statistics.min)
  const search = searchOf(max0, min0, target, ifmrRatios(searchRange, searchStep))
  const losses = Float64Array.from(search.candidates, (c, i) => {
    const scale = search.scales[i]!
    const least = roundHalfToEven((search.symmetric ? -c : search.min) / scale)
    return roundingError(density, { scale, least, most: roundHalfToEven(c / scale) })
  })
  return factorsOf(search, losses, target.bits)
}
