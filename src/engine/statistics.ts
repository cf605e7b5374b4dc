/**
 * Statistics of activations over any number of batches, for calibration.
 *
 * Each batch is run once; its elements are counted and forgotten. Where only the range of a value is asked for, it is
 * reduced inside the graph and nothing of it is copied out.
 */
import type { TensorStatistics } from '../compress/index.ts'
import { checkAborted, fail, type TaskOptions, WhittleError } from '../core/index.ts'
import type { Evaluator, Executable, Model, TensorMap } from '../graph/index.ts'
import { type DType, float16ToNumber, sizeOf, type Tensor, toFloat32 } from '../tensor/index.ts'
import type { FeedSource } from './accumulate.ts'
import { DEFAULT_RUN_BYTES, groupBySize } from './inner-values.ts'
import { type ObservedValue, observeShapes } from './observe.ts'
import { type ReducedRange, type ReducedValue, type StatisticsModel, statisticsModel } from './statistics-graph.ts'

/** Asks for a tensor's statistics. */
export interface StatisticsRequest {
  /** Name of a value of the main graph; each at most once. */
  readonly tensor: string
  /** What is added to; say by its `needs` what is collected. It may hold what earlier batches gave. */
  readonly statistics: TensorStatistics
  /** No element can be below it; where the range is all that is asked, it is taken for the least element. */
  readonly atLeast?: number | undefined
}

/** Options of {@link collectStatistics}. */
export interface StatisticsOptions extends TaskOptions {
  /**
   * Bytes of activations fetched at a time; default 256 MiB. Where those of one batch need more, the network is run
   * several times per batch: rather make batches smaller.
   */
  readonly runBytes?: number | undefined
  /**
   * Types and shapes of the model's values, of any batch, when they are known; default: they are observed, which loads the
   * model once more.
   */
  readonly shapes?: ReadonlyMap<string, ObservedValue> | undefined
  /** Batches at the beginning of the data that the statistics hold already: they are read, but not run. Default 0. */
  readonly skipBatches?: number | undefined
  /** Called when a batch has been added to all statistics, with the number of batches so far: to save them. */
  readonly afterBatch?: ((batches: number) => void | Promise<void>) | undefined
}

/**
 * Collects statistics of activations, streaming: memory does not grow with the number of samples.
 *
 * Tensors of other types than floating-point ones are left out.
 *
 * @param data batches of feeds, one pass.
 * @returns the statistics of the requests by tensor, without those that were left out.
 * @throws WhittleError `INVALID_DATA` without a batch, `NOT_FOUND` for unknown values, `NOT_FINITE` naming tensor and
 * batch when an activation is NaN or infinite, `INVALID_ARGUMENT` for a tensor requested twice.
 */
export async function collectStatistics(
  evaluator: Evaluator,
  model: Model,
  requests: readonly StatisticsRequest[],
  data: FeedSource,
  options: StatisticsOptions = {},
): Promise<ReadonlyMap<string, TensorStatistics>> {
  const { skipBatches = 0, signal, onProgress, afterBatch } = options
  const wanted = byTensor(requests)
  let collector: Collector | undefined
  let batches = 0
  try {
    for await (const feeds of typeof data === 'function' ? data() : data) {
      checkAborted(signal)
      if (wanted.size === 0) return new Map()
      batches++
      if (batches <= skipBatches) continue
      collector ??= await Collector.load(evaluator, model, wanted, feeds, options)
      await collector.add(feeds, batches, signal)
      onProgress?.({ stage: 'collect statistics', done: batches })
      await afterBatch?.(batches)
    }
  } finally {
    await collector?.release()
  }
  if (batches === 0) fail('INVALID_DATA', 'Calibration: need at least one batch of data; got none.')
  const collected = collector?.collected ?? wanted
  return new Map([...collected].map(([tensor, { statistics }]) => [tensor, statistics]))
}

type Requests = ReadonlyMap<string, StatisticsRequest>

function byTensor(requests: readonly StatisticsRequest[]): Requests {
  const wanted = new Map<string, StatisticsRequest>()
  for (const request of requests) {
    const { tensor } = request
    if (wanted.has(tensor))
      fail('INVALID_ARGUMENT', `Statistics: each tensor may be requested once; '${tensor}' is twice.`)
    wanted.set(tensor, request)
  }
  return wanted
}

const FLOATS: ReadonlySet<DType> = new Set<DType>(['float32', 'float16', 'float64'])

/** One session, and the values it returns. */
interface Part {
  readonly executable: Executable
  readonly whole: readonly string[]
  readonly reduced: readonly string[]
  readonly rangeOf: StatisticsModel['rangeOf']
}

/** What {@link Collector} was made from. */
interface Source {
  readonly evaluator: Evaluator
  readonly model: Model
  /** Inputs among the tensors asked for: nothing has to be run for them. */
  readonly fed: readonly string[]
  /** Values of which the range is all that is asked. */
  readonly reduced: ReadonlyMap<string, ReducedValue>
}

/** Sessions that bring what the statistics need. */
class Collector {
  /** Requests but for those of tensors that hold no floating-point numbers. */
  readonly collected: Requests
  readonly #source: Source
  readonly #parts: readonly Part[]

  private constructor(collected: Requests, source: Source, parts: readonly Part[]) {
    this.collected = collected
    this.#source = source
    this.#parts = parts
  }

  static async load(
    evaluator: Evaluator,
    model: Model,
    wanted: Requests,
    feeds: TensorMap,
    { runBytes = DEFAULT_RUN_BYTES, signal, shapes }: StatisticsOptions,
  ): Promise<Collector> {
    const observed = shapes ?? (await observeShapes(evaluator, model, { feeds, signal }))
    const known = (name: string): ObservedValue =>
      observed.get(name) ??
      fail('NOT_FOUND', `Statistics: '${name}' is not a tensor of the main graph that can be read.`)
    const collected = new Map([...wanted].filter(([name]) => FLOATS.has(known(name).dtype)))
    const inputs = new Set(model.graph.inputs.map((input) => input.name))
    const fed = [...collected.keys()].filter((name) => inputs.has(name))
    const inner = [...collected].filter(([name]) => !inputs.has(name))
    const reduced = new Map<string, ReducedValue>(
      inner
        .filter(([, { statistics }]) => statistics.needsOnlyRange)
        .map(([name, { atLeast }]) => [name, { ...known(name), atLeast }]),
    )
    const whole = inner.filter(([name]) => !reduced.has(name)).map(([name]) => name)
    const fixedShapes = hasFixedShapes(model, feeds)
    const groups = groupBySize(whole, observed, runBytes / growthOf(feeds, observed))
    if (groups.length === 0 && reduced.size > 0) groups.push([])
    const parts: Part[] = []
    try {
      for (const [index, group] of groups.entries()) {
        // Reductions bring next to nothing, but need everything before them computed: the last group does most of that.
        const ranges = index === groups.length - 1 ? reduced : new Map<string, ReducedValue>()
        const { model: part, rangeOf } = statisticsModel(model, group, ranges, { fixedShapes })
        parts.push({ executable: await evaluator.load(part), whole: group, reduced: [...ranges.keys()], rangeOf })
      }
    } catch (error) {
      for (const { executable } of parts) await executable.release()
      throw error
    }
    return new Collector(collected, { evaluator, model, fed, reduced }, parts)
  }

  /** Runs one batch and adds what it brings. @param batch its number, from 1. */
  async add(feeds: TensorMap, batch: number, signal: AbortSignal | undefined): Promise<void> {
    for (const name of this.#source.fed) this.#addTensor(name, feeds[name]!, batch)
    for (const { executable, whole, reduced, rangeOf } of this.#parts) {
      const results = await executable.run(feeds)
      checkAborted(signal)
      for (const name of whole) {
        this.#addTensor(name, results[name]!, batch)
        delete results[name]
      }
      const ranges = new Map(reduced.map((name) => [name, rangeOf(results, name)]))
      const good = [...ranges.values()].every(({ min, max, count }) => count === 0 || Number.isFinite(max - min))
      this.#addRanges(good ? ranges : await this.#rangesOneByOne(feeds), batch)
    }
  }

  #addRanges(ranges: ReadonlyMap<string, ReducedRange>, batch: number): void {
    for (const [name, { min, max, count }] of ranges)
      naming(name, batch, () => this.#statisticsOf(name).addRange(min, max, count))
  }

  /** Each value looked at for itself: NaN of one shows in those behind it too, and the first is to be named. */
  async #rangesOneByOne(feeds: TensorMap): Promise<ReadonlyMap<string, ReducedRange>> {
    const { evaluator, model, reduced } = this.#source
    const { model: part, rangeOf } = statisticsModel(model, [], reduced, { everySum: true })
    const executable = await evaluator.load(part)
    try {
      const results = await executable.run(feeds)
      return new Map([...reduced.keys()].map((name) => [name, rangeOf(results, name)]))
    } finally {
      await executable.release()
    }
  }

  #statisticsOf(name: string): TensorStatistics {
    return this.collected.get(name)!.statistics
  }

  #addTensor(name: string, tensor: Tensor, batch: number): void {
    naming(name, batch, () => this.#statisticsOf(name).add(floatsOf(tensor)))
  }

  async release(): Promise<void> {
    for (const { executable } of this.#parts) await executable.release()
  }
}

/** Whether every axis but the first of all inputs is declared, so that shapes follow from the size of the batch. */
function hasFixedShapes({ graph }: Model, feeds: TensorMap): boolean {
  return graph.inputs
    .filter(({ name }) => feeds[name] !== undefined)
    .every(
      ({ type }) =>
        type?.kind === 'tensor' && type.shape?.slice(1).every((extent) => typeof extent === 'number' && extent > 0),
    )
}

/** How many times as large as observed the values of a run with these feeds are about. */
function growthOf(feeds: TensorMap, observed: ReadonlyMap<string, ObservedValue>): number {
  const growths = Object.entries(feeds).map(([name, { size }]) => {
    const known = observed.get(name)
    return known ? size / Math.max(1, sizeOf(known.shape)) : 1
  })
  return Math.max(1, ...growths)
}

/** Does something for a tensor; errors of numbers that are not finite say where these were found. */
function naming(tensor: string, batch: number, add: () => void): void {
  try {
    add()
  } catch (error) {
    if (!(error instanceof WhittleError && error.code === 'NOT_FINITE')) throw error
    fail(
      'NOT_FINITE',
      `Tensor '${tensor}', batch ${batch}: activations must be finite for calibration; ${error.message.replace(/^.*found /, 'found ')} Look at the data, or leave the layers around it out.`,
      { details: { tensor, batch }, cause: error },
    )
  }
}

let halves: Float32Array | undefined

/** Elements as float32; 16-bit ones by a table, as whole activations go through here. */
function floatsOf(tensor: Tensor): Float32Array {
  if (tensor.dtype !== 'float16') return toFloat32(tensor)
  halves ??= Float32Array.from({ length: 65536 }, (_, bits) => float16ToNumber(bits))
  const table = halves
  const data = tensor.data as Uint16Array
  const floats = new Float32Array(data.length)
  for (let i = 0; i < floats.length; i++) floats[i] = table[data[i]!]!
  return floats
}
