/**
 * Cross-layer equalisation: factors per channel move between consecutive layers until both have the same range per
 * channel, so that one scale per weight serves all channels. The network's function stays as it is.
 *
 * Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias Correction",
 * ICCV 2019 (arXiv 1906.04721), section 4.1: with r₁, r₂ the largest absolute weights of channel i as an output of the
 * first and an input of the second layer, s = √(r₁ / r₂), W₁ ← W₁ / s, b₁ ← b₁ / s, W₂ ← W₂ s. Depthwise layers between
 * two others are equalised together with them, which for one of them is S₁ = r₁ / ∛(r₁r₂r₃), S₂ = ∛(r₁r₂r₃) / r₃.
 */
import { checkAborted, fail, type TaskOptions } from '../../core/index.ts'
import { cloneModel, GraphIndex, type Model, type Node, removeUnusedFrom } from '../../graph/index.ts'
import { fromNumbers, type Tensor, toFloat64 } from '../../tensor/index.ts'
import type { Skip } from '../method.ts'
import type { ObservedShapes, Site } from '../sites.ts'
import { type ChannelPath, findChannelPaths } from './channel-path.ts'
import { blockMaxima, channelMaxima, forEachBlock, isDepthwise, scaledWeight } from './channel-view.ts'
import { biasOf, fitsType, ParameterWriter } from './parameters.ts'
import type { Range } from './scheme.ts'

/** Options of {@link equalize}. */
export interface EqualizeOptions extends TaskOptions {
  /**
   * What happens to Clip 0 … 6 between two layers. `'keep'` (default): it stays, and the layers are not equalised, but
   * where `ranges` show that it never cuts at 6. `'replace'`: it becomes Relu in any case, which changes the function.
   */
  readonly relu6?: 'keep' | 'replace' | undefined
  /** Ranges of values on data; those of Clips' inputs prove that an upper bound is never reached. */
  readonly ranges?: ReadonlyMap<string, Range> | undefined
  /** Sweeps over all pairs at most; default 50. */
  readonly iterations?: number | undefined
  /**
   * Largest factor between two channels of a pair and its inverse; default 4096. Channels that training has all but
   * switched off would otherwise blow up their biases and with them the range of the activations.
   */
  readonly limit?: number | undefined
  /** Equalisation ends when no factor of a sweep differs from 1 by more; default 1e-4. */
  readonly tolerance?: number | undefined
}

/** One pair of layers and what moved between them; JSON. */
export type EqualizedPair = {
  readonly first: string
  readonly second: string
  /** Nodes between them. */
  readonly through: readonly string[]
  /** What each output channel of `first` was divided by and the matching inputs of `second` multiplied with. */
  readonly scales: readonly number[]
}

/** What {@link equalize} did; JSON. */
export type EqualizeRecord = {
  readonly pairs: readonly EqualizedPair[]
  /** Sweeps until nothing moved any more, or their limit. */
  readonly iterations: number
  readonly converged: boolean
  /** Clips that became Relu. */
  readonly replacedClips: readonly string[]
  /** Layers whose output channels could not be scaled, and why. */
  readonly skips: readonly Skip[]
}

/** A pair while its factors are found. */
interface Link {
  readonly path: ChannelPath
  /** Product of the factors so far. */
  readonly scales: Float64Array
}

/**
 * Equalises the weights of consecutive layers of a model in which batch normalisations are folded.
 *
 * @param shapes observed shapes; without them nothing passes through reshapes.
 * @returns a clone whose outputs are the same to rounding, and what was scaled by how much.
 * @throws WhittleError `NOT_FINITE` when a weight holds NaN or infinity; `ABORTED`.
 */
export function equalize(
  model: Model,
  shapes: ObservedShapes = new Map(),
  options: EqualizeOptions = {},
): { model: Model; record: EqualizeRecord } {
  const clone = cloneModel(model)
  const found = findChannelPaths(clone, shapes)
  const skips = [...found.skips]
  const index = new GraphIndex(clone.graph)
  const links: Link[] = []
  for (const path of found.paths) {
    const reason = obstacle(path, index, options)
    if (reason !== undefined) skips.push({ name: path.first.name, reason })
    else links.push({ path, scales: new Float64Array(path.first.outputs).fill(1) })
  }
  const { iterations, converged } = settle(links, options)
  const written = links.filter(({ scales }) => scales.some((scale) => scale !== 1))
  const refused = write(clone, written, index)
  skips.push(...refused)
  const kept = written.filter(({ path }) => !refused.some(({ name }) => name === path.first.name))
  const replacedClips = kept.flatMap(({ path }) => path.clips.map(({ node }) => toRelu(node)))
  if (replacedClips.length > 0) removeUnusedFrom(clone)
  const pairs = kept.map(({ path, scales }) => ({
    first: path.first.name,
    second: path.second.name,
    through: path.through.map(({ name }) => name),
    scales: [...scales],
  }))
  return { model: clone, record: { pairs, iterations, converged, replacedClips, skips } }
}

/** Why a path cannot be scaled. */
function obstacle(path: ChannelPath, index: GraphIndex, options: EqualizeOptions): string | undefined {
  const bias = biasOf(path.first, index)
  if (typeof bias === 'string' && path.first.op !== 'MatMul') return bias
  if (options.relu6 === 'replace') return undefined
  for (const { node, most } of path.clips) {
    const reached = options.ranges?.get(node.inputs[0]!)?.max
    if (reached === undefined || reached > most)
      return `Clip '${node.name}' cuts at ${most}${reached === undefined ? '' : `, which data reach (${reached})`}. relu6 'replace' makes it Relu.`
  }
  return undefined
}

/** A layer's largest weights per block, with the factors of both its sides so far. */
interface Ranges {
  readonly site: Site
  readonly maxima: Float64Array
}

/** Sweeps over all chains until the factors stay at 1. */
function settle(links: readonly Link[], options: EqualizeOptions): { iterations: number; converged: boolean } {
  const { iterations = 50, tolerance = 1e-4, limit = 4096 } = options
  if (!(limit >= 1)) fail('INVALID_ARGUMENT', `Equalisation: limit must be a number from 1; got ${limit}.`)
  const ranges = new Map<string, Ranges>()
  for (const { path } of links)
    for (const site of [path.first, path.second])
      if (!ranges.has(site.name)) ranges.set(site.name, { site, maxima: finiteMaxima(site) })
  const chains = chainsOf(links)
  for (let sweep = 1; sweep <= iterations; sweep++) {
    checkAborted(options.signal)
    let moved = 0
    for (const chain of chains) moved = Math.max(moved, equalizeChain(chain, ranges, limit))
    options.onProgress?.({ stage: 'equalize', done: sweep })
    if (moved <= tolerance) return { iterations: sweep, converged: true }
  }
  return { iterations, converged: chains.length === 0 }
}

function finiteMaxima(site: Site): Float64Array {
  const maxima = blockMaxima(site)
  if (maxima.some((value) => !Number.isFinite(value)))
    fail(
      'NOT_FINITE',
      `${site.op} '${site.name}': its weight must be finite to be equalised; it holds NaN or infinity. Repair the model.`,
    )
  return maxima
}

/** Links in chains: a depthwise layer joins the link before it and the link after it. */
function chainsOf(links: readonly Link[]): Link[][] {
  const bySecond = new Map(links.map((link) => [link.path.second.name, link]))
  const byFirst = new Map(links.map((link) => [link.path.first.name, link]))
  const joins = (site: Site): boolean => isDepthwise(site) && bySecond.has(site.name) && byFirst.has(site.name)
  const chains: Link[][] = []
  for (const link of links) {
    if (joins(link.path.first) && bySecond.get(link.path.first.name)!.path.repeat === 1) continue
    const chain = [link]
    for (let last = link; joins(last.path.second) && last.path.repeat === 1; ) {
      last = byFirst.get(last.path.second.name)!
      chain.push(last)
    }
    chains.push(chain)
  }
  return chains
}

/** One step for one chain of n layers: all ranges of a channel become their geometric mean. @returns max |ln factor|. */
function equalizeChain(chain: readonly Link[], ranges: ReadonlyMap<string, Ranges>, limit: number): number {
  const { first } = chain[0]!.path
  const last = chain[chain.length - 1]!.path
  const head = ranges.get(first.name)!
  const tail = ranges.get(last.second.name)!
  const channels = first.outputs
  const rows = [channelMaxima(head.site, 'output', head.maxima)]
  for (const { path } of chain.slice(1)) {
    const between = ranges.get(path.first.name)!
    rows.push(channelMaxima(between.site, 'output', between.maxima))
  }
  rows.push(groupedMaxima(channelMaxima(tail.site, 'input', tail.maxima), last.repeat))
  let moved = 0
  const steps = chain.map(() => new Float64Array(channels).fill(1))
  for (let channel = 0; channel < channels; channel++) {
    const logs = rows.map((row) => Math.log(row[channel]!))
    // A channel without weights on one side has no range to share.
    if (!logs.every(Number.isFinite)) continue
    const mean = logs.reduce((sum, value) => sum + value, 0) / logs.length
    let total = 0
    for (let link = 0; link < chain.length; link++) {
      total += logs[link]! - mean
      const present = chain[link]!.scales[channel]!
      const step = Math.min(limit, Math.max(1 / limit, present * Math.exp(total))) / present
      steps[link]![channel] = step
      moved = Math.max(moved, Math.abs(Math.log(step)))
    }
  }
  for (const [position, { path, scales }] of chain.entries()) {
    const step = steps[position]!
    for (let channel = 0; channel < channels; channel++) scales[channel]! *= step[channel]!
    divideOutputs(ranges.get(path.first.name)!, step)
    multiplyInputs(ranges.get(path.second.name)!, step, path.repeat)
  }
  return moved
}

/** The largest of each run of `repeat` numbers. */
function groupedMaxima(values: Float64Array, repeat: number): Float64Array {
  const grouped = new Float64Array(values.length / repeat)
  for (const [i, value] of values.entries()) {
    const at = Math.floor(i / repeat)
    grouped[at] = Math.max(grouped[at]!, value)
  }
  return grouped
}

function divideOutputs({ site, maxima }: Ranges, factors: Float64Array): void {
  forEachBlock(site, (output, _, block) => {
    maxima[block]! /= factors[output]!
  })
}

function multiplyInputs({ site, maxima }: Ranges, factors: Float64Array, repeat: number): void {
  forEachBlock(site, (_, input, block) => {
    maxima[block]! *= factors[Math.floor(input / repeat)]!
  })
}

/** Writes all scaled parameters. @returns pairs that were left, because numbers would leave their type. */
function write(clone: Model, links: readonly Link[], index: GraphIndex): Skip[] {
  const writer = new ParameterWriter(clone)
  const refused: Skip[] = []
  const output = new Map<string, Float64Array>()
  const input = new Map<string, Float64Array>()
  const sites = new Map<string, Site>()
  for (const { path, scales } of links) {
    const { first, second, repeat } = path
    const divided = scales.map((scale) => 1 / scale)
    if (!staysFinite(path, scales, index)) {
      refused.push({ name: first.name, reason: `Scaled parameters would leave the range of ${first.weight.dtype}.` })
      continue
    }
    output.set(first.name, divided)
    input.set(
      second.name,
      Float64Array.from({ length: second.inputs }, (_, i) => scales[Math.floor(i / repeat)]!),
    )
    sites.set(first.name, first).set(second.name, second)
    const bias = first.op === 'MatMul' ? undefined : biasOf(first, index)
    if (bias && typeof bias !== 'string' && bias.values.some((value) => value !== 0))
      writer.writeBias(
        first,
        bias,
        bias.values.map((value, channel) => value / scales[channel]!),
      )
    for (const { node, slot } of path.constants) {
      const tensor = writer.read(node, slot)!
      const values = toFloat64(tensor).map((value, channel) => value / scales[channel]!)
      writer.write(node, slot, fromNumbers(values, tensor.shape, tensor.dtype), `${node.name}_bias`)
    }
  }
  for (const [name, site] of sites) {
    const values = scaledWeight(site, { output: output.get(name), input: input.get(name) })
    writer.write(site.node, 1, sameType(values, site.weight), `${name}_weight`)
  }
  return refused
}

function sameType(values: Float64Array, like: Tensor): Tensor {
  return fromNumbers(values, like.shape, like.dtype)
}

function staysFinite({ first, second, repeat }: ChannelPath, scales: Float64Array, index: GraphIndex): boolean {
  const divided = scales.map((scale) => 1 / scale)
  const bias = biasOf(first, index)
  const shifted = typeof bias === 'string' ? new Float64Array() : bias.values.map((b, i) => b * divided[i]!)
  const input = Float64Array.from({ length: second.inputs }, (_, i) => scales[Math.floor(i / repeat)]!)
  return (
    fitsType(divided, 'float32') &&
    fitsType(scales, 'float32') &&
    fitsType(shifted, first.weight.dtype) &&
    fitsType(scaledWeight(first, { output: divided }), first.weight.dtype) &&
    fitsType(scaledWeight(second, { input }), second.weight.dtype)
  )
}

/** Makes a Clip a Relu, in place. @returns its name. */
function toRelu(node: Node): string {
  node.opType = 'Relu'
  node.inputs = [node.inputs[0]!]
  node.attributes = new Map()
  return node.name
}
