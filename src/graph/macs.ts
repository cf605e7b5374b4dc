/** Multiply–accumulates of single nodes, by the usual definitions: one per product that is summed up. */
import { sizeOf } from '../tensor/index.ts'
import { intAttribute, stringAttribute } from './attributes.ts'
import type { Node } from './model.ts'

/** The shape of a value, or `undefined` when it is not known. */
type ShapeOf = (value: string) => readonly number[] | undefined

type Counter = (node: Node, shape: (name: string | undefined) => readonly number[]) => number | null

/** Thrown inside this file when a shape is missing. */
const MISSING = Symbol('missing shape')

/** Each output element sums over the weight's [in / group, kernel…]. */
function convolution(weightInput: number): Counter {
  return (node, shape) => sizeOf(shape(node.outputs[0])) * sizeOf(shape(node.inputs[weightInput]).slice(1))
}

/** [m, k] times [k, n]: the product's elements times k, the last axis of the left operand. */
function matrixProduct(leftInput: number): Counter {
  return (node, shape) => {
    const left = shape(node.inputs[leftInput])
    return sizeOf(shape(node.outputs[0])) * (left[left.length - 1] ?? 1)
  }
}

/** Per step and direction `gates` matrices [hidden, input] and as many [hidden, hidden]. */
function recurrent(gates: number): Counter {
  return (node, shape) => {
    const [first = 1, second = 1, inputs = 1] = shape(node.inputs[0])
    const [directions = 1, , hidden = 1] = shape(node.inputs[2])
    return first * second * directions * gates * hidden * (inputs + hidden)
  }
}

const gemm: Counter = (node, shape) => {
  const left = shape(node.inputs[0])
  const summed = left[intAttribute(node, 'transA', 0) === 1 ? 0 : left.length - 1] ?? 1
  return sizeOf(shape(node.outputs[0])) * summed
}

/** Each input element meets the weight's [out / group, kernel…]. */
const transposedConvolution: Counter = (node, shape) =>
  sizeOf(shape(node.inputs[0])) * sizeOf(shape(node.inputs[1]).slice(1))

/** The product of all index lengths; with one operand nothing is multiplied, for three the order is not told. */
const einsum: Counter = (node, shape) => {
  if (node.inputs.length === 1) return 0
  const terms = stringAttribute(node, 'equation', '').split('->')[0]!.replace(/\s+/g, '').split(',')
  if (node.inputs.length > 2 || terms.length !== 2 || terms.some((term) => term.includes('.'))) return null
  const lengths = new Map<string, number>()
  for (const [position, term] of terms.entries()) {
    const operand = shape(node.inputs[position])
    for (const [axis, index] of [...term].entries())
      lengths.set(index, Math.max(lengths.get(index) ?? 1, operand[axis] ?? 1))
  }
  return sizeOf([...lengths.values()])
}

const COUNTERS: Readonly<Record<string, Counter>> = {
  Conv: convolution(1),
  ConvInteger: convolution(1),
  ConvTranspose: transposedConvolution,
  DeformConv: convolution(1),
  Einsum: einsum,
  FusedConv: convolution(1),
  FusedGemm: gemm,
  FusedMatMul: matrixProduct(0),
  GRU: recurrent(3),
  Gemm: gemm,
  LSTM: recurrent(4),
  MatMul: matrixProduct(0),
  MatMulInteger: matrixProduct(0),
  QLinearConv: convolution(3),
  QLinearMatMul: matrixProduct(0),
  RNN: recurrent(1),
}

/** Multiply–accumulates of a node; 0 for operators without products, `null` when a shape is missing. */
export function macsOf(node: Node, shapeOf: ShapeOf): number | null {
  if (!Object.hasOwn(COUNTERS, node.opType)) return 0
  try {
    return COUNTERS[node.opType]!(node, (name) => {
      const shape = shapeOf(name ?? '')
      if (!shape) throw MISSING
      return shape
    })
  } catch (error) {
    if (error === MISSING) return null
    throw error
  }
}
