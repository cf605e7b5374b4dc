/** Removes nodes that pass their first input on unchanged. */

import { DTYPES, type DType, type Tensor } from '../../tensor/index.ts'
import { intAttribute, intsAttribute, subgraphsOf } from '../attributes.ts'
import { removeNodes, replaceUses } from '../edit.ts'
import { GraphIndex } from '../graph-index.ts'
import { cloneModel, type Graph, type Model, type Node } from '../model.ts'
import type { Pass } from './pass.ts'

interface Scope {
  readonly index: GraphIndex
  readonly opset: number
  constant(name: string | undefined): Tensor | undefined
  dtype(name: string): DType | undefined
}

/** Numbers of a constant integer input; `undefined` when it is not constant. */
function integers(scope: Scope, name: string | undefined): number[] | undefined {
  const tensor = scope.constant(name)
  return tensor && (tensor.dtype === 'int64' || tensor.dtype === 'int32') ? Array.from(tensor.data, Number) : undefined
}

const isOmitted = (name: string | undefined): boolean => name === undefined || name === ''

/** Whether a node returns its first input, by operator of the standard domain. */
const NO_OPERATION: Readonly<Record<string, (node: Node, scope: Scope) => boolean>> = {
  Identity: () => true,
  // Without training mode, dropout is the identity; before opset 7 an attribute decided.
  Dropout: (node, scope) => {
    const training = node.inputs[2]
    const flag = scope.constant(training)
    return scope.opset >= 7 && (isOmitted(training) || (flag !== undefined && flag.bytes[0] === 0))
  },
  Cast: (node, scope) => {
    const dtype = scope.dtype(node.inputs[0]!)
    return dtype !== undefined && intAttribute(node, 'to', 0) === DTYPES[dtype].code
  },
  Transpose: (node) => intsAttribute(node, 'perm', undefined)?.every((axis, position) => axis === position) ?? false,
  Pad: (node, scope) => {
    const pads = scope.opset < 11 ? intsAttribute(node, 'pads', undefined) : integers(scope, node.inputs[1])
    return pads?.every((pad) => pad === 0) ?? false
  },
  Slice: (node, scope) => {
    const [, startsInput, endsInput, , stepsInput] = node.inputs
    const old = scope.opset < 10
    const starts = old ? intsAttribute(node, 'starts', undefined) : integers(scope, startsInput)
    const ends = old ? intsAttribute(node, 'ends', undefined) : integers(scope, endsInput)
    const steps = isOmitted(stepsInput) ? [] : integers(scope, stepsInput)
    // Exporters write "to the end" as the largest 32- or 64-bit integer.
    const whole = starts?.every((start) => start === 0) && ends?.every((end) => end >= 2 ** 31 - 1)
    return (whole && steps?.every((step) => step === 1)) ?? false
  },
  Concat: (node) => node.inputs.length === 1,
  Sum: (node) => node.inputs.length === 1,
  Mean: (node) => node.inputs.length === 1,
  Max: (node) => node.inputs.length === 1,
  Min: (node) => node.inputs.length === 1,
  Mul: (node, scope) => isScalar(scope.constant(node.inputs[1]), 1),
  Div: (node, scope) => isScalar(scope.constant(node.inputs[1]), 1),
  Sub: (node, scope) => isScalar(scope.constant(node.inputs[1]), 0),
  Reshape: (node, scope) => {
    const shape = scope.opset >= 5 ? integers(scope, node.inputs[1]) : undefined
    const before = scope.constant(node.inputs[0])?.shape
    return shape !== undefined && before !== undefined && shape.length === before.length
      ? shape.every((extent, axis) => extent === before[axis])
      : false
  },
}

/** A rank-0 constant cannot add axes, so that the shape stays as well. */
function isScalar(tensor: Tensor | undefined, value: number): boolean {
  if (!tensor || tensor.shape.length > 0 || !['float32', 'float64', 'int32', 'int64'].includes(tensor.dtype))
    return false
  return Number(tensor.data[0]) === value
}

/**
 * Removes Identity, Dropout in inference, and Cast, Transpose, Pad, Slice, Reshape, Concat, Sum … that change nothing,
 * and pairs of Transpose that cancel. One whose output is an output of the graph goes only when its input can take
 * over the name.
 */
export const removeIdentity: Pass = {
  name: 'remove-identity',
  run: async (model) => {
    const clone = cloneModel(model)
    const removed = new Map<string, number>()
    visit(clone, clone.graph, removed)
    return {
      model: clone,
      changes: [...removed].map(([opType, count]) => `${count} ${opType} without effect removed.`),
    }
  },
}

function visit(model: Model, graph: Graph, removed: Map<string, number>): void {
  for (const node of graph.nodes) for (const subgraph of subgraphsOf(node)) visit(model, subgraph, removed)
  const index = new GraphIndex(graph)
  const scope: Scope = {
    index,
    opset: model.opsets.get('') ?? 1,
    constant: (name) => (isOmitted(name) ? undefined : index.constant(name!)),
    dtype: (name) => knownDType(graph, index, name),
  }
  const replacements = new Map<string, string>()
  const gone = new Set<Node>()
  for (const node of graph.nodes) {
    const source = passedOn(node, scope, replacements)
    const [output] = node.outputs
    if (source === undefined || output === undefined || output === '') continue
    if (node.outputs.slice(1).some((name) => name !== '' && (index.isOutput(name) || index.users(name).length > 0)))
      continue
    if (index.isOutput(output) && !takeOverName(graph, index, gone, source, output, replacements)) continue
    if (!index.isOutput(output)) replacements.set(output, source)
    for (const name of node.outputs) graph.valueInfos.delete(name)
    gone.add(node)
    removed.set(node.opType, (removed.get(node.opType) ?? 0) + 1)
  }
  removeNodes(graph, gone)
  replaceUses(graph, replacements)
}

/** The value whose tensor the node's output is, after the replacements so far. */
function passedOn(node: Node, scope: Scope, replacements: ReadonlyMap<string, string>): string | undefined {
  if (node.domain !== '' || isOmitted(node.inputs[0])) return undefined
  const resolve = (name: string): string => {
    const next = replacements.get(name)
    return next === undefined ? name : resolve(next)
  }
  if (Object.hasOwn(NO_OPERATION, node.opType) && NO_OPERATION[node.opType]!(node, scope))
    return resolve(node.inputs[0]!)
  if (node.opType === 'Transpose') {
    const before = scope.index.producer(resolve(node.inputs[0]!))
    if (before?.opType !== 'Transpose' || before.domain !== '' || isOmitted(before.inputs[0])) return undefined
    const first = intsAttribute(before, 'perm', undefined)
    const second = intsAttribute(node, 'perm', undefined)
    if (first && second?.every((axis, position) => first[axis] === position)) return resolve(before.inputs[0]!)
  }
  return undefined
}

/**
 * Renames `source` to `output`, an output of the graph, when `source` is produced by a node of the same graph and is no
 * output itself.
 */
function takeOverName(
  graph: Graph,
  index: GraphIndex,
  gone: ReadonlySet<Node>,
  source: string,
  output: string,
  replacements: Map<string, string>,
): boolean {
  const producer = index.producer(source)
  if (!producer || gone.has(producer) || index.isOutput(source) || !producer.outputs.includes(source)) return false
  producer.outputs = producer.outputs.map((name) => (name === source ? output : name))
  graph.valueInfos.delete(source)
  replacements.set(source, output)
  return true
}

/** The element type where the graph itself says it; notes on types, unlike those on shapes, are checked by runtimes. */
function knownDType(graph: Graph, index: GraphIndex, name: string): DType | undefined {
  const tensor = graph.initializers.get(name)
  if (tensor) return tensor.dtype
  const info = graph.inputs.find((input) => input.name === name) ?? graph.valueInfos.get(name)
  if (info?.type?.kind === 'tensor' && info.type.dtype) return info.type.dtype
  const producer = index.producer(name)
  if (producer?.opType !== 'Cast' || producer.domain !== '') return undefined
  const to = intAttribute(producer, 'to', 0)
  return (Object.keys(DTYPES) as DType[]).find((dtype) => DTYPES[dtype].code === to)
}
