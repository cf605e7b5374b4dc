/** 16-bit floats: IEEE 754 binary16 and bfloat16, both to and from float32 with round-half-to-even. */

const scratchFloat = new Float32Array(1)
const scratchBits = new Uint32Array(scratchFloat.buffer)

/**
 * The number whose binary16 bits are given.
 *
 * @example
 * console.log(float16ToNumber(0x3c00), float16ToNumber(0x7bff))
 */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/**
 * The binary16 bits nearest to a number; values beyond ±65504 become infinite.
 *
 * @example
 * console.log(numberToFloat16(1).toString(16), float16ToNumber(numberToFloat16(0.1)))
 */
export function numberToFloat16(value: number): number {
  scratchFloat[0] = value
  const bits = scratchBits[0]!
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude < 0x38800000) {
    // Subnormal: round |value| · 2²⁴ half to even.
    const scaled = Math.abs(value) * 2 ** 24
    const floor = Math.floor(scaled)
    const rest = scaled - floor
    return sign | (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor)
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1)
  return sign | ((rounded - 0x38000000) >>> 13)
}

/**
 * The number whose bfloat16 bits are given.
 *
 * @example
 * console.log(bfloat16ToNumber(0x3f80))
 */
export function bfloat16ToNumber(bits: number): number {
  scratchBits[0] = (bits << 16) >>> 0
  return scratchFloat[0]!
}

/**
 * The bfloat16 bits nearest to a number.
 *
 * @example
 * console.log(numberToBfloat16(1).toString(16), bfloat16ToNumber(numberToBfloat16(0.1)))
 */
export function numberToBfloat16(value: number): number {
  scratchFloat[0] = value
  const bits = scratchBits[0]!
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}
