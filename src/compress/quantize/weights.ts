/** Weights as integers and back, and the scales they get. */
import { fail } from '../../core/index.ts'
import { type DType, fromNumbers, sizeOf, Tensor, toFloat32 } from '../../tensor/index.ts'
import { affineParameters, type IntegerLimits, integerLimits, roundHalfToEven } from './affine.ts'
import { INTEGER_TYPES, type IntegerType, type Quantization, type Range } from './scheme.ts'

/** How {@link weightQuantization} finds scales. */
export type WeightAlgorithm = 'minmax' | 'arq' | 'mse'

/** Options of {@link weightQuantization}. */
export interface WeightQuantizationOptions {
  /** Type of the integers. */
  readonly type: IntegerType
  /** Bits in use; default: all of the type's. */
  readonly bits?: number | undefined
  /** Axis that scales go along; `null`: one scale. */
  readonly axis: number | null
  /** Default: true for signed types. */
  readonly symmetric?: boolean | undefined
  /**
   * `minmax` (default): symmetric scales are the greatest magnitude over 2ⁿ⁻¹ − 1. `arq`: AMCT's, which divides by
   * 2ⁿ⁻¹ where the negative side is the greater. `mse`: the share of `minmax`'s range, of 50 to 100 %, that loses
   * least to rounding and clipping together; pays at 4 bits.
   */
  readonly algorithm?: WeightAlgorithm | undefined
}

/** Below it AMCT takes a scale for that of an empty range. */
const FLOAT32_EPSILON = 2 ** -23

/** A layout of [outer, channels, inner] around an axis; one channel when there is none. */
interface Layout {
  readonly channels: number
  readonly inner: number
}

function layoutOf(shape: readonly number[], axis: number | null, what: string): Layout {
  if (axis === null) return { channels: 1, inner: Math.max(1, sizeOf(shape)) }
  if (!Number.isInteger(axis) || axis < 0 || axis >= shape.length)
    fail('INVALID_ARGUMENT', `${what} [${shape.join(', ')}]: axis must be 0 to ${shape.length - 1}; got ${axis}.`)
  return { channels: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) }
}

/**
 * The least and the greatest number of a weight for each index of an axis.
 *
 * @throws WhittleError `NOT_FINITE` when the weight has NaN or infinity.
 */
export function weightRanges(weight: Tensor, axis: number | null): Range[] {
  const { channels, inner } = layoutOf(weight.shape, axis, 'Weight')
  const data = toFloat32(weight)
  const min = new Float64Array(channels)
  const max = new Float64Array(channels)
  min.fill(Number.POSITIVE_INFINITY)
  max.fill(Number.NEGATIVE_INFINITY)
  for (let start = 0, channel = 0; start < data.length; start += inner, channel = (channel + 1) % channels) {
    let low = min[channel]!
    let high = max[channel]!
    for (let i = start; i < start + inner; i++) {
      const value = data[i]!
      if (value < low) low = value
      if (value > high) high = value
      // NaN fails every comparison.
      if (!Number.isFinite(value))
        fail('NOT_FINITE', `Weight [${weight.shape.join(', ')}]: must be of finite numbers; found ${value}.`)
    }
    min[channel] = low
    max[channel] = high
  }
  return Array.from(min, (low, channel) =>
    low > max[channel]! ? { min: 0, max: 0 } : { min: low, max: max[channel]! },
  )
}

/**
 * The scales and zero points of a weight.
 *
 * @param weight float32, float64 or float16 of any shape.
 * @throws WhittleError `NOT_FINITE`; `INVALID_ARGUMENT` for an axis it does not have.
 */
export function weightQuantization(weight: Tensor, options: WeightQuantizationOptions): Quantization {
  const { type, axis, algorithm = 'minmax' } = options
  const bits = options.bits ?? INTEGER_TYPES[type].bits
  const symmetric = options.symmetric ?? INTEGER_TYPES[type].signed
  const ranges = weightRanges(weight, axis)
  const found = ranges.map((range) =>
    algorithm === 'arq' && symmetric
      ? { scale: arqScale(range, bits), zeroPoint: 0 }
      : affineParameters(range, { type, bits, symmetric }),
  )
  const quantization = {
    type,
    bits,
    scale: found.map(({ scale }) => scale),
    zeroPoint: found.map(({ zeroPoint }) => zeroPoint),
    axis,
  }
  if (algorithm !== 'mse') return quantization
  const least = leastError(weight, quantization, ranges, symmetric)
  return {
    ...quantization,
    scale: least.map(({ scale }) => scale),
    zeroPoint: least.map(({ zeroPoint }) => zeroPoint),
  }
}

/** The scale and zero point of each channel with the least squared error: shares in steps of 5 %, then of 1 %. */
function leastError(
  weight: Tensor,
  { type, bits, axis, scale, zeroPoint }: Quantization,
  ranges: readonly Range[],
  symmetric: boolean,
): { scale: number; zeroPoint: number }[] {
  const data = toFloat32(weight)
  const limits = integerLimits(type, bits)
  const { channels, inner } = layoutOf(weight.shape, axis, 'Weight')
  return ranges.map(({ min, max }, channel) => {
    const whole = { scale: scale[channel]!, zeroPoint: zeroPoint[channel]! }
    const part = { data, start: channel * inner, inner, stride: channels * inner }
    let best = { ...whole, share: 100, error: squaredError(part, whole, limits, Number.POSITIVE_INFINITY) }
    const attempt = (share: number): void => {
      const tried = affineParameters({ min: (min * share) / 100, max: (max * share) / 100 }, { type, bits, symmetric })
      const error = squaredError(part, tried, limits, best.error)
      if (error < best.error) best = { ...tried, share, error }
    }
    for (let share = 95; share >= 50; share -= 5) attempt(share)
    const around = best.share
    for (let step = 1; step < 5; step++)
      for (const share of [around - step, around + step]) if (share < 100) attempt(share)
    return { scale: best.scale, zeroPoint: best.zeroPoint }
  })
}

/** One channel of a weight. */
interface ChannelPart {
  readonly data: Float32Array
  readonly start: number
  readonly inner: number
  readonly stride: number
}

/** Σ (w − ŵ)², given up beyond a bound. */
function squaredError(
  { data, start, inner, stride }: ChannelPart,
  { scale, zeroPoint }: { readonly scale: number; readonly zeroPoint: number },
  { least, most }: IntegerLimits,
  bound: number,
): number {
  const [low, high, inverse] = [least - zeroPoint, most - zeroPoint, 1 / scale]
  let error = 0
  for (let row = start; row < data.length && error < bound; row += stride)
    for (let i = row; i < row + inner; i++) {
      const value = data[i]!
      const integer = Math.round(value * inverse)
      const difference = value - (integer < low ? low : integer > high ? high : integer) * scale
      error += difference * difference
    }
  return error
}

function arqScale({ min, max }: Range, bits: number): number {
  const high = Math.max(max, 0)
  const low = Math.min(min, 0)
  const scale = -low > high ? -low / 2 ** (bits - 1) : high / (2 ** (bits - 1) - 1)
  return scale < FLOAT32_EPSILON ? 1 : Math.fround(scale)
}

const ARRAYS = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
} as const

/** Integers as a tensor; 4-bit ones are packed, the first of two in the low half. */
export function integerTensor(values: ArrayLike<number>, shape: readonly number[], type: IntegerType): Tensor {
  if (type === 'int4' || type === 'uint4') {
    const bytes = new Uint8Array(Math.ceil(values.length / 2))
    for (let i = 0; i < values.length; i++) {
      const nibble = values[i]! & 15
      bytes[i >> 1]! |= i % 2 === 0 ? nibble : nibble << 4
    }
    return Tensor.fromBytes(type, shape, bytes)
  }
  const Arrays = ARRAYS[type]
  return Tensor.of(Arrays.from(values), shape)
}

/** The integers of a tensor of an integer type of at most 32 bits, 4-bit ones unpacked. */
export function integersOf(tensor: Tensor): Int32Array {
  const { data, dtype, size } = tensor
  if (dtype !== 'int4' && dtype !== 'uint4') return Int32Array.from(data as ArrayLike<number>)
  const values = new Int32Array(size)
  for (let i = 0; i < size; i++) {
    const byte = (data as Uint8Array)[i >> 1]!
    const nibble = i % 2 === 0 ? byte & 15 : byte >> 4
    values[i] = dtype === 'int4' && nibble > 7 ? nibble - 16 : nibble
  }
  return values
}

/**
 * A weight's integers: round(w / scale) + zero point, halves to even, clamped to the type's bits.
 *
 * The division is in float32, as in ONNX's QuantizeLinear.
 *
 * @throws WhittleError `SHAPE_MISMATCH` when the scales are not as many as the axis has indices.
 */
export function quantizeWeight(weight: Tensor, quantization: Quantization): Tensor {
  const { type, bits } = quantization
  const { least, most } = integerLimits(type, bits)
  const data = toFloat32(weight)
  const values = new Int32Array(data.length)
  forEachChannel(weight.shape, quantization, (start, end, scale, zeroPoint) => {
    for (let i = start; i < end; i++) {
      const integer = roundHalfToEven(Math.fround(data[i]! / scale)) + zeroPoint
      values[i] = integer < least ? least : integer > most ? most : integer
    }
  })
  return integerTensor(values, weight.shape, type)
}

/**
 * The float32 numbers that integers stand for: (q − zero point) · scale.
 *
 * @param dtype type of the result; default float32.
 */
export function dequantizeWeight(integers: Tensor, quantization: Quantization, dtype: DType = 'float32'): Tensor {
  const data = integersOf(integers)
  const values = new Float32Array(data.length)
  forEachChannel(integers.shape, quantization, (start, end, scale, zeroPoint) => {
    for (let i = start; i < end; i++) values[i] = (data[i]! - zeroPoint) * scale
  })
  return fromNumbers(values, integers.shape, dtype)
}

function forEachChannel(
  shape: readonly number[],
  { axis, scale, zeroPoint }: Quantization,
  visit: (start: number, end: number, scale: number, zeroPoint: number) => void,
): void {
  const { channels, inner } = layoutOf(shape, axis, 'Tensor')
  if (scale.length !== channels || zeroPoint.length !== channels)
    fail(
      'SHAPE_MISMATCH',
      `Tensor [${shape.join(', ')}]: its ${channels} channels need as many scales and zero points; got ${scale.length} and ${zeroPoint.length}.`,
    )
  const size = sizeOf(shape)
  for (let start = 0, channel = 0; start < size; start += inner, channel = (channel + 1) % channels)
    visit(start, start + inner, scale[channel]!, zeroPoint[channel]!)
}

/** How far a quantized tensor is from the original: relative error and signal-to-noise ratio. */
export interface WeightError {
  /** ‖W − Ŵ‖ / ‖W‖. */
  readonly relativeError: number
  /** 20 log₁₀(‖W‖ / ‖W − Ŵ‖) in decibels; `null` when nothing was lost. */
  readonly sqnr: number | null
}

/** Compares a tensor with what its integers stand for. */
export function weightError(weight: Tensor, restored: Tensor): WeightError {
  const a = toFloat32(weight)
  const b = toFloat32(restored)
  let error = 0
  let norm = 0
  for (let i = 0; i < a.length; i++) {
    error += (a[i]! - b[i]!) ** 2
    norm += a[i]! ** 2
  }
  if (norm === 0 || error === 0) return { relativeError: 0, sqnr: null }
  return { relativeError: Math.sqrt(error / norm), sqnr: 10 * Math.log10(norm / error) }
}
