/** Ranges that cut the same share of numbers off, whatever their size. */
import { fail } from '../../../core/index.ts'
import type { Range } from '../scheme.ts'
import { Density } from './density.ts'
import type { TensorStatistics } from './statistics.ts'

/**
 * The range of percentiles: with a symmetric target that of magnitudes, else (100 − percentile) / 2 per cent are cut off on
 * each side, as `onnxruntime.quantization` does.
 *
 * As `numpy.percentile`: linear between order statistics. Exact where the extremes kept reach that far (512 numbers on
 * each side), else from the histogram, whose bins are at most 1/2048 of a number wide.
 *
 * @param percentile over 50 … 100.
 * @throws WhittleError `INVALID_ARGUMENT` for another percentile.
 */
export function percentileRange(statistics: TensorStatistics, percentile: number, symmetric: boolean): Range {
  if (!(percentile > 50 && percentile <= 100))
    fail('INVALID_ARGUMENT', `Calibration 'percentile': must be over 50 and up to 100; got ${percentile}.`)
  const share = percentile / 100
  if (symmetric) {
    const most = magnitudeQuantile(statistics, share)
    return { min: -most, max: most }
  }
  const cut = (1 - share) / 2
  const { count } = statistics
  const { extremes, histogram } = statistics
  const low = cut * (count - 1)
  const min = extremes && between(extremes.smallest(), low)
  const max = extremes && between(extremes.largest(), low)
  const density = (min === undefined || max === undefined) && histogram ? new Density(histogram) : undefined
  return {
    min: min ?? Math.max(density?.quantile(cut) ?? statistics.min, statistics.min),
    max: max ?? Math.min(density?.quantile(1 - cut) ?? statistics.max, statistics.max),
  }
}

function magnitudeQuantile({ extremes, histogram, count, min, max }: TensorStatistics, share: number): number {
  if (extremes) {
    const largest = extremes.largest()
    // Of a few numbers both ends hold the same.
    const smallest = extremes.smallest().subarray(0, count - largest.length)
    const magnitudes = Float32Array.of(...largest, ...smallest)
      .map(Math.abs)
      .sort()
      .reverse()
    // Only so many of them are surely the largest magnitudes of all.
    const known = magnitudes.length === count ? count : largest.length
    const exact = between(magnitudes.subarray(0, known), (1 - share) * (count - 1))
    if (exact !== undefined) return exact
  }
  const most = Math.max(-min, max)
  return histogram ? Math.min(new Density(histogram).magnitudeQuantile(share), most) : most
}

/** The number at a place counted from the end of a distribution, linear between two; `undefined` if that was not kept. */
function between(fromEnd: Float32Array, place: number): number | undefined {
  const whole = Math.floor(place)
  const a = fromEnd[whole]
  if (a === undefined || place === whole) return a
  const b = fromEnd[whole + 1]
  return b === undefined ? undefined : a + (place - whole) * (b - a)
}
