/**
 * Tensors: an element type, a shape and little-endian bytes.
 *
 * Immutable by contract: nobody writes into data they did not create, so graphs share weights by reference. The bytes
 * may be a view on a model file, or be read only when first asked for (external data).
 */
import { fail, invariant } from '../core/index.ts'
import { byteLengthOf, type DType, type TypedArray, viewBytes } from './dtype.ts'
import { bfloat16ToNumber, float16ToNumber, numberToBfloat16, numberToFloat16 } from './half.ts'

const ARRAY_DTYPES: readonly [new (length: number) => TypedArray, DType][] = [
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [Int8Array, 'int8'],
  [Uint8Array, 'uint8'],
  [Int16Array, 'int16'],
  [Uint16Array, 'uint16'],
  [Int32Array, 'int32'],
  [Uint32Array, 'uint32'],
  [BigInt64Array, 'int64'],
  [BigUint64Array, 'uint64'],
]

/**
 * The number of elements of a shape; 1 for a scalar's `[]`.
 *
 * @example
 * console.log(sizeOf([3, 4, 2]), sizeOf([]))
 */
export function sizeOf(shape: readonly number[]): number {
  let size = 1
  for (const extent of shape) size *= extent
  return size
}

/** A dense tensor in row-major order. */
export class Tensor {
  readonly dtype: DType
  /** Extents, outermost first; `[]` for a scalar. */
  readonly shape: readonly number[]
  /** The number of elements. */
  readonly size: number
  #bytes: Uint8Array | undefined
  readonly #read: (() => Uint8Array) | undefined
  readonly #strings: readonly Uint8Array[] | undefined

  private constructor(
    dtype: DType,
    shape: readonly number[],
    source: { bytes?: Uint8Array; read?: () => Uint8Array; strings?: readonly Uint8Array[] },
  ) {
    this.dtype = dtype
    this.shape = shape
    this.size = sizeOf(shape)
    this.#bytes = source.bytes
    this.#read = source.read
    this.#strings = source.strings
  }

  /**
   * A tensor over a typed array, not copied.
   *
   * @param dtype default: the array's own type; give `'float16'`, `'bfloat16'` or `'bool'` for raw bits.
   * @throws WhittleError `SHAPE_MISMATCH` when the array does not have as many elements as the shape.
   */
  static of(data: TypedArray, shape: readonly number[], dtype?: DType): Tensor {
    const type = dtype ?? ARRAY_DTYPES.find(([Arrays]) => data instanceof Arrays)?.[1]
    invariant(type, 'unknown kind of typed array')
    return Tensor.fromBytes(type, shape, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }

  /**
   * A tensor over little-endian bytes, not copied.
   *
   * @throws WhittleError `SHAPE_MISMATCH` when the shape needs another number of bytes.
   */
  static fromBytes(dtype: DType, shape: readonly number[], bytes: Uint8Array): Tensor {
    const expected = byteLengthOf(dtype, sizeOf(shape))
    if (dtype === 'string' || bytes.byteLength !== expected)
      fail(
        'SHAPE_MISMATCH',
        `Tensor ${dtype} [${shape.join(', ')}]: the data must have ${expected} bytes; got ${bytes.byteLength}.`,
      )
    return new Tensor(dtype, shape, { bytes })
  }

  /** A tensor whose bytes `read` delivers when they are first asked for; the result is kept. */
  static lazy(dtype: DType, shape: readonly number[], read: () => Uint8Array): Tensor {
    return new Tensor(dtype, shape, { read })
  }

  /** A string tensor; elements are UTF-8 bytes, as ONNX keeps them. */
  static ofStrings(values: readonly (string | Uint8Array)[], shape: readonly number[] = [values.length]): Tensor {
    const encoder = new TextEncoder()
    const strings = values.map((value) => (typeof value === 'string' ? encoder.encode(value) : value))
    if (strings.length !== sizeOf(shape))
      fail(
        'SHAPE_MISMATCH',
        `String tensor [${shape.join(', ')}]: needs ${sizeOf(shape)} strings; got ${strings.length}.`,
      )
    return new Tensor('string', shape, { strings })
  }

  /** A scalar or 1-D int64 tensor, as ONNX uses for shapes and axes. */
  static int64(values: readonly number[] | number): Tensor {
    const list = typeof values === 'number' ? [values] : values
    return Tensor.of(
      BigInt64Array.from(list, (value) => BigInt(value)),
      typeof values === 'number' ? [] : [list.length],
    )
  }

  /** Little-endian bytes, packed; throws for string tensors. */
  get bytes(): Uint8Array {
    if (this.#strings) fail('INVALID_ARGUMENT', 'A string tensor has no bytes; read its `strings`.')
    if (!this.#bytes) {
      const bytes = this.#read!()
      const expected = byteLengthOf(this.dtype, this.size)
      invariant(bytes.byteLength === expected, `lazy tensor read ${bytes.byteLength} of ${expected} bytes`)
      this.#bytes = bytes
    }
    return this.#bytes
  }

  /** Whether {@link bytes} would have to be read from its file first. */
  get isLazy(): boolean {
    return this.#bytes === undefined && this.#read !== undefined
  }

  /** Bytes the elements take; for strings, the sum of their lengths. */
  get byteLength(): number {
    if (this.#strings) return this.#strings.reduce((sum, value) => sum + value.length, 0)
    return byteLengthOf(this.dtype, this.size)
  }

  /** Elements: a view where the bytes are aligned, else a fresh copy on each read (keep it in a variable). */
  get data(): TypedArray {
    return viewBytes(this.dtype, this.bytes)
  }

  /** Elements of a string tensor, as UTF-8 bytes. */
  get strings(): readonly Uint8Array[] {
    if (!this.#strings) fail('INVALID_ARGUMENT', `A ${this.dtype} tensor has no strings.`)
    return this.#strings
  }

  /** The same elements under another shape of the same size. */
  reshape(shape: readonly number[]): Tensor {
    if (sizeOf(shape) !== this.size)
      fail('SHAPE_MISMATCH', `Reshape: [${this.shape.join(', ')}] cannot become [${shape.join(', ')}]; sizes differ.`)
    if (this.#strings) return new Tensor('string', shape, { strings: this.#strings })
    return this.isLazy
      ? Tensor.lazy(this.dtype, shape, () => this.bytes)
      : Tensor.fromBytes(this.dtype, shape, this.bytes)
  }
}

/**
 * Elements of a real tensor as float32: a view when it already is float32 and aligned, a new array otherwise.
 *
 * @example
 * console.log(toFloat32(tensor([0.1, 0.2])))
 */
export function toFloat32(tensor: Tensor): Float32Array {
  const { data } = tensor
  if (data instanceof Float32Array && tensor.dtype === 'float32') return data
  return convert(tensor, new Float32Array(tensor.size))
}

/**
 * Elements of a real tensor as float64: a view when it already is float64 and aligned, a new array otherwise.
 *
 * @example
 * console.log(toFloat64(Tensor.int64([3, 4])))
 */
export function toFloat64(tensor: Tensor): Float64Array {
  const { data } = tensor
  if (data instanceof Float64Array && tensor.dtype === 'float64') return data
  return convert(tensor, new Float64Array(tensor.size))
}

function convert<T extends Float32Array | Float64Array>(tensor: Tensor, out: T): T {
  const { data, dtype } = tensor
  if (dtype === 'float16') for (let i = 0; i < out.length; i++) out[i] = float16ToNumber((data as Uint16Array)[i]!)
  else if (dtype === 'bfloat16')
    for (let i = 0; i < out.length; i++) out[i] = bfloat16ToNumber((data as Uint16Array)[i]!)
  else if (data instanceof BigInt64Array || data instanceof BigUint64Array)
    for (let i = 0; i < out.length; i++) out[i] = Number(data[i]!)
  else if (data.length === out.length && !dtype.startsWith('float8')) out.set(data as Float32Array)
  else fail('UNSUPPORTED', `Elements of type ${dtype} cannot be read as numbers here.`)
  return out
}

/**
 * Numbers as a tensor of a floating-point type; float16 and bfloat16 are rounded half to even, float16 clamped to
 * ±65504.
 *
 * @example
 * const half = fromNumbers(Float64Array.of(1, 0.1), [2], 'float16')
 * console.log(half.byteLength, toFloat64(half))
 */
export function fromNumbers(values: Float32Array | Float64Array, shape: readonly number[], dtype: DType): Tensor {
  switch (dtype) {
    case 'float32':
      return Tensor.of(values instanceof Float32Array ? values : Float32Array.from(values), shape)
    case 'float64':
      return Tensor.of(values instanceof Float64Array ? values : Float64Array.from(values), shape)
    case 'float16': {
      const clamp = (value: number): number => Math.min(65504, Math.max(-65504, value))
      return Tensor.of(
        Uint16Array.from(values as Float64Array, (value) => numberToFloat16(clamp(value))),
        shape,
        dtype,
      )
    }
    case 'bfloat16':
      return Tensor.of(Uint16Array.from(values as Float64Array, numberToBfloat16), shape, dtype)
    default:
      return fail(
        'UNSUPPORTED',
        `Weights of type ${dtype} cannot be written; use float32, float64, float16 or bfloat16.`,
      )
  }
}
