/**
 * Straight-through gradients of rounding and of quantized numbers.
 *
 * Integers carry the gradient of the real numbers that they stand for in units of their steps, so that scales get the
 * gradient of learned step size quantization from the two operators together.
 *
 * @see Y. Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013
 * @see S. K. Esser et al., Learned Step Size Quantization, ICLR 2020
 */
import { fail } from '../../core/index.ts'
import { intAttribute, type Node } from '../../graph/index.ts'
import { type DType, sizeOf } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { toTypeOf } from './pieces.ts'
import type { GradientRule, GradientRules } from './rule.ts'

const RANGES: Partial<Record<DType, readonly [number, number]>> = {
  int2: [-2, 1],
  int4: [-8, 7],
  int8: [-128, 127],
  int16: [-32768, 32767],
  uint2: [0, 3],
  uint4: [0, 15],
  uint8: [0, 255],
  uint16: [0, 65535],
}

/** A scale or zero point as it broadcasts against the data. */
function align(emit: Emitter, node: Node, parameter: string, data: string): string {
  if (intAttribute(node, 'block_size', 0) > 0)
    fail('UNSUPPORTED', `${node.opType} '${node.name}': scales per block have no gradient rule; it has 'block_size'.`)
  const shape = emit.shape(data)
  const count = sizeOf(emit.shape(parameter))
  if (count === 1) return emit.reshape(parameter, [])
  const axis = intAttribute(node, 'axis', 1)
  const at = axis < 0 ? axis + shape.length : axis
  return emit.reshape(
    parameter,
    shape.map((_, other) => (other === at ? count : 1)),
  )
}

/** The gradient of a scale from that of its elements of the data's shape. */
function ofScale(emit: Emitter, part: string, aligned: string, scale: string): string {
  return emit.reshape(emit.sumTo(part, emit.shape(aligned)), emit.shape(scale))
}

/** q = saturate(round(x / s) + z): passes where nothing saturates. */
const quantize: GradientRule = ({ emit, node, inputs, outputs: [q], gradients: [g], needs }) => {
  const [x = '', scale = '', zero = ''] = inputs
  const { dtype } = emit.type(q!)
  const [low, high] =
    RANGES[dtype] ??
    fail('UNSUPPORTED', `QuantizeLinear '${node.name}': numbers of type ${dtype} have no gradient rule.`)
  const s = align(emit, node, scale, x)
  const ratio = emit.div(x, s)
  let level = emit.unary('Round', ratio)
  if (zero !== '') level = emit.add(level, toTypeOf(emit, align(emit, node, zero, x), x))
  const saturated = emit.op('Clip', [level, emit.number(low, x), emit.number(high, x)], emit.shape(x))
  const passed = emit.where(emit.binary('Equal', saturated, level), emit.div(g!, s), emit.number(0, g!))
  return [passed, needs(1) ? ofScale(emit, emit.neg(emit.mul(passed, ratio)), s, scale) : undefined]
}

/** y = (q − z) · s. */
const dequantize: GradientRule = ({ emit, node, inputs, gradients: [g], needs }) => {
  const [q = '', scale = '', zero = ''] = inputs
  const s = align(emit, node, scale, q)
  const ds = (): string => {
    const real = toTypeOf(emit, q, g!)
    const level = zero === '' ? real : emit.sub(real, toTypeOf(emit, align(emit, node, zero, q), g!))
    return ofScale(emit, emit.mul(g!, level), s, scale)
  }
  return [needs(0) ? emit.mul(g!, s) : undefined, needs(1) ? ds() : undefined]
}

const round: GradientRule = ({ gradients: [g] }) => [g]

/** Rounding and quantization, straight through. */
export const QUANTIZATION_RULES: GradientRules = {
  DequantizeLinear: dequantize,
  QuantizeLinear: quantize,
  Round: round,
}
