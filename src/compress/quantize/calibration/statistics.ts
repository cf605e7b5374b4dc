/**
 * What calibrators know about a tensor: statistics of its elements over all batches, in memory that does not grow with
 * them. {@link TensorStatistics} objects are filled by `collectStatistics`, merged, saved and continued.
 */
import { fail } from '../../../core/index.ts'
import { Extremes, type ExtremesJson } from './extremes.ts'
import { HfmgHistogram, type HfmgHistogramJson } from './hfmg-histogram.ts'
import { Histogram, type HistogramJson } from './histogram.ts'
import { scanAll } from './histogram-kernel.ts'

/** What is collected besides ranges; JSON. */
export type StatisticNeeds = {
  /** Whether elements are counted in a histogram; default false. */
  readonly histogram?: boolean | undefined
  /** Whether the largest and smallest elements are kept; default false. */
  readonly extremes?: boolean | undefined
  /** Bins of an HFMG histogram; absent: none is made. */
  readonly hfmgBins?: number | undefined
  /** Weight of a new batch in the moving average of ranges; default 0.01, as in ONNX Runtime. */
  readonly averagingConstant?: number | undefined
}

/** {@link TensorStatistics} as JSON. */
export type TensorStatisticsJson = {
  readonly needs: StatisticNeeds
  readonly batches: number
  readonly count: number
  /** Least, greatest, and their moving averages; `null` before the first element. */
  readonly ranges: readonly [min: number, max: number, movingMin: number, movingMax: number] | null
  readonly histogram?: HistogramJson
  readonly extremes?: ExtremesJson
  readonly hfmg?: HfmgHistogramJson
}

/** Statistics of one tensor. */
export class TensorStatistics {
  readonly needs: StatisticNeeds
  readonly histogram: Histogram | undefined = undefined
  readonly extremes: Extremes | undefined = undefined
  readonly hfmg: HfmgHistogram | undefined = undefined
  #batches = 0
  #count = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY
  #movingMin = Number.NaN
  #movingMax = Number.NaN

  /**
   * @param json statistics to continue; {@link TensorStatistics.fromJson} is the way to use it.
   * @throws WhittleError `INVALID_ARGUMENT` for a number of HFMG bins or an averaging constant that cannot be.
   */
  constructor(needs: StatisticNeeds = {}, json?: TensorStatisticsJson) {
    const { averagingConstant = 0.01, hfmgBins } = needs
    if (!(averagingConstant >= 0 && averagingConstant <= 1))
      fail('INVALID_ARGUMENT', `Statistics: the averaging constant must be 0 … 1; got ${averagingConstant}.`)
    this.needs = needs
    if (needs.histogram) this.histogram = json?.histogram ? Histogram.fromJson(json.histogram) : new Histogram()
    if (needs.extremes) this.extremes = json?.extremes ? Extremes.fromJson(json.extremes) : new Extremes()
    if (hfmgBins !== undefined) this.hfmg = json?.hfmg ? HfmgHistogram.fromJson(json.hfmg) : new HfmgHistogram(hfmgBins)
  }

  /** Whether least and greatest element of each batch are enough: then {@link addRange} may be used. */
  get needsOnlyRange(): boolean {
    return !this.histogram && !this.extremes && !this.hfmg
  }

  /** Batches added. */
  get batches(): number {
    return this.#batches
  }

  /** Elements added. */
  get count(): number {
    return this.#count
  }

  /** Least element; +∞ without elements. */
  get min(): number {
    return this.#min
  }

  /** Greatest element; −∞ without elements. */
  get max(): number {
    return this.#max
  }

  /** Moving averages of each batch's least and greatest element, beginning with the first batch's; NaN without any. */
  get moving(): { readonly min: number; readonly max: number } {
    return { min: this.#movingMin, max: this.#movingMax }
  }

  /**
   * Adds the elements of one batch.
   *
   * @throws WhittleError `NOT_FINITE` when one of them is NaN or infinite; the statistics are of no use then.
   */
  add(data: Float32Array): void {
    const { min, max } = this.histogram ? this.histogram.add(data, this.extremes) : scanAll(data)
    checkFinite(min, max, data.length)
    if (!this.histogram) this.extremes?.add(data)
    this.hfmg?.add(data, min, max)
    this.addRange(min, max, data.length)
  }

  /**
   * Adds a batch of which only the least and greatest element are known.
   *
   * @throws WhittleError `NOT_FINITE`.
   */
  addRange(min: number, max: number, count: number): void {
    this.#batches++
    if (count === 0) return
    checkFinite(min, max, count)
    this.#count += count
    this.#min = Math.min(this.#min, min)
    this.#max = Math.max(this.#max, max)
    const weight = this.needs.averagingConstant ?? 0.01
    this.#movingMin = Number.isNaN(this.#movingMin) ? min : this.#movingMin + weight * (min - this.#movingMin)
    this.#movingMax = Number.isNaN(this.#movingMax) ? max : this.#movingMax + weight * (max - this.#movingMax)
  }

  /**
   * Adds what another one collected, which stays as it is. Moving averages continue as if the other's average had been
   * the range of one batch.
   *
   * @throws WhittleError `INVALID_ARGUMENT` when the other did not collect the same kinds of statistics.
   */
  merge(other: TensorStatistics): void {
    if (
      Boolean(this.histogram) !== Boolean(other.histogram) ||
      Boolean(this.extremes) !== Boolean(other.extremes) ||
      this.hfmg?.bins !== other.hfmg?.bins
    )
      fail('INVALID_ARGUMENT', 'Statistics: only such that collected the same kinds can be merged.')
    const batches = this.#batches + other.#batches
    if (other.#count > 0) {
      const [min, max] = [Math.min(this.#min, other.#min), Math.max(this.#max, other.#max)]
      this.addRange(other.#movingMin, other.#movingMax, other.#count)
      this.#min = min
      this.#max = max
    }
    this.#batches = batches
    if (other.histogram) this.histogram?.merge(other.histogram)
    if (other.extremes) this.extremes?.merge(other.extremes)
    if (other.hfmg) this.hfmg?.merge(other.hfmg)
  }

  /** As JSON, of which {@link TensorStatistics.fromJson} makes equal statistics that can be continued. */
  toJson(): TensorStatisticsJson {
    return {
      needs: this.needs,
      batches: this.#batches,
      count: this.#count,
      ranges: this.#count > 0 ? [this.#min, this.#max, this.#movingMin, this.#movingMax] : null,
      ...(this.histogram && { histogram: this.histogram.toJson() }),
      ...(this.extremes && { extremes: this.extremes.toJson() }),
      ...(this.hfmg && { hfmg: this.hfmg.toJson() }),
    }
  }

  /**
   * Statistics from {@link toJson}'s form; types must be right (`parseStatisticsCache` sees to it), numbers are checked.
   *
   * @throws WhittleError `INVALID_FILE` when numbers contradict each other.
   */
  static fromJson(json: TensorStatisticsJson): TensorStatistics {
    const { needs, count, ranges } = json
    const statistics = new TensorStatistics(needs, json)
    const consistent =
      Boolean(needs.histogram) === Boolean(json.histogram) &&
      Boolean(needs.extremes) === Boolean(json.extremes) &&
      needs.hfmgBins === json.hfmg?.bins &&
      count > 0 === (ranges !== null) &&
      (ranges === null || (ranges[0] <= ranges[1] && ranges[2] <= ranges[3])) &&
      (!statistics.histogram || statistics.histogram.count === count)
    if (!consistent) fail('INVALID_FILE', 'Statistics: kinds, counts and ranges contradict each other.')
    statistics.#batches = json.batches
    statistics.#count = count
    if (ranges) [statistics.#min, statistics.#max, statistics.#movingMin, statistics.#movingMax] = ranges
    return statistics
  }
}

function checkFinite(min: number, max: number, count: number): void {
  if (count > 0 && !(Number.isFinite(min) && Number.isFinite(max)))
    fail(
      'NOT_FINITE',
      `Statistics: elements must be finite; found ${Number.isNaN(min) || Number.isNaN(max) ? 'NaN' : 'infinity'}.`,
    )
}
