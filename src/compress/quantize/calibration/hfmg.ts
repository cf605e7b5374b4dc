/**
 * HFMG (Histogram Feature Map Glutton) of Huawei's AMCT, to the letter of its open source, but for float64 sums.
 *
 * A greedy walk from both ends of the histogram proposes ranges of bins, until a quarter of the bins is left; the one whose
 * quantization to 2ⁿ equal steps has the least squared error wins. The error is ∫ density · (x − centre)² over each step, density
 * constant within a bin; the first and last step take what is clipped.
 */
import { type AmctFactors, amctFactors, FLOAT_EPSILON } from './amct-factors.ts'
import type { HfmgHistogram } from './hfmg-histogram.ts'

/**
 * First and last bin of every range the walk proposes.
 *
 * Each turn looks how many bins from the left, and from the right, hold at least max(⌈total / 100,000⌉, 1) numbers, and moves the
 * side that passed more bins; of equals the right one.
 */
export function hfmgSearchRanges(counts: Float64Array): readonly (readonly [left: number, right: number])[] {
  const ranges: [number, number][] = []
  let total = 0
  for (const count of counts) total += count
  const step = Math.max(Math.ceil(total / 100_000), 1)
  const least = Math.ceil(counts.length / 4)
  let left = 0
  let right = counts.length - 1
  while (right - left > least) {
    let [nextLeft, nextRight, fromLeft, fromRight] = [left, right, 0, 0]
    while (nextLeft < nextRight && fromLeft < step) fromLeft += counts[nextLeft++]!
    while (nextLeft < nextRight && fromRight < step) fromRight += counts[nextRight--]!
    if (right - nextRight >= nextLeft - left) right = nextRight
    else left = nextLeft
    ranges.push([left, right])
  }
  return ranges
}

/** Sums of 1, x and x² up to bin edges, x in bins; a density that is constant within each bin. */
class BinSums {
  readonly #counts: Float64Array
  readonly #sums: readonly [Float64Array, Float64Array, Float64Array]

  constructor(counts: Float64Array) {
    this.#counts = counts
    this.#sums = [0, 1, 2].map(() => new Float64Array(counts.length + 1)) as [Float64Array, Float64Array, Float64Array]
    const [n, s1, s2] = this.#sums
    for (const [i, count] of counts.entries()) {
      n[i + 1] = n[i]! + count
      s1[i + 1] = s1[i]! + count * (i + 0.5)
      s2[i + 1] = s2[i]! + count * (i * (i + 1) + 1 / 3)
    }
  }

  /** ∫ density · (x − v)² from 0 to x. */
  squares(x: number, v: number): number {
    const [n, s1, s2] = this.#sums
    const bin = Math.min(Math.max(Math.floor(x), 0), this.#counts.length)
    const part = Math.min(Math.max(x - bin, 0), 1)
    const share = (this.#counts[bin] ?? 0) * part
    const first = s1[bin]! + share * (bin + part / 2)
    const second = s2[bin]! + share * (bin * (bin + part) + (part * part) / 3)
    return second - 2 * v * first + v * v * (n[bin]! + share)
  }
}

/** The squared error, in bins, of quantizing to `steps` equal steps over the bins left … right. */
function lossOf(sums: BinSums, size: number, left: number, right: number, steps: number): number {
  const width = (right - left + 1) / steps
  let loss = 0
  for (let step = 0; step < steps; step++) {
    const centre = left + (step + 0.5) * width
    const begin = step === 0 ? 0 : left + step * width
    const end = step === steps - 1 ? size : left + (step + 1) * width
    loss += sums.squares(end, centre) - sums.squares(begin, centre)
  }
  return loss
}

/**
 * The range whose quantization to 2ⁿ steps loses least, as scale and offset.
 *
 * @param histogram with at least one number.
 */
export function hfmg(histogram: HfmgHistogram, bits: number, symmetric: boolean): AmctFactors {
  const { counts, min, max } = histogram
  const width = Math.fround(Math.fround(max - min) / counts.length)
  const sums = new BinSums(counts)
  const steps = 2 ** bits
  let best: readonly [number, number] = [0, counts.length - 1]
  let least = Number.POSITIVE_INFINITY
  for (const [left, right] of hfmgSearchRanges(counts)) {
    const tiny = (width * (right - left + 1)) / steps < FLOAT_EPSILON
    const loss = tiny ? 0 : lossOf(sums, counts.length, left, right, steps) * width ** 2
    if (loss < least) {
      least = loss
      best = [left, right]
    }
  }
  const [left, right] = best
  const clipped = { min: min + Math.fround(left * width), max: min + Math.fround((right + 1) * width) }
  return amctFactors(clipped, bits, symmetric)
}
