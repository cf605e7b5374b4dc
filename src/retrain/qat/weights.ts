/**
 * Fake quantization of weights: symmetric integers, one scale for each output channel or one for all.
 *
 * A normalisation behind the layer stays where it is and learns: with a scale per channel, quantizing first and folding
 * then gives the same integers as folding first and quantizing then, with scales times |γ / √(v + ε)|.
 */
import { integerLimits, type Quantization, roundHalfToEven } from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import type { Groups } from './activations.ts'
import { channelsOf, EPSILON, INITIAL, magnitudeScales } from './initial-scales.ts'
import type { InitialScale, QatWeightAlgorithm } from './options.ts'
import { addIdentityRules, addPassingRules, addStepRules } from './rules.ts'
import type { FakeQuantWriter } from './writer.ts'

/** The quantizer of one layer's weight. */
export type WeightQuantizer = {
  /** Name of the layer. */
  readonly node: string
  /** Name of the initializer that is trained. */
  readonly weight: string
  readonly algorithm: QatWeightAlgorithm
  /** Name of the learned scales; absent where they follow the weight. */
  readonly scale?: string | undefined
  readonly quantization: Quantization
}

/** The greatest integer in use; the least is its negative, so that a channel may change its sign. */
export function weightLimit({ type, bits, zeroPoint }: Quantization): number {
  const { least, most } = integerLimits(type, bits)
  const zero = zeroPoint[0] ?? 0
  if (zeroPoint.some((other) => other !== zero) || zero <= least || zero >= most)
    fail('UNSUPPORTED', `Weights: must be quantized symmetrically to be trained; got zero points ${zeroPoint}.`)
  return Math.min(zero - least, most - zero)
}

/** The shape with which scales are broadcast over a weight. */
function scaleShape(shape: readonly number[], axis: number | null): number[] {
  return axis === null ? [] : shape.map((extent, at) => (at === axis ? extent : 1))
}

/** A quantizer in a graph: the value that takes the weight's place, and that of the scales. */
export interface PlacedWeight {
  readonly quantizer: WeightQuantizer
  readonly value: string
  readonly scaleValue: string
}

/** Puts a quantizer between a weight and its layer. */
export function addWeightQuantizer(
  writer: FakeQuantWriter,
  { node, weight, quantization }: Pick<WeightQuantizer, 'node' | 'weight' | 'quantization'>,
  algorithm: QatWeightAlgorithm,
  { groups, rate, initial }: { groups: Groups; rate: number; initial: InitialScale },
): PlacedWeight {
  const tensor = writer.graph.initializers.get(weight)!
  const { axis } = quantization
  const limit = weightLimit(quantization)
  const prefix = `fake_quant/${node}/weight`
  if (algorithm === 'arq') {
    const scale = emitMagnitude(writer, weight, tensor.shape, axis, limit, prefix)
    const divide = writer.node('Div', [weight, scale], prefix)
    const multiply = writer.node('Mul', [writer.op('Round', [divide.value], prefix), scale], prefix)
    addPassingRules(writer.rules, { divide: divide.name, multiply: multiply.name })
    return { quantizer: { node, weight, algorithm, quantization }, value: multiply.value, scaleValue: scale }
  }
  const first = INITIAL[algorithm === 'ulq' ? 'magnitude' : initial](tensor, axis, limit)
  const scale = writer.constant(`${node}/weight_scale`, Tensor.of(first, scaleShape(tensor.shape, axis)))
  // As many elements as one scale has.
  const gradientScale = 1 / Math.sqrt((tensor.size / first.length) * limit)
  groups.push({ match: [scale], weightDecay: 0, lrScale: rate, gradientScale, least: EPSILON })
  const bounds: [string, string] = [writer.number(-limit), writer.number(limit)]
  const { y, nodes } = writer.fakeQuantize(weight, scale, bounds, prefix)
  if (algorithm === 'lsq') addStepRules(writer.rules, nodes, false)
  else addIdentityRules(writer.rules, nodes)
  return { quantizer: { node, weight, algorithm, scale, quantization }, value: y, scaleValue: scale }
}

/** max |w| / limit over each channel; 1 where that is next to nothing. */
function emitMagnitude(
  writer: FakeQuantWriter,
  weight: string,
  shape: readonly number[],
  axis: number | null,
  limit: number,
  prefix: string,
): string {
  const axes = [...shape.keys()].filter((at) => at !== axis)
  const magnitudes = writer.op('Abs', [weight], prefix)
  const list = writer.integers(`${prefix}/axes`, axes)
  const attributes = { keepdims: axis === null ? 0 : 1 }
  const { value: greatest } = writer.node('ReduceMax', [magnitudes, list], prefix, undefined, attributes)
  const scale = writer.op('Div', [greatest, writer.number(limit)], prefix)
  const small = writer.op('Less', [scale, writer.number(EPSILON)], prefix)
  return writer.op('Where', [small, writer.number(1), scale], prefix)
}

/** The scales of a quantizer after training. @param weights initializers by name. */
export function learnedScales(quantizer: WeightQuantizer, weights: ReadonlyMap<string, Tensor>): Float32Array {
  const { quantization, scale, weight } = quantizer
  const tensor = weights.get(weight)
  if (!tensor) return fail('INTERNAL', `Internal: trained weight '${weight}' is missing.`)
  if (scale === undefined) return magnitudeScales(tensor, quantization.axis, weightLimit(quantization))
  return toFloat32(weights.get(scale)!)
}

/** The integers (without zero point) of a weight, and the numbers they stand for. */
export function roundWeight(
  weight: Tensor,
  scales: Float32Array,
  quantization: Quantization,
): { readonly integers: Int32Array; readonly rounded: Tensor } {
  const limit = weightLimit(quantization)
  const data = toFloat32(weight)
  const { channels, inner } = channelsOf(weight.shape, quantization.axis)
  const integers = new Int32Array(data.length)
  const values = new Float32Array(data.length)
  for (let i = 0; i < data.length; i++) {
    const scale = scales[Math.floor(i / inner) % channels]!
    const clipped = Math.max(-limit, Math.min(limit, Math.fround(data[i]! / scale)))
    integers[i] = roundHalfToEven(clipped)
    values[i] = integers[i]! * scale
  }
  return { integers, rounded: Tensor.of(values, weight.shape) }
}
