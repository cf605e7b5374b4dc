/**
 * The range with the least mean squared error between numbers and what is left of them after quantization.
 *
 * As in AIMET's `tf_enhanced` and NNCF's histogram mode both ends are searched together; here on a geometric grid, in
 * quarter octaves and then in finer and finer steps around the best, since an outlier may be a thousand times as large as
 * the rest. The error of a candidate is integrated over the histogram (see density.ts).
 */
import { type AffineOptions, affineParameters, integerLimits } from '../affine.ts'
import { INTEGER_TYPES, type Range } from '../scheme.ts'
import { Density, roundingError } from './density.ts'
import type { Histogram } from './histogram.ts'

/** Steps of the search: ratio of neighbouring candidates as a power of two, and how many to each side of the best. */
const REFINEMENTS = [
  { octaves: 1 / 16, reach: 4 },
  { octaves: 1 / 64, reach: 4 },
] as const
/** Share of a side's numbers that no candidate may clip. */
const KEPT_SHARE = 0.5
const MOST_CANDIDATES = 64

/**
 * The mean squared error of quantizing all numbers of a histogram with the scale and zero point of a range.
 *
 * @returns per number, zeros included; 0 for an empty histogram.
 */
export function quantizationError(histogram: Histogram, range: Range, target: AffineOptions): number {
  return histogram.count === 0 ? 0 : errorOf(new Density(histogram), range, target) / histogram.count
}

function errorOf(density: Density, range: Range, target: AffineOptions): number {
  const { least, most } = integerLimits(target.type, target.bits ?? INTEGER_TYPES[target.type].bits, target.symmetric)
  const { scale, zeroPoint } = affineParameters(range, target)
  return roundingError(density, { scale, least: least - zeroPoint, most: most - zeroPoint })
}

/**
 * The range with the least error.
 *
 * @param full least and greatest number. @param target type, bits and whether the range is even around zero.
 */
export function mseRange(histogram: Histogram, full: Range, target: AffineOptions): Range {
  if (histogram.count === histogram.zeros) return { min: Math.min(full.min, 0), max: Math.max(full.max, 0) }
  const density = new Density(histogram)
  const rangeOf = (low: number, high: number): Range =>
    target.symmetric ? { min: -high, max: high } : { min: -low, max: high }
  const ends = target.symmetric ? [0, Math.max(-full.min, full.max)] : [Math.max(0, -full.min), Math.max(0, full.max)]
  const kept = target.symmetric
    ? [0, density.magnitudeQuantile(1 - (KEPT_SHARE * density.nonzeros) / histogram.count)]
    : [density.negative, density.positive].map((side) => (side.total > 0 ? side.quantile(KEPT_SHARE * side.total) : 0))
  let best: readonly [number, number] = [ends[0]!, ends[1]!]
  let least = errorOf(density, rangeOf(...best), target)
  const search = (lows: readonly number[], highs: readonly number[]): void => {
    for (const low of lows)
      for (const high of highs) {
        const error = errorOf(density, rangeOf(low, high), target)
        if (error < least) {
          least = error
          best = [low, high]
        }
      }
  }
  search(descending(ends[0]!, kept[0]!), descending(ends[1]!, kept[1]!))
  for (const { octaves, reach } of REFINEMENTS) {
    const [low, high] = best
    search(around(low, ends[0]!, octaves, reach), around(high, ends[1]!, octaves, reach))
  }
  return rangeOf(...best)
}

/** Quarter octaves from an end inward. */
function descending(end: number, kept: number): number[] {
  if (end === 0) return [0]
  const candidates: number[] = []
  for (let i = 0; i < MOST_CANDIDATES; i++) {
    const candidate = end * 2 ** (-i / 4)
    candidates.push(candidate)
    if (candidate < kept) break
  }
  return candidates
}

function around(value: number, end: number, octaves: number, reach: number): number[] {
  if (value === 0) return [0]
  const candidates: number[] = []
  for (let i = -reach; i <= reach; i++) candidates.push(Math.min(end, value * 2 ** (i * octaves)))
  return [...new Set(candidates)]
}
