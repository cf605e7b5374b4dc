/**
 * What values of a network look like on data: extremes, percentiles, means and variances per channel. One streaming
 * pass; memory does not grow with the number of samples.
 *
 * Percentiles of magnitudes come from a histogram with eight bins per power of two, so they are right to 9 %.
 */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import type { Evaluator, Model, TensorMap } from '../graph/index.ts'
import { isFloat, type Tensor, toFloat32, toFloat64 } from '../tensor/index.ts'
import { DEFAULT_RUN_BYTES, groupBySize, InnerValues } from './inner-values.ts'
import { observeShapes } from './observe.ts'

/** What one channel of a value looks like; channels go along the second axis. */
export interface ChannelSurvey {
  readonly mean: number
  readonly variance: number
  /** Greatest magnitude. */
  readonly largest: number
}

/** What a value looks like. */
export interface ValueSurvey {
  readonly name: string
  readonly elements: number
  readonly min: number
  readonly max: number
  /** NaN and infinite elements, left out of everything else. */
  readonly nonFinite: number
  /** Whether every element is a whole number. */
  readonly isWhole: boolean
  /** Empty for values with fewer than two axes. */
  readonly channels: readonly ChannelSurvey[]
  /** Magnitude that a share of the elements does not exceed, to 9 %. @param share 0 … 1. */
  percentile(share: number): number
}

const BINS_PER_OCTAVE = 8
const LEAST_EXPONENT = -64
const BINS = 192 * BINS_PER_OCTAVE

/** Collects a {@link ValueSurvey} over any number of tensors. */
export class SurveySums {
  #elements = 0
  #nonFinite = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY
  #isWhole = true
  #zeros = 0
  readonly #bins: Float64Array | undefined
  #channels: { count: number; sum: Float64Array; squares: Float64Array; largest: Float64Array } | undefined

  /** @param percentiles whether magnitudes are counted for them, which takes most of the time; else they are NaN. */
  constructor(percentiles = true) {
    this.#bins = percentiles ? new Float64Array(BINS) : undefined
  }

  /** Elements that were added. */
  get elements(): number {
    return this.#elements
  }

  /** Adds a tensor; channels are counted as long as all have the same number of them. */
  add(tensor: Tensor): void {
    const data = tensor.dtype === 'float64' ? toFloat64(tensor) : toFloat32(tensor)
    const [rows = 1, channels = 1] = tensor.shape.length >= 2 ? tensor.shape : [1, 1]
    const plane = Math.max(data.length / Math.max(rows * channels, 1), 0)
    if (tensor.shape.length >= 2 && !this.#channels) {
      const zeros = (): Float64Array => new Float64Array(channels)
      this.#channels = { count: 0, sum: zeros(), squares: zeros(), largest: zeros() }
    }
    const sums = this.#channels?.sum.length === channels ? this.#channels : undefined
    for (let row = 0; row < rows; row++)
      for (let channel = 0; channel < channels; channel++) {
        const start = (row * channels + channel) * plane
        const { sum, squares, largest } = this.#addRun(data, start, start + plane)
        if (!sums) continue
        sums.sum[channel]! += sum
        sums.squares[channel]! += squares
        sums.largest[channel] = Math.max(sums.largest[channel]!, largest)
      }
    if (sums) sums.count += rows * plane
    this.#elements += data.length
  }

  #addRun(data: Float32Array | Float64Array, start: number, end: number) {
    const bins = this.#bins
    let [sum, squares, largest] = [0, 0, 0]
    for (let i = start; i < end; i++) {
      const value = data[i]!
      const size = Math.abs(value)
      if (!(size <= Number.MAX_VALUE)) {
        this.#nonFinite++
        continue
      }
      if (value < this.#min) this.#min = value
      if (value > this.#max) this.#max = value
      if (size > largest) largest = size
      if (this.#isWhole && value !== Math.floor(value)) this.#isWhole = false
      sum += value
      squares += value * value
      if (size === 0) this.#zeros++
      else if (bins) {
        const bin = Math.floor((Math.log2(size) - LEAST_EXPONENT) * BINS_PER_OCTAVE)
        bins[Math.min(Math.max(bin, 0), BINS - 1)]!++
      }
    }
    return { sum, squares, largest }
  }

  /** The survey so far. */
  result(name: string): ValueSurvey {
    const { count = 0, sum, squares, largest } = this.#channels ?? {}
    const channels = Array.from(sum ?? [], (total, channel): ChannelSurvey => {
      const mean = total / Math.max(count, 1)
      const variance = Math.max(squares![channel]! / Math.max(count, 1) - mean * mean, 0)
      return { mean, variance, largest: largest![channel]! }
    })
    const finite = this.#elements - this.#nonFinite
    const [bins, zeros] = [this.#bins?.slice(), this.#zeros]
    const largestOfAll = Math.max(Math.abs(this.#min), Math.abs(this.#max))
    return {
      name,
      elements: this.#elements,
      min: finite > 0 ? this.#min : Number.NaN,
      max: finite > 0 ? this.#max : Number.NaN,
      nonFinite: this.#nonFinite,
      isWhole: this.#isWhole,
      channels,
      percentile(share) {
        if (!bins) return Number.NaN
        let left = share * finite - zeros
        if (left <= 0) return 0
        for (let bin = 0; bin < BINS; bin++) {
          left -= bins[bin]!
          if (left <= 0) return Math.min(2 ** (LEAST_EXPONENT + (bin + 1) / BINS_PER_OCTAVE), largestOfAll)
        }
        return largestOfAll
      },
    }
  }
}

/** Options of {@link surveyValues}. */
export interface SurveyOptions extends TaskOptions {
  /** Values fetched at a time, in bytes; default 256 MiB. */
  readonly runBytes?: number | undefined
}

/**
 * Surveys values of a network, graph inputs among them.
 *
 * @param batches feeds.
 * @param names values of the main graph; those that are not floating point are left out.
 * @returns by name; empty without a batch.
 * @throws WhittleError `NOT_FOUND`, `ENGINE`, `ABORTED`.
 */
export async function surveyValues(
  evaluator: Evaluator,
  model: Model,
  names: readonly string[],
  batches: AsyncIterable<TensorMap>,
  options: SurveyOptions = {},
): Promise<Map<string, ValueSurvey>> {
  const sums = new Map<string, SurveySums>()
  const inputs = new Set(model.graph.inputs.map((input) => input.name))
  let sessions: InnerValues | undefined
  let done = 0
  try {
    for await (const feeds of batches) {
      checkAborted(options.signal)
      if (!sessions) {
        const observed = await observeShapes(evaluator, model, { feeds, signal: options.signal })
        const inner = names.filter((name) => !inputs.has(name) && isFloat(observed.get(name)?.dtype ?? 'bool'))
        const groups = groupBySize(inner, observed, options.runBytes ?? DEFAULT_RUN_BYTES)
        sessions = await InnerValues.load(evaluator, model, groups)
        for (const name of names) if (inner.includes(name) || inputs.has(name)) sums.set(name, new SurveySums())
      }
      for (const name of names) {
        const fed = inputs.has(name) ? feeds[name] : undefined
        if (fed && fed.dtype !== 'string' && fed.dtype !== 'bool') sums.get(name)?.add(fed)
      }
      for (const group of sessions.groups.keys())
        for (const [name, tensor] of Object.entries(await sessions.run(group, feeds))) sums.get(name)?.add(tensor)
      options.onProgress?.({ stage: 'survey', done: ++done })
    }
  } finally {
    await sessions?.release()
  }
  return new Map([...sums].map(([name, sum]) => [name, sum.result(name)]))
}
