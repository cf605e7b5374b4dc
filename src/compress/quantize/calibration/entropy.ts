/**
 * The threshold that loses least information (KL divergence), after TensorRT.
 *
 * Sources: S. Migacz, "8-bit inference with TensorRT", GTC 2017; levels of even width as in NVIDIA's
 * pytorch-quantization (`_compute_amax_entropy`). Magnitudes are counted in 4,096 bins; for every threshold at a
 * bin's end i, P is the first i bins with all outliers added to the last of them, and Q the same bins without outliers,
 * averaged over the nonempty ones within each of the levels; where the last bin is empty Q is 10⁻⁴ there (MXNet's
 * smoothing). The threshold with the least KL(P‖Q) wins, of equal ones the largest. Exact zeros are left out: every
 * quantization keeps them.
 *
 * Two things differ. The sums Σ P log(P/Q) are taken level by level from running sums, the same number in O(levels)
 * instead of O(bins). And the bins do not go up to the greatest magnitude, which may be an outlier that leaves all others
 * in a few bins, where the divergence sees nothing: they begin with the power of two below which at least 127 of 128
 * numbers lie, and that doubles while the best threshold is near its end.
 */
import type { Histogram } from './histogram.ts'
import { OCTAVE } from './histogram.ts'
import { HALF } from './histogram-kernel.ts'

/** Numbers that an empty last bin counts for in Q. */
const SMOOTHED = 1e-4
/** Share of the bins from which on a threshold may lie beyond them. */
const NEAR_END = 0.9
/** Thresholds that the first look of a search passes over: 1/256 of the bins. */
const STRIDE = 16

/**
 * The end of the last of `i` bins for which the divergence is least.
 *
 * @param bins counts of magnitudes, from zero outward. @param levels of the quantization; default 128.
 * @param outliers numbers beyond the bins; default 0.
 * @param stride looks at every stride-th threshold first and then at all near the best; default 1, every one.
 * @returns how many bins to keep, `levels` … `bins.length`; all where there are no more bins than levels.
 */
export function entropyThreshold(bins: Float64Array, levels = 128, outliers = 0, stride = 1): number {
  const size = bins.length
  if (size <= levels) return size
  // Sums over the bins before each: numbers, nonempty bins, and c · log c.
  const [numbers, filled, logs] = runningSums(bins)
  const total = numbers[size]! + outliers
  const divergenceAt = (i: number): number => {
    const kept = numbers[i]!
    if (kept === 0) return Number.POSITIVE_INFINITY
    const beyond = total - kept
    const last = bins[i - 1]!
    // Σ P log P and Σ P log Q, unscaled.
    const plain = logs[i - 1]! + xLogX(last + beyond)
    const smoothed = last === 0 && beyond > 0
    let cross = smoothed ? beyond * Math.log(SMOOTHED) : 0
    let from = 0
    for (let level = 1; level <= levels; level++) {
      // The first bin of the next level: ⌊bin · levels / i⌋ = level.
      const end = Math.ceil((level * i) / levels)
      const mass = numbers[end]! - numbers[from]!
      if (mass > 0) {
        const outside = level === levels && last > 0 ? beyond : 0
        cross += (mass + outside) * Math.log(mass / (filled[end]! - filled[from]!))
      }
      from = end
    }
    return (plain - cross) / total - Math.log(total) + Math.log(kept + (smoothed ? SMOOTHED : 0))
  }
  let best = size
  let least = Number.POSITIVE_INFINITY
  const search = (from: number, to: number, step: number): void => {
    for (let i = from; i >= to; i -= step) {
      const divergence = divergenceAt(i)
      if (divergence < least - 1e-12 || (divergence < least + 1e-12 && i > best)) {
        least = Math.min(least, divergence)
        best = i
      }
    }
  }
  search(size, levels, stride)
  if (stride > 1) search(Math.min(size, best + stride - 1), Math.max(levels, best - stride + 1), 1)
  return best
}

function xLogX(x: number): number {
  return x > 0 ? x * Math.log(x) : 0
}

function runningSums(bins: Float64Array): readonly [Float64Array, Float64Array, Float64Array] {
  const sums = [0, 1, 2].map(() => new Float64Array(bins.length + 1)) as [Float64Array, Float64Array, Float64Array]
  for (const [i, count] of bins.entries()) {
    sums[0][i + 1] = sums[0][i]! + count
    sums[1][i + 1] = sums[1][i]! + (count > 0 ? 1 : 0)
    sums[2][i + 1] = sums[2][i]! + xLogX(count)
  }
  return sums
}

/**
 * The magnitude to clip at.
 *
 * @param most the greatest magnitude. @param levels of the quantization on one side of zero.
 */
export function entropyMagnitude(histogram: Histogram, most: number, levels: number): number {
  if (histogram.reach === 0) return 0
  // More levels than bins: nothing to choose by.
  if (2 * levels > HALF) return most
  const magnitudes = sumOf(histogram.side(false), histogram.side(true))
  for (let range = histogram.reach; ; range *= 2) {
    const { bins, outliers } = evenBins(magnitudes, histogram.reach, range)
    const best = entropyThreshold(bins.subarray(0, usedBins(bins, outliers)), levels, outliers, STRIDE)
    if (outliers === 0 || best < NEAR_END * HALF) return Math.min((best * range) / HALF, most)
  }
}

function usedBins(bins: Float64Array, outliers: number): number {
  let size = bins.length
  if (outliers === 0) while (size > 0 && bins[size - 1] === 0) size--
  return size
}

function sumOf(a: Float64Array, b: Float64Array): Float64Array {
  const [long, short] = a.length >= b.length ? [a, b] : [b, a]
  return long.map((count, i) => count + (short[i] ?? 0))
}

/** HALF bins of equal width over [0, range), and what lies beyond; exact, since every bin lies within one of these. */
function evenBins(magnitudes: Float64Array, reach: number, range: number): { bins: Float64Array; outliers: number } {
  const bins = new Float64Array(HALF)
  const width = range / HALF
  let outliers = 0
  for (const [i, count] of magnitudes.entries()) {
    if (count === 0) continue
    const octave = Math.floor((i - HALF) / OCTAVE)
    const edge = i < HALF ? (i * reach) / HALF : reach * 2 ** octave * (1 + (i - HALF - octave * OCTAVE) / OCTAVE)
    if (edge < range) bins[Math.floor(edge / width)]! += count
    else outliers += count
  }
  return { bins, outliers }
}
