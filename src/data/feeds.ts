/**
 * From batches to a model's feeds: which input gets what, its element type, its axis order and its batch size.
 */
import { fail } from '../core/index.ts'
import type { Dimension, Model, TensorMap } from '../graph/index.ts'
import {
  byteLengthOf,
  type DType,
  fromNumbers,
  isFloat,
  sizeOf,
  Tensor,
  type TypedArray,
  toFloat32,
  toFloat64,
} from '../tensor/index.ts'
import type { Batch } from './dataset.ts'
import type { Extent } from './geometry.ts'

/** What a model wants of one input. */
export interface InputSpec {
  readonly name: string
  /** `undefined` when the model does not say: the data keep their type. */
  readonly dtype: DType | undefined
  /** Batch axis first; `undefined` when the model does not say: the data keep their shape. */
  readonly shape: readonly Dimension[] | undefined
}

/** One run of a model. */
export interface Feed {
  readonly feeds: TensorMap
  /** The first sample of the batch that is in this run. */
  readonly start: number
  /** Samples of the batch in this run; rows beyond are repetitions that fill a fixed batch. */
  readonly size: number
}

/** Options of {@link feedsOf}. */
export interface FeedOptions {
  /** Names that go with the batch's inputs; absent: by position. */
  readonly inputNames?: readonly string[] | undefined
  /** Axis order of pictures; absent: decided by each input's shape. */
  readonly layout?: 'nchw' | 'nhwc' | undefined
}

/** The inputs that a model needs on every run: tensors without a default. */
export function modelInputs(model: Model): InputSpec[] {
  const { inputs, initializers } = model.graph
  return inputs
    .filter(({ name }) => !initializers.has(name))
    .map(({ name, type }) =>
      type?.kind === 'tensor'
        ? { name, dtype: type.dtype, shape: type.shape }
        : { name, dtype: undefined, shape: undefined },
    )
}

/** The size of the pictures a model wants, when its first input is one of fixed size. */
export function pictureExtentOf(inputs: readonly InputSpec[]): Extent | undefined {
  const shape = inputs[0]?.shape
  if (shape?.length !== 4) return undefined
  const isChannels = (extent: Dimension | undefined): boolean => extent === 1 || extent === 3
  const [height, width] = !isChannels(shape[1]) && isChannels(shape[3]) ? [shape[1], shape[2]] : [shape[2], shape[3]]
  return typeof height === 'number' && typeof width === 'number' && height > 0 && width > 0
    ? { width, height }
    : undefined
}

const show = (shape: readonly Dimension[]): string => `[${shape.map((extent) => extent ?? '?').join(', ')}]`

/** A fixed extent; exporters write 0 or −1 for an open one. */
const isFixed = (extent: Dimension | undefined): extent is number => typeof extent === 'number' && extent > 0

function isCompatible(sample: readonly number[], wanted: readonly Dimension[]): boolean {
  return sample.length === wanted.length && sample.every((extent, i) => !isFixed(wanted[i]) || wanted[i] === extent)
}

function channelsLast(tensor: Tensor): Tensor {
  const [count = 0, channels = 0, height = 0, width = 0] = tensor.shape
  const from = toFloat32(tensor)
  const out = new Float32Array(from.length)
  const plane = height * width
  for (let i = 0; i < count; i++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < plane; p++) out[(i * plane + p) * channels + c] = from[(i * channels + c) * plane + p]!
  return Tensor.of(out, [count, height, width, channels])
}

function fitShape(tensor: Tensor, { name, shape }: InputSpec, layout: FeedOptions['layout']): Tensor {
  const sample = tensor.shape.slice(1)
  const isPicture = sample.length === 3
  if (!shape) return layout === 'nhwc' && isPicture ? channelsLast(tensor) : tensor
  const wanted = shape.slice(1)
  const direct = layout === 'nhwc' && isPicture ? undefined : isCompatible(sample, wanted)
  if (direct) return tensor
  const [channels = 0, height = 0, width = 0] = sample
  const turned = isPicture && layout !== 'nchw'
  if (turned && isCompatible([height, width, channels], wanted)) return channelsLast(tensor)
  // The same elements under another shape, e.g. [1, 28, 28] as [784, 1].
  const open = wanted.filter((extent) => !isFixed(extent)).length
  const fixed = sizeOf(wanted.filter(isFixed))
  const size = sizeOf(sample)
  if (shape.length > 0 && (open === 0 ? fixed === size : open === 1 && size % fixed === 0)) {
    const source = turned && layout === 'nhwc' ? channelsLast(tensor) : tensor
    return source.reshape([tensor.shape[0]!, ...wanted.map((extent) => (isFixed(extent) ? extent : size / fixed))])
  }
  return fail(
    'SHAPE_MISMATCH',
    `Model input '${name}' wants ${show(shape)}; the samples are ${show(sample)} each. Choose data or a ` +
      'preprocessing (--preprocess, with resize, crop, pad or channels) that gives this shape.',
  )
}

/** Least and greatest value of each whole type below 64 bits, and its array. */
const WHOLE: Readonly<Partial<Record<DType, readonly [number, number, (values: Float64Array) => TypedArray]>>> = {
  bool: [0, 1, (values) => Uint8Array.from(values)],
  int8: [-128, 127, (values) => Int8Array.from(values)],
  uint8: [0, 255, (values) => Uint8Array.from(values)],
  int16: [-32768, 32767, (values) => Int16Array.from(values)],
  uint16: [0, 65535, (values) => Uint16Array.from(values)],
  int32: [-(2 ** 31), 2 ** 31 - 1, (values) => Int32Array.from(values)],
  uint32: [0, 2 ** 32 - 1, (values) => Uint32Array.from(values)],
  int64: [-(2 ** 53), 2 ** 53, (values) => BigInt64Array.from([...values].map(BigInt))],
  uint64: [0, 2 ** 53, (values) => BigUint64Array.from([...values].map(BigInt))],
}

function toWhole(tensor: Tensor, dtype: DType): Tensor {
  const entry = WHOLE[dtype]
  if (!entry) fail('UNSUPPORTED', `Data of type ${tensor.dtype} cannot be made a model input of type ${dtype}.`)
  const [low, high, make] = entry
  const values = toFloat64(tensor).map((value) => Math.min(high, Math.max(low, Math.round(value))))
  return Tensor.of(make(values), tensor.shape, dtype)
}

/**
 * Makes data fit one model input: axis order, an equivalent shape, element type. Whole types are rounded and clamped,
 * float16 clamped to ±65504. The batch axis is left alone.
 *
 * @param tensor `[N, …]`; pictures `[N, C, H, W]`.
 * @throws WhittleError `SHAPE_MISMATCH` when no reading of the sample's shape fits; `UNSUPPORTED` for types without
 *   numbers; `NOT_FINITE` when NaN or infinity would have to become a whole number.
 */
export function fitToInput(tensor: Tensor, input: InputSpec, layout?: FeedOptions['layout']): Tensor {
  const fitted = fitShape(tensor, input, layout)
  const { dtype } = input
  if (dtype === undefined || dtype === fitted.dtype) return fitted
  if (isFloat(dtype))
    return fromNumbers(dtype === 'float64' ? toFloat64(fitted) : toFloat32(fitted), fitted.shape, dtype)
  if (WHOLE[dtype] && isFloat(fitted.dtype) && !toFloat32(fitted).every(Number.isFinite))
    fail(
      'NOT_FINITE',
      `Model input '${input.name}' of type ${dtype} needs finite values; the data hold NaN or infinity.`,
    )
  return toWhole(fitted, dtype)
}

/** Rows `start` … `start + count − 1`; beyond the end, the last row again. */
function rows(tensor: Tensor, start: number, count: number): Tensor {
  const [total = 0, ...rest] = tensor.shape
  const rowBytes = byteLengthOf(tensor.dtype, sizeOf(rest))
  const bytes = tensor.bytes
  if (start + count <= total)
    return Tensor.fromBytes(
      tensor.dtype,
      [count, ...rest],
      bytes.subarray(start * rowBytes, (start + count) * rowBytes),
    )
  const out = new Uint8Array(count * rowBytes)
  for (let i = 0; i < count; i++) {
    const row = Math.min(start + i, total - 1)
    out.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), i * rowBytes)
  }
  return Tensor.fromBytes(tensor.dtype, [count, ...rest], out)
}

function matchInputs(batch: Batch, inputs: readonly InputSpec[], names: readonly string[] | undefined): Tensor[] {
  const wanted = inputs.map(({ name }) => `'${name}'`).join(', ')
  if (!names) {
    if (batch.inputs.length !== inputs.length)
      fail('INVALID_DATA', `The model has ${inputs.length} inputs (${wanted}); the data have ${batch.inputs.length}.`)
    return [...batch.inputs]
  }
  return inputs.map(({ name }) => {
    const position = names.indexOf(name)
    if (position < 0)
      fail(
        'INVALID_DATA',
        `Model input '${name}' has no data; the data are for ${names.map((n) => `'${n}'`).join(', ')}, the model's ` +
          `inputs are ${wanted}.`,
      )
    return batch.inputs[position]!
  })
}

/**
 * Turns a batch into runs. A model with an open batch axis gets the whole batch at once; one with a fixed batch gets as
 * many runs as it takes, the last one filled up with repetitions of the last sample.
 *
 * @throws WhittleError `INVALID_DATA` when inputs and data differ in number or name, and as {@link fitToInput}.
 */
export function feedsOf(batch: Batch, inputs: readonly InputSpec[], options: FeedOptions = {}): Feed[] {
  const tensors = matchInputs(batch, inputs, options.inputNames)
  const fitted = tensors.map((tensor, i) => fitToInput(tensor, inputs[i]!, options.layout))
  const fixed = inputs.flatMap(({ shape }) => (isFixed(shape?.[0]) ? [shape[0]] : []))
  const length = fixed[0] ?? batch.size
  if (fixed.some((extent) => extent !== length))
    fail(
      'SHAPE_MISMATCH',
      `The model's inputs have different fixed batches (${fixed.join(', ')}); samples cannot be fed.`,
    )
  const feeds: Feed[] = []
  for (let start = 0; start < batch.size; start += length) {
    const entries = inputs.map(({ name }, i) => {
      const tensor = fitted[i]!
      return [name, length === tensor.shape[0] ? tensor : rows(tensor, start, length)] as const
    })
    feeds.push({ feeds: Object.fromEntries(entries), start, size: Math.min(length, batch.size - start) })
  }
  return feeds
}
