/**
 * Gradients of normalisations over axes of one sample.
 *
 * With x̂ = (x − m) r over some axes and g the gradient of x̂: dx = r (g − mean(g) − x̂ mean(g x̂)).
 *
 * @see J. L. Ba, J. R. Kiros, G. E. Hinton, Layer Normalization, 2016; Y. Wu, K. He, Group Normalization, 2018
 */
import { float, floatAttribute, intAttribute, intsAttribute } from '../../graph/index.ts'
import { sizeOf, Tensor } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { constantMatrix, mapAxis } from './axis-map.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

/** A standardized value and what it was divided by. */
interface Standardized {
  /** (x − m) r. */
  readonly value: string
  /** r, of the shape of `value` with the axes of the normalisation reduced to 1. */
  readonly inverse: string
}

/** (x − mean) / √(variance + ε) over the given axes. */
function standardize(emit: Emitter, x: string, axes: readonly number[], epsilon: number): Standardized {
  const shape = emit.shape(x)
  const first = axes[0]!
  const trailing = axes.every((axis, at) => axis === first + at) && first + axes.length === shape.length
  if (trailing && emit.type(x).dtype === 'float32') {
    // One fused operator. In float64 its statistics are float32.
    const extents = shape.slice(first)
    const one = Tensor.of(Float32Array.of(1), [1])
    const ones = emit.op('ConstantOfShape', [emit.integers(extents)], extents, { value: one }, 'float32')
    const small = { dtype: 'float32', shape: shape.map((extent, axis) => (axis < first ? extent : 1)) } as const
    const types = [{ dtype: 'float32', shape }, small, small] as const
    const attributes = { axis: first, epsilon: float(epsilon) }
    const [value, , inverse] = emit.ops('LayerNormalization', [x, ones], types, attributes)
    return { value: value!, inverse: inverse! }
  }
  const centered = emit.sub(x, emit.reduce('ReduceMean', x, axes))
  const variance = emit.reduce('ReduceMean', emit.mul(centered, centered), axes)
  const inverse = reciprocalRoot(emit, variance, epsilon)
  return { value: emit.mul(centered, inverse), inverse }
}

function reciprocalRoot(emit: Emitter, square: string, epsilon: number): string {
  return emit.unary('Reciprocal', emit.unary('Sqrt', emit.add(square, emit.number(epsilon, square))))
}

/** dx from the gradient g of x̂. */
function throughStandardize(
  emit: Emitter,
  g: string,
  { value, inverse }: Standardized,
  axes: readonly number[],
): string {
  const along = emit.mul(value, emit.reduce('ReduceMean', emit.mul(g, value), axes))
  const across = emit.sub(emit.sub(g, emit.reduce('ReduceMean', g, axes)), along)
  return emit.mul(across, inverse)
}

function trailingAxes(rank: number, axis: number): number[] {
  const first = axis < 0 ? axis + rank : axis
  return Array.from({ length: rank - first }, (_, at) => first + at)
}

const layerNormalization: GradientRule = ({ emit, node, inputs, gradients }) => {
  const [x, scale] = inputs as [string, string]
  const axes = trailingAxes(emit.shape(x).length, intAttribute(node, 'axis', -1))
  const standardized = standardize(emit, x, axes, floatAttribute(node, 'epsilon', 1e-5))
  const { value, inverse } = standardized
  const [dy, dMean, dInverse] = gradients
  const parts: string[] = []
  if (dy !== undefined) parts.push(throughStandardize(emit, emit.mul(dy, scale), standardized, axes))
  const count = sizeOf(axes.map((axis) => emit.shape(x)[axis]!))
  const typed = (gradient: string): string => emit.reshape(gradient, emit.shape(inverse))
  if (dMean !== undefined) parts.push(emit.expand(emit.scale(typed(dMean), 1 / count), emit.shape(x)))
  if (dInverse !== undefined) {
    // r = (v + ε)^(−1/2), dv/dx = 2 (x − m) / count: dr/dx = −r² x̂ / count.
    const slope = emit.mul(typed(dInverse), emit.mul(inverse, inverse))
    parts.push(emit.mul(value, emit.scale(slope, -1 / count)))
  }
  const dx = parts.reduce((sum, part) => emit.add(sum, part))
  if (dy === undefined) return [dx]
  return [dx, emit.mul(dy, value), dy]
}

/** y = x r with r = 1 / √(mean(x²) + ε). */
const rmsNormalization: GradientRule = ({ emit, node, inputs, gradients }) => {
  const [x, scale] = inputs as [string, string]
  const dy = gradients[0]!
  const axes = trailingAxes(emit.shape(x).length, intAttribute(node, 'axis', -1))
  const square = emit.reduce('ReduceMean', emit.mul(x, x), axes)
  const inverse = reciprocalRoot(emit, square, floatAttribute(node, 'epsilon', 1e-5))
  const value = emit.mul(x, inverse)
  const g = emit.mul(dy, scale)
  const along = emit.mul(value, emit.reduce('ReduceMean', emit.mul(g, value), axes))
  return [emit.mul(emit.sub(g, along), inverse), emit.mul(dy, value)]
}

/** A value per channel or group as a column that broadcasts against `[N, C, rest]`. */
function column(emit: Emitter, value: string): string {
  return emit.reshape(value, [emit.shape(value)[0]!, 1])
}

const instanceNormalization: GradientRule = ({ emit, node, inputs, gradients }) => {
  const [x, scale] = inputs as [string, string]
  const shape = emit.shape(x)
  const planes = [shape[0]!, shape[1]!, sizeOf(shape.slice(2))]
  const standardized = standardize(emit, emit.reshape(x, planes), [2], floatAttribute(node, 'epsilon', 1e-5))
  const dy = emit.reshape(gradients[0]!, planes)
  const dx = throughStandardize(emit, emit.mul(dy, column(emit, scale)), standardized, [2])
  return [
    emit.reshape(dx, shape),
    emit.sum(emit.mul(dy, standardized.value), [0, 2], false),
    emit.sum(dy, [0, 2], false),
  ]
}

/** Scale and bias are per group in opset 18, per channel since 21: their extent tells. */
const groupNormalization: GradientRule = ({ emit, node, inputs, gradients }) => {
  const [x, scale] = inputs as [string, string]
  const shape = emit.shape(x)
  const [batch, channels] = shape as [number, number]
  const groups = intAttribute(node, 'num_groups', 1)
  const rest = sizeOf(shape.slice(2))
  const rows = [batch, groups, (channels / groups) * rest]
  const parameters = emit.shape(scale)[0]!
  const perParameter = [batch, parameters, (channels / parameters) * rest]
  const standardized = standardize(emit, emit.reshape(x, rows), [2], floatAttribute(node, 'epsilon', 1e-5))
  const dy = emit.reshape(gradients[0]!, perParameter)
  const g = emit.reshape(emit.mul(dy, column(emit, scale)), rows)
  const products = emit.mul(dy, emit.reshape(standardized.value, perParameter))
  return [
    emit.reshape(throughStandardize(emit, g, standardized, [2]), shape),
    emit.sum(products, [0, 2], false),
    emit.sum(dy, [0, 2], false),
  ]
}

const meanVarianceNormalization: GradientRule = ({ emit, node, inputs, gradients }) => {
  const x = inputs[0]!
  const rank = emit.shape(x).length
  const given = intsAttribute(node, 'axes', [0, 2, 3])
  const axes = given.map((axis) => (axis < 0 ? axis + rank : axis)).sort((a, b) => a - b)
  return [throughStandardize(emit, gradients[0]!, standardize(emit, x, axes, 1e-18), axes)]
}

/** y = x / ‖x‖ along an axis; zero where the norm is. */
const lpNormalization: GradientRule = ({ emit, node, inputs, outputs, gradients }) => {
  const [x, y, dy] = [inputs[0]!, outputs[0]!, gradients[0]!]
  const rank = emit.shape(x).length
  const axis = intAttribute(node, 'axis', -1)
  const axes = [axis < 0 ? axis + rank : axis]
  const p = intAttribute(node, 'p', 2)
  const norm = emit.reduce(p === 1 ? 'ReduceL1' : 'ReduceL2', x, axes)
  const direction = p === 1 ? emit.unary('Sign', x) : y
  const along = emit.mul(direction, emit.sum(emit.mul(dy, y), axes))
  const zero = emit.number(0, x)
  return [emit.where(emit.binary('Equal', norm, zero), zero, emit.div(emit.sub(dy, along), norm))]
}

/**
 * y = x s^(−β) with s = bias + α / size · Σ x² over a window of channels:
 * dx = dy s^(−β) − 2 α β / size · x · transposed window sum of (dy x s^(−β−1)).
 *
 * @see A. Krizhevsky, I. Sutskever, G. E. Hinton, ImageNet classification with deep CNNs, 2012, section 3.3
 */
function localResponse({ emit, node, inputs, gradients }: RuleContext): readonly string[] {
  const [x, dy] = [inputs[0]!, gradients[0]!]
  const size = intAttribute(node, 'size', 1)
  const [alpha, beta] = [floatAttribute(node, 'alpha', 1e-4), floatAttribute(node, 'beta', 0.75)]
  const bias = floatAttribute(node, 'bias', 1)
  const channels = emit.shape(x)[1]!
  const [below, above] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)]
  const isNear = (channel: number, other: number): boolean => other >= channel - below && other <= channel + above
  const window = constantMatrix(emit, channels, channels, x, (row, at) => (isNear(row, at) ? 1 : 0))
  const sums = mapAxis(emit, emit.mul(x, x), 1, window)
  const s = emit.add(emit.scale(sums, alpha / size), emit.number(bias, x))
  const power = emit.binary('Pow', s, emit.number(-beta, x))
  const direct = emit.mul(dy, power)
  const back = constantMatrix(emit, channels, channels, x, (row, at) => (isNear(at, row) ? 1 : 0))
  const spread = mapAxis(emit, emit.div(emit.mul(direct, x), s), 1, back)
  return [emit.sub(direct, emit.scale(emit.mul(x, spread), (2 * alpha * beta) / size))]
}

/** Normalisations within a sample; batch normalisation is a family of its own. */
export const NORMALIZATION_RULES: GradientRules = {
  LayerNormalization: layerNormalization,
  RMSNormalization: rmsNormalization,
  InstanceNormalization: instanceNormalization,
  GroupNormalization: groupNormalization,
  MeanVarianceNormalization: meanVarianceNormalization,
  LpNormalization: lpNormalization,
  LRN: localResponse,
}
