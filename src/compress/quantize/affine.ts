/**
 * Scale and zero point from a range, and the way of numbers to integers and back.
 *
 * Conventions are ONNX Runtime's (`onnxruntime.quantization`, `compute_scale_zp`): ranges contain zero, symmetric
 * signed types leave out their least value (−127 … 127), scales are computed in float64 and stored as float32.
 */
import { fail } from '../../core/index.ts'
import { INTEGER_TYPES, type IntegerType, type Quantization, type Range } from './scheme.ts'

/** Least and greatest integer in use. */
export type IntegerLimits = { readonly least: number; readonly most: number }

/**
 * The integers that a type with some of its bits stands for.
 *
 * @param symmetric whether the least value of a signed type is left out, so that −x is stored as −q; default false.
 * @throws WhittleError `INVALID_ARGUMENT` when the type has fewer bits.
 */
export function integerLimits(type: IntegerType, bits: number, symmetric = false): IntegerLimits {
  const facts = INTEGER_TYPES[type]
  if (!Number.isInteger(bits) || bits < 2 || bits > facts.bits)
    fail('INVALID_ARGUMENT', `Type ${type}: holds integers of 2 to ${facts.bits} bits; got ${bits}.`)
  if (!facts.signed) return { least: 0, most: 2 ** bits - 1 }
  const most = 2 ** (bits - 1) - 1
  return { least: symmetric ? -most : -most - 1, most }
}

/** What {@link affineParameters} chooses by. */
export interface AffineOptions {
  /** Type of the integers. */
  readonly type: IntegerType
  /** Bits in use; default: all of the type's. */
  readonly bits?: number | undefined
  /** Whether zero is stored as the middle of the integers and the range is made even around it; default false. */
  readonly symmetric?: boolean | undefined
}

/** Below this a scale's reciprocal is no float32, and the range is taken as empty. */
const LEAST_SCALE = 2 ** -126

/**
 * The scale and zero point of one range.
 *
 * The range is widened to contain zero. An empty range gives scale 1 and zero point 0, so that zeros stay zeros.
 *
 * @returns `scale`, exact in float32, and the integer `zeroPoint`.
 * @throws WhittleError `NOT_FINITE` when the range is not of finite numbers, `INVALID_ARGUMENT` when it is reversed.
 */
export function affineParameters(range: Range, options: AffineOptions): { scale: number; zeroPoint: number } {
  const { type, symmetric = false } = options
  if (!Number.isFinite(range.min) || !Number.isFinite(range.max))
    fail('NOT_FINITE', `Quantization: a range must be of finite numbers; got ${range.min} … ${range.max}.`)
  if (range.min > range.max)
    fail('INVALID_ARGUMENT', `Quantization: a range must not be reversed; got ${range.min} … ${range.max}.`)
  const { least, most } = integerLimits(type, options.bits ?? INTEGER_TYPES[type].bits, symmetric)
  let min = Math.min(range.min, 0)
  let max = Math.max(range.max, 0)
  if (symmetric) {
    max = Math.max(max, -min)
    min = -max
  }
  // The width is a float32, as in ONNX Runtime, so that equal ranges give equal scales to the last bit.
  const scale = Math.fround(max - min) / (most - least)
  if (scale < LEAST_SCALE) return { scale: 1, zeroPoint: 0 }
  const zeroPoint = symmetric ? roundHalfToEven((least + most) / 2) : roundHalfToEven(least - min / scale)
  return { scale: Math.fround(scale), zeroPoint: Math.min(Math.max(zeroPoint, least), most) }
}

/** The nearest integer; halves go to the even one, as in ONNX's QuantizeLinear. */
export function roundHalfToEven(x: number): number {
  const rounded = Math.round(x)
  return rounded - x === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}

/** The range of numbers that a quantization tells apart, for one index of its axis. */
export function rangeOf(quantization: Quantization, index = 0): Range {
  const { least, most } = integerLimits(quantization.type, quantization.bits)
  const scale = quantization.scale[index]!
  const zeroPoint = quantization.zeroPoint[index]!
  return { min: (least - zeroPoint) * scale, max: (most - zeroPoint) * scale }
}
