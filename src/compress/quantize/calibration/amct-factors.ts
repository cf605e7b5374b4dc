/**
 * AMCT's conventions for scale and offset, and their way to ours.
 *
 * AMCT quantizes to signed integers: q = round(x / scale) + offset, with offset −2^(n−1) for data that are not negative. For
 * an unsigned target the offset is moved by 2^(n−1), which changes nothing else.
 */

import { integerLimits, roundHalfToEven } from '../affine.ts'
import { INTEGER_TYPES, type IntegerType, type Range } from '../scheme.ts'

/** FLT_EPSILON: scales below it become 1. */
export const FLOAT_EPSILON = 1.192092896e-7

/** A scale and an offset in AMCT's convention: x ≈ (q − offset) · scale with q in −2^(n−1) … 2^(n−1) − 1. */
export type AmctFactors = { readonly scale: number; readonly offset: number }

/** What a range is quantized to. */
export type CalibrationTarget = {
  readonly type: IntegerType
  /** Default: all of the type's. */
  readonly bits?: number | undefined
  /** Whether the range is even around zero; default false. */
  readonly symmetric?: boolean | undefined
}

/** Bits in use of a target. */
export function bitsOf({ type, bits }: CalibrationTarget): number {
  return bits ?? INTEGER_TYPES[type].bits
}

/**
 * Scale and offset of a range, as AMCT's `calculate_scale_offset` computes them, in float32: asymmetric ranges are widened
 * to contain zero; symmetric ones divide the larger magnitude by 2^(n−1) − 1, or by 2^(n−1) when it is the negative one.
 */
export function amctFactors(range: Range, bits: number, symmetric: boolean): AmctFactors {
  const { fround } = Math
  const half = 2 ** (bits - 1)
  if (symmetric) {
    const [below, above] = [Math.abs(fround(range.min)), Math.abs(fround(range.max))]
    const scale = fround(Math.max(below, above) / (above < below ? half : half - 1))
    return { scale: scale < FLOAT_EPSILON ? 1 : scale, offset: 0 }
  }
  const min = Math.min(fround(range.min), 0)
  const max = Math.max(fround(range.max), 0)
  const scale = fround(fround(max - min) / (2 * half - 1))
  if (scale < FLOAT_EPSILON) return { scale: 1, offset: -half }
  return { scale, offset: roundHalfToEven(fround(-half - fround(min / scale))) }
}

/** The range for which `affineParameters` gives AMCT's scale and offset for this target. */
export function rangeOfFactors({ scale, offset }: AmctFactors, target: CalibrationTarget): Range {
  const bits = bitsOf(target)
  const { least, most } = integerLimits(target.type, bits, target.symmetric)
  if (target.symmetric) {
    const reach = (scale * (most - least)) / 2
    return { min: -reach, max: reach }
  }
  const half = 2 ** (bits - 1)
  return { min: (-half - offset) * scale, max: (half - 1 - offset) * scale }
}
