/** Balancing the layers of a model: whose factors go where. */

import { messageOf } from '../../core/index.ts'
import { cloneModel, createNode, GraphIndex, type Model, NameGenerator, type Node } from '../../graph/index.ts'
import { fromNumbers, toFloat64 } from '../../tensor/index.ts'
import type { Skip } from '../method.ts'
import { findSites, type ObservedShapes, type Site } from '../sites.ts'
import { balanceFactors } from './balance.ts'
import { type ChannelPath, findChannelPaths } from './channel-path.ts'
import { channelMaxima, scaledWeight } from './channel-view.ts'
import { biasOf, fitsType, isTransposedInput, ParameterWriter } from './parameters.ts'

/** Options of {@link balanceModel}. */
export interface BalanceOptions {
  /** Migration strength, 0.2 … 0.8; default 0.5. */
  readonly strength?: number | undefined
  /** Strengths of single layers, by name. */
  readonly strengths?: ReadonlyMap<string, number> | undefined
  /** Names of the layers to balance; default: all that have activations. */
  readonly layers?: ReadonlySet<string> | undefined
}

/** What happened to one layer; JSON. */
export type BalancedLayer = {
  readonly name: string
  /** AMCT's `tensor_balance_factor`: what each input channel was divided by, and its weights multiplied with. */
  readonly factors: readonly number[]
  /** Where the division went: into the parameters of the node before, or into a Mul of its own. */
  readonly into: 'layer' | 'normalization' | 'mul'
  /** Name of that node. */
  readonly node: string
}

/** What {@link balanceModel} did; JSON. */
export type BalanceRecord = { readonly layers: readonly BalancedLayer[]; readonly skips: readonly Skip[] }

/** Layers that read one value and share their factors. */
interface Group {
  readonly value: string
  readonly sites: readonly Site[]
  readonly factors: Float64Array
}

/** Normalisations whose scale and shift per channel can take factors up, and where these are. */
const NORMALIZATIONS: Readonly<Record<string, { readonly parameters: readonly number[] }>> = {
  BatchNormalization: { parameters: [1, 2] },
  InstanceNormalization: { parameters: [1, 2] },
  LayerNormalization: { parameters: [1, 2] },
  SimplifiedLayerNormalization: { parameters: [1] },
  RMSNormalization: { parameters: [1] },
}

/**
 * Balances layers; the network's function stays as it is.
 *
 * Layers that read the same value get common factors, from the largest weight of any of them. Factors go into the layer
 * or normalisation that makes the value where nothing else uses it, else into a Mul before the layers.
 *
 * @param activations largest absolute value per input channel, by layer.
 * @returns a clone whose outputs are the same to rounding, and the factors.
 * @throws WhittleError `INVALID_ARGUMENT` for a strength outside 0.2 … 0.8.
 */
export function balanceModel(
  model: Model,
  activations: ReadonlyMap<string, Float64Array>,
  shapes: ObservedShapes = new Map(),
  options: BalanceOptions = {},
): { model: Model; record: BalanceRecord } {
  const clone = cloneModel(model)
  const skips: Skip[] = []
  const groups = groupsOf(clone, activations, shapes, options, skips)
  const paths = new Map(findChannelPaths(clone, shapes).paths.map((path) => [path.second.name, path]))
  const index = new GraphIndex(clone.graph)
  const editor = new Editor(clone)
  const layers: BalancedLayer[] = []
  for (const group of groups) {
    const { into, node } = foldIntoLayer(group, paths, index, editor) ??
      foldIntoNormalization(group, index, editor) ?? { into: 'mul' as const, node: editor.insertMul(group) }
    for (const site of group.sites) {
      editor.scaleInputs(site, group.factors)
      layers.push({ name: site.name, factors: [...group.factors], into, node })
    }
  }
  editor.finish()
  return { model: clone, record: { layers, skips } }
}

function groupsOf(
  model: Model,
  activations: ReadonlyMap<string, Float64Array>,
  shapes: ObservedShapes,
  options: BalanceOptions,
  skips: Skip[],
): Group[] {
  const index = new GraphIndex(model.graph)
  const byValue = new Map<string, Site[]>()
  for (const site of findSites(model, shapes).sites) {
    if (options.layers && !options.layers.has(site.name)) continue
    const reason = isTransposedInput(site)
      ? 'It reads its input transposed.'
      : index.users(site.weightName).length !== 1
        ? 'It shares its weight with other layers.'
        : undefined
    if (reason !== undefined) skips.push({ name: site.name, reason })
    else if (activations.has(site.name))
      byValue.set(site.node.inputs[0]!, [...(byValue.get(site.node.inputs[0]!) ?? []), site])
  }
  const groups: Group[] = []
  for (const [value, sites] of byValue) {
    for (const together of alike(sites)) {
      const strength = options.strengths?.get(together[0]!.name) ?? options.strength ?? 0.5
      const weights = together
        .map((site) => channelMaxima(site, 'input'))
        .reduce((a, b) => a.map((largest, i) => Math.max(largest, b[i]!)))
      try {
        const factors = balanceFactors(activations.get(together[0]!.name)!, weights, strength)
        groups.push({ value, sites: together, factors })
      } catch (error) {
        if (!(error instanceof Error) || !('code' in error) || error.code !== 'NOT_FINITE') throw error
        for (const { name } of together) skips.push({ name, reason: messageOf(error) })
      }
    }
  }
  return groups
}

/** Layers of one value by the axis they read channels along. */
function alike(sites: readonly Site[]): Site[][] {
  const groups = new Map<string, Site[]>()
  for (const site of sites) {
    const key = `${site.kind === 'linear' ? 'last' : 'second'}:${site.inputs}`
    groups.set(key, [...(groups.get(key) ?? []), site])
  }
  return [...groups.values()]
}

/** Divides the outputs of the layer before, where one path leads from it to this layer alone. */
function foldIntoLayer(
  { sites, factors }: Group,
  paths: ReadonlyMap<string, ChannelPath>,
  index: GraphIndex,
  editor: Editor,
): Pick<BalancedLayer, 'into' | 'node'> | undefined {
  const path = sites.length === 1 ? paths.get(sites[0]!.name) : undefined
  if (path?.repeat !== 1 || path.clips.length > 0) return undefined
  const divided = factors.map((factor) => 1 / factor)
  const bias = path.first.op === 'MatMul' ? undefined : biasOf(path.first, index)
  if (typeof bias === 'string') return undefined
  if (!fitsType(scaledWeight(path.first, { output: divided }), path.first.weight.dtype)) return undefined
  editor.scaleOutputs(path.first, divided)
  if (bias?.values.some((value) => value !== 0))
    editor.writer.writeBias(
      path.first,
      bias,
      bias.values.map((value, i) => value * divided[i]!),
    )
  for (const { node, slot } of path.constants) editor.scaleParameter(node, slot, divided)
  return { into: 'layer', node: path.first.name }
}

/** Divides scale and shift of the normalisation that makes the value, where only these layers use it. */
function foldIntoNormalization(
  { value, sites, factors }: Group,
  index: GraphIndex,
  editor: Editor,
): Pick<BalancedLayer, 'into' | 'node'> | undefined {
  const node = index.producer(value)
  const facts = node && Object.hasOwn(NORMALIZATIONS, node.opType) ? NORMALIZATIONS[node.opType] : undefined
  if (!node || !facts || node.outputs[0] !== value || index.isOutput(value)) return undefined
  // LayerNormalization's scale is along the last axes, those of the others along axis 1.
  const isLast = node.opType.endsWith('LayerNormalization') || node.opType === 'RMSNormalization'
  if (isLast !== (sites[0]!.kind === 'linear' && sites[0]!.op !== 'Gemm')) return undefined
  const readers = new Set(sites.map((site) => site.node))
  if (
    index.users(value).some((user) => !readers.has(user) || user.inputs.filter((name) => name === value).length !== 1)
  )
    return undefined
  const present = facts.parameters.filter((slot) => (node.inputs[slot] ?? '') !== '')
  const sized = present.every((slot) => index.constant(node.inputs[slot]!)?.size === factors.length)
  if (present.length === 0 || !sized) return undefined
  const divided = factors.map((factor) => 1 / factor)
  for (const slot of present) editor.scaleParameter(node, slot, divided)
  return { into: 'normalization', node: node.name }
}

/** Collects factors of weights, so that each weight is scaled and rounded once. */
class Editor {
  readonly writer: ParameterWriter
  readonly #model: Model
  readonly #names: NameGenerator
  readonly #weights = new Map<string, { site: Site; output?: Float64Array; input?: Float64Array }>()
  readonly #inserted = new Map<Node, Node>()

  constructor(model: Model) {
    this.#model = model
    this.writer = new ParameterWriter(model)
    this.#names = new NameGenerator(model.graph)
  }

  scaleOutputs(site: Site, output: Float64Array): void {
    this.#weights.set(site.name, { ...this.#weights.get(site.name), site, output })
  }

  scaleInputs(site: Site, input: Float64Array): void {
    this.#weights.set(site.name, { ...this.#weights.get(site.name), site, input })
  }

  scaleParameter(node: Node, slot: number, factors: Float64Array): void {
    const tensor = this.writer.read(node, slot)!
    const values = toFloat64(tensor).map((value, i) => value * factors[i]!)
    this.writer.write(node, slot, fromNumbers(values, tensor.shape, tensor.dtype), `${node.name}_scaled`)
  }

  /** Puts a Mul with 1 / factor before the group's layers. @returns its name. */
  insertMul({ value, sites, factors }: Group): string {
    const [first] = sites as readonly [Site, ...Site[]]
    const shape = first.kind === 'linear' ? [factors.length] : [1, factors.length, ...first.kernel.map(() => 1)]
    const constant = this.#names.fresh(`${first.name}_balance_factor`)
    const inverse = factors.map((factor) => 1 / factor)
    this.#model.graph.initializers.set(constant, fromNumbers(inverse, shape, first.weight.dtype))
    const output = this.#names.fresh(`${first.name}_balanced`)
    const node = createNode('Mul', [value, constant], [output], {}, this.#names.fresh(`${first.name}_balance`))
    this.#inserted.set(first.node, node)
    for (const site of sites) site.node.inputs[0] = output
    return node.name
  }

  finish(): void {
    for (const { site, output, input } of this.#weights.values()) {
      const values = scaledWeight(site, { output, input })
      this.writer.write(site.node, 1, fromNumbers(values, site.weight.shape, site.weight.dtype), `${site.name}_weight`)
    }
    const { graph } = this.#model
    graph.nodes = graph.nodes.flatMap((node) => {
      const before = this.#inserted.get(node)
      return before ? [before, node] : [node]
    })
  }
}
