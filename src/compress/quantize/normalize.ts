/** Linear layers in the form that quantization takes them: Gemm without factors, and with the bias that follows it. */
import {
  cloneModel,
  floatAttribute,
  type Graph,
  GraphIndex,
  type Model,
  NameGenerator,
  type Node,
  removeNodes,
  removeUnusedFrom,
} from '../../graph/index.ts'
import { isFloat, Tensor, toFloat32 } from '../../tensor/index.ts'
import type { ObservedShapes } from '../sites.ts'

/**
 * Multiplies Gemm's factors alpha and beta into constant weights and biases, and makes MatMul with an Add of a constant
 * row after it one Gemm: integer kernels take a bias in 32 bits and round once instead of twice.
 *
 * The network's function stays as it is, to rounding. Nodes keep their names; a MatMul that becomes a Gemm gives the
 * Add's output.
 *
 * @param shapes observed shapes: only products of matrices become Gemm.
 * @returns a clone.
 */
export function normalizeLinear(model: Model, shapes: ObservedShapes): Model {
  const clone = cloneModel(model)
  const index = new GraphIndex(clone.graph)
  const names = new NameGenerator(clone.graph)
  const gone = new Set<Node>()
  for (const node of clone.graph.nodes) {
    if (node.domain !== '') continue
    if (node.opType === 'Gemm') foldFactors(clone.graph, node, index, names)
    else if (node.opType === 'MatMul') {
      const add = addAfter(node, index, shapes)
      if (add) {
        becomeGemm(node, add)
        gone.add(add)
      }
    }
  }
  removeNodes(clone.graph, gone)
  removeUnusedFrom(clone)
  return clone
}

function foldFactors(graph: Graph, node: Node, index: GraphIndex, names: NameGenerator): void {
  const factors = { alpha: floatAttribute(node, 'alpha', 1), beta: floatAttribute(node, 'beta', 1) }
  for (const [attribute, slot] of [
    ['alpha', 1],
    ['beta', 2],
  ] as const) {
    const name = node.inputs[slot] ?? ''
    const tensor = name === '' ? undefined : index.constant(name)
    const factor = factors[attribute]
    if (name === '' && attribute === 'beta') node.attributes.delete('beta')
    if (factor === 1 || tensor?.dtype !== 'float32') continue
    const scaled = names.fresh(`${name}_${attribute}`)
    graph.initializers.set(
      scaled,
      Tensor.of(
        toFloat32(tensor).map((value) => value * factor),
        tensor.shape,
      ),
    )
    node.inputs[slot] = scaled
    node.attributes.delete(attribute)
  }
}

/** The Add of a constant row that alone reads a product of two matrices. */
function addAfter(node: Node, index: GraphIndex, shapes: ObservedShapes): Node | undefined {
  const weight = index.constant(node.inputs[1] ?? '')
  if (weight?.shape.length !== 2 || !isFloat(weight.dtype)) return undefined
  if (shapes.get(node.inputs[0]!)?.shape.length !== 2) return undefined
  const output = node.outputs[0]!
  const [add] = index.users(output)
  if (add?.opType !== 'Add' || add.domain !== '' || !index.isUsedOnlyBy(output, add)) return undefined
  if (add.inputs[0] === add.inputs[1]) return undefined
  const bias = index.constant(add.inputs.find((name) => name !== output)!)
  if (!bias || bias.dtype !== weight.dtype) return undefined
  const columns = weight.shape[1]!
  const isRow =
    bias.size === columns && bias.shape.length <= 2 && bias.shape[bias.shape.length - 1] === columns && columns > 0
  return isRow ? add : undefined
}

function becomeGemm(node: Node, add: Node): void {
  const bias = add.inputs.find((name) => name !== node.outputs[0]!)!
  node.opType = 'Gemm'
  node.inputs = [node.inputs[0]!, node.inputs[1]!, bias]
  node.outputs = [add.outputs[0]!]
}
