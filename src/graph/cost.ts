/**
 * What a network costs: parameters, bytes and multiply–accumulates, per node and in all.
 *
 * Definitions. A *parameter* is an element of a constant that is a weight or a bias: floating-point constants, or
 * quantised ones behind DequantizeLinear and in integer layers. Not counted: what only configures an operator (scales
 * of Resize, bounds of Clip …), single numbers that elementwise operators use, the running statistics of batch
 * normalisation, and quantisation scales; shape constants are integers and not counted either. *MACs* are those of
 * matrix products, convolutions, recurrent layers and their like, padding included, for the batch of the shapes given;
 * additions of biases, activations and normalisations count nothing.
 */
import { DTYPES, sizeOf, type Tensor } from '../tensor/index.ts'
import { subgraphsOf } from './attributes.ts'
import { macsOf } from './macs.ts'
import type { Graph, Model, Node } from './model.ts'
import { constantTensor } from './passes/constants-to-initializers.ts'
import { forEachNode } from './traverse.ts'

/** The cost of one node. */
export interface NodeCost {
  readonly parameters: number
  /** Bytes of the parameters as stored. */
  readonly bytes: number
  /** Multiply–accumulates; `null` when a shape that is needed is not known. */
  readonly macs: number | null
}

/** The cost of a network. */
export interface ModelCost extends NodeCost {
  /** By node name, all nodes of the main graph and its subgraphs; weights that nodes share count for each of them. */
  readonly perNode: ReadonlyMap<string, NodeCost>
}

/** Shapes of values by name, as `observeShapes` gives them. */
export type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>

/** Inputs that are constants without being weights, by operator. */
const SETTINGS: Readonly<Record<string, readonly number[]>> = {
  BatchNormalization: [3, 4],
  Clip: [1, 2],
  ConvInteger: [2, 3],
  DequantizeLinear: [1, 2],
  Dropout: [1, 2],
  GRU: [4, 5],
  LSTM: [4, 5, 6],
  MatMulInteger: [2, 3],
  OneHot: [1, 2],
  Pad: [1, 2, 3],
  QLinearConv: [1, 2, 4, 5, 6, 7],
  QLinearMatMul: [1, 2, 4, 5, 6, 7],
  QuantizeLinear: [1, 2],
  RNN: [4, 5],
  Range: [0, 1, 2],
  Resize: [1, 2, 3],
  RoiAlign: [1, 2],
  Upsample: [1],
}

/** Where quantised constants are parameters; elsewhere integers are indices, shapes and masks. */
const INTEGER_WEIGHTS: Readonly<Record<string, readonly number[]>> = {
  ConvInteger: [1],
  DequantizeLinear: [0],
  MatMulInteger: [1],
  QLinearConv: [3, 8],
  QLinearMatMul: [3],
}

/** Operators in which a single number is a setting, not a weight. */
const ELEMENTWISE: ReadonlySet<string> = new Set(
  'Add Sub Mul Div Pow Max Min Mod Sum Mean Where Less LessOrEqual Greater GreaterOrEqual Equal Expand'.split(' '),
)

const FLOAT_DTYPES: ReadonlySet<string> = new Set(
  Object.keys(DTYPES).filter((dtype) => dtype.startsWith('float') || dtype === 'bfloat16'),
)

/**
 * Counts a network.
 *
 * @param shapes shapes of values of the main graph; with batch 1 the MACs are those of one sample. Nodes in subgraphs
 * and functions have no shapes here, so that MACs are `null` when there are products inside.
 */
export function modelCost(model: Model, shapes: Shapes): ModelCost {
  const perNode = new Map<string, NodeCost>()
  const all = new Map<string, Tensor>()
  let macs: number | null = 0
  countGraph(model.graph, new Map(), (node, weights, inMain) => {
    const cost = { ...storage(weights), macs: nodeMacs(model, node, shapes, inMain) }
    perNode.set(node.name, cost)
    for (const [name, tensor] of weights) all.set(name, tensor)
    macs = macs === null || cost.macs === null ? null : macs + cost.macs
  })
  return { ...storage(all), macs, perNode }
}

/**
 * The constants that count as parameters (see the head of this file), by name: initializers and outputs of Constant
 * nodes that are weights or biases, running statistics of batch normalisation not among them.
 */
export function modelWeights(model: Model): ReadonlyMap<string, Tensor> {
  const all = new Map<string, Tensor>()
  countGraph(model.graph, new Map(), (_, weights) => {
    for (const [name, tensor] of weights) all.set(name, tensor)
  })
  return all
}

function storage(weights: ReadonlyMap<string, Tensor>): { parameters: number; bytes: number } {
  let parameters = 0
  let bytes = 0
  for (const tensor of weights.values()) {
    parameters += sizeOf(tensor.shape)
    bytes += tensor.byteLength
  }
  return { parameters, bytes }
}

type Weights = Map<string, Tensor>

/**
 * Calls `visit` for every node with the weights it uses, by name. Weights that reach it through nodes of constants
 * alone (Reshape, Transpose, DequantizeLinear …) are its own; those nodes have none.
 *
 * @param outer weights behind the constant values of the graphs around.
 */
function countGraph(
  graph: Graph,
  outer: ReadonlyMap<string, Weights>,
  visit: (node: Node, weights: Weights, inMain: boolean) => void,
  inMain = true,
): void {
  const behind = new Map<string, Weights>(outer)
  const inputs = new Set(graph.inputs.map((input) => input.name))
  // Before IR version 4 every initializer is listed as an input; it is a weight all the same.
  for (const [name, tensor] of graph.initializers) behind.set(name, new Map([[name, tensor]]))
  for (const name of inputs) if (!graph.initializers.has(name)) behind.delete(name)
  for (const node of graph.nodes) {
    const constant = constantTensor(node)
    if (constant) {
      behind.set(node.outputs[0]!, new Map([[node.outputs[0]!, constant]]))
      visit(node, new Map(), inMain)
      continue
    }
    const weights: Weights = new Map()
    for (const [position, name] of node.inputs.entries())
      for (const [source, tensor] of behind.get(name) ?? [])
        if (isWeight(node, position, tensor, source !== name)) weights.set(source, tensor)
    const named = node.inputs.filter((name) => name !== '')
    const subgraphs = subgraphsOf(node)
    const passesOn = named.length > 0 && subgraphs.length === 0 && named.every((name) => behind.has(name))
    if (passesOn) for (const name of node.outputs) behind.set(name, weights)
    visit(node, passesOn ? new Map() : weights, inMain)
    for (const subgraph of subgraphs) countGraph(subgraph, behind, visit, false)
  }
}

/** @param derived whether the constant has gone through other nodes, which have judged it already. */
function isWeight(node: Node, position: number, tensor: Tensor, derived: boolean): boolean {
  if (SETTINGS[node.opType]?.includes(position)) return false
  if (tensor.size === 1 && ELEMENTWISE.has(node.opType)) return false
  if (derived) return true
  if (INTEGER_WEIGHTS[node.opType]?.includes(position)) return true
  return FLOAT_DTYPES.has(tensor.dtype)
}

function nodeMacs(model: Model, node: Node, shapes: Shapes, inMain: boolean): number | null {
  const definition = model.functions.find(
    ({ name, domain, overload }) => name === node.opType && domain === node.domain && overload === node.overload,
  )
  if (definition) {
    let products = false
    for (const inner of definition.nodes) {
      products ||= macsOf(inner, () => undefined) !== 0
      for (const subgraph of subgraphsOf(inner))
        forEachNode(subgraph, (deep) => {
          products ||= macsOf(deep, () => undefined) !== 0
        })
    }
    return products ? null : 0
  }
  return macsOf(node, (name) => (inMain ? shapes.get(name)?.shape : undefined))
}
