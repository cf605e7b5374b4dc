/**
 * Matrices in blocks of 4-bit floating-point codes, NF4 and FP4, as bitsandbytes has them and ONNX Runtime's operator
 * `com.microsoft.MatMulBnb4` reads them: the transposed matrix is one row of numbers, cut into blocks, each of which
 * keeps its greatest magnitude; codes name fixed fractions of it. Two codes per byte, the even one in the high half.
 *
 * Source: Dettmers, Pagnoni, Holtzman, Zettlemoyer, "QLoRA: Efficient Finetuning of Quantized LLMs", 2023, section 3
 * and appendix E (NF4: quantiles of the normal distribution with an exact zero).
 */
import { fail } from '../../../core/index.ts'

/** The two sets of codes. */
export type Bnb4Type = 'nf4' | 'fp4'

/** What each code stands for, as a fraction of the block's greatest magnitude. */
export const BNB4_VALUES: Readonly<Record<Bnb4Type, Float32Array>> = {
  nf4: Float32Array.of(
    -1,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1,
  ),
  // Sign, two bits of exponent, one of fraction: [±0, ±1/192, ±2/3, ±1, ±1/3, ±1/2, ±1/6, ±1/4].
  fp4: Float32Array.from(
    [1, -1].flatMap((sign) => [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4].map((x) => sign * x)),
  ),
}

/** The code bit of a negative FP4 number. */
const FP4_SIGN = 8

/** Codes in order of what they stand for, of FP4 the positive ones, with the numbers half-way between neighbours. */
function ladderOf(type: Bnb4Type): { codes: readonly number[]; between: Float32Array } {
  const values = BNB4_VALUES[type]
  const codes = [...values.keys()]
    .filter((code) => type === 'nf4' || code < FP4_SIGN)
    .sort((a, b) => values[a]! - values[b]!)
  const between = codes.slice(1).map((code, i) => (values[code]! + values[codes[i]!]!) / 2)
  return { codes, between: Float32Array.from(between) }
}

const LADDERS = { nf4: ladderOf('nf4'), fp4: ladderOf('fp4') } as const

/** A matrix in 4-bit codes. */
export interface Bnb4Matrix {
  readonly inputs: number
  readonly outputs: number
  readonly block: number
  readonly type: Bnb4Type
  /** Of the matrix `[outputs, inputs]` as one row, two codes per byte. */
  readonly packed: Uint8Array
  /** Greatest magnitude of each block. */
  readonly absmax: Float32Array
}

/**
 * Rounds a matrix to the nearest 4-bit codes.
 *
 * @param weight `[inputs, outputs]`, row-major, or `[outputs, inputs]` with `outputFirst`.
 * @param block numbers that share a scale; a power of two of at least 16.
 * @throws WhittleError `INVALID_ARGUMENT` for a bad block, `NOT_FINITE`.
 */
export function toBnb4(
  weight: Float32Array,
  inputs: number,
  outputs: number,
  { block, type, outputFirst = false }: { block: number; type: Bnb4Type; outputFirst?: boolean },
): Bnb4Matrix {
  if (!Number.isInteger(block) || block < 16 || !Number.isInteger(Math.log2(block)))
    fail('INVALID_ARGUMENT', `Option block: must be a power of two of at least 16; got ${block}.`)
  const size = inputs * outputs
  const packed = new Uint8Array(Math.ceil(size / 2))
  const absmax = new Float32Array(Math.ceil(size / block))
  const codeOf = type === 'nf4' ? (x: number) => nearest('nf4', x) : signedFp4
  const at = (i: number): number =>
    outputFirst ? weight[i]! : weight[(i % inputs) * outputs + Math.floor(i / inputs)]!
  for (let b = 0; b < absmax.length; b++) {
    const end = Math.min((b + 1) * block, size)
    let most = 0
    for (let i = b * block; i < end; i++) {
      const magnitude = Math.abs(at(i))
      if (!(magnitude <= most)) most = magnitude
    }
    if (!Number.isFinite(most)) fail('NOT_FINITE', `Weights: must be finite; block ${b} holds ${most}.`)
    absmax[b] = most
    const reciprocal = most === 0 ? 0 : Math.fround(1 / most)
    for (let i = b * block; i < end; i++) {
      const code = codeOf(Math.fround(at(i) * reciprocal))
      packed[Math.floor(i / 2)]! |= code << (i % 2 === 0 ? 4 : 0)
    }
  }
  return { inputs, outputs, block, type, packed, absmax }
}

function nearest(type: Bnb4Type, fraction: number): number {
  const { codes, between } = LADDERS[type]
  let low = 0
  let high = between.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (fraction > between[middle]!) low = middle + 1
    else high = middle
  }
  return codes[low]!
}

function signedFp4(fraction: number): number {
  return nearest('fp4', Math.abs(fraction)) | (fraction < 0 ? FP4_SIGN : 0)
}

/** The numbers that 4-bit codes stand for, `[inputs, outputs]` or `[outputs, inputs]`. */
export function fromBnb4(
  { inputs, outputs, block, type, packed, absmax }: Bnb4Matrix,
  outputFirst = false,
): Float32Array {
  const weight = new Float32Array(inputs * outputs)
  const values = BNB4_VALUES[type]
  for (let i = 0; i < weight.length; i++) {
    const code = (packed[Math.floor(i / 2)]! >> (i % 2 === 0 ? 4 : 0)) & 15
    weight[outputFirst ? i : (i % inputs) * outputs + Math.floor(i / inputs)] =
      values[code]! * absmax[Math.floor(i / block)]!
  }
  return weight
}
