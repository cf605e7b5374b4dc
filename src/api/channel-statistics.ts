/** Statistics of activations per channel on data, reduced inside the runtime: memory is that of a few rows. */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import { cutToOutputs } from '../engine/index.ts'
import { createNode, type Evaluator, type Model, NameGenerator, type Node, type TensorMap } from '../graph/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'

/** Asks for the statistics of one value. */
export interface ChannelRequest {
  /** The key of the result, usually a layer's name. */
  readonly key: string
  /** A float value of the main graph. */
  readonly value: string
  readonly channels: number
  /** Where the channels are: along the last axis, or along axis 1 of as many axes. */
  readonly layout: 'last' | { readonly axes: number }
}

/** What was seen of each channel. */
export interface MeasuredChannels {
  readonly mean: Float64Array
  readonly deviation: Float64Array
  readonly least: Float64Array
  readonly most: Float64Array
}

/** Options of {@link collectChannelStatistics}. */
export interface ChannelStatisticsOptions extends TaskOptions {
  /** Samples (rows of the inputs) to look at, rounded up to whole batches; default: all there are. */
  readonly samples?: number | undefined
  /** Whether only means are wanted; the other numbers are of no use then. Default false. */
  readonly meansOnly?: boolean | undefined
}

const MEASURES = ['ReduceMean', 'ReduceSumSquare', 'ReduceMin', 'ReduceMax'] as const
type Measure = (typeof MEASURES)[number]

/**
 * Mean, standard deviation, least and greatest value per channel over all data.
 *
 * @returns by `key`.
 * @throws WhittleError `INVALID_DATA` without a batch; `NOT_FOUND` for unknown values; `ENGINE`; `ABORTED`.
 */
export async function collectChannelStatistics(
  evaluator: Evaluator,
  model: Model,
  requests: readonly ChannelRequest[],
  data: () => AsyncIterable<TensorMap>,
  options: ChannelStatisticsOptions = {},
): Promise<Map<string, MeasuredChannels>> {
  if (requests.length === 0) return new Map()
  const measures = options.meansOnly ? MEASURES.slice(0, 1) : MEASURES
  const { probe, outputs } = withReductions(model, requests, measures)
  const sums = new Map(requests.map(({ key, channels }) => [key, new Sums(channels)]))
  const executable = await evaluator.load(probe)
  let rows = 0
  let batches = 0
  try {
    for await (const feeds of data()) {
      checkAborted(options.signal)
      const results = await executable.run(feeds)
      for (const [key, { count, reduced }] of outputs) {
        const [mean, square, least, most] = reduced.map((name) => toFloat64(results[name]!))
        sums.get(key)!.add(toFloat64(results[count]!)[0]!, mean!, square, least, most)
      }
      rows += Object.values(feeds)[0]?.shape[0] ?? 1
      options.onProgress?.({ stage: 'channel statistics', done: ++batches })
      if (options.samples !== undefined && rows >= options.samples) break
    }
  } finally {
    await executable.release()
  }
  if (rows === 0) fail('INVALID_DATA', 'Statistics of channels: need at least one batch of data; got none.')
  return new Map([...sums].map(([key, sum]) => [key, sum.result()]))
}

/** Names of a value's reductions, in the order of the measures, and of its number of elements. */
interface Reduced {
  readonly count: string
  readonly reduced: readonly string[]
}

/** The model with nothing but reductions of the wanted values as outputs. */
function withReductions(
  model: Model,
  requests: readonly ChannelRequest[],
  measures: readonly Measure[],
): { probe: Model; outputs: Map<string, Reduced> } {
  const probe = cutToOutputs(
    model,
    requests.map(({ value }) => value),
  )
  const names = new NameGenerator(probe.graph)
  const opset = probe.opsets.get('') ?? 1
  const outputs = new Map<string, Reduced>()
  for (const { key, value, channels, layout } of requests) {
    let source = value
    let axes = [0]
    if (layout === 'last') {
      const shape = names.fresh(`${value}_rows_shape`)
      probe.graph.initializers.set(shape, Tensor.int64([-1, channels]))
      source = names.fresh(`${value}_rows`)
      probe.graph.nodes.push(createNode('Reshape', [value, shape], [source], {}, names.fresh(`${value}_Rows`)))
    } else axes = [0, ...Array.from({ length: layout.axes - 2 }, (_, i) => i + 2)]
    const reduced = measures.map((measure) => {
      const output = names.fresh(`${value}_${measure}`)
      probe.graph.nodes.push(reduction(measure, source, output, axes, opset, probe, names))
      return output
    })
    const count = names.fresh(`${value}_count`)
    probe.graph.nodes.push(createNode('Size', [value], [count], {}, names.fresh(`${value}_Size`)))
    outputs.set(key, { count, reduced })
  }
  const wanted = [...outputs.values()].flatMap(({ count, reduced }) => [count, ...reduced])
  probe.graph.outputs = wanted.map((name) => ({ name, type: undefined }))
  return { probe, outputs }
}

/** Axes are an attribute up to opset 17 and an input from 18 on. */
function reduction(
  measure: Measure,
  source: string,
  output: string,
  axes: readonly number[],
  opset: number,
  model: Model,
  names: NameGenerator,
): Node {
  const name = names.fresh(`${output}_node`)
  if (opset < 18) return createNode(measure, [source], [output], { axes, keepdims: 0 }, name)
  const list = names.fresh(`${output}_axes`)
  model.graph.initializers.set(list, Tensor.int64([...axes]))
  return createNode(measure, [source, list], [output], { keepdims: 0 }, name)
}

/** Sums of one value over batches. */
class Sums {
  #elements = 0
  readonly #mean: Float64Array
  readonly #square: Float64Array
  readonly #least: Float64Array
  readonly #most: Float64Array

  constructor(channels: number) {
    this.#mean = new Float64Array(channels)
    this.#square = new Float64Array(channels)
    this.#least = new Float64Array(channels).fill(Number.POSITIVE_INFINITY)
    this.#most = new Float64Array(channels).fill(Number.NEGATIVE_INFINITY)
  }

  /** Adds a batch: its number of elements over all channels, then one number per channel of each measure. */
  add(size: number, mean: Float64Array, square?: Float64Array, least?: Float64Array, most?: Float64Array): void {
    const elements = size / mean.length
    this.#elements += elements
    for (let i = 0; i < mean.length; i++) {
      this.#mean[i]! += elements * mean[i]!
      if (square) this.#square[i]! += square[i]!
      if (least) this.#least[i] = Math.min(this.#least[i]!, least[i]!)
      if (most) this.#most[i] = Math.max(this.#most[i]!, most[i]!)
    }
  }

  result(): MeasuredChannels {
    const mean = this.#mean.map((sum) => sum / this.#elements)
    const deviation = this.#square.map((sum, i) => Math.sqrt(Math.max(0, sum / this.#elements - mean[i]! ** 2)))
    return { mean, deviation, least: this.#least, most: this.#most }
  }
}
