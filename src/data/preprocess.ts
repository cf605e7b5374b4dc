/**
 * Preprocessing: what happens to raw samples (0 … 255) before a model gets them. Two separable halves:
 *
 * - geometry (resize, crop, pad; see `geometry.ts`), which named presets apply only to pictures from files, whose sizes
 *   differ: CIFAR-10, MNIST and arrays have the size they were made in, so `imagenet` on CIFAR-10 normalises and does
 *   not enlarge;
 * - values: channel order, then `(x · scale − mean) / std` per channel.
 *
 * A preprocessing is JSON, so that records can name it and models can carry it (see {@link PREPROCESS_KEY}).
 */
import { fail } from '../core/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import type { Batch, BatchOptions, Dataset } from './dataset.ts'
import { applyGeometryToBatch, type Extent, extentAfter, type Geometry } from './geometry.ts'

/** Metadata key under which a model carries its preprocessing, as JSON that `parsePreprocess` understands. */
export const PREPROCESS_KEY = 'whittle.preprocess'

/** What the channels mean to the model. Gray pictures are repeated to make three; `gray` is ITU-R 601-2 luma. */
export type Channels = 'rgb' | 'bgr' | 'gray'

/** How samples become model inputs. */
export type Preprocess = {
  /** For records: a preset's name or `custom`. */
  readonly name: string
  readonly geometry?: Geometry
  /**
   * What the geometry is applied to: `pictures`, only sources that can resize while they read (folders of pictures);
   * `all`, every source of `[N, C, H, W]`.
   */
  readonly geometryFor: 'pictures' | 'all'
  /** Absent: as the source has them. */
  readonly channels?: Channels
  readonly scale: number
  /** Subtracted after scaling, one per channel of the model's order or one for all; empty: 0. */
  readonly mean: readonly number[]
  /** Divided by after that, likewise; empty: 1. */
  readonly std: readonly number[]
  /** Axis order the model wants; absent: decided by the model's input shape. */
  readonly layout?: 'nchw' | 'nhwc'
}

/** Names of the presets. */
export const PRESETS = ['imagenet', 'cifar10', 'mnist', 'none'] as const

/** A named preprocessing. */
export type PresetName = (typeof PRESETS)[number]

type Values = Pick<Preprocess, 'channels' | 'scale' | 'mean' | 'std'>

const VALUES: Readonly<Record<PresetName, Values>> = {
  imagenet: { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  cifar10: { scale: 1 / 255, mean: [0.4914, 0.4822, 0.4465], std: [0.2471, 0.2435, 0.2616] },
  mnist: { channels: 'gray', scale: 1 / 255, mean: [], std: [] },
  none: { scale: 1, mean: [], std: [] },
}

/** Default picture size of each preset; `none` has no size of its own. */
const SIZES: Readonly<Partial<Record<PresetName, number>>> = { imagenet: 224, cifar10: 32, mnist: 28 }

/** Fits pictures of any size to `extent`: shortest edge, then center crop; pictures of that very size stay as they are. */
export function fitPictures(extent: Extent, margin = 1): Geometry {
  const shortestEdge = Math.round(Math.max(extent.width, extent.height) * margin)
  return { keep: extent, resize: { shortestEdge }, crop: extent }
}

/**
 * A preset.
 *
 * - `imagenet`: x / 255, mean (.485 .456 .406), std (.229 .224 .225). Pictures: shortest edge to 8/7 of the model's size
 *   (256 for 224), center crop.
 * - `cifar10`: x / 255, mean (.4914 .4822 .4465), std (.2471 .2435 .2616). Pictures: shortest edge to the model's size,
 *   center crop.
 * - `mnist`: gray, x / 255; pictures as `cifar10`.
 * - `none`: values 0 … 255 as they are; pictures as `cifar10` when the model's size is known.
 *
 * @param extent the model's picture size; default 224 × 224, 32 × 32, 28 × 28 and none.
 */
export function preset(name: PresetName, extent?: Extent): Preprocess {
  const edge = SIZES[name]
  const target = extent ?? (edge === undefined ? undefined : { width: edge, height: edge })
  const margin = name === 'imagenet' ? 8 / 7 : 1
  return { name, ...(target && { geometry: fitPictures(target, margin) }), geometryFor: 'pictures', ...VALUES[name] }
}

/** Whether the preprocessing leaves values as they are. */
function keepsValues({ channels, scale, mean, std }: Preprocess): boolean {
  return channels === undefined && scale === 1 && mean.every((m) => m === 0) && std.every((s) => s === 1)
}

/** `[N, H, W, C]` as `[N, C, H, W]` where the axes can only be meant so; anything else as it is. */
function channelsFirst(tensor: Tensor): Tensor {
  const [count = 0, height = 0, width = 0, channels = 0] = tensor.shape
  const isLast = (channels === 1 || channels === 3 || channels === 4) && height > 4 && width > 4
  if (tensor.shape.length !== 4 || !isLast) return tensor
  const from = toFloat32(tensor)
  const out = new Float32Array(from.length)
  const plane = height * width
  for (let i = 0; i < count; i++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < plane; p++) out[(i * channels + c) * plane + p] = from[(i * plane + p) * channels + c]!
  return Tensor.of(out, [count, channels, height, width])
}

/** Weights of the source's channels in each of the model's, `[to][from]`. */
function channelMix(from: number, channels: Channels | undefined): readonly (readonly number[])[] {
  const identity = Array.from({ length: from }, (_, i) => Array.from({ length: from }, (_, j) => (i === j ? 1 : 0)))
  if (channels === undefined) return identity
  if (channels === 'gray') return from === 1 ? identity : [[0.299, 0.587, 0.114]]
  if (from === 1) return [[1], [1], [1]]
  return channels === 'rgb' ? identity : identity.toReversed()
}

function checkChannels(values: readonly number[], what: string, channels: number): void {
  if (values.length > 1 && values.length !== channels)
    fail(
      'INVALID_DATA',
      `Preprocessing: ${what} has ${values.length} values, the samples have ${channels} channels. Give one value per ` +
        'channel, or choose another preprocessing.',
    )
}

/** Channels and values of one input; the result is float32 `[N, C', …]`. */
function applyValues(tensor: Tensor, preprocess: Preprocess): Tensor {
  const { channels, scale, mean, std } = preprocess
  const isPicture = tensor.shape.length === 4
  const perChannel = isPicture || Math.max(mean.length, std.length) > 1
  const [count = 1, second = 1] = tensor.shape
  const from = perChannel ? second : 1
  if (isPicture && channels && from !== 1 && from !== 3)
    fail('INVALID_DATA', `Preprocessing: channels '${channels}' needs 1 or 3 channels; the samples have ${from}.`)
  const mix = channelMix(from, isPicture ? channels : undefined)
  checkChannels(mean, 'mean', mix.length)
  checkChannels(std, 'std', mix.length)
  const values = toFloat32(tensor)
  const plane = tensor.size / (count * from)
  const out = new Float32Array(count * mix.length * plane)
  mix.forEach((weights, to) => {
    const source = weights.indexOf(1)
    const shift = mean[mean.length > 1 ? to : 0] ?? 0
    const divisor = std[std.length > 1 ? to : 0] ?? 1
    for (let i = 0; i < count; i++) {
      const start = i * from * plane
      const target = (i * mix.length + to) * plane
      for (let p = 0; p < plane; p++) {
        const raw =
          source >= 0
            ? values[start + source * plane + p]!
            : weights.reduce((sum, weight, c) => sum + weight * values[start + c * plane + p]!, 0)
        out[target + p] = (raw * scale - shift) / divisor
      }
    }
  })
  return Tensor.of(out, isPicture ? [count, mix.length, ...tensor.shape.slice(2)] : tensor.shape)
}

/**
 * Applies a preprocessing to a batch. Only the first input is changed: it is the picture, further ones are data that
 * belong to it. Arrays with channels last (`[N, H, W, C]` of
 * 1, 3 or 4 channels, H and W above 4) are brought to channels first.
 *
 * @param withGeometry whether resize, crop and pad are applied too; default: when they are meant for all sources.
 * @throws WhittleError `INVALID_DATA` when mean or std do not fit the channels, or samples to resize are no pictures.
 */
export function preprocessBatch(
  batch: Batch,
  preprocess: Preprocess,
  withGeometry: boolean = preprocess.geometryFor === 'all',
): Batch {
  const { geometry } = preprocess
  const resizes = withGeometry && geometry !== undefined
  const [first, ...rest] = batch.inputs
  if (!first || (keepsValues(preprocess) && !resizes)) return batch
  let input = channelsFirst(first)
  if (resizes) input = applyGeometryToBatch(input, geometry)
  if (!keepsValues(preprocess)) input = applyValues(input, preprocess)
  return { ...batch, inputs: [input, ...rest] }
}

function shapeAfter(
  shape: readonly number[] | undefined,
  preprocess: Preprocess,
  resizes: boolean,
): number[] | undefined {
  if (!shape) return undefined
  const probe = channelsFirst(Tensor.fromBytes('uint8', [0, ...shape], new Uint8Array(0)))
  const [channels = 0, height = 0, width = 0] = probe.shape.slice(1)
  if (keepsValues(preprocess) && !resizes) return [...shape]
  if (shape.length !== 3) return [...shape]
  const after = resizes ? extentAfter({ width, height }, preprocess.geometry!) : { width, height }
  const mixed = preprocess.channels ? (preprocess.channels === 'gray' ? 1 : 3) : channels
  return [mixed, after.height, after.width]
}

/**
 * A dataset whose batches are preprocessed. Folders of pictures are resized while they are read, also when the geometry
 * is for pictures only.
 */
export function preprocessDataset(dataset: Dataset, preprocess: Preprocess): Dataset {
  const { geometry } = preprocess
  const resized = geometry && dataset.withGeometry?.(geometry)
  const source = resized ?? dataset
  const resizes = geometry !== undefined && !resized && preprocess.geometryFor === 'all'
  const [first, ...rest] = source.sampleShapes
  async function* batches(options?: BatchOptions): AsyncGenerator<Batch> {
    for await (const batch of source.batches(options)) yield preprocessBatch(batch, preprocess, resizes)
  }
  return {
    name: source.name,
    size: source.size,
    hasLabels: source.hasLabels,
    ...(source.inputNames && { inputNames: source.inputNames }),
    sampleShapes: [shapeAfter(first, preprocess, resizes), ...rest],
    batches,
  }
}
