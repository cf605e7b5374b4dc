/**
 * A histogram read as a density that is constant within each bin, with sums that make any interval's count, mean and
 * second moment a matter of two look-ups. Sums run from zero outward on each side, so that outliers at the ends take no
 * precision from the others.
 */
import type { Histogram } from './histogram.ts'
import { OCTAVE } from './histogram.ts'
import { HALF } from './histogram-kernel.ts'

/** Sums over the numbers between zero and some magnitude. */
class Side {
  /** Bin counts from zero outward. */
  readonly counts: Float64Array
  readonly #reach: number
  readonly #exponent: number
  /** Sums of 1, x and x² over the bins before each bin, and over all. */
  readonly #n: Float64Array
  readonly #s1: Float64Array
  readonly #s2: Float64Array
  /** Results of {@link upTo}. */
  n = 0
  s1 = 0
  s2 = 0

  constructor(counts: Float64Array, reach: number) {
    this.counts = counts
    this.#reach = reach
    this.#exponent = Math.round(Math.log2(reach))
    const size = counts.length + 1
    this.#n = new Float64Array(size)
    this.#s1 = new Float64Array(size)
    this.#s2 = new Float64Array(size)
    for (let i = 0; i < counts.length; i++) {
      const a = this.edge(i)
      const d = this.edge(i + 1) - a
      const count = counts[i]!
      this.#n[i + 1] = this.#n[i]! + count
      this.#s1[i + 1] = this.#s1[i]! + count * (a + d / 2)
      this.#s2[i + 1] = this.#s2[i]! + count * (a * (a + d) + (d * d) / 3)
    }
  }

  get total(): number {
    return this.#n[this.counts.length]!
  }

  /** Lower edge of a bin. */
  edge(bin: number): number {
    if (bin <= HALF) return (bin * this.#reach) / HALF
    const octave = Math.floor((bin - HALF) / OCTAVE)
    return this.#reach * 2 ** octave * (1 + (bin - HALF - octave * OCTAVE) / OCTAVE)
  }

  /** Bins up to a magnitude, the last one in part. */
  position(magnitude: number): number {
    if (magnitude < this.#reach) return (magnitude / this.#reach) * HALF
    if (!(magnitude < Number.POSITIVE_INFINITY)) return this.counts.length
    let octave = Math.floor(Math.log2(magnitude)) - this.#exponent
    // The logarithm may be off by a rounding at powers of two.
    if (this.#reach * 2 ** octave > magnitude) octave--
    else if (this.#reach * 2 ** (octave + 1) <= magnitude) octave++
    return HALF + OCTAVE * (octave + magnitude / (this.#reach * 2 ** octave) - 1)
  }

  /** Sets {@link n}, {@link s1} and {@link s2} to the sums over magnitudes up to this one. */
  upTo(magnitude: number): void {
    const position = this.position(magnitude)
    const last = this.counts.length
    if (position >= last) {
      this.n = this.#n[last]!
      this.s1 = this.#s1[last]!
      this.s2 = this.#s2[last]!
      return
    }
    const bin = Math.floor(position)
    const share = this.counts[bin]! * (position - bin)
    const a = this.edge(bin)
    const d = magnitude - a
    this.n = this.#n[bin]! + share
    this.s1 = this.#s1[bin]! + share * (a + d / 2)
    this.s2 = this.#s2[bin]! + share * (a * (a + d) + (d * d) / 3)
  }

  /** Magnitude that `rank` numbers lie below; 0 ≤ rank ≤ total. */
  quantile(rank: number): number {
    let low = 0
    let high = this.counts.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#n[middle + 1]! >= rank && this.#n[middle + 1]! > 0) high = middle
      else low = middle + 1
    }
    if (low >= this.counts.length) return this.edge(this.counts.length)
    const count = this.counts[low]!
    const share = count > 0 ? (rank - this.#n[low]!) / count : 0
    return this.edge(low) + share * (this.edge(low + 1) - this.edge(low))
  }
}

/** The numbers of a histogram, zeros apart. */
export class Density {
  readonly positive: Side
  readonly negative: Side
  readonly zeros: number
  /** Results of {@link upTo}. */
  n = 0
  s1 = 0
  s2 = 0

  constructor(histogram: Histogram) {
    this.positive = new Side(histogram.side(false), histogram.reach)
    this.negative = new Side(histogram.side(true), histogram.reach)
    this.zeros = histogram.zeros
  }

  /** Numbers that are not zero. */
  get nonzeros(): number {
    return this.positive.total + this.negative.total
  }

  /** Sets {@link n}, {@link s1}, {@link s2} to the integrals of density · (1, x, x²) from 0 to x: for x < 0 negative counts. */
  upTo(x: number): void {
    if (x >= 0) {
      this.positive.upTo(x)
      this.n = this.positive.n
      this.s1 = this.positive.s1
      this.s2 = this.positive.s2
    } else {
      this.negative.upTo(-x)
      this.n = -this.negative.n
      this.s1 = this.negative.s1
      this.s2 = -this.negative.s2
    }
  }

  /**
   * The number that a share of all numbers lies below.
   *
   * @param share 0 … 1 of the numbers, zeros included.
   */
  quantile(share: number): number {
    const rank = share * (this.nonzeros + this.zeros)
    if (rank < this.negative.total) return -this.negative.quantile(this.negative.total - rank)
    if (rank <= this.negative.total + this.zeros) return 0
    return this.positive.quantile(rank - this.negative.total - this.zeros)
  }

  /** The magnitude that a share of all numbers lies below. @param share 0 … 1. */
  magnitudeQuantile(share: number): number {
    const rank = share * (this.nonzeros + this.zeros) - this.zeros
    if (rank <= 0) return 0
    let low = 0
    let high = Math.max(this.positive.counts.length, this.negative.counts.length)
    const side = this.positive.counts.length >= this.negative.counts.length ? this.positive : this.negative
    const below = (bin: number): number => {
      const edge = side.edge(bin)
      this.positive.upTo(edge)
      this.negative.upTo(edge)
      return this.positive.n + this.negative.n
    }
    while (low < high) {
      const middle = (low + high) >> 1
      if (below(middle + 1) >= rank) high = middle
      else low = middle + 1
    }
    const [before, after] = [below(low), below(low + 1)]
    const part = after > before ? (rank - before) / (after - before) : 0
    return side.edge(low) + part * (side.edge(low + 1) - side.edge(low))
  }
}

/** Steps of a grid k · scale, least ≤ k ≤ most; what lies beyond goes to its ends. */
export type Grid = { readonly scale: number; readonly least: number; readonly most: number }

/** Levels from which on a step's error is taken as scale² / 12: fewer numbers lie in a step than in a bin. */
const MANY_LEVELS = 1024

/**
 * The sum of squared errors of rounding all numbers of a density to the nearest point of a grid; zeros have none.
 *
 * Time goes with the number of grid points, not of bins: ∫(x − v)² over the numbers nearest to a point v is
 * S₂ − 2v·S₁ + v²·S₀.
 */
export function roundingError(density: Density, { scale, least, most }: Grid): number {
  if (most - least > MANY_LEVELS) return coarseError(density, scale, least, most)
  density.upTo(Number.NEGATIVE_INFINITY)
  let [n, s1, s2] = [density.n, density.s1, density.s2]
  let error = 0
  for (let k = least; k <= most; k++) {
    const v = k * scale
    density.upTo(k === most ? Number.POSITIVE_INFINITY : v + scale / 2)
    error += density.s2 - s2 - 2 * v * (density.s1 - s1) + v * v * (density.n - n)
    n = density.n
    s1 = density.s1
    s2 = density.s2
  }
  return error
}

function coarseError(density: Density, scale: number, least: number, most: number): number {
  const clipped = (from: number, to: number, v: number): number => {
    density.upTo(from)
    const [n, s1, s2] = [density.n, density.s1, density.s2]
    density.upTo(to)
    return density.s2 - s2 - 2 * v * (density.s1 - s1) + v * v * (density.n - n)
  }
  const [low, high] = [least * scale, most * scale]
  density.upTo(low)
  const before = density.n
  density.upTo(high)
  return (
    clipped(Number.NEGATIVE_INFINITY, low, low) +
    clipped(high, Number.POSITIVE_INFINITY, high) +
    ((density.n - before) * scale * scale) / 12
  )
}
