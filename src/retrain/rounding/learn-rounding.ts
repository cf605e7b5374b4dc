/**
 * Choosing the integers of a quantized network's weights on data: in the order of the graph, each layer from the input
 * that the quantized layers before it deliver, to the output of the original one.
 */
import { dequantizeWeight, findSites, type Site, type Skip } from '../../compress/index.ts'
import { checkAborted, createRandom, fail } from '../../core/index.ts'
import { cloneModel, floatAttribute, GraphIndex, liftOpset, type Model, type Node } from '../../graph/index.ts'
import { type Tensor, toFloat32 } from '../../tensor/index.ts'
import { Activations, sameEveryPass } from './activations.ts'
import { cutValues } from './cut.ts'
import { linearMap, matrixOfWeight } from './linear-map.ts'
import {
  type ResolvedRounding,
  type RoundingContext,
  type RoundingLayer,
  type RoundingOptions,
  resolveRounding,
} from './options.ts'
import { BlockSamples, RelativeError, roundBlock } from './round-block.ts'
import { type LayerTask, type RoundedLayer, roundLayer } from './round-layer.ts'
import { RowCollector } from './rows.ts'
import { storedIntegers, weightGrid } from './weight-grid.ts'

/** Layers that were rounded together, or the reason why they were not. */
export interface RoundedBlock {
  /** Names of the nodes. */
  readonly layers: readonly string[]
  /** Error of the block's output on the data, relative: with layers rounded one by one, and now. */
  readonly outputError?: { readonly layers: number; readonly block: number }
  readonly reason?: string
}

/** What {@link learnRounding} gives. */
export interface LearnedRounding {
  /** Integers by the name of the weight, for `applyQuantize`'s `rounded`. */
  readonly rounded: Map<string, Tensor>
  readonly layers: readonly RoundedLayer[]
  /** With method `block`. */
  readonly blocks: readonly RoundedBlock[]
  /** Layers that stay rounded to nearest, and why. */
  readonly skips: readonly Skip[]
}

/** Layers between two values that everything flows through. */
interface Segment {
  readonly tasks: LayerTask[]
  /** Value of the original network that they are computed from; `undefined` when there is no single one. */
  readonly start: string | undefined
  /** Value of the original network behind them; `undefined` at the end of the graph. */
  readonly end: string | undefined
}

/**
 * Learns how weights are rounded.
 *
 * @param model the original network, prepared (constants as initializers), batch normalisation folded.
 * @param fake its quantized form in floats, as `fakeQuantize` gives it: nodes of the same names, whose weights and
 *   biases are initializers. Not changed.
 * @returns the same integers for the same options and data.
 * @throws WhittleError `INVALID_ARGUMENT` for options out of range; `NOT_FOUND` for layers that a network does not have;
 *   `INVALID_DATA` without data; `NOT_FINITE` naming the layer whose loss is; `ENGINE`; `ABORTED`.
 */
export async function learnRounding(
  model: Model,
  fake: Model,
  layers: readonly RoundingLayer[],
  options: RoundingOptions,
  context: RoundingContext,
): Promise<LearnedRounding> {
  const run = new RoundingRun(model, fake, resolveRounding(options), context)
  return run.learn(layers)
}

function biasOf(added: Tensor | undefined, outputs: number): Float32Array {
  const values = added ? toFloat32(added) : Float32Array.of(0)
  return values.length === outputs ? values : new Float32Array(outputs).fill(values[0]!)
}

class RoundingRun {
  readonly #model: Model
  readonly #fake: Model
  readonly #options: ResolvedRounding
  readonly #context: RoundingContext
  readonly #original: Activations
  readonly #quantized: Activations
  readonly #rounded = new Map<string, Tensor>()
  readonly #outcomes: RoundedLayer[] = []
  readonly #blocks: RoundedBlock[] = []
  readonly #skips: Skip[] = []
  readonly #quantizations = new Map<string, RoundingLayer['quantization']>()
  readonly #started = performance.now()
  #samples = 0
  #done = 0
  #total = 0

  constructor(model: Model, fake: Model, options: ResolvedRounding, context: RoundingContext) {
    this.#model = liftOpset(model, 18)
    this.#fake = cloneModel(fake)
    this.#options = options
    this.#context = context
    const { evaluator, signal } = context
    const data = sameEveryPass(context.data)
    this.#original = new Activations(evaluator, data, options.keepBytes, signal)
    this.#quantized = new Activations(evaluator, data, options.keepBytes, signal)
  }

  async learn(layers: readonly RoundingLayer[]): Promise<LearnedRounding> {
    const inputs = this.#model.graph.inputs.map(({ name }) => name)
    for (const activations of [this.#original, this.#quantized]) await activations.advance(this.#model, inputs)
    await this.#original.forEach(this.#model, inputs, (tensors) => {
      this.#samples += tensors[inputs[0]!]?.shape[0] ?? 0
    })
    if (this.#samples === 0) fail('INVALID_DATA', 'Rounding: needs at least one batch of data; got none.')
    const segments = this.#segments(this.#tasks(layers))
    this.#total = segments.reduce((sum, { tasks }) => sum + tasks.length, 0)
    for (const [at, segment] of segments.entries()) {
      const levels = await this.#roundSegment(segment)
      if (this.#options.method === 'block') await this.#roundTogether(segment, levels)
      this.#done += segment.tasks.length
      if (segment.end !== undefined && at + 1 < segments.length) await this.#advance(segment.end)
    }
    this.#report()
    return { rounded: this.#rounded, layers: this.#outcomes, blocks: this.#blocks, skips: this.#skips }
  }

  #tasks(layers: readonly RoundingLayer[]): LayerTask[] {
    const { sites, skips } = findSites(this.#model, this.#context.shapes)
    const [siteOf, whyNot] = [
      new Map(sites.map((site) => [site.name, site])),
      new Map(skips.map(({ name, reason }) => [name, reason])),
    ]
    const wanted = new Map(layers.map((layer) => [layer.node, layer]))
    for (const { node } of layers)
      if (!siteOf.has(node))
        if (whyNot.has(node)) this.#skips.push({ name: node, reason: whyNot.get(node)! })
        else fail('NOT_FOUND', `Rounding: '${node}' must be a node with a weight; the network has none of that name.`)
    const uses = new Map<string, number>()
    for (const { weightName } of sites) uses.set(weightName, (uses.get(weightName) ?? 0) + 1)
    const tasks: LayerTask[] = []
    // In the order of the graph.
    for (const site of sites) {
      const layer = wanted.get(site.name)
      if (!layer) continue
      const task = uses.get(site.weightName)! > 1 ? 'It shares its weight with other layers.' : this.#task(site, layer)
      if (typeof task === 'string') this.#skips.push({ name: site.name, reason: task })
      else tasks.push(task)
    }
    return tasks
  }

  #task(site: Site, { quantization }: RoundingLayer): LayerTask | string {
    const map = linearMap(site)
    if (typeof map === 'string') return map
    const node = this.#fakeNode(site.name)
    const weight = this.#fake.graph.initializers.get(node.inputs[1] ?? '')
    if (weight?.shape.join() !== site.weight.shape.join()) return 'Its weight in the quantized network is another one.'
    const added = this.#fake.graph.initializers.get(node.inputs[2] ?? '')
    if (
      site.op === 'Gemm' &&
      (floatAttribute(site.node, 'alpha', 1) !== 1 || floatAttribute(site.node, 'beta', 1) !== 1)
    )
      return 'A Gemm with alpha or beta has other products.'
    if ((node.inputs[2] ?? '') !== '' && !added) return 'Its bias in the quantized network is no constant.'
    if (added && added.size !== 1 && added.size !== site.outputs) return 'Its bias differs from row to row.'
    this.#quantizations.set(site.name, quantization)
    return {
      site,
      map,
      grid: weightGrid(matrixOfWeight(map, toFloat32(site.weight)), map.weightOrder, site.weight.shape, quantization),
      bias: biasOf(added, site.outputs),
    }
  }

  #fakeNode(name: string): Node {
    return (
      new GraphIndex(this.#fake.graph).node(name) ??
      fail('NOT_FOUND', `Rounding: the quantized network must have the layer '${name}'; it does not.`)
    )
  }

  /** Layers in groups between cut values. */
  #segments(tasks: readonly LayerTask[]): Segment[] {
    const order = new Map(this.#model.graph.nodes.map((node, at) => [node, at]))
    const index = new GraphIndex(this.#model.graph)
    const ends = cutValues(this.#model)
      .map((value) => ({ value, at: order.get(index.producer(value)!) ?? -1 }))
      // A cut is of use where a quantized layer can go on from it.
      .filter(({ value }) => this.#quantizedValue(value) !== undefined)
    const segments: Segment[] = []
    let open: LayerTask[] = []
    let next = 0
    let start: string | undefined
    const close = (end: string | undefined): void => {
      if (open.length > 0) segments.push({ tasks: open, start, end })
      open = []
    }
    for (const task of tasks) {
      const at = order.get(task.site.node)!
      let passed: string | undefined
      for (; next < ends.length && ends[next]!.at < at; next++) passed = ends[next]!.value
      if (passed !== undefined) {
        close(passed)
        start = passed
      }
      open.push(task)
    }
    close(undefined)
    return segments
  }

  /** What the quantized network's nodes read in the place of a value of the original one. */
  #quantizedValue(value: string): string | undefined {
    const names = new Set<string>()
    for (const user of new GraphIndex(this.#model.graph).users(value)) {
      const fake = new GraphIndex(this.#fake.graph).node(user.name)
      if (!fake || fake.opType !== user.opType) return undefined
      names.add(fake.inputs[user.inputs.indexOf(value)]!)
    }
    const [name] = names
    return names.size === 1 ? name : undefined
  }

  async #advance(value: string): Promise<void> {
    await this.#original.advance(this.#model, [value])
    if (this.#options.inputs === 'original' && this.#options.method !== 'block') return
    await this.#quantized.advance(this.#fake, [this.#quantizedValue(value)!])
  }

  /** Layer after layer. @returns the multiples of each. */
  async #roundSegment({ tasks }: Segment): Promise<Float64Array[]> {
    const chosen: Float64Array[] = []
    const { seed } = this.#options
    const outputs = tasks.map((task) => this.#collector(task, 'output', seed))
    const values = tasks.map(({ site }) => site.node.outputs[0]!)
    await this.#original.forEach(this.#model, values, (tensors) => {
      for (const [at, collector] of outputs.entries()) collector.add(tensors[values[at]!]!)
    })
    for (const [at, task] of tasks.entries()) {
      checkAborted(this.#context.signal)
      this.#report(task.site.name, at)
      const inputs = this.#collector(task, 'input', seed)
      if (this.#options.inputs === 'original') {
        const value = task.site.node.inputs[0]!
        await this.#original.forEach(this.#model, [value], (tensors) => inputs.add(tensors[value]!))
      } else {
        const value = this.#fakeNode(task.site.name).inputs[0]!
        await this.#quantized.forEach(this.#fake, [value], (tensors) => inputs.add(tensors[value]!))
      }
      const rows = inputs.finish()
      const count = rows.length / (task.map.channels * task.map.taps)
      const { levels, outcome } = await roundLayer(
        task,
        { count, inputs: rows, outputs: outputs[at]!.finish() },
        this.#model,
        this.#options,
        this.#context,
      )
      this.#settle(task, levels)
      this.#outcomes.push(outcome)
      chosen.push(levels)
    }
    return chosen
  }

  /** All layers of a block, where that serves its output better than what they have. */
  async #roundTogether({ tasks, start, end }: Segment, levels: Float64Array[]): Promise<void> {
    const { graph } = this.#model
    const target = end ?? (graph.outputs.length === 1 ? graph.outputs[0]!.name : undefined)
    const input = start === undefined ? undefined : this.#quantizedValue(start)
    const output = end === undefined ? this.#fake.graph.outputs[0]!.name : this.#quantizedValue(end)
    const layers = tasks.map(({ site }) => site.name)
    const leave = (reason: string): void => void this.#blocks.push({ layers, reason })
    if (target === undefined || input === undefined || output === undefined)
      return leave('There is no single value before or behind it.')
    if (tasks.length === 1) return leave('It is one layer.')
    if (tasks.length > MOST_BLOCK_LAYERS) return leave(`It has more than ${MOST_BLOCK_LAYERS} layers.`)
    const samples = new BlockSamples()
    await this.#quantized.forEach(this.#fake, [input], (tensors) => samples.addInput(tensors[input]!))
    await this.#original.forEach(this.#model, [target], (tensors) => samples.addTarget(tensors[target]!))
    const weights = tasks.map(({ site }) => this.#fakeNode(site.name).inputs[1]!)
    const block = { tasks, weights, levels, input, output }
    const batches = samples.batches(input, createRandom(this.#options.seed))
    const before = await this.#errorOf(target, output)
    const learned = await roundBlock(this.#fake, block, batches, this.#options, this.#context)
    if (typeof learned === 'string') return leave(learned)
    for (const [at, task] of tasks.entries()) this.#settle(task, learned[at]!)
    const after = await this.#errorOf(target, output)
    if (after >= before) for (const [at, task] of tasks.entries()) this.#settle(task, levels[at]!)
    this.#blocks.push({ layers, outputError: { layers: before, block: Math.min(before, after) } })
  }

  /** How far a value of the quantized network is from one of the original. */
  async #errorOf(target: string, output: string): Promise<number> {
    const wanted: Tensor[] = []
    await this.#original.forEach(this.#model, [target], (tensors) => void wanted.push(tensors[target]!))
    const sum = new RelativeError()
    let at = 0
    await this.#quantized.forEach(this.#fake, [output], (tensors) => sum.add(wanted[at++]!, tensors[output]!))
    return sum.value
  }

  #collector({ map, site }: LayerTask, side: 'input' | 'output', seed: number): RowCollector {
    const wanted = Math.max(this.#options.rows, 8 * map.rowLength)
    const most = Math.max(1, Math.floor(MOST_ROW_BYTES / (4 * map.channels * map.taps)))
    const perSample = Math.max(1, Math.ceil(Math.min(wanted, most) / this.#samples))
    return new RowCollector(map, side, perSample, seed, site.name)
  }

  /** Keeps a layer's integers and puts what they stand for into the quantized network. */
  #settle({ site, map }: LayerTask, levels: Float64Array): void {
    const quantization = this.#quantizations.get(site.name)!
    const integers = storedIntegers(levels, map.weightOrder, site.weight.shape, quantization)
    this.#rounded.set(site.weightName, integers)
    const name = this.#fakeNode(site.name).inputs[1]!
    const { dtype } = this.#fake.graph.initializers.get(name)!
    this.#fake.graph.initializers.set(name, dequantizeWeight(integers, quantization, dtype))
  }

  #report(item?: string, within = 0): void {
    const done = this.#done + within
    const left = ((performance.now() - this.#started) / 1000 / Math.max(done, 1)) * (this.#total - done)
    const values = done > 0 ? { secondsLeft: left } : undefined
    this.#context.onProgress?.({ stage: 'round', done, total: this.#total, item, values })
  }
}

/** Layers that are learned together at most; networks without a single value in between have no blocks. */
const MOST_BLOCK_LAYERS = 12

/** Bytes of one layer's rows at most. */
const MOST_ROW_BYTES = 256 * 2 ** 20
