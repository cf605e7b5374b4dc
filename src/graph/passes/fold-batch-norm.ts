/**
 * Folds scales and shifts per channel into the convolution or Gemm before them: batch normalisation in inference,
 * and Mul, Div, Add, Sub with a constant per channel.
 *
 * With y = W x + b and z = s y + t per output channel: W ← s W, b ← s b + t; for batch normalisation
 * s = scale / √(variance + ε), t = bias − s · mean. Computed in float64, rounded once to the weight's type.
 */
import { fromNumbers, isFloat, type Tensor, toFloat64 } from '../../tensor/index.ts'
import { floatAttribute, intAttribute } from '../attributes.ts'
import { removeNodes } from '../edit.ts'
import { GraphIndex } from '../graph-index.ts'
import { cloneModel, type Graph, type Node } from '../model.ts'
import { NameGenerator } from '../names.ts'
import { type WeightFacts, weightFactsOf } from '../operators.ts'
import { forEachGraph } from '../traverse.ts'
import type { Pass } from './pass.ts'

/** A convolution or Gemm with constant parameters. */
interface Linear {
  readonly node: Node
  readonly facts: WeightFacts
  readonly weight: Tensor
  readonly channels: number
  /** Axes of the output: channels are axis 1. */
  readonly rank: number
  /** What is added to each channel now, Gemm's factor included. */
  readonly bias: Float64Array
}

/** z = scale · y + shift per channel; `scale` is absent where it is 1. */
interface ChannelMap {
  readonly scale?: Float64Array
  readonly shift: Float64Array
}

/**
 * Folds where the layer's output is used by nothing else and all parameters are constants. A weight that other nodes
 * use too is copied. Nothing is folded where a parameter would leave the finite range of its type.
 */
export const foldBatchNorm: Pass = {
  name: 'fold-batch-norm',
  run: async (model) => {
    const clone = cloneModel(model)
    const names = new NameGenerator(clone.graph)
    const changes: string[] = []
    forEachGraph(clone.graph, (graph) => {
      changes.push(...foldGraph(graph, names))
    })
    return { model: clone, changes }
  },
}

function foldGraph(graph: Graph, names: NameGenerator): string[] {
  const changes: string[] = []
  const index = new GraphIndex(graph)
  // Folding renames outputs of layers, which the index does not follow.
  const producers = new Map<string, Node>()
  const folded = new Set<Node>()
  for (const node of graph.nodes) {
    for (const name of node.outputs) producers.set(name, node)
    for (const position of dataInputs(node)) {
      const data = node.inputs[position] ?? ''
      const producer = producers.get(data)
      const linear = producer && linearOf(producer, index)
      if (!linear || data !== producer.outputs[0] || !index.isUsedOnlyBy(data, node)) continue
      const map = channelMap(node, position, linear, index)
      if (!map || !foldInto(graph, index, names, linear, map)) continue
      producer.outputs[0] = node.outputs[0]!
      producers.set(node.outputs[0]!, producer)
      graph.valueInfos.delete(data)
      folded.add(node)
      changes.push(`${node.opType} '${node.name}' folded into ${producer.opType} '${producer.name}'.`)
      break
    }
  }
  removeNodes(graph, folded)
  return changes
}

/** Positions of the inputs that may come from the layer. */
function dataInputs(node: Node): readonly number[] {
  if (node.domain !== '') return []
  if (node.opType === 'Add' || node.opType === 'Mul') return node.inputs[0] === node.inputs[1] ? [] : [0, 1]
  if (node.opType === 'Sub' || node.opType === 'Div' || node.opType === 'BatchNormalization') return [0]
  return []
}

function linearOf(node: Node, index: GraphIndex): Linear | undefined {
  const facts = weightFactsOf(node)
  if (facts?.biasInput === undefined) return undefined
  const weight = index.constant(node.inputs[facts.weightInput] ?? '')
  if (!weight || !isFloat(weight.dtype)) return undefined
  const channels = outputChannels(node, facts, weight)
  const rank = weight.shape.length
  const biasName = node.inputs[facts.biasInput] ?? ''
  if (biasName === '') return { node, facts, weight, channels, rank, bias: new Float64Array(channels) }
  const tensor = index.constant(biasName)
  const factor = facts.kind === 'linear' ? floatAttribute(node, 'beta', 1) : 1
  const shape =
    tensor && facts.kind !== 'linear' ? [1, ...tensor.shape, ...weight.shape.slice(2).map(() => 1)] : undefined
  const bias = tensor && perChannel(shape ? tensor.reshape(shape) : tensor, rank, channels)
  return bias && { node, facts, weight, channels, rank, bias: bias.map((value) => value * factor) }
}

function outputChannels(node: Node, facts: WeightFacts, weight: Tensor): number {
  if (facts.kind === 'convolution') return weight.shape[0]!
  if (facts.kind === 'transposed-convolution') return weight.shape[1]! * intAttribute(node, 'group', 1)
  return weight.shape[intAttribute(node, 'transB', 0) === 1 ? 0 : 1]!
}

/** A constant as one number per channel of a value with `rank` axes; `undefined` when it varies along another axis. */
function perChannel(tensor: Tensor, rank: number, channels: number): Float64Array | undefined {
  if (!isFloat(tensor.dtype) || tensor.shape.length > rank) return undefined
  const shape = [...new Array<number>(rank - tensor.shape.length).fill(1), ...tensor.shape]
  if (shape.some((extent, axis) => extent !== 1 && !(axis === 1 && extent === channels))) return undefined
  const data = toFloat64(tensor)
  return data.length === channels ? data : new Float64Array(channels).fill(data[0]!)
}

function channelMap(node: Node, position: number, linear: Linear, index: GraphIndex): ChannelMap | undefined {
  const { channels, rank } = linear
  if (node.opType === 'BatchNormalization') return batchNormMap(node, channels, index)
  const tensor = index.constant(node.inputs[1 - position] ?? '')
  const values = tensor && perChannel(tensor, rank, channels)
  if (!values) return undefined
  const zeros = new Float64Array(channels)
  switch (node.opType) {
    case 'Add':
      return { shift: values }
    case 'Sub':
      return { shift: values.map((value) => -value) }
    case 'Mul':
      return { scale: values, shift: zeros }
    default:
      return { scale: values.map((value) => 1 / value), shift: zeros }
  }
}

function batchNormMap(node: Node, channels: number, index: GraphIndex): ChannelMap | undefined {
  const inference = intAttribute(node, 'training_mode', 0) === 0 && intAttribute(node, 'spatial', 1) === 1
  if (!inference || node.outputs.slice(1).some((name) => name !== '')) return undefined
  const [scale, bias, mean, variance] = node.inputs.slice(1, 5).map((name) => {
    const tensor = index.constant(name)
    return tensor && isFloat(tensor.dtype) && tensor.size === channels ? toFloat64(tensor) : undefined
  })
  if (!scale || !bias || !mean || !variance) return undefined
  const epsilon = floatAttribute(node, 'epsilon', 1e-5)
  const factor = scale.map((value, channel) => value / Math.sqrt(variance[channel]! + epsilon))
  return { scale: factor, shift: bias.map((value, channel) => value - factor[channel]! * mean[channel]!) }
}

/** Writes the new weight and bias; `false` when they would not be finite. */
function foldInto(graph: Graph, index: GraphIndex, names: NameGenerator, linear: Linear, map: ChannelMap): boolean {
  const { node, facts, weight } = linear
  const weightName = node.inputs[facts.weightInput]!
  const scaled = map.scale && scaleWeight(linear, map.scale)
  const bias = linear.bias.map((value, channel) => value * (map.scale?.[channel] ?? 1) + map.shift[channel]!)
  const limit = weight.dtype === 'float16' ? 65504 : weight.dtype === 'float64' ? Number.MAX_VALUE : 3.4028234e38
  if (![bias, ...(scaled ? [scaled] : [])].every((values) => values.every((value) => Math.abs(value) <= limit)))
    return false
  const own = (name: string): boolean => graph.initializers.has(name) && index.isUsedOnlyBy(name, node)
  const store = (slot: number, name: string, tensor: Tensor, wanted: string): void => {
    const target = own(name) && node.inputs.filter((input) => input === name).length === 1 ? name : names.fresh(wanted)
    graph.initializers.set(target, tensor)
    while (node.inputs.length <= slot) node.inputs.push('')
    node.inputs[slot] = target
  }
  if (scaled)
    store(facts.weightInput, weightName, fromNumbers(scaled, weight.shape, weight.dtype), `${weightName}_folded`)
  const biasName = node.inputs[facts.biasInput!] ?? ''
  const wanted = weightName.endsWith('.weight')
    ? `${weightName.slice(0, -'.weight'.length)}.bias`
    : `${weightName}_bias`
  store(facts.biasInput!, biasName, fromNumbers(bias, [bias.length], weight.dtype), biasName || wanted)
  if (facts.kind === 'linear') node.attributes.delete('beta')
  return true
}

/** W with every output channel multiplied by its scale. */
function scaleWeight({ node, facts, weight, channels }: Linear, scale: Float64Array): Float64Array {
  const data = Float64Array.from(toFloat64(weight))
  const { shape } = weight
  // The layout as [outer, channels of a group, inner]; outer tells the group of a transposed convolution.
  let perGroup = channels
  let inner = data.length / channels
  if (facts.kind === 'transposed-convolution') {
    perGroup = shape[1]!
    inner = shape.slice(2).reduce((product, extent) => product * extent, 1)
  } else if (facts.kind === 'linear' && intAttribute(node, 'transB', 0) === 0) inner = 1
  const rowsPerGroup = facts.kind === 'transposed-convolution' ? shape[0]! / (channels / perGroup) : Infinity
  for (let i = 0; i < data.length; i++) {
    const row = Math.floor(i / (perGroup * inner))
    const group = Math.floor(row / rowsPerGroup)
    data[i]! *= scale[group * perGroup + (Math.floor(i / inner) % perGroup)]!
  }
  return data
}
