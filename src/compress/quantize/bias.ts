/** Biases as 32-bit integers with the scales of input and weight multiplied. */
import type { Node } from '../../graph/index.ts'
import { Tensor, toFloat64 } from '../../tensor/index.ts'
import { roundHalfToEven } from './affine.ts'
import { outputChannels } from './regions.ts'
import type { Quantization } from './scheme.ts'

const MOST = 2 ** 31 - 1
/** Both ends of a bias's range over all 32-bit integers, with a little room for rounding. */
const ROOM = 1.0001

/** The weight's scale for each output channel; those of a grouped ConvTranspose repeat in every group. */
export function channelScales(scale: readonly number[], node: Node, weight: Tensor): readonly number[] {
  const channels = outputChannels(node, weight)
  if (scale.length === channels) return scale
  return Array.from({ length: channels }, (_, channel) => scale[channel % scale.length]!)
}

/**
 * Weight scales, raised where a bias would not fit into 32 bits; the given array when all do.
 *
 * @param bias one number per output, or one for all.
 */
export function biasSafeScales(
  scales: readonly number[],
  inputScale: number,
  bias: Float32Array,
  weight: Tensor,
  node: Node,
): readonly number[] {
  const largest = new Float64Array(scales.length)
  for (let channel = 0; channel < outputChannels(node, weight); channel++) {
    const at = channel % scales.length
    largest[at] = Math.max(largest[at]!, Math.abs(bias[bias.length === 1 ? 0 : channel]!))
  }
  let raised: number[] | undefined
  for (const [at, scale] of scales.entries()) {
    // In float32 for single channels and in float64 for a whole weight, as ONNX Runtime does.
    const reach =
      scales.length > 1 ? Math.fround(Math.fround(ROOM) * Math.fround(2 * largest[at]!)) : ROOM * (2 * largest[at]!)
    const least = reach / (2 * MOST)
    const product = inputScale * scale
    if (product >= least || product <= 0) continue
    raised ??= [...scales]
    raised[at] = Math.fround(scale * (least / product))
  }
  return raised ?? scales
}

/** A bias as integers, one per output, and their scales. */
export interface QuantizedBias {
  /** int32 [outputs]. */
  readonly integers: Tensor
  /** One, or one per output. */
  readonly scale: readonly number[]
}

/**
 * Quantizes a bias: round(b / (input scale · weight scale)), clamped to 32 bits.
 *
 * @param bias one number per output, or one for all, of any shape.
 */
export function quantizeBias(
  bias: Tensor,
  input: Quantization,
  weightScales: Quantization,
  weight: Tensor,
  node: Node,
): QuantizedBias {
  const channels = outputChannels(node, weight)
  const inputScale = input.scale[0]!
  const scale =
    weightScales.axis === null
      ? [Math.fround(inputScale * weightScales.scale[0]!)]
      : channelScales(weightScales.scale, node, weight).map((value) => Math.fround(inputScale * value))
  const data = toFloat64(bias)
  const integers = Int32Array.from({ length: channels }, (_, channel) => {
    const value = data[data.length === 1 ? 0 : channel]! / scale[scale.length === 1 ? 0 : channel]!
    return Math.min(Math.max(roundHalfToEven(value), -MOST - 1), MOST)
  })
  return { integers: Tensor.of(integers, [channels]), scale }
}

/** The float32 numbers that a quantized bias stands for. */
export function dequantizeBias({ integers, scale }: QuantizedBias): Tensor {
  const data = integers.data as Int32Array
  return Tensor.of(
    // As DequantizeLinear computes it: the integer goes to float32 first.
    Float32Array.from(data, (value, channel) => Math.fround(value) * scale[scale.length === 1 ? 0 : channel]!),
    integers.shape,
  )
}
