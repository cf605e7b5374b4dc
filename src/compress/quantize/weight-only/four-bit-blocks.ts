/**
 * Matrices in blocks of 4-bit integers: each column of `[in, out]` is cut into blocks along its inputs, and each block
 * has a scale of its own and, when asymmetric, a zero point.
 *
 * The layout is that of ONNX Runtime's operator `com.microsoft.MatMulNBits`: columns outermost, two integers per byte
 * with the even one in the low half; the numbers are those of its own quantizer (`matmul_nbits_quantizer`), to the bit.
 */
import { fail } from '../../../core/index.ts'

/** Which 4-bit numbers stand for a matrix. */
export interface FourBitOptions {
  /** Inputs that share a scale: a power of two of at least 16. */
  readonly block: number
  /**
   * Whether zero is 8 in every block and the number of greatest magnitude is stored as 0, so that 16 levels reach from
   * it to 7/8 of its opposite; else each block stores its zero point.
   */
  readonly symmetric: boolean
  /** Whether the weight is `[outputs, inputs]`; default false. */
  readonly outputFirst?: boolean | undefined
  /** Rounds a scale to the type it is stored in; default: float32. */
  readonly roundScale?: ((scale: number) => number) | undefined
}

/** A matrix in 4-bit blocks; `blocks` = ⌈inputs / block⌉. */
export interface FourBitMatrix {
  readonly inputs: number
  readonly outputs: number
  readonly block: number
  /** `[outputs, blocks, block]`, one integer 0 … 15 per element; the last block is filled up with 0, which nobody reads. */
  readonly levels: Uint8Array
  /** `[outputs, blocks]`. */
  readonly scales: Float32Array
  /** `[outputs, blocks]`, 0 … 15. */
  readonly zeroPoints: Uint8Array
}

/** Zero of symmetric blocks. */
export const MIDDLE = 8
const MOST = 15
const TILE = 64

/** Rounds halves away from zero, as C's `roundf`; the argument is a float32. */
const roundAway = (x: number): number => Math.sign(x) * Math.floor(Math.abs(x) + 0.5)
const clamp = (x: number): number => (x < 0 ? 0 : x > MOST ? MOST : x)

/** @throws WhittleError `INVALID_ARGUMENT` unless a block is a power of two of at least 16. */
export function checkBlock(block: number): void {
  if (!Number.isInteger(block) || block < 16 || block > 65536 || !Number.isInteger(Math.log2(block)))
    fail('INVALID_ARGUMENT', `Option block: must be a power of two from 16 to 65536; got ${block}.`)
}

/**
 * Rounds a matrix to 4-bit blocks.
 *
 * @param weight `[inputs, outputs]`, row-major, unless told otherwise.
 * @throws WhittleError `INVALID_ARGUMENT` for a bad block, `NOT_FINITE`.
 */
export function toFourBitBlocks(
  weight: Float32Array,
  inputs: number,
  outputs: number,
  options: FourBitOptions,
): FourBitMatrix {
  const { block, symmetric, outputFirst = false } = options
  checkBlock(block)
  const rows = outputFirst ? weight : outputRows(weight, inputs, outputs)
  const blocks = Math.ceil(inputs / block)
  const levels = new Uint8Array(outputs * blocks * block)
  const scales = new Float32Array(outputs * blocks)
  const zeroPoints = new Uint8Array(outputs * blocks)
  const roundScale = options.roundScale ?? Math.fround
  for (let at = 0; at < scales.length; at++) {
    const output = Math.floor(at / blocks)
    const first = (at - output * blocks) * block
    const from = output * inputs + first
    const count = Math.min(block, inputs - first)
    const { min, max } = rangeOfSlice(rows, from, from + count)
    if (!Number.isFinite(max - min))
      fail('NOT_FINITE', `Weights: must be finite; output ${output} has a range of ${min} … ${max}.`)
    const { scale, zeroPoint } = symmetric
      ? symmetricScale(min, max, roundScale)
      : asymmetricScale(min, max, roundScale)
    scales[at] = scale
    zeroPoints[at] = zeroPoint
    const reciprocal = scale === 0 ? 0 : Math.fround(1 / scale)
    for (let i = 0; i < count; i++) {
      const scaled = Math.fround(rows[from + i]! * reciprocal)
      levels[at * block + i] = clamp(roundAway(Math.fround(scaled + zeroPoint)))
    }
  }
  return { inputs, outputs, block, levels, scales, zeroPoints }
}

/** `[inputs, outputs]` as `[outputs, inputs]`, in tiles that fit the cache. */
function outputRows(weight: Float32Array, inputs: number, outputs: number): Float32Array {
  const rows = new Float32Array(weight.length)
  for (let tile = 0; tile < inputs; tile += TILE)
    for (let o = 0; o < outputs; o++)
      for (let i = tile; i < Math.min(tile + TILE, inputs); i++) rows[o * inputs + i] = weight[i * outputs + o]!
  return rows
}

function rangeOfSlice(values: Float32Array, start: number, end: number): { min: number; max: number } {
  let min = Number.POSITIVE_INFINITY
  let max = Number.NEGATIVE_INFINITY
  for (let i = start; i < end; i++) {
    const value = values[i]!
    // Written so that NaN gets into both.
    if (!(value >= min)) min = value
    if (!(value <= max)) max = value
  }
  return { min, max }
}

function symmetricScale(min: number, max: number, round: (scale: number) => number) {
  const extreme = Math.abs(max) > Math.abs(min) ? max : min
  return { scale: round(Math.fround(extreme / -MIDDLE)), zeroPoint: MIDDLE }
}

function asymmetricScale(min: number, max: number, round: (scale: number) => number) {
  const low = Math.min(min, 0)
  const high = Math.max(max, 0)
  const scale = Math.fround(Math.fround(high - low) / MOST)
  const zeroPoint = scale === 0 ? 0 : clamp(roundAway(Math.fround(-low / scale)))
  return { scale: round(scale), zeroPoint }
}

/** The numbers that 4-bit blocks stand for, `[inputs, outputs]` or `[outputs, inputs]`. */
export function fromFourBitBlocks(matrix: FourBitMatrix, outputFirst = false): Float32Array {
  const { inputs, outputs, block, levels, scales, zeroPoints } = matrix
  const blocks = Math.ceil(inputs / block)
  const weight = new Float32Array(inputs * outputs)
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++) {
      const at = o * blocks + Math.floor(i / block)
      const to = outputFirst ? o * inputs + i : i * outputs + o
      weight[to] = (levels[at * block + (i % block)]! - zeroPoints[at]!) * scales[at]!
    }
  return weight
}

/**
 * Two 4-bit integers per byte, the even one in the low half; every row of `length` starts with a byte of its own.
 *
 * @param filler of the last half byte of rows of odd length.
 */
export function packRows(values: Uint8Array, length: number, filler = 0): Uint8Array {
  const rows = values.length / length
  const bytes = Math.ceil(length / 2)
  const packed = new Uint8Array(rows * bytes)
  if (length % 2 === 1) for (let row = 1; row <= rows; row++) packed[row * bytes - 1] = filler << 4
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < length; i++)
      packed[row * bytes + Math.floor(i / 2)]! |= (values[row * length + i]! & 15) << (i % 2 === 0 ? 0 : 4)
  return packed
}

/**
 * The integers as a matrix without padding.
 *
 * @param outputFirst whether it is `[outputs, inputs]`; else `[inputs, outputs]`.
 */
export function levelsOf({ inputs, outputs, block, levels }: FourBitMatrix, outputFirst: boolean): Uint8Array {
  const padded = Math.ceil(inputs / block) * block
  const values = new Uint8Array(inputs * outputs)
  for (let o = 0; o < outputs; o++)
    for (let i = 0; i < inputs; i++) values[outputFirst ? o * inputs + i : i * outputs + o] = levels[o * padded + i]!
  return values
}
