/**
 * What quantization does to each layer, on data: `accumulated`, the layer's output in the quantized network against the
 * original's; and `alone`, the output of that layer's part of the quantized network when it gets the original's
 * values, so that nothing that came before it counts.
 *
 * Values are fetched in groups that fit a memory limit; nothing but sums is kept of a batch.
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import {
  type Evaluator,
  type Executable,
  type Model,
  removeUnusedFrom,
  type TensorMap,
  tensorType,
} from '../graph/index.ts'
import { isFloat, type Tensor } from '../tensor/index.ts'
import { DifferenceSums, pairInputs, type ValueDifference } from './compare.ts'
import { DEFAULT_RUN_BYTES, fetchedBytes, groupBySize, loadUnoptimized } from './inner-values.ts'
import { type ObservedValue, observeShapes } from './observe.ts'
import { cutToOutputs } from './outputs.ts'
import { type LayerPair, type PairOptions, pairLayers } from './quantized-layers.ts'

/** What quantization does to one layer. */
export interface LayerDifference {
  /** Name of the node in the quantized network; the input's name for an input that is quantized. */
  readonly name: string
  readonly op: string
  /** The original's value that is compared. */
  readonly value: string
  /** In the quantized network as a whole. */
  readonly accumulated: ValueDifference
  /** With the original's values as the layer's inputs. */
  readonly alone: ValueDifference
}

/** What {@link compareLayers} found. */
export interface LayerDifferences {
  readonly batches: number
  /** In the quantized network's order. */
  readonly layers: readonly LayerDifference[]
  /** Nodes of the quantized network that have no counterpart. */
  readonly unmatched: readonly string[]
}

/** Sums over one batch of the outputs of one layer, original and quantized. */
export type BatchSums = ReturnType<DifferenceSums['products']>

/** Options of {@link compareLayers}. */
export interface CompareLayersOptions extends TaskOptions, PairOptions {
  /** Values fetched at a time, in bytes; default 256 MiB. More means fewer repeated runs. */
  readonly runBytes?: number | undefined
  /** Names of nodes to compare; default: all. */
  readonly only?: ReadonlySet<string> | undefined
  /** Leaves out the accumulated differences, which costs a run less; they are those of nothing then. */
  readonly aloneOnly?: boolean | undefined
  /** Called for every layer and batch with the sums of the layer alone. */
  readonly onBatch?: ((layer: string, sums: BatchSums) => void) | undefined
}

/** One layer under way. */
interface Compared {
  readonly pair: LayerPair
  readonly accumulated: DifferenceSums
  readonly alone: DifferenceSums
}

/** Sessions for one group of layers. */
interface Group {
  readonly layers: readonly Compared[]
  /** Absent when all the group needs are inputs. */
  readonly original: Executable | undefined
  readonly quantized: Executable | undefined
  readonly alone: Executable
}

/**
 * Compares a quantized network with its original, layer by layer.
 *
 * @param batches feeds of the original.
 * @throws WhittleError `INVALID_DATA` without a batch, `INVALID_ARGUMENT` when inputs cannot be paired, `ENGINE`.
 */
export async function compareLayers(
  evaluator: Evaluator,
  original: Model,
  quantized: Model,
  batches: AsyncIterable<TensorMap>,
  options: CompareLayersOptions = {},
): Promise<LayerDifferences> {
  const inputs = pairInputs(original, quantized)
  const { layers, unmatched } = pairLayers(original, quantized, inputs, options)
  const { only } = options
  const wanted = only ? layers.filter(({ name }) => only.has(name)) : layers
  let groups: Group[] | undefined
  let count = 0
  try {
    for await (const feeds of batches) {
      checkAborted(options.signal)
      groups ??= await load(evaluator, { original, quantized }, feeds, wanted, options)
      const otherFeeds = Object.fromEntries([...inputs].map(([from, to]) => [to, feeds[from]!]))
      for (const group of groups) await runGroup(group, feeds, otherFeeds, options)
      count++
      options.onProgress?.({ stage: 'analyse', done: count })
    }
  } finally {
    for (const group of groups ?? [])
      for (const executable of [group.original, group.quantized, group.alone]) await executable?.release()
  }
  if (!groups) fail('INVALID_DATA', 'Analysis: needs at least one batch of data; got none.')
  return {
    batches: count,
    unmatched,
    layers: groups
      .flatMap((group) => group.layers)
      .map(({ pair, accumulated, alone }) => ({
        name: pair.name,
        op: pair.op,
        value: pair.original,
        accumulated: accumulated.result(pair.original),
        alone: alone.result(pair.original),
      })),
  }
}

async function runGroup(
  group: Group,
  feeds: TensorMap,
  otherFeeds: TensorMap,
  { onBatch }: CompareLayersOptions,
): Promise<void> {
  const values = { ...feeds, ...(await group.original?.run(feeds)) }
  const aloneFeeds = Object.fromEntries(group.alone.inputNames.map((name) => [name, values[name]!]))
  const alone = await group.alone.run(aloneFeeds)
  const accumulated = await group.quantized?.run(otherFeeds)
  for (const [position, { pair, ...sums }] of group.layers.entries()) {
    const reference = values[pair.original]!
    const single = alone[aloneName(position, pair.quantized)]!
    assertShape(pair, reference, single)
    sums.alone.add(reference, single)
    if (accumulated) sums.accumulated.add(reference, accumulated[pair.quantized]!)
    if (onBatch) {
      const batch = new DifferenceSums()
      batch.add(reference, single)
      onBatch(pair.name, batch.products())
    }
  }
}

function assertShape({ name }: LayerPair, reference: Tensor, other: Tensor): void {
  if (reference.shape.join() !== other.shape.join())
    fail(
      'SHAPE_MISMATCH',
      `Layer '${name}': its output must have the same shape in both networks; it has [${reference.shape.join(', ')}] and [${other.shape.join(', ')}].`,
    )
}

async function load(
  evaluator: Evaluator,
  { original, quantized }: { original: Model; quantized: Model },
  feeds: TensorMap,
  layers: readonly LayerPair[],
  options: CompareLayersOptions,
): Promise<Group[]> {
  const observed = await observeShapes(evaluator, original, { feeds, signal: options.signal })
  const usable = layers.filter(
    ({ original: value, feeds: needed }) =>
      [value, ...needed.values()].every((name) => observed.has(name)) && isFloat(observed.get(value)!.dtype),
  )
  const groups: Group[] = []
  try {
    for (const members of groupLayers(usable, observed, options.runBytes ?? DEFAULT_RUN_BYTES)) {
      checkAborted(options.signal)
      const opened: Executable[] = []
      try {
        const open = async (model: Model): Promise<Executable> => {
          const executable = await loadUnoptimized(evaluator, model)
          opened.push(executable)
          return executable
        }
        const fetched = members.flatMap(({ original: value, feeds: needed }) => [value, ...needed.values()])
        const inner = [...new Set(fetched)].filter((name) => feeds[name] === undefined)
        groups.push({
          layers: members.map((pair) => ({ pair, accumulated: new DifferenceSums(), alone: new DifferenceSums() })),
          original: inner.length > 0 ? await open(cutToOutputs(original, inner)) : undefined,
          quantized: options.aloneOnly
            ? undefined
            : await open(cutToOutputs(quantized, [...new Set(members.map((pair) => pair.quantized))])),
          alone: await open(aloneModel(quantized, members, observed)),
        })
      } catch (error) {
        for (const executable of opened) await executable.release()
        throw error
      }
    }
  } catch (error) {
    for (const group of groups)
      for (const executable of [group.original, group.quantized, group.alone]) await executable?.release()
    throw error
  }
  return groups
}

/** Layers in groups whose values, original, quantized and alone, fit the limit. */
function groupLayers(
  layers: readonly LayerPair[],
  observed: ReadonlyMap<string, ObservedValue>,
  limitBytes: number,
): LayerPair[][] {
  const weights = new Map(
    layers.map((pair, i) => {
      const { dtype, shape } = observed.get(pair.original)!
      const fed = [...pair.feeds.values()].reduce((sum, name) => sum + fetchedBytes(observed.get(name)!), 0)
      const extra = Math.ceil(fed / Math.max(fetchedBytes({ dtype, shape: shape.slice(1) }), 1))
      return [String(i), { dtype, shape: [3 * (shape[0] ?? 1) + extra, ...shape.slice(1)] }]
    }),
  )
  return groupBySize([...weights.keys()], weights, limitBytes).map((group) => group.map((i) => layers[Number(i)]!))
}

const aloneName = (position: number, value: string): string => `alone ${position}/${value}`

/** The parts of the layers side by side, each under names of its own, reading the original's values as inputs. */
function aloneModel(
  quantized: Model,
  layers: readonly LayerPair[],
  observed: ReadonlyMap<string, ObservedValue>,
): Model {
  const { graph } = quantized
  const inputs = new Map<string, ObservedValue>()
  const nodes: Model['graph']['nodes'] = []
  const outputs: { name: string; type: undefined }[] = []
  for (const [position, { part, feeds, quantized: value }] of layers.entries()) {
    for (const from of feeds.values()) inputs.set(from, observed.get(from)!)
    const made = new Set([...part].flatMap((node) => node.outputs))
    const rename = (name: string): string =>
      made.has(name) ? aloneName(position, name) : name === '' ? '' : (feeds.get(name) ?? `weight/${name}`)
    for (const node of graph.nodes) {
      if (!part.has(node)) continue
      nodes.push({
        ...node,
        // Unlike nodes, values always have names.
        name: rename(node.outputs.find((name) => name !== '') ?? ''),
        inputs: node.inputs.map(rename),
        outputs: node.outputs.map((name) => (name === '' ? '' : rename(name))),
      })
    }
    const output = aloneName(position, value)
    // A value that the layer passes on as it is comes from no node of its part.
    if (!made.has(value)) nodes.push(passOn(rename(value), output))
    outputs.push({ name: output, type: undefined })
  }
  const model: Model = {
    ...quantized,
    opsets: new Map(quantized.opsets),
    graph: {
      ...graph,
      nodes,
      inputs: [...inputs].map(([name, { dtype, shape }]) => ({
        name,
        // The last batch may be smaller, and any axis may follow from it.
        type: tensorType(
          dtype,
          shape.map(() => null),
        ),
      })),
      outputs,
      valueInfos: new Map(),
      initializers: new Map([...graph.initializers].map(([name, tensor]) => [`weight/${name}`, tensor])),
      sparseInitializers: new Map(),
      initializerNotes: new Map(),
    },
  }
  removeUnusedFrom(model)
  model.graph.inputs = model.graph.inputs.filter(({ name }) => nodes.some((node) => node.inputs.includes(name)))
  return model
}

function passOn(from: string, to: string): Model['graph']['nodes'][number] {
  const attributes = new Map<string, never>()
  return { name: to, opType: 'Identity', domain: '', overload: '', inputs: [from], outputs: [to], attributes }
}
