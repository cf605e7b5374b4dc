/** Size and position of pictures before they become model inputs: resize, then center crop, then padding. */
import { fail } from '../core/index.ts'
import { sizeOf, Tensor, toFloat32 } from '../tensor/index.ts'
import { type Filter, type Picture, resample } from './resample.ts'

/** A width and a height in pixels. */
export type Extent = { readonly width: number; readonly height: number }

/** What happens to a picture, in this order; values are 0 … 255. */
export type Geometry = {
  /** A picture that already has this size is left as it is. */
  readonly keep?: Extent
  /** New size; `shortestEdge` keeps the proportions and cuts the longer edge down to a whole number, as torchvision does. */
  readonly resize?: Extent | { readonly shortestEdge: number }
  /** Default `bilinear`, with Pillow's antialiasing. */
  readonly filter?: Filter
  /** Cuts out the middle; a picture smaller than this gets a black border. */
  readonly crop?: Extent
  /** Pixels of `padValue` added on every side. */
  readonly pad?: number
  /** Default 0. */
  readonly padValue?: number
}

function resizedExtent({ width, height }: Extent, resize: Geometry['resize']): Extent {
  if (!resize) return { width, height }
  if ('width' in resize) return resize
  const edge = resize.shortestEdge
  return width <= height
    ? { width: edge, height: Math.max(1, Math.trunc((edge * height) / width)) }
    : { width: Math.max(1, Math.trunc((edge * width) / height)), height: edge }
}

/** The size of a picture after the geometry. */
export function extentAfter(extent: Extent, geometry: Geometry): Extent {
  const { keep, resize, crop, pad = 0 } = geometry
  if (keep && keep.width === extent.width && keep.height === extent.height) return extent
  const { width, height } = crop ?? resizedExtent(extent, resize)
  return { width: width + 2 * pad, height: height + 2 * pad }
}

/** The size every picture has after the geometry, or `undefined` when it depends on the picture. */
export function fixedExtent(geometry: Geometry): Extent | undefined {
  const known = geometry.crop ?? (geometry.resize && 'width' in geometry.resize ? geometry.resize : undefined)
  if (!known) return undefined
  const after = extentAfter(known, { ...geometry, resize: known })
  const { keep } = geometry
  return keep && (keep.width !== after.width || keep.height !== after.height) ? undefined : after
}

/** A window of `width` × `height` whose corner is at (`left`, `top`) of the picture; outside it, `value`. */
function frame<Data extends Uint8Array | Float32Array>(
  picture: Picture<Data>,
  { width, height }: Extent,
  { left, top }: { left: number; top: number },
  value: number,
): Picture<Data> {
  const { channels, data } = picture
  const out = (
    data instanceof Uint8Array ? new Uint8Array(width * height * channels) : new Float32Array(width * height * channels)
  ) as Data
  if (value !== 0) out.fill(value)
  const begin = Math.max(0, left)
  const end = Math.min(picture.width, left + width)
  for (let row = Math.max(0, top); row < Math.min(picture.height, top + height); row++) {
    const from = row * picture.width
    const to = (row - top) * width - left
    out.set(data.subarray((from + begin) * channels, (from + end) * channels), (to + begin) * channels)
  }
  return { width, height, channels, data: out }
}

/**
 * Resizes, crops and pads one picture. Odd remainders of the crop go to the right and the bottom, as Hugging Face's
 * `center_crop` does; the border of a picture smaller than the crop has its odd pixel on the left and top.
 */
export function applyGeometry<Data extends Uint8Array | Float32Array>(
  picture: Picture<Data>,
  geometry: Geometry,
  whole?: boolean,
): Picture<Data> {
  const { keep, resize, filter, crop, pad, padValue = 0 } = geometry
  if (keep && keep.width === picture.width && keep.height === picture.height) return picture
  const target = resizedExtent(picture, resize)
  let result = resample(picture, target.width, target.height, filter, whole)
  if (crop && (crop.width !== result.width || crop.height !== result.height))
    result = frame(
      result,
      crop,
      { left: Math.floor((result.width - crop.width) / 2), top: Math.floor((result.height - crop.height) / 2) },
      0,
    )
  if (pad)
    result = frame(
      result,
      { width: result.width + 2 * pad, height: result.height + 2 * pad },
      { left: -pad, top: -pad },
      padValue,
    )
  return result
}

/** Whether all values are whole numbers 0 … 255, so that resizing may round as it does for pictures. */
function isWhole(values: Float32Array): boolean {
  return values.every((value) => value >= 0 && value <= 255 && Number.isInteger(value))
}

/**
 * Applies a geometry to a batch of pictures of one size.
 *
 * @param batch `[N, C, H, W]` of a number type.
 * @returns float32 `[N, C, H', W']`; whole numbers 0 … 255 stay whole, other values are not rounded.
 * @throws WhittleError `INVALID_DATA` when the batch has another number of axes.
 */
export function applyGeometryToBatch(batch: Tensor, geometry: Geometry): Tensor {
  const [count = 0, channels = 0, height = 0, width = 0] = batch.shape
  if (batch.shape.length !== 4)
    fail('INVALID_DATA', `Only pictures [N, C, H, W] can be resized; the samples are [${batch.shape.join(', ')}].`)
  const after = extentAfter({ width, height }, geometry)
  const shape = [count, channels, after.height, after.width]
  const values = toFloat32(batch)
  const whole = isWhole(values)
  const plane = height * width
  const out = new Float32Array(sizeOf(shape))
  for (let i = 0; i < count * channels; i++) {
    const picture = { width, height, channels: 1, data: values.subarray(i * plane, (i + 1) * plane) }
    out.set(applyGeometry(picture, geometry, whole).data, i * after.width * after.height)
  }
  return Tensor.of(out, shape)
}
