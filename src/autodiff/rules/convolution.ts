/**
 * Gradients of Conv and ConvTranspose, in one to three dimensions. ConvTranspose is a convolution read backwards: its
 * gradient by the input is that convolution, and the roles of input and output are swapped in that by the weight.
 */
import { intAttribute, intsAttribute, type Node, stringAttribute } from '../../graph/index.ts'
import { type ConvGeometry, convolve, type Formulation } from './conv-geometry.ts'
import { INPUT_FORMULATIONS } from './conv-input.ts'
import { WEIGHT_FORMULATIONS } from './conv-weight.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'
import { reach, windowOf } from './window.ts'

/** Which gradient of a convolution a formulation is for. */
export type ConvolutionGradient = 'input' | 'weight'

/** The ways to compute each gradient of a convolution, in order of preference. */
export const CONVOLUTION_FORMULATIONS: Readonly<Record<ConvolutionGradient, readonly Formulation[]>> = {
  input: INPUT_FORMULATIONS,
  weight: WEIGHT_FORMULATIONS,
}

/** Chooses a formulation by name; `undefined` leaves the choice to the formulations' own preferences. */
export type ChooseFormulation = (gradient: ConvolutionGradient, geometry: ConvGeometry) => string | undefined

/**
 * The rules of convolutions.
 *
 * @param choose takes part in the choice of formulations; a name that does not apply to a convolution is passed over.
 */
export function convolutionRules(choose: ChooseFormulation = () => undefined): GradientRules {
  const pick = (gradient: ConvolutionGradient, geometry: ConvGeometry): Formulation => {
    const able = CONVOLUTION_FORMULATIONS[gradient].filter((formulation) => formulation.applies(geometry))
    const wanted = choose(gradient, geometry)
    return able.find(({ name }) => name === wanted) ?? able.find((formulation) => formulation.prefers(geometry))!
  }
  const conv: GradientRule = (context) => {
    const { emit, inputs, needs } = context
    const [x, weight] = inputs as [string, string]
    const dy = context.gradients[0]!
    const geometry = geometryOf(context)
    return [
      needs(0) ? pick('input', geometry).emit(emit, dy, weight, geometry) : undefined,
      needs(1) ? pick('weight', geometry).emit(emit, x, dy, geometry) : undefined,
      needs(2) ? biasGradient(context, dy) : undefined,
    ]
  }
  const convTranspose: GradientRule = (context) => {
    const { emit, inputs, needs } = context
    const [x, weight] = inputs as [string, string]
    const dy = context.gradients[0]!
    const geometry = adjointGeometryOf(context)
    return [
      needs(0) ? convolve(emit, dy, weight, emit.shape(x), geometry) : undefined,
      needs(1) ? pick('weight', geometry).emit(emit, dy, x, geometry) : undefined,
      needs(2) ? biasGradient(context, dy) : undefined,
    ]
  }
  return { Conv: conv, ConvTranspose: convTranspose }
}

/** Conv and ConvTranspose. */
export const CONVOLUTION_RULES: GradientRules = convolutionRules()

function biasGradient({ emit }: RuleContext, dy: string): string {
  const axes = emit.shape(dy).flatMap((_, axis) => (axis === 1 ? [] : [axis]))
  return emit.sum(dy, axes, false)
}

function geometryOf({ emit, node, inputs, outputs }: RuleContext): ConvGeometry {
  const [batch, inChannels, ...input] = emit.shape(inputs[0]!) as [number, number, ...number[]]
  const [outChannels, , ...kernel] = emit.shape(inputs[1]!) as [number, number, ...number[]]
  const window = windowOf(node, input, emit.shape(outputs[0]!).slice(2), kernel)
  return { ...window, batch, inChannels, outChannels, groups: intAttribute(node, 'group', 1) }
}

/** Geometry of the convolution that a ConvTranspose is the transpose of: from its output to its input. */
function adjointGeometryOf({ emit, node, inputs, outputs }: RuleContext): ConvGeometry {
  const [batch, outChannels, ...output] = emit.shape(inputs[0]!) as [number, number, ...number[]]
  const [, inChannels, ...input] = emit.shape(outputs[0]!) as [number, number, ...number[]]
  const kernel = emit.shape(inputs[1]!).slice(2)
  const ones = kernel.map(() => 1)
  const strides = intsAttribute(node, 'strides', ones)
  const dilations = intsAttribute(node, 'dilations', ones)
  const covered = reach({ kernel, dilations })
  const full = output.map((count, axis) => (count - 1) * strides[axis]! + covered[axis]!)
  const before = cutBefore(node, full, input)
  const after = full.map((extent, axis) => extent - input[axis]! - before[axis]!)
  const groups = intAttribute(node, 'group', 1)
  return { batch, inChannels, outChannels, groups, input, output, kernel, strides, dilations, before, after }
}

/**
 * What a ConvTranspose cuts off before the first element. With `output_shape` or SAME padding that follows from the
 * output's extent; the odd element goes to the end for SAME_UPPER, to the beginning otherwise.
 *
 * @see https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
 */
function cutBefore(node: Node, full: readonly number[], output: readonly number[]): number[] {
  const auto = stringAttribute(node, 'auto_pad', 'NOTSET')
  const zeros = full.map(() => 0)
  if (auto === 'VALID') return zeros
  if (auto === 'NOTSET' && !node.attributes.has('output_shape'))
    return intsAttribute(node, 'pads', [...zeros, ...zeros]).slice(0, full.length)
  const more = intsAttribute(node, 'output_padding', zeros)
  return full.map((extent, axis) => {
    const total = Math.max(0, extent + more[axis]! - output[axis]!)
    return auto === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2)
  })
}
