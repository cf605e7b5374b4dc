/**
 * Rounded biases. Integer layers add them to sums whose unit is the input's scale times the weight's; with 8 bits that is
 * next to nothing, with 4 bits it shifts an output by up to a tenth of its step.
 */
import { floatAttribute, intAttribute, type Node, weightFactsOf } from '../../graph/index.ts'
import { addFirstOnlyRule, addPassingRules } from './rules.ts'
import type { FakeQuantWriter } from './writer.ts'

/** A number that no unit is below, so that channels of zeros divide by something. */
const LEAST_UNIT = 1e-30

/** Values of the scales of a layer's input and weight. */
export interface LayerScales {
  readonly activation: string
  readonly weight: string
}

/**
 * Makes a layer's bias, or that of the normalisation that will be folded into it, one of whole units. Gradients pass
 * unchanged, and none reach the scales.
 *
 * @param norm BatchNormalization that alone reads the layer's output and is folded when the model is deployed.
 * @returns names of statistics that are read here and must not be trained as parameters.
 */
export function roundBias(writer: FakeQuantWriter, node: Node, norm: Node | undefined, scales: LayerScales): string[] {
  const facts = weightFactsOf(node)
  const { graph } = writer
  if (facts?.biasInput === undefined || (facts.kind === 'transposed-convolution' && intAttribute(node, 'group', 1) > 1))
    return []
  const prefix = `fake_quant/${node.name}/bias`
  const bias = node.inputs[facts.biasInput] ?? ''
  const isConstant = (name: string): boolean => graph.initializers.get(name)?.dtype === 'float32'
  if (norm ? !norm.inputs.slice(1, 5).every(isConstant) : !isConstant(bias)) return []
  const list = writer.op('Reshape', [scales.weight, writer.integers(`${prefix}/list`, [-1])], prefix)
  const product = writer.op('Mul', [list, scales.activation], prefix)
  if (!norm) {
    const { unit, multiply, divide } = rounded(writer, bias, product, prefix)
    addPassingRules(writer.rules, { multiply, divide })
    node.inputs[facts.biasInput] = unit
    return []
  }
  const [, gamma, beta, mean, variance] = norm.inputs as [string, string, string, string, string]
  const epsilon = writer.number(floatAttribute(norm, 'epsilon', 1e-5))
  const deviation = writer.op('Sqrt', [writer.op('Add', [variance, epsilon], prefix)], prefix)
  const factor = writer.op('Div', [gamma, deviation], prefix)
  const center = bias === '' ? writer.op('Neg', [mean], prefix) : writer.op('Sub', [bias, mean], prefix)
  const shift = writer.op('Add', [beta, writer.op('Mul', [center, factor], prefix)], prefix)
  const size = writer.op('Mul', [product, writer.op('Abs', [factor], prefix)], prefix)
  const correction = writer.op('Sub', [rounded(writer, shift, size, prefix).unit, shift], prefix)
  const sum = writer.node('Add', [beta, correction], prefix)
  addFirstOnlyRule(writer.rules, sum.name)
  norm.inputs[2] = sum.value
  return [mean, variance]
}

/** round(x / unit) · unit */
function rounded(writer: FakeQuantWriter, x: string, unit: string, prefix: string) {
  const size = writer.op('Max', [unit, writer.number(LEAST_UNIT)], prefix)
  const divide = writer.node('Div', [x, size], prefix)
  const { value, name } = writer.node('Mul', [writer.op('Round', [divide.value], prefix), size], prefix)
  return { unit: value, multiply: name, divide: divide.name }
}
