/**
 * The words of quantization: integer types, ranges, and how a tensor's numbers become integers.
 *
 * A real number x is stored as q = clamp(round(x / scale) + zero point, least, most), rounding halves to even, and read
 * as (q − zero point) · scale (ONNX QuantizeLinear and DequantizeLinear).
 */

/** Element types that tensors are quantized to. */
export type IntegerType = 'int8' | 'uint8' | 'int16' | 'uint16' | 'int4' | 'uint4'

/** Real numbers that a tensor's elements lie in; what is outside is clipped. */
export type Range = { readonly min: number; readonly max: number }

/** How the numbers of one tensor become integers; JSON. */
export type Quantization = {
  readonly type: IntegerType
  /** Bits in use, at most the type's width: 7 where products would saturate, 6 and 7 in AMCT's files. */
  readonly bits: number
  /** One, or one for each index of `axis`; exact in float32. */
  readonly scale: readonly number[]
  /** As many as scales; all zero for symmetric signed types. */
  readonly zeroPoint: readonly number[]
  /** Axis that the scales go along; `null`: one scale for the whole tensor. */
  readonly axis: number | null
}

/** Facts of an integer type. */
export interface IntegerFacts {
  readonly bits: number
  readonly signed: boolean
}

/** Integer types by name. */
export const INTEGER_TYPES: Readonly<Record<IntegerType, IntegerFacts>> = {
  int4: { bits: 4, signed: true },
  uint4: { bits: 4, signed: false },
  int8: { bits: 8, signed: true },
  uint8: { bits: 8, signed: false },
  int16: { bits: 16, signed: true },
  uint16: { bits: 16, signed: false },
}
