/**
 * The largest and the smallest of any number of numbers: exact order statistics at the ends of a distribution, where
 * percentiles that cut one number in a million lie.
 */
import { fail } from '../../../core/index.ts'

/** Numbers kept at each end: the 0.999999 quantile is exact up to five hundred million numbers. */
export const KEPT_EXTREMES = 512

/** Extremes as JSON, both from the end of the distribution inward. */
export type ExtremesJson = { readonly largest: readonly number[]; readonly smallest: readonly number[] }

/** The {@link KEPT_EXTREMES} largest of what was added, kept as the numbers times `sign`. */
class Largest {
  readonly #numbers = new Float32Array(2 * KEPT_EXTREMES)
  readonly #sign: 1 | -1
  #used = 0
  /** Numbers times `sign` up to this one are not among the largest. */
  threshold = Number.NEGATIVE_INFINITY

  constructor(sign: 1 | -1) {
    this.#sign = sign
  }

  add(x: number): void {
    const value = x * this.#sign
    if (value <= this.threshold) return
    if (this.#used === this.#numbers.length) {
      this.#prune()
      if (value <= this.threshold) return
    }
    this.#numbers[this.#used++] = value
  }

  #prune(): void {
    this.#numbers.subarray(0, this.#used).sort()
    const surplus = this.#used - KEPT_EXTREMES
    if (surplus < 0) return
    this.#numbers.copyWithin(0, surplus, this.#used)
    this.#used = KEPT_EXTREMES
    this.threshold = this.#numbers[0]!
  }

  /** From the end of the distribution inward. */
  list(): Float32Array {
    this.#prune()
    return this.#numbers
      .slice(0, this.#used)
      .map((value) => value * this.#sign)
      .reverse()
  }
}

/** The {@link KEPT_EXTREMES} largest and smallest numbers of a stream; equal ones count as often as they come. */
export class Extremes {
  readonly #largest = new Largest(1)
  readonly #smallest = new Largest(-1)

  /** Numbers from this one up are not among the smallest. */
  get low(): number {
    return -this.#smallest.threshold
  }

  /** Numbers down to this one are not among the largest. */
  get high(): number {
    return this.#largest.threshold
  }

  /** Adds finite numbers; those between {@link low} and {@link high} may be left out. */
  add(data: Float32Array): void {
    for (let i = 0; i < data.length; i++) {
      const x = data[i]!
      this.#largest.add(x)
      this.#smallest.add(x)
    }
  }

  /** Adds what another one kept: the same as if it had seen the other's numbers. */
  merge(other: Extremes): void {
    for (const x of other.largest()) this.#largest.add(x)
    for (const x of other.smallest()) this.#smallest.add(x)
  }

  /** In descending order; fewer than {@link KEPT_EXTREMES} only when fewer numbers were added. */
  largest(): Float32Array {
    return this.#largest.list()
  }

  /** In ascending order. */
  smallest(): Float32Array {
    return this.#smallest.list()
  }

  toJson(): ExtremesJson {
    return { largest: [...this.largest()], smallest: [...this.smallest()] }
  }

  /** @throws WhittleError `INVALID_FILE` when there are too many, or other than finite numbers in order. */
  static fromJson({ largest, smallest }: ExtremesJson): Extremes {
    const extremes = new Extremes()
    for (const [list, sign] of [
      [largest, 1],
      [smallest, -1],
    ] as const) {
      const ordered = list.every((x, i) => Number.isFinite(x) && (i === 0 || x * sign <= list[i - 1]! * sign))
      if (list.length > KEPT_EXTREMES || !ordered)
        fail('INVALID_FILE', `Extremes: must be at most ${KEPT_EXTREMES} finite numbers from the end inward.`)
      for (const x of list) (sign === 1 ? extremes.#largest : extremes.#smallest).add(x)
    }
    return extremes
  }
}
