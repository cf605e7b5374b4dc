/**
 * The histogram that HFMG (AMCT's Histogram Feature Map Glutton) accumulates, to the letter.
 *
 * Bins of equal width between the least and the greatest number so far. When a batch widens that range, the old counts
 * go into the new bins as if they were spread evenly within the old ones: a bin that lies across two new ones is split in
 * proportion, the lower part rounded down to a whole number. Hence, unlike with {@link Histogram}, the counts depend on
 * how the numbers come in batches. Edges and proportions are computed in float32, as there.
 */
import { fail } from '../../../core/index.ts'

/** Numbers of bins that AMCT allows. */
export const HFMG_BINS = [1024, 2048, 4096, 8192] as const

/** An HFMG histogram as JSON; `null` range: nothing was added yet. */
export type HfmgHistogramJson = {
  readonly bins: number
  readonly range: readonly [min: number, max: number] | null
  readonly counts: readonly number[]
}

const FLOAT_EPSILON = 1.192092896e-7

/** Counts between the least and the greatest number of a stream; see the head of this file. */
export class HfmgHistogram {
  readonly bins: number
  #counts: Float64Array
  #min = Number.NaN
  #max = Number.NaN

  /**
   * @param bins one of {@link HFMG_BINS}; default 4096.
   * @throws WhittleError `INVALID_ARGUMENT` for another number.
   */
  constructor(bins = 4096) {
    if (!HFMG_BINS.some((allowed) => allowed === bins))
      fail('INVALID_ARGUMENT', `HFMG: the number of bins must be ${HFMG_BINS.join(', ')}; got ${bins}.`)
    this.bins = bins
    this.#counts = new Float64Array(bins)
  }

  /** Edges of the first and last bin; NaN before the first batch. */
  get min(): number {
    return this.#min
  }

  get max(): number {
    return this.#max
  }

  /** `[bins]`; a copy. */
  get counts(): Float64Array {
    return this.#counts.slice()
  }

  /** Adds one batch. @param min,max the least and greatest of `data`. */
  add(data: Float32Array, min: number, max: number): void {
    if (data.length === 0) return
    const first = Number.isNaN(this.#min)
    const least = first ? min : Math.min(min, this.#min)
    const most = first ? max : Math.max(max, this.#max)
    const counts = countBetween(data, this.bins, least, most)
    if (!first) this.#spreadInto(counts, least, most)
    this.#counts = counts
    this.#min = least
    this.#max = most
  }

  /** Adds what another histogram counted, redistributing both. */
  merge(other: HfmgHistogram): void {
    if (other.bins !== this.bins)
      fail('INVALID_ARGUMENT', `HFMG: histograms of ${this.bins} and of ${other.bins} bins do not merge.`)
    if (Number.isNaN(other.#min)) return
    const first = Number.isNaN(this.#min)
    const least = first ? other.#min : Math.min(other.#min, this.#min)
    const most = first ? other.#max : Math.max(other.#max, this.#max)
    const counts = new Float64Array(this.bins)
    other.#spreadInto(counts, least, most)
    if (!first) this.#spreadInto(counts, least, most)
    this.#counts = counts
    this.#min = least
    this.#max = most
  }

  /** Adds these counts to those of the bins of a range that contains this one. */
  #spreadInto(counts: Float64Array, min: number, max: number): void {
    const old = this.#counts
    if (isClose(min, this.#min) && isClose(max, this.#max)) {
      for (let i = 0; i < old.length; i++) counts[i]! += old[i]!
      return
    }
    const { fround } = Math
    const width = fround(fround(this.#max - this.#min) / this.bins)
    const merged = fround(fround(max - min) / this.bins)
    const binOf = (x: number): number => Math.min(floorDivide(fround(x - min), merged), this.bins - 1)
    for (let i = 0; i < old.length; i++) {
      const lower = fround(this.#min + fround(i * width))
      const upper = fround(this.#min + fround((i + 1) * width))
      const low = binOf(lower)
      const high = binOf(upper)
      if (low === high) counts[low]! += old[i]!
      else {
        const edge = fround(min + fround((low + 1) * merged))
        const share = fround(fround(edge - lower) / fround(upper - lower))
        const below = Math.trunc(fround(old[i]! * share))
        counts[low]! += below
        counts[high]! += old[i]! - below
      }
    }
  }

  toJson(): HfmgHistogramJson {
    return {
      bins: this.bins,
      range: Number.isNaN(this.#min) ? null : [this.#min, this.#max],
      counts: [...this.#counts],
    }
  }

  /** @throws WhittleError `INVALID_FILE` when the numbers are none of such a histogram's. */
  static fromJson({ bins, range, counts }: HfmgHistogramJson): HfmgHistogram {
    const valid =
      HFMG_BINS.some((allowed) => allowed === bins) &&
      counts.length === bins &&
      counts.every((count) => Number.isSafeInteger(count)) &&
      (range === null || (range.length === 2 && range.every(Number.isFinite) && range[0] <= range[1]))
    if (!valid)
      fail('INVALID_FILE', 'HFMG histogram: must have as many whole counts as bins, and a range that is not reversed.')
    const histogram = new HfmgHistogram(bins)
    histogram.#counts.set(counts)
    if (range) {
      histogram.#min = range[0]
      histogram.#max = range[1]
    }
    return histogram
  }
}

function isClose(a: number, b: number): boolean {
  return Math.abs(a - b) <= Math.max(1e-9 * Math.max(Math.abs(a), Math.abs(b)), FLOAT_EPSILON)
}

/** ⌊a / b⌋ of the exact quotient, as torch's `//`; 0 when b is 0. */
function floorDivide(a: number, b: number): number {
  if (b === 0) return 0
  const quotient = Math.round((a - (a % b)) / b)
  return a % b !== 0 && a < 0 ? quotient - 1 : quotient
}

/** Counts as torch.histc: float32 arithmetic, the greatest number in the last bin. */
function countBetween(data: Float32Array, bins: number, min: number, max: number): Float64Array {
  const { fround } = Math
  const least = min === max ? fround(min - 1) : min
  const span = fround((min === max ? fround(max + 1) : max) - least)
  const counts = new Float64Array(bins)
  for (let i = 0; i < data.length; i++) {
    const bin = Math.trunc(fround(fround(fround(data[i]! - least) * bins) / span))
    counts[bin < bins ? bin : bins - 1]!++
  }
  return counts
}
