/** Networks of 16-bit floats in 32 bits, from which integers are made. */
import { fail } from '../../core/index.ts'
import {
  type Attribute,
  cloneModel,
  createNode,
  forEachGraph,
  type Graph,
  intAttribute,
  type Model,
  NameGenerator,
  type Node,
  replaceUses,
  tensorType,
  type ValueInfo,
} from '../../graph/index.ts'
import { DTYPES, fromNumbers, type Tensor, toFloat32 } from '../../tensor/index.ts'

const HALF = DTYPES.float16.code
const SINGLE = DTYPES.float32.code

/** Whether a model has constants of float16. */
export function hasFloat16(model: Model): boolean {
  let found = false
  forEachGraph(model.graph, (graph) => {
    for (const { dtype } of graph.initializers.values()) found ||= dtype === 'float16'
  })
  return found
}

/**
 * The same network computing in float32; its inputs and outputs keep their types, with Casts behind and before them.
 *
 * @throws WhittleError `UNSUPPORTED` when the model has functions, whose types are their own.
 */
export function widenFloat16(model: Model): Model {
  if (model.functions.length > 0)
    fail('UNSUPPORTED', `Model '${model.graph.name}': a float16 model with functions cannot be widened to float32.`)
  const clone = cloneModel(model)
  forEachGraph(clone.graph, (graph) => widenGraph(graph, graph === clone.graph))
  castEnds(clone.graph)
  return clone
}

function widenGraph(graph: Graph, isMain: boolean): void {
  for (const [name, tensor] of graph.initializers)
    if (tensor.dtype === 'float16') graph.initializers.set(name, widened(tensor))
  graph.valueInfos.clear()
  if (!isMain) {
    graph.inputs = graph.inputs.map(widenedInfo)
    graph.outputs = graph.outputs.map(widenedInfo)
  }
  for (const node of graph.nodes) widenNode(node)
}

const widened = (tensor: Tensor): Tensor => fromNumbers(toFloat32(tensor), tensor.shape, 'float32')

function widenedInfo(info: ValueInfo): ValueInfo {
  const { type } = info
  return type?.kind === 'tensor' && type.dtype === 'float16'
    ? { name: info.name, type: tensorType('float32', type.shape) }
    : info
}

function widenNode(node: Node): void {
  for (const [name, attribute] of node.attributes)
    if (attribute.kind === 'tensor' && attribute.value.dtype === 'float16')
      node.attributes.set(name, { ...attribute, value: widened(attribute.value) })
  for (const name of ['to', 'dtype'])
    if (node.domain === '' && node.attributes.get(name)?.kind === 'int' && intAttribute(node, name, 0) === HALF) {
      const single: Attribute = { kind: 'int', value: BigInt(SINGLE) }
      node.attributes.set(name, single)
    }
}

/** Casts behind the inputs and before the outputs of a graph that are float16. */
function castEnds(graph: Graph): void {
  const names = new NameGenerator(graph)
  const isHalf = ({ type }: ValueInfo): boolean => type?.kind === 'tensor' && type.dtype === 'float16'
  const inner = new Map<string, string>()
  for (const { name } of graph.outputs.filter(isHalf)) inner.set(name, names.fresh(`${name}_float32`))
  for (const node of graph.nodes) node.outputs = node.outputs.map((name) => inner.get(name) ?? name)
  const fed = graph.inputs.filter((input) => isHalf(input) && !graph.initializers.has(input.name))
  for (const { name } of fed) inner.set(name, names.fresh(`${name}_float32`))
  replaceUses(graph, inner)
  const cast = (from: string, to: string, type: number): Node =>
    createNode('Cast', [from], [to], { to: type }, names.fresh(`${to}_Cast`))
  graph.nodes.unshift(...fed.map(({ name }) => cast(name, inner.get(name)!, SINGLE)))
  graph.nodes.push(
    ...graph.outputs
      .filter((output) => isHalf(output) && !graph.inputs.some(({ name }) => name === output.name))
      .map(({ name }) => cast(inner.get(name)!, name, HALF)),
  )
}
