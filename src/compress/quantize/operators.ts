/**
 * What quantization knows of operators, as data: which inputs are activations, where the numbers of an output lie,
 * and whether an operator has an integer form at all.
 *
 * An operator is listed when ONNX Runtime's CPU provider runs it on integers (QLinear kernels, or kernels that move
 * bytes), seen by what its optimizer leaves of Q → DQ → operator → Q → DQ; and when it moves or clips numbers so that
 * its output can have its input's scale. Other operators run in float between a DQ and a Q, listed or not.
 */
import { floatAttribute, intAttribute, type Node, stringAttribute } from '../../graph/index.ts'
import { type Tensor, toFloat64 } from '../../tensor/index.ts'
import type { Range } from './scheme.ts'

/**
 * What an operator does to numbers.
 *
 * `layer`: multiplies by a weight. `computed`: makes new numbers. `moved`: its output consists of its input's numbers,
 * so that scale and zero point stay. `clipped`: cuts off what is outside a range, which the integers' own limits do
 * when the operator follows a quantized one.
 */
export type QuantizeRole = 'layer' | 'computed' | 'moved' | 'clipped'

/** What a condition may ask about a node. */
export interface NodeFacts {
  constant(name: string | undefined): Tensor | undefined
  isUsed(name: string): boolean
}

/** Facts of one operator. */
export interface QuantizeFacts {
  readonly role: QuantizeRole
  /** Positions of the inputs that are quantized. */
  readonly inputs: readonly number[] | 'all'
  /** Outputs that are quantized. */
  readonly outputs: 'first' | 'all'
  /** Range that is taken for the output instead of the measured one. */
  readonly fixedRange?: Range
  /** Range that the output cannot leave; measured ranges are cut to it. */
  readonly bounds?: (node: Node, facts: NodeFacts) => Range
  /** Whether it runs in float even between integers: its output is quantized only for those who read it so. */
  readonly passive?: boolean
  /** Whether its integer kernel can give floats, so that an output that nobody reads as integers is not rounded. */
  readonly floatOutput?: boolean
  /** First standard operator set in which it takes integers of 8 bits; default 10. */
  readonly opset?: number
  /** Why a node of this operator is left in float; `undefined` when it is not. */
  readonly refuse?: (node: Node, facts: NodeFacts) => string | undefined
}

const LAYER: QuantizeFacts = { role: 'layer', inputs: [0], outputs: 'first' }
const PRODUCT: QuantizeFacts = { ...LAYER, floatOutput: true }
const COMPUTED: QuantizeFacts = { role: 'computed', inputs: 'all', outputs: 'first' }
const MOVED: QuantizeFacts = { role: 'moved', inputs: [0], outputs: 'first' }
const PASSIVE: QuantizeFacts = { ...MOVED, passive: true }
const POSITIVE: Range = { min: 0, max: Number.POSITIVE_INFINITY }
const UNIT: Range = { min: 0, max: 1 }

const singleOutput = (node: Node, facts: NodeFacts): string | undefined =>
  node.outputs.slice(1).some((name) => name !== '' && facts.isUsed(name))
    ? 'Its second output, the indices, is used.'
    : undefined

/** Before opset 11 bounds are attributes. */
const bound = (node: Node, input: number, fallback: number, facts: NodeFacts): number => {
  const name = node.inputs[input] ?? ''
  if (name === '') return floatAttribute(node, input === 1 ? 'min' : 'max', fallback)
  const tensor = facts.constant(name)
  return tensor ? toFloat64(tensor)[0]! : fallback
}

const clipBounds = (node: Node, facts: NodeFacts): Range => ({
  min: bound(node, 1, Number.NEGATIVE_INFINITY, facts),
  max: bound(node, 2, Number.POSITIVE_INFINITY, facts),
})

const computedClip = (node: Node, facts: NodeFacts): string | undefined =>
  node.inputs.slice(1, 3).some((name) => name !== '' && !facts.constant(name)) ? 'Its bounds are computed.' : undefined

const padValue = (node: Node, facts: NodeFacts): string | undefined => {
  const name = node.inputs[2] ?? ''
  if (stringAttribute(node, 'mode', 'constant') !== 'constant' || name === '') return undefined
  const value = facts.constant(name)
  return value && toFloat64(value)[0] === 0 ? undefined : 'It pads with another number than 0.'
}

const cubicResize = (node: Node): string | undefined =>
  stringAttribute(node, 'mode', 'nearest') === 'cubic'
    ? 'Cubic interpolation leaves the range of its input.'
    : undefined

/** Operators by name. */
export const QUANTIZE_FACTS: Readonly<Record<string, QuantizeFacts>> = {
  Conv: LAYER,
  ConvTranspose: LAYER,
  Gemm: PRODUCT,
  MatMul: { ...PRODUCT, inputs: [0, 1] },

  Add: COMPUTED,
  Mul: COMPUTED,
  Concat: COMPUTED,
  AveragePool: { ...COMPUTED, inputs: [0] },
  GlobalAveragePool: { ...COMPUTED, inputs: [0] },
  LeakyRelu: { ...COMPUTED, inputs: [0] },
  Sigmoid: { ...COMPUTED, inputs: [0], bounds: () => UNIT },
  Softmax: { ...COMPUTED, inputs: [0], fixedRange: UNIT },

  Relu: { role: 'clipped', inputs: [0], outputs: 'first', passive: true, bounds: () => POSITIVE },
  Clip: {
    role: 'clipped',
    inputs: [0],
    outputs: 'first',
    passive: true,
    bounds: clipBounds,
    refuse: computedClip,
  },

  DepthToSpace: MOVED,
  Expand: MOVED,
  Flatten: MOVED,
  Gather: MOVED,
  GatherElements: MOVED,
  Identity: MOVED,
  MaxPool: { ...MOVED, opset: 12, refuse: singleOutput },
  Reshape: MOVED,
  Slice: MOVED,
  Split: { ...MOVED, outputs: 'all' },
  Squeeze: MOVED,
  Tile: MOVED,
  Transpose: MOVED,
  Unsqueeze: MOVED,
  Resize: { ...MOVED, opset: 11, refuse: cubicResize },

  GlobalMaxPool: PASSIVE,
  Pad: { ...PASSIVE, refuse: padValue },
  SpaceToDepth: PASSIVE,
  Upsample: PASSIVE,
}

/** The facts of a node's operator; `undefined` when it has no integer form. */
export function quantizeFactsOf(node: Pick<Node, 'opType' | 'domain'>): QuantizeFacts | undefined {
  if (node.domain !== '' && node.domain !== 'ai.onnx') return undefined
  return Object.hasOwn(QUANTIZE_FACTS, node.opType) ? QUANTIZE_FACTS[node.opType] : undefined
}

/** Positions of a node's inputs that are quantized. */
export function quantizedInputs(node: Node, facts: QuantizeFacts): readonly number[] {
  return facts.inputs === 'all' ? node.inputs.map((_, position) => position) : facts.inputs
}

/** Outputs of a node that are quantized. */
export function quantizedOutputs(node: Node, facts: QuantizeFacts): readonly string[] {
  return (facts.outputs === 'all' ? node.outputs : node.outputs.slice(0, 1)).filter((name) => name !== '')
}

/** The axis of a layer's weight that its output channels lie along; `null` when a scale cannot go along one. */
export function weightAxis(node: Pick<Node, 'opType' | 'attributes'>, weight: Tensor): number | null {
  switch (node.opType) {
    case 'Conv':
      return 0
    case 'ConvTranspose':
      return 1
    case 'Gemm':
      return intAttribute(node as Node, 'transB', 0) !== 0 ? 0 : 1
    default:
      return weight.shape.length === 2 ? 1 : null
  }
}

/** Operators that quantize a model that has them is refused for: it is quantized already. */
export const QUANTIZED_OPERATORS: ReadonlySet<string> = new Set(
  `ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger MatMulNBits QLinearConv QLinearMatMul QuantizeLinear
   DynamicQuantizeMatMul DynamicQuantizeLSTM MatMulIntegerToFloat QGemm QLinearAdd QLinearMul QLinearConcat
   QLinearAveragePool QLinearGlobalAveragePool QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QLinearWhere
   GatherBlockQuantized MatMulBnb4 QAttention`.split(/\s+/),
)
