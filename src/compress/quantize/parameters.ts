/** Reading and replacing a layer's weight and bias per channel, in a graph the caller owns. */
import {
  floatAttribute,
  type Graph,
  GraphIndex,
  intAttribute,
  type Model,
  NameGenerator,
  type Node,
} from '../../graph/index.ts'
import { type DType, fromNumbers, type Tensor, toFloat64 } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'

/** Largest finite number of a floating-point type. */
function limitOf(dtype: DType): number {
  if (dtype === 'float16') return 65504
  return dtype === 'float64' ? Number.MAX_VALUE : 3.4028234663852886e38
}

/** Whether all numbers are finite in an element type. */
export function fitsType(values: Float64Array, dtype: DType): boolean {
  const limit = limitOf(dtype)
  return values.every((value) => Math.abs(value) <= limit)
}

/** A constant as one number per channel along the last axis or, with `kernelAxes`, along the axis before so many. */
function perChannel(tensor: Tensor, channels: number): Float64Array | undefined {
  const data = toFloat64(tensor)
  if (data.length === 1) return new Float64Array(channels).fill(data[0]!)
  const last = tensor.shape[tensor.shape.length - 1]
  return data.length === channels && last === channels ? Float64Array.from(data) : undefined
}

/** A bias that belongs to a site: where it is stored and its numbers, one per output channel. */
export interface SiteBias {
  readonly node: Node
  readonly slot: number
  readonly values: Float64Array
}

/**
 * The bias of a site per output channel: its own, zeros when it has none, or that of the Add after a MatMul.
 *
 * @returns a sentence when there is no place for one, or it is not constant per channel.
 */
export function biasOf(site: Site, index: GraphIndex): SiteBias | string {
  const { node, outputs, biasName } = site
  if (site.op === 'MatMul') return addedBias(site, index)
  if (biasName === undefined) return { node, slot: 2, values: new Float64Array(outputs) }
  if (!site.bias) return `Its bias '${biasName}' is computed.`
  const values = perChannel(site.bias, outputs)
  return values ? { node, slot: 2, values } : `Its bias has shape [${site.bias.shape.join(', ')}], not one per channel.`
}

/** The constant that an Add puts on a MatMul's output. */
function addedBias(site: Site, index: GraphIndex): SiteBias | string {
  const value = site.node.outputs[0]!
  const [user, ...others] = index.users(value)
  const none = 'It is a MatMul without a bias after it.'
  if (!user || others.length > 0 || index.isOutput(value) || user.opType !== 'Add' || user.domain !== '') return none
  const slot = user.inputs[0] === value ? 1 : 0
  const tensor = index.constant(user.inputs[slot] ?? '')
  const values = tensor && perChannel(tensor, site.outputs)
  return values ? { node: user, slot, values } : none
}

/** The value that a site's bias has been added to: its output, or that of the Add after a MatMul. */
export function preActivationOf(site: Site, index: GraphIndex): string {
  const bias = biasOf(site, index)
  return (typeof bias === 'string' ? site.node : bias.node).outputs[0]!
}

/** Replaces parameters of one graph; constants that other nodes use too are left for them. */
export class ParameterWriter {
  readonly #graph: Graph
  readonly #index: GraphIndex
  readonly #names: NameGenerator
  /** Names written by this writer for one slot only. */
  readonly #own = new Set<string>()

  /** @param model a clone that may be edited. */
  constructor(model: Model) {
    this.#graph = model.graph
    this.#index = new GraphIndex(model.graph)
    this.#names = new NameGenerator(model.graph)
  }

  /** The tensor that a node's input holds now. */
  read(node: Node, slot: number): Tensor | undefined {
    return this.#graph.initializers.get(node.inputs[slot] ?? '')
  }

  /** Puts a constant in a node's input, under the present name when only this input uses it. */
  write(node: Node, slot: number, tensor: Tensor, wanted: string): void {
    const present = node.inputs[slot] ?? ''
    const single =
      this.#graph.initializers.has(present) &&
      this.#index.isUsedOnlyBy(present, node) &&
      node.inputs.filter((name) => name === present).length === 1
    const target = single || this.#own.has(present) ? present : this.#names.fresh(present || wanted)
    this.#own.add(target)
    this.#graph.initializers.set(target, tensor)
    while (node.inputs.length <= slot) node.inputs.push('')
    node.inputs[slot] = target
  }

  /** Writes a bias of one number per channel, keeping Gemm's factor on it and the shape it has. */
  writeBias(site: Site, bias: SiteBias, values: Float64Array): void {
    const present = this.read(bias.node, bias.slot)
    const shape = present && present.size === values.length ? present.shape : [values.length]
    const { weightName } = site
    const stem = weightName.endsWith('.weight') ? weightName.slice(0, -'.weight'.length) : undefined
    const tensor = fromNumbers(values, shape, present?.dtype ?? site.weight.dtype)
    this.write(bias.node, bias.slot, tensor, stem === undefined ? `${weightName}_bias` : `${stem}.bias`)
  }
}

/** Whether a Gemm reads its data transposed, so that channels are not along axis 1. */
export function isTransposedInput(site: Site): boolean {
  return site.op === 'Gemm' && intAttribute(site.node, 'transA', 0) !== 0
}

/** The numbers that a layer multiplies its product and its bias with: Gemm's `alpha` and `beta`, else 1. */
export function factorsOf(site: Site): { readonly product: number; readonly bias: number } {
  if (site.op !== 'Gemm') return { product: 1, bias: 1 }
  return { product: floatAttribute(site.node, 'alpha', 1), bias: floatAttribute(site.node, 'beta', 1) }
}
