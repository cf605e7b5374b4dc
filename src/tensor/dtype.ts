/**
 * Element types of tensors, with ONNX's names in lower case.
 * Source: onnx.proto3, `TensorProto.DataType` (onnx v1.22.0).
 */
import { fail } from '../core/index.ts'

/** ONNX code and bits per element of each element type; sub-byte types are packed, low bits first. */
export const DTYPES = {
  float32: { code: 1, bits: 32 },
  uint8: { code: 2, bits: 8 },
  int8: { code: 3, bits: 8 },
  uint16: { code: 4, bits: 16 },
  int16: { code: 5, bits: 16 },
  int32: { code: 6, bits: 32 },
  int64: { code: 7, bits: 64 },
  string: { code: 8, bits: 0 },
  bool: { code: 9, bits: 8 },
  float16: { code: 10, bits: 16 },
  float64: { code: 11, bits: 64 },
  uint32: { code: 12, bits: 32 },
  uint64: { code: 13, bits: 64 },
  complex64: { code: 14, bits: 64 },
  complex128: { code: 15, bits: 128 },
  bfloat16: { code: 16, bits: 16 },
  float8e4m3fn: { code: 17, bits: 8 },
  float8e4m3fnuz: { code: 18, bits: 8 },
  float8e5m2: { code: 19, bits: 8 },
  float8e5m2fnuz: { code: 20, bits: 8 },
  uint4: { code: 21, bits: 4 },
  int4: { code: 22, bits: 4 },
  float4e2m1: { code: 23, bits: 4 },
  float8e8m0: { code: 24, bits: 8 },
  uint2: { code: 25, bits: 2 },
  int2: { code: 26, bits: 2 },
} as const satisfies Record<string, { code: number; bits: number }>

/** An element type. */
export type DType = keyof typeof DTYPES

/** The arrays that hold elements; 16-bit floats as raw bits in `Uint16Array`, 8-bit and packed ones in `Uint8Array`. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array

const byCode = new Map<number, DType>(Object.entries(DTYPES).map(([name, { code }]) => [code, name as DType]))

/**
 * The element type of an ONNX code, or `undefined` for a code this version does not know.
 *
 * @example
 * console.log(maybeDType(10), maybeDType(999))
 */
export function maybeDType(code: number): DType | undefined {
  return byCode.get(code)
}

/**
 * Bytes that `count` elements take, sub-byte types packed and rounded up; 0 for strings.
 *
 * @example
 * console.log(byteLengthOf('float32', 6), byteLengthOf('int4', 3))
 */
export function byteLengthOf(dtype: DType, count: number): number {
  return Math.ceil((count * DTYPES[dtype].bits) / 8)
}

/**
 * Whether the type is a real floating-point type of 16 bits or more.
 *
 * @example
 * console.log(isFloat('bfloat16'), isFloat('int8'))
 */
export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float64' || dtype === 'float16' || dtype === 'bfloat16'
}

const ARRAYS = {
  float32: Float32Array,
  complex64: Float32Array,
  float64: Float64Array,
  complex128: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
} as const

/** Little-endian bytes as elements: a view when they are aligned, a copy otherwise. */
export function viewBytes(dtype: DType, bytes: Uint8Array): TypedArray {
  if (dtype === 'string') fail('INVALID_ARGUMENT', 'A string tensor has no numeric elements; read its `strings`.')
  const Arrays = ARRAYS[dtype as keyof typeof ARRAYS]
  if (!Arrays) return bytes
  const width = Arrays.BYTES_PER_ELEMENT
  if (bytes.byteOffset % width === 0 && bytes.byteLength % width === 0)
    return new Arrays(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / width)
  const copy = bytes.slice()
  return new Arrays(copy.buffer as ArrayBuffer, 0, Math.floor(copy.byteLength / width))
}
