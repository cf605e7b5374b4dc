/**
 * A histogram of any number of numbers, in memory that does not grow with them.
 *
 * Magnitudes below `reach` = 2^exponent are counted in bins of equal width, {@link HALF} on each side of zero: the core.
 * Magnitudes beyond are counted in octaves [2^e, 2^(e+1)) of HALF / 2 bins each: the tail. All widths are powers of two
 * and every bin of a smaller reach lies within one bin of a larger, so that the core grows by merging bins in pairs and
 * taking the next octave in as it is: counts stay whole numbers and nothing is ever redistributed. The core grows while
 * more than one number in 128 lies beyond it, hence an outlier, however large, costs no resolution where the others are;
 * the width of a bin at magnitude m is at most max(m / 2048, 2^exponent / 4096).
 *
 * Zeros are counted apart: every integer type stores them exactly, and after a Relu they are most of the numbers.
 */
import { fail } from '../../../core/index.ts'
import type { Extremes } from './extremes.ts'
import { CHUNK, HALF, histogramKernel, joinScans, type Scan, scanAll, scanFew } from './histogram-kernel.ts'

/** Bins of an octave of the tail. */
export const OCTAVE = HALF / 2
/** One number in so many may lie beyond the core. */
const TAIL_SHARE = 128
/** Smallest reach: below it a bin's width would be no normal float32. */
const LEAST_EXPONENT = -100
/** From so many numbers on the loops in WebAssembly pay for clearing and reading their tables. */
const KERNEL_FROM = 1024
/** Bits below those that tell a float32's bin within its octave: 23 − log₂ OCTAVE. */
const FINE_BITS = 12
/** Numbers that the first reach is chosen by; it grows when they misled. */
const SAMPLE = 8192
const NO_LIMITS = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY }

/** Bins in use of one side or octave as JSON: the first one's index, and counts up to the last one. */
export type CountRun = { readonly from: number; readonly counts: readonly number[] }

/** A histogram as JSON. */
export type HistogramJson = {
  /** `null`: no number other than zero yet. */
  readonly exponent: number | null
  readonly zeros: number
  readonly core: CountRun
  readonly tail: readonly { readonly negative: boolean; readonly exponent: number; readonly run: CountRun }[]
}

const bits = new Int32Array(1)
const float = new Float32Array(bits.buffer)

/** The octave of a magnitude: e of [2^e, 2^(e+1)); below the least normal float32, −127. */
function octaveOf(magnitude: number): number {
  float[0] = magnitude
  return ((bits[0]! >> 23) & 0xff) - 127
}

/** Counts of one float32 tensor's elements; see the head of this file. */
export class Histogram {
  /** Counts by bin; bin `HALF + i` holds [i, i+1) · width, bin `HALF − 1 − i` holds (−i−1, −i] · width. */
  #core: Float64Array | undefined
  #exponent = LEAST_EXPONENT
  /** Counts of octaves by e of [2^e, 2^(e+1)); those of negative numbers apart. */
  readonly #positive = new Map<number, Float64Array>()
  readonly #negative = new Map<number, Float64Array>()
  /** Numbers in the core and in the tail. */
  #inside = 0
  #beyond = 0
  #zeros = 0

  /** Numbers counted, zeros too. */
  get count(): number {
    return this.#inside + this.#beyond + this.#zeros
  }

  get zeros(): number {
    return this.#zeros
  }

  /** Magnitude up to which all bins have the same width: a power of two; 0 while there were only zeros. */
  get reach(): number {
    return this.#core ? 2 ** this.#exponent : 0
  }

  /**
   * Adds finite numbers. When one is NaN or infinite, which the result tells, the histogram is of no further use.
   *
   * @param extremes takes the numbers at the ends on the way; default: nothing does.
   * @returns least, greatest and zeros of these numbers.
   */
  add(data: Float32Array, extremes?: Extremes): Scan {
    if (data.length < KERNEL_FROM) {
      const found = scanFew(data)
      this.#begin(data, found.zeros)
      this.#addFew(data)
      extremes?.add(data)
      this.#fit()
      return found
    }
    if (!this.#core) this.#beginFrom(data)
    const whole = data.length - (data.length % 4)
    const left = data.subarray(whole)
    this.#addFew(left)
    extremes?.add(left)
    const found = joinScans(scanFew(left), this.#addMany(data.subarray(0, whole), extremes))
    this.#fit()
    return found
  }

  /** Chooses the first reach, when there are numbers other than zero. */
  #begin(data: Float32Array, zeros: number): void {
    if (this.#core || zeros === data.length) return
    this.#core = new Float64Array(2 * HALF)
    this.#exponent = firstReach(data, data.length - zeros)
  }

  /** The same from a sample of many numbers, or from all when it holds nothing but zeros. */
  #beginFrom(data: Float32Array): void {
    const step = Math.ceil(data.length / SAMPLE)
    const sample = new Float32Array(Math.ceil(data.length / step))
    for (let i = 0; i < sample.length; i++) sample[i] = data[i * step]!
    const { zeros } = scanAll(sample)
    if (zeros < sample.length) this.#begin(sample, zeros)
    else this.#begin(data, scanAll(data).zeros)
  }

  #fit(): void {
    // Beyond 2¹²⁸ lie NaN and infinity alone.
    while (this.#exponent < 128 && this.#beyond * TAIL_SHARE > this.#inside + this.#beyond) this.#grow()
  }

  #addFew(data: Float32Array): void {
    const inverse = HALF / 2 ** this.#exponent
    for (let i = 0; i < data.length; i++) {
      const x = data[i]!
      if (x === 0) {
        this.#zeros++
        continue
      }
      const step = Math.trunc(x * inverse)
      const bin = x < 0 ? HALF - 1 + step : HALF + step
      if (bin >= 0 && bin < 2 * HALF) {
        this.#core![bin]!++
        this.#inside++
      } else this.#addBeyond(x)
    }
  }

  #addMany(data: Float32Array, extremes: Extremes | undefined): Scan {
    const kernel = histogramKernel()
    const inverse = HALF / 2 ** this.#exponent
    let found: Scan = scanFew(data.subarray(0, 0))
    let beyond = 0
    kernel.clear()
    for (let at = 0; at < data.length; at += CHUNK) {
      const end = Math.min(at + CHUNK, data.length)
      const { low, high } = extremes ?? NO_LIMITS
      kernel.data.set(data.subarray(at, end))
      const part = kernel.count(end - at, inverse, low, high)
      const { rest, far } = part
      for (let i = 0; i < rest.length; i++) this.#addBeyond(rest[i]!)
      if (extremes && far.length > 0) extremes.add(far)
      beyond += rest.length
      found = joinScans(found, part)
    }
    const core = this.#core
    if (core) addCounts(core, kernel.tables)
    this.#inside += data.length - found.zeros - beyond
    this.#zeros += found.zeros
    return found
  }

  #addBeyond(x: number, times = 1): void {
    const magnitude = Math.abs(x)
    const octave = octaveOf(magnitude)
    octaveCounts(x < 0 ? this.#negative : this.#positive, octave)[(bits[0]! >> FINE_BITS) & (OCTAVE - 1)]! += times
    this.#beyond += times
  }

  /** Doubles the reach: bins merge in pairs, and the next octave of the tail, whose bins have the new width, joins. */
  #grow(): void {
    const core = this.#core!
    const grown = new Float64Array(2 * HALF)
    for (let i = 0; i < OCTAVE; i++) {
      grown[HALF + i] = core[HALF + 2 * i]! + core[HALF + 2 * i + 1]!
      grown[HALF - 1 - i] = core[HALF - 1 - 2 * i]! + core[HALF - 2 - 2 * i]!
    }
    const up = this.#positive.get(this.#exponent)
    const down = this.#negative.get(this.#exponent)
    let joined = 0
    for (let i = 0; i < OCTAVE; i++) {
      const above = up?.[i] ?? 0
      const below = down?.[i] ?? 0
      grown[HALF + OCTAVE + i] = above
      grown[HALF - 1 - OCTAVE - i] = below
      joined += above + below
    }
    this.#positive.delete(this.#exponent)
    this.#negative.delete(this.#exponent)
    this.#core = grown
    this.#exponent++
    this.#inside += joined
    this.#beyond -= joined
  }

  /** Adds what another histogram counted; the other stays as it is. */
  merge(other: Histogram): void {
    this.#zeros += other.#zeros
    if (!other.#core) return
    const twin = other.#clone()
    if (!this.#core) {
      this.#core = new Float64Array(2 * HALF)
      this.#exponent = twin.#exponent
    }
    while (this.#exponent < twin.#exponent) this.#grow()
    while (twin.#exponent < this.#exponent) twin.#grow()
    for (let bin = 0; bin < 2 * HALF; bin++) this.#core[bin]! += twin.#core![bin]!
    this.#inside += twin.#inside
    this.#beyond += twin.#beyond
    for (const [mine, its] of [
      [this.#positive, twin.#positive],
      [this.#negative, twin.#negative],
    ] as const)
      for (const [octave, counts] of its) {
        const sums = octaveCounts(mine, octave)
        for (let i = 0; i < OCTAVE; i++) sums[i]! += counts[i]!
      }
    this.#fit()
  }

  #clone(): Histogram {
    const clone = new Histogram()
    clone.#core = this.#core?.slice()
    clone.#exponent = this.#exponent
    clone.#inside = this.#inside
    clone.#beyond = this.#beyond
    clone.#zeros = this.#zeros
    for (const [octave, counts] of this.#positive) clone.#positive.set(octave, counts.slice())
    for (const [octave, counts] of this.#negative) clone.#negative.set(octave, counts.slice())
    return clone
  }

  /**
   * Counts of one side by magnitude, from zero outward up to the last octave in use; without zeros.
   *
   * The first HALF bins have width `reach / HALF`, each further OCTAVE bins are one octave.
   */
  side(negative: boolean): Float64Array {
    if (!this.#core) return new Float64Array(0)
    const octaves = negative ? this.#negative : this.#positive
    const last = Math.max(this.#exponent - 1, ...octaves.keys())
    const counts = new Float64Array(HALF + (last - this.#exponent + 1) * OCTAVE)
    if (negative) for (let i = 0; i < HALF; i++) counts[i] = this.#core[HALF - 1 - i]!
    else counts.set(this.#core.subarray(HALF))
    for (const [octave, found] of octaves) counts.set(found, HALF + (octave - this.#exponent) * OCTAVE)
    return counts
  }

  /** As JSON; {@link Histogram.fromJson} makes an equal histogram of it. */
  toJson(): HistogramJson {
    const tail = [this.#positive, this.#negative].flatMap((octaves, side) =>
      [...octaves]
        .sort(([a], [b]) => a - b)
        .map(([exponent, counts]) => ({ negative: side === 1, exponent, run: runOf(counts) })),
    )
    return {
      exponent: this.#core ? this.#exponent : null,
      zeros: this.#zeros,
      core: this.#core ? runOf(this.#core) : { from: 0, counts: [] },
      tail,
    }
  }

  /**
   * A histogram from {@link Histogram.toJson}'s form, whose numbers are checked.
   *
   * @throws WhittleError `INVALID_FILE` when counts are no whole numbers or lie outside the bins.
   */
  static fromJson(json: HistogramJson): Histogram {
    const histogram = new Histogram()
    histogram.#zeros = json.zeros
    if (json.exponent === null) return histogram
    if (!(Number.isInteger(json.exponent) && json.exponent >= LEAST_EXPONENT && json.exponent <= 128))
      fail(
        'INVALID_FILE',
        `Histogram: its exponent must be a whole number of ${LEAST_EXPONENT} to 128; got ${json.exponent}.`,
      )
    histogram.#exponent = json.exponent
    histogram.#core = new Float64Array(2 * HALF)
    histogram.#inside = readRun(json.core, histogram.#core)
    for (const { negative, exponent, run } of json.tail) {
      const octaves = negative ? histogram.#negative : histogram.#positive
      if (!(Number.isInteger(exponent) && exponent >= json.exponent && exponent < 128) || octaves.has(exponent))
        fail(
          'INVALID_FILE',
          `Histogram: octaves of the tail must be different whole numbers of ${json.exponent} to 127; got ${exponent}.`,
        )
      histogram.#beyond += readRun(run, octaveCounts(octaves, exponent))
    }
    return histogram
  }
}

/** Adds unsigned counts of two tables to the core. */
function addCounts(core: Float64Array, [one, other]: readonly [Int32Array, Int32Array]): void {
  for (let bin = 0; bin < core.length; bin++) {
    const counted = (one[bin]! >>> 0) + (other[bin]! >>> 0)
    if (counted !== 0) core[bin]! += counted
  }
}

function octaveCounts(octaves: Map<number, Float64Array>, octave: number): Float64Array {
  let counts = octaves.get(octave)
  if (!counts) {
    counts = new Float64Array(OCTAVE)
    octaves.set(octave, counts)
  }
  return counts
}

/** The least exponent of a reach beyond which at most one in {@link TAIL_SHARE} of the nonzero numbers lies. */
function firstReach(data: Float32Array, nonzeros: number): number {
  const octaves = new Float64Array(256)
  const words = new Int32Array(data.buffer, data.byteOffset, data.length)
  for (let i = 0; i < words.length; i++) octaves[(words[i]! >> 23) & 0xff]!++
  let beyond = 0
  let octave = 255
  while (octave > 0 && (beyond + octaves[octave]!) * TAIL_SHARE <= nonzeros) beyond += octaves[octave--]!
  return Math.min(Math.max(octave - 127 + 1, LEAST_EXPONENT), 128)
}

/** Counts without the empty bins at both ends. */
function runOf(counts: Float64Array): CountRun {
  let from = 0
  let end = counts.length
  while (from < end && counts[from] === 0) from++
  while (end > from && counts[end - 1] === 0) end--
  return { from, counts: [...counts.subarray(from, end)] }
}

/** Writes a run where it belongs; returns the sum. */
function readRun({ from, counts }: CountRun, into: Float64Array): number {
  if (!(Number.isInteger(from) && from >= 0 && from + counts.length <= into.length))
    fail(
      'INVALID_FILE',
      `Histogram: ${counts.length} counts from bin ${from} on must lie within its ${into.length} bins.`,
    )
  let sum = 0
  for (const [i, count] of counts.entries()) {
    if (!(Number.isSafeInteger(count) && count >= 0))
      fail('INVALID_FILE', `Histogram: counts must be whole numbers of at least 0; got ${count}.`)
    into[from + i] = count
    sum += count
  }
  return sum
}
