/**
 * Gradient of Resize: interpolation is a fixed linear map along each axis, its gradient the transposed map.
 *
 * The matrix of an axis is what the operator itself makes of the identity matrix. So every mode, rounding rule and
 * coordinate transformation is right by construction, edge cases of a runtime's own rounding included; the matrices
 * are constants, which the runtime computes once when it loads the model.
 */
import { fail } from '../../core/index.ts'
import { intsAttribute, type Node, stringAttribute } from '../../graph/index.ts'
import { fromNumbers, sizeOf, Tensor, toFloat64 } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { mapAxis } from './axis-map.ts'
import { toTypeOf } from './pieces.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'
import { sameAttributes } from './same-attributes.ts'

const resize: GradientRule = (context) => {
  const { emit, node, inputs, outputs, gradients } = context
  const input = emit.shape(inputs[0]!)
  const output = emit.shape(outputs[0]!)
  const repeats = repeatsOf(node, input, output)
  if (repeats && emit.type(inputs[0]!).dtype === 'float32') return [sumBlocks(emit, gradients[0]!, repeats)]
  let value = gradients[0]!
  for (const axis of input.keys()) {
    if (!isResized(context, axis)) continue
    value = mapAxis(emit, value, axis, toTypeOf(emit, mapOfAxis(context, axis), value))
  }
  return [value]
}

/** How often each element is repeated in a row per axis, where the operator does just that. */
function repeatsOf(node: Node, input: readonly number[], output: readonly number[]): number[] | undefined {
  if (stringAttribute(node, 'mode', 'nearest') !== 'nearest') return undefined
  const repeats = output.map((extent, axis) => extent / input[axis]!)
  const spatial = input.length >= 3 && input.length <= 5 && repeats[0] === 1 && repeats[1] === 1
  if (!spatial || !repeats.every((count) => Number.isInteger(count))) return undefined
  const rounding = stringAttribute(node, 'nearest_mode', 'round_prefer_floor')
  switch (stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel')) {
    case 'half_pixel':
    case 'half_pixel_symmetric':
      return rounding.startsWith('round_') ? repeats : undefined
    case 'asymmetric':
      return rounding === 'floor' ? repeats : undefined
    default:
      return undefined
  }
}

/** The sum of every block of `repeats` elements. */
function sumBlocks(emit: Emitter, dy: string, repeats: readonly number[]): string {
  const kernel = repeats.slice(2)
  if (sizeOf(kernel) === 1) return dy
  const shape = emit.shape(dy).map((extent, axis) => extent / repeats[axis]!)
  const means = emit.op('AveragePool', [dy], shape, { kernel_shape: kernel, strides: kernel })
  return emit.scale(means, sizeOf(kernel))
}

/** The axes that `roi`, `scales` and `sizes` speak of, in their order. */
function axesOf({ emit, node, inputs }: RuleContext): number[] {
  const rank = emit.shape(inputs[0]!).length
  const all = Array.from({ length: rank }, (_, axis) => axis)
  return intsAttribute(node, 'axes', all).map((axis) => (axis < 0 ? axis + rank : axis))
}

/** Whether the operator does anything along an axis; cropping at a scale of 1 counts. */
function isResized(context: RuleContext, axis: number): boolean {
  const { emit, node, inputs, outputs, constant } = context
  if (emit.shape(inputs[0]!)[axis] !== emit.shape(outputs[0]!)[axis]) return true
  const at = axesOf(context).indexOf(axis)
  if (at < 0) return false
  const scales = constant(inputs[2] ?? '')
  const crops = stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize'
  return crops || (scales !== undefined && scales.size > 0 && toFloat64(scales)[at] !== 1)
}

/**
 * The transposed map of one axis, `[extent, new extent]`: the identity matrix with its columns resized. In four axes,
 * because not every interpolation takes fewer.
 */
function mapOfAxis(context: RuleContext, axis: number): string {
  const { emit, node, inputs, outputs } = context
  const extent = emit.shape(inputs[0]!)[axis]!
  const to = emit.shape(outputs[0]!)[axis]!
  const identity = new Float64Array(extent * extent)
  for (let i = 0; i < extent; i++) identity[i * extent + i] = 1
  const x = emit.tensor(fromNumbers(identity, [1, 1, extent, extent], 'float32'))
  const position = axesOf(context).indexOf(axis)
  const leading = leadingAxis(context)
  if (leading !== undefined && leading !== axis) return mapBesides(context, axis, leading)
  const shape = [1, 1, extent, to]
  // What lies outside of the picture is no function of it.
  const attributes = { ...sameAttributes(node, ['axes', 'extrapolation_value', 'keep_aspect_ratio_policy']) }
  const roi = roiOf(context, position)
  const scales = scalesOf(context, position)
  const parts = scales === undefined ? [x, roi, '', emit.integers(shape)] : [x, roi, scales]
  const map = emit.op('Resize', parts, shape, attributes)
  return emit.reshape(map, [extent, to])
}

/**
 * With a policy that keeps the aspect ratio, the axis whose size sets the scale of all; the extents of the others are
 * rounded, so that their scale does not follow from them.
 */
function leadingAxis(context: RuleContext): number | undefined {
  const { emit, node, inputs, constant } = context
  const policy = stringAttribute(node, 'keep_aspect_ratio_policy', 'stretch')
  if (policy === 'stretch' || (inputs[3] ?? '') === '') return undefined
  const sizes = constant(inputs[3]!)
  if (!sizes)
    fail('UNSUPPORTED', `Resize '${node.name}': the gradient with ${policy} needs constant sizes; they are computed.`)
  const axes = axesOf(context)
  const scales = Array.from(toFloat64(sizes), (size, at) => size / emit.shape(inputs[0]!)[axes[at]!]!)
  const scale = policy === 'not_larger' ? Math.min(...scales) : Math.max(...scales)
  return axes[scales.indexOf(scale)]
}

/** The map of an axis whose scale is that of another: rows of the identity, repeated along the other, resized in both. */
function mapBesides(context: RuleContext, axis: number, leading: number): string {
  const { emit, node, inputs, outputs } = context
  const [input, output] = [emit.shape(inputs[0]!), emit.shape(outputs[0]!)]
  const [extent, to, height] = [input[axis]!, output[axis]!, input[leading]!]
  const rows = new Float64Array(extent * height * extent)
  for (let i = 0; i < extent; i++) for (let j = 0; j < height; j++) rows[(i * height + j) * extent + i] = 1
  const x = emit.tensor(fromNumbers(rows, [extent, 1, height, extent], 'float32'))
  const axes = axesOf(context)
  const sizes = [leading, axis].map((at) => {
    const position = axes.indexOf(at)
    return emit.slice(inputs[3]!, [0], [position], [position + 1])
  })
  const attributes = { ...sameAttributes(node, ['axes', 'extrapolation_value']), axes: [2, 3] }
  const shape = [extent, 1, output[leading]!, to]
  const maps = emit.op('Resize', [x, '', '', emit.concat(sizes, 0)], shape, attributes)
  return emit.reshape(emit.slice(maps, [2], [0], [1]), [extent, to])
}

/** `roi` with that of one axis last: starts, then ends. */
function roiOf({ emit, node, inputs }: RuleContext, position: number): string {
  const roi = inputs[1] ?? ''
  if (roi === '' || stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel') !== 'tf_crop_and_resize')
    return ''
  const count = emit.shape(roi)[0]! / 2
  const rest = (value: number): string =>
    emit.tensor(fromNumbers(Float64Array.of(value, value, value), [3], emit.type(roi).dtype))
  const own = (at: number): string => emit.slice(roi, [0], [at], [at + 1])
  return emit.concat([rest(0), own(position), rest(1), own(position + count)], 0)
}

/** `scales` with that of one axis last; `undefined` where the operator is given sizes. */
function scalesOf({ emit, inputs }: RuleContext, position: number): string | undefined {
  const scales = inputs[2] ?? ''
  if (scales === '' || emit.shape(scales)[0] === 0) return undefined
  const ones = emit.tensor(Tensor.of(Float32Array.of(1, 1, 1), [3]))
  return emit.concat([ones, emit.slice(scales, [0], [position], [position + 1])], 0)
}

/** Resize; Upsample, which older opsets have, is lifted to it. */
export const RESIZE_RULES: GradientRules = { Resize: resize }
