/**
 * Statistics of activations that need more than one batch: second moments of what feeds each layer.
 *
 * Memory does not grow with the number of batches. When the sums of all layers do not fit, they are collected in
 * several passes over the data.
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import type { Evaluator, Model, TensorMap } from '../graph/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { DEFAULT_RUN_BYTES, groupBySize, InnerValues } from './inner-values.ts'
import { MomentSums, type Moments, PatchSessions } from './moment-sums.ts'
import { type ObservedValue, observeShapes } from './observe.ts'
import { type PatchGeometry, patchSize } from './patch-graph.ts'

/** Asks for the moments of the rows that one weight is applied to. */
export interface MomentRequest {
  /** The key of the result, usually the layer's name. */
  readonly site: string
  /** Name of the activation that feeds the layer, a value of the main graph. */
  readonly value: string
  /**
   * `'linear'`: rows are the last axis of `[…, features]`. `'conv'`: rows are the patches of `[N, channels, spatial…]`.
   * `'pointwise'`: rows are the channels at each position of `[N, channels, spatial…]`, as transposed convolutions
   * take them.
   */
  readonly kind: 'linear' | 'conv' | 'pointwise'
  /** Kernel lengths of `'conv'`. */
  readonly kernel?: readonly number[] | undefined
  /** Default 1 on every axis. */
  readonly strides?: readonly number[] | undefined
  /** Begin of every axis, then end of every axis; default 0. `auto_pad` has to be resolved before. */
  readonly pads?: readonly number[] | undefined
  /** Default 1 on every axis. */
  readonly dilations?: readonly number[] | undefined
  /** Default 1. */
  readonly group?: number | undefined
}

/** Options of {@link collectMoments}. */
export interface MomentOptions extends TaskOptions {
  /** Bytes that sums held at one time may take; default 1 GiB. */
  readonly memoryBytes?: number | undefined
  /** Bytes of activations fetched at a time; default 256 MiB. */
  readonly runBytes?: number | undefined
}

/** Batches of feeds, or a function that starts another pass over them. */
export type FeedSource = AsyncIterable<TensorMap> | (() => AsyncIterable<TensorMap>)

/** Requests that share one sum. */
interface Unit {
  readonly sites: string[]
  readonly value: string
  readonly geometry: PatchGeometry
  readonly bytes: number
}

/**
 * Collects second moments and means of layers' inputs over all batches, products in float32 per chunk, sums in
 * float64. Requests with the same value and geometry are computed once and share their result.
 *
 * @param batches feeds of the model; a function when the sums may need several passes.
 * @returns moments by `site`.
 * @throws WhittleError `INVALID_DATA` without a batch; `INVALID_ARGUMENT` when the sums of a layer, or of all layers
 * with a source that allows only one pass, need more than `memoryBytes`; `SHAPE_MISMATCH` when an activation does not
 * have the axes its request implies; `NOT_FOUND` for unknown values.
 */
export async function collectMoments(
  evaluator: Evaluator,
  model: Model,
  requests: readonly MomentRequest[],
  batches: FeedSource,
  options: MomentOptions = {},
): Promise<Map<string, Moments>> {
  const moments = new Map<string, Moments>()
  if (requests.length === 0) return moments
  const open = typeof batches === 'function' ? batches : () => batches
  let iterator = open()[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done) fail('INVALID_DATA', 'Moments: need at least one batch of data; got none.')
  const sessions = new PatchSessions(evaluator)
  try {
    const observed = await observeShapes(evaluator, model, { feeds: first.value, signal: options.signal })
    const units = unitsOf(requests, observed)
    const passes = planPasses(units, typeof batches === 'function', options.memoryBytes ?? 2 ** 30)
    let done = 0
    for (const [index, pass] of passes.entries()) {
      if (index > 0) iterator = open()[Symbol.asyncIterator]()
      const feeds = index > 0 ? rest(iterator) : rest(iterator, first.value)
      const sums = await sumPass(evaluator, model, pass, feeds, observed, sessions, options, () => ++done)
      for (const [position, unit] of pass.entries()) {
        const result = sums[position]!.finish()
        for (const site of unit.sites) moments.set(site, result)
      }
    }
  } finally {
    await sessions.release()
    await iterator.return?.()
  }
  return moments
}

async function* rest(iterator: AsyncIterator<TensorMap>, first?: TensorMap): AsyncGenerator<TensorMap> {
  if (first) yield first
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value
}

/** One pass over the data for some of the units. */
async function sumPass(
  evaluator: Evaluator,
  model: Model,
  units: readonly Unit[],
  batches: AsyncIterable<TensorMap>,
  observed: ReadonlyMap<string, ObservedValue>,
  sessions: PatchSessions,
  options: MomentOptions,
  countBatch: () => number,
): Promise<MomentSums[]> {
  const sums = units.map((unit) => new MomentSums(unit.geometry, sessions))
  const inputs = new Set(model.graph.inputs.map((input) => input.name))
  const inner = [...new Set(units.map((unit) => unit.value))].filter((value) => !inputs.has(value))
  const groups = groupBySize(inner, observed, options.runBytes ?? DEFAULT_RUN_BYTES)
  const values = await InnerValues.load(evaluator, model, groups)
  const addAll = async (tensors: Readonly<Record<string, Tensor>>): Promise<void> => {
    for (const [position, { value }] of units.entries()) {
      const tensor = tensors[value]
      if (!tensor) continue
      checkAborted(options.signal)
      await sums[position]!.add(tensor)
    }
  }
  try {
    for await (const feeds of batches) {
      checkAborted(options.signal)
      await addAll(feeds)
      for (let group = 0; group < groups.length; group++) await addAll(await values.run(group, feeds))
      options.onProgress?.({ stage: 'collect moments', done: countBatch() })
    }
  } finally {
    await values.release()
  }
  return sums
}

function unitsOf(requests: readonly MomentRequest[], observed: ReadonlyMap<string, ObservedValue>): Unit[] {
  const units = new Map<string, Unit>()
  for (const request of requests) {
    const geometry = geometryOf(request, observed)
    const key = JSON.stringify([request.value, geometry])
    const unit = units.get(key)
    if (unit) unit.sites.push(request.site)
    else
      units.set(key, {
        sites: [request.site],
        value: request.value,
        geometry,
        bytes: 8 * geometry.group * patchSize(geometry) ** 2,
      })
  }
  return [...units.values()]
}

function geometryOf(request: MomentRequest, observed: ReadonlyMap<string, ObservedValue>): PatchGeometry {
  const { site, value, kind, group = 1 } = request
  const shape = observed.get(value)?.shape
  if (!shape)
    fail('NOT_FOUND', `Layer '${site}': its input '${value}' is not a tensor of the main graph that can be read.`)
  if (kind === 'linear') {
    const channels = shape[shape.length - 1]
    if (channels === undefined) misfit(request, shape, 'must have at least one axis')
    return { channels, group: 1, kernel: [], strides: [], pads: [], dilations: [] }
  }
  const kernel = kind === 'pointwise' ? shape.slice(2).map(() => 1) : (request.kernel ?? [])
  const axes = kernel.length
  if (kind === 'pointwise' && axes === 0)
    return { channels: shape[1] ?? 1, group, kernel, strides: [], pads: [], dilations: [] }
  if (axes === 0 || shape.length !== axes + 2)
    misfit(request, shape, `must have ${axes} axes behind batch and channels`)
  const channels = shape[1]!
  if (channels % group !== 0) misfit(request, shape, `must have channels that ${group} groups divide`)
  const plain = kind === 'pointwise'
  const list = (name: string, values: readonly number[] | undefined, length: number, fallback: number): number[] => {
    if (plain || values === undefined || values.length === 0) return new Array<number>(length).fill(fallback)
    if (values.length === length) return [...values]
    return fail('INVALID_ARGUMENT', `Layer '${site}': ${name} must have ${length} numbers; got [${values.join(', ')}].`)
  }
  return {
    channels,
    group,
    kernel,
    strides: list('strides', request.strides, axes, 1),
    pads: list('pads', request.pads, 2 * axes, 0),
    dilations: list('dilations', request.dilations, axes, 1),
  }
}

function misfit(request: MomentRequest, shape: readonly number[], rule: string): never {
  return fail(
    'SHAPE_MISMATCH',
    `Layer '${request.site}': its input '${request.value}' ${rule}; it has shape [${shape.join(', ')}].`,
  )
}

function readable(bytes: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB'] as const
  const power = Math.min(units.length, Math.max(1, Math.floor(Math.log2(bytes) / 10)))
  return `${(bytes / 2 ** (10 * power)).toFixed(1)} ${units[power - 1]}`
}

/** Units in passes, in their order, each pass within the memory. */
function planPasses(units: readonly Unit[], mayRepeat: boolean, memoryBytes: number): Unit[][] {
  for (const { sites, bytes } of units)
    if (bytes > memoryBytes)
      fail(
        'INVALID_ARGUMENT',
        `Layer '${sites[0]}': the second moments of its input need ${readable(bytes)}; ${readable(memoryBytes)} are allowed. Raise memoryBytes or leave the layer out.`,
        { details: { sites: [...sites], bytes } },
      )
  const passes: Unit[][] = []
  let room = 0
  for (const unit of units) {
    if (passes.length === 0 || unit.bytes > room) {
      passes.push([])
      room = memoryBytes
    }
    passes[passes.length - 1]!.push(unit)
    room -= unit.bytes
  }
  if (passes.length > 1 && !mayRepeat) {
    const left = passes.slice(1).flatMap((pass) => pass.flatMap((unit) => unit.sites))
    fail(
      'INVALID_ARGUMENT',
      `Moments: the layers ${left.map((site) => `'${site}'`).join(', ')} do not fit in ${readable(memoryBytes)} beside the others. Give the data as a function, so that several passes are possible, or raise memoryBytes.`,
      { details: { sites: left } },
    )
  }
  return passes
}
