/**
 * Preprocessing from JSON, in two vocabularies.
 *
 * 1. Hugging Face's `preprocessor_config.json`. Order: RGB, resize, center crop, rescale, normalize, channel flip.
 *    Source: transformers 4.57, `image_processing_utils.py`, `image_transforms.py` and the processors of ViT, CLIP,
 *    ConvNext, LeViT, PoolFormer, EfficientNet, MobileViT.
 * 2. Our own: `preset`, `resize`, `filter`, `crop`, `pad`, `padValue`, `channels`, `scale` or `range`, `mean`, `std`,
 *    `layout`, `geometryFor`, `name`; `mean` and `std` are in units after scaling and in the model's channel order.
 */
import { fail } from '../core/index.ts'
import type { Extent, Geometry } from './geometry.ts'
import {
  asFields,
  type Fields,
  maybeBoolean,
  maybeExtent,
  maybeNumber,
  maybeNumbers,
  maybePixels,
  maybeWord,
} from './json-fields.ts'
import { fitPictures, PRESETS, type Preprocess, preset } from './preprocess.ts'
import type { Filter } from './resample.ts'

/** PIL.Image.Resampling by number. */
const PIL_FILTERS: readonly Filter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming']

const HUGGING_FACE_KEY = /^(do_\w+|image_mean|image_std|rescale_factor|image_processor_type|feature_extractor_type)$/

/** Steps that change pixels and that this package does not do. */
const REFUSED = [
  'do_pad',
  'do_thumbnail',
  'do_align_long_axis',
  'do_align_axis',
  'do_image_splitting',
  'do_crop_margin',
]

const square = (edge: number): Extent => ({ width: edge, height: edge })

function huggingFaceFilter(fields: Fields): Filter | undefined {
  const value = fields.resample
  if (value === undefined || value === null) return undefined
  const byName = PIL_FILTERS.find((filter) => filter === String(value).toLowerCase())
  const filter = byName ?? (typeof value === 'number' ? PIL_FILTERS[value] : undefined)
  if (!filter) fail('INVALID_DATA', `Preprocessing field 'resample' must be 0 … 5; got ${JSON.stringify(value)}.`)
  return filter
}

/** `shortest_edge` as the processor's class takes it: some enlarge it before the crop. */
function huggingFaceShortestEdge(fields: Fields, edge: number): Geometry {
  const type = String(fields.image_processor_type ?? fields.feature_extractor_type ?? '')
  const cropShare = maybeNumber(fields, 'crop_pct')
  if (cropShare !== undefined && !(cropShare > 0 && cropShare <= 1))
    fail('INVALID_DATA', `Preprocessing field 'crop_pct' must be above 0 and at most 1; got ${cropShare}.`)
  const isConvNext = type.startsWith('ConvNext')
  if (isConvNext && edge >= 384) return { resize: square(edge) }
  if (isConvNext || cropShare !== undefined)
    return {
      resize: { shortestEdge: Math.trunc(edge / (cropShare ?? 224 / 256)) },
      ...(isConvNext && { crop: square(edge) }),
    }
  if (type.startsWith('Levit')) return { resize: { shortestEdge: Math.trunc((256 / 224) * edge) } }
  return { resize: { shortestEdge: edge } }
}

function huggingFaceResize(fields: Fields): Geometry {
  const { size } = fields
  if (maybeBoolean(fields, 'do_resize') === false || size === undefined || size === null) return {}
  // A bare number is from before sizes were objects: the shortest edge where a crop follows, else a square.
  if (typeof size === 'number') {
    const edge = maybePixels(fields, 'size')!
    return maybeBoolean(fields, 'do_center_crop') || fields.crop_pct !== undefined
      ? huggingFaceShortestEdge(fields, edge)
      : { resize: square(edge) }
  }
  if (Array.isArray(size)) return { resize: maybeExtent(fields, 'size')! }
  const inner = asFields(size, "Preprocessing field 'size'")
  const shortest = maybePixels(inner, 'shortest_edge')
  if (inner.longest_edge !== undefined && inner.longest_edge !== null)
    fail('UNSUPPORTED', "Preprocessing field 'size.longest_edge' is not supported; give width and height instead.")
  if (shortest !== undefined) return huggingFaceShortestEdge(fields, shortest)
  return { resize: maybeExtent(fields, 'size')! }
}

function huggingFaceGeometry(fields: Fields): Geometry | undefined {
  const resize = huggingFaceResize(fields)
  const filter = huggingFaceFilter(fields)
  const asked = maybeExtent(fields, 'crop_size')
  const isCropped = maybeBoolean(fields, 'do_center_crop') === true
  const crop = isCropped ? asked : undefined
  if (isCropped && !crop) fail('INVALID_DATA', "Preprocessing field 'crop_size' is missing; 'do_center_crop' needs it.")
  const geometry: Geometry = { ...resize, ...(crop && { crop }), ...(filter && { filter }) }
  return geometry.resize || geometry.crop ? geometry : undefined
}

function fromHuggingFace(fields: Fields): Preprocess {
  const refused = REFUSED.find((key) => fields[key] === true)
  if (refused) fail('UNSUPPORTED', `Preprocessing step '${refused}' is not supported. Prepare the pictures without it.`)
  const rescales = maybeBoolean(fields, 'do_rescale') !== false
  const scale = rescales ? (maybeNumber(fields, 'rescale_factor') ?? 1 / 255) : 1
  const shift = rescales && maybeBoolean(fields, 'rescale_offset') ? 1 : 0
  const normalizes = maybeBoolean(fields, 'do_normalize') !== false
  let mean = (normalizes && maybeNumbers(fields, 'image_mean')) || []
  let std = (normalizes && maybeNumbers(fields, 'image_std')) || []
  if (shift) mean = mean.length ? mean.map((m) => m + shift) : [shift]
  // EfficientNet divides by the deviation a second time.
  if (maybeBoolean(fields, 'include_top')) std = std.map((s) => s * s)
  const flips = maybeBoolean(fields, 'do_flip_channel_order') === true
  if (flips) {
    mean = mean.toReversed()
    std = std.toReversed()
  }
  const geometry = huggingFaceGeometry(fields)
  const channels = flips ? 'bgr' : maybeBoolean(fields, 'do_convert_rgb') ? 'rgb' : undefined
  return {
    name: 'custom',
    ...(geometry && { geometry }),
    geometryFor: 'all',
    ...(channels && { channels }),
    scale,
    mean,
    std,
  }
}

const OWN_KEYS = [
  'name',
  'preset',
  'geometry',
  'geometryFor',
  'resize',
  'filter',
  'crop',
  'pad',
  'padValue',
  'channels',
  'scale',
  'range',
  'mean',
  'std',
  'layout',
]

function ownResize(fields: Fields): Geometry['resize'] {
  const { resize } = fields
  if (typeof resize === 'number') return { shortestEdge: maybePixels(fields, 'resize')! }
  if (typeof resize === 'object' && resize !== null && 'shortestEdge' in resize)
    return { shortestEdge: maybePixels(asFields(resize, "Preprocessing field 'resize'"), 'shortestEdge')! }
  return maybeExtent(fields, 'resize')
}

function ownGeometry(fields: Fields): Geometry | undefined {
  const keep = maybeExtent(fields, 'keep')
  const resize = ownResize(fields)
  const filter = maybeWord(fields, 'filter', PIL_FILTERS)
  const crop = maybeExtent(fields, 'crop')
  const pad = maybePixels(fields, 'pad', 0)
  const padValue = maybeNumber(fields, 'padValue')
  if (!keep && !resize && !crop && !pad) return undefined
  return {
    ...(keep && { keep }),
    ...(resize && { resize }),
    ...(filter && { filter }),
    ...(crop && { crop }),
    ...(pad && { pad }),
    ...(padValue !== undefined && { padValue }),
  }
}

function ownScaling(fields: Fields, base: Preprocess | undefined): Pick<Preprocess, 'scale' | 'mean' | 'std'> {
  const range = maybeNumbers(fields, 'range')
  const mean = maybeNumbers(fields, 'mean')
  const std = maybeNumbers(fields, 'std')
  const scale = maybeNumber(fields, 'scale')
  if (range) {
    const [low = 0, high = 0] = range
    if (range.length !== 2 || !(low < high) || scale !== undefined)
      fail('INVALID_DATA', `Preprocessing field 'range' must be [low, high] and excludes 'scale'; got [${range}].`)
    // (x · (high − low) / 255 + low − m) / s
    const shifted = (mean ?? [0]).map((m) => m - low)
    return { scale: (high - low) / 255, mean: shifted.every((m) => m === 0) ? [] : shifted, std: std ?? [] }
  }
  if ((mean || std) && scale === undefined && !base)
    fail(
      'INVALID_DATA',
      "Preprocessing fields 'mean' and 'std' need 'scale' or 'range' beside them, which say the values they are for: " +
        '"range": [0, 1] for x / 255, "scale": 1 for 0 … 255.',
    )
  return { scale: scale ?? base?.scale ?? 1, mean: mean ?? base?.mean ?? [], std: std ?? base?.std ?? [] }
}

function fromOwn(fields: Fields, extent: Extent | undefined): Preprocess {
  const unknown = Object.keys(fields).find((key) => !OWN_KEYS.includes(key))
  if (unknown !== undefined)
    fail(
      'INVALID_DATA',
      `Preprocessing field '${unknown}' is not known. Use ${OWN_KEYS.join(', ')}, or the fields of a Hugging Face ` +
        'preprocessor_config.json.',
    )
  const named = maybeWord(fields, 'preset', PRESETS)
  const base = named && preset(named, extent)
  const geometry = fields.geometry
    ? ownGeometry(asFields(fields.geometry, "Preprocessing field 'geometry'"))
    : ownGeometry(fields)
  const channels = maybeWord(fields, 'channels', ['rgb', 'bgr', 'gray']) ?? base?.channels
  const layout = maybeWord(fields, 'layout', ['nchw', 'nhwc'])
  const fallback = base?.geometry ?? (extent && fitPictures(extent))
  const shape = geometry ?? fallback
  return {
    name: typeof fields.name === 'string' ? fields.name : 'custom',
    ...(shape && { geometry: shape }),
    geometryFor: maybeWord(fields, 'geometryFor', ['pictures', 'all']) ?? (geometry ? 'all' : 'pictures'),
    ...(channels && { channels }),
    ...ownScaling(fields, base),
    ...(layout && { layout }),
  }
}

/**
 * Reads a preprocessing from parsed JSON: a preset's name, Hugging Face's fields, our own, or a {@link Preprocess}.
 *
 * @param extent the model's picture size, for presets and for pictures when the JSON says nothing of size.
 * @throws WhittleError `INVALID_DATA` for an unknown preset or field or a value out of range; `UNSUPPORTED` for a step
 *   that is not done here.
 */
export function parsePreprocess(json: unknown, extent?: Extent): Preprocess {
  if (typeof json === 'string') return preset(maybeWord({ preset: json }, 'preset', PRESETS)!, extent)
  const fields = asFields(json, 'A preprocessing')
  const isHuggingFace = Object.keys(fields).some((key) => HUGGING_FACE_KEY.test(key))
  const preprocess = isHuggingFace ? fromHuggingFace(fields) : fromOwn(fields, extent)
  if (preprocess.std.some((s) => s === 0))
    fail('INVALID_DATA', "Preprocessing: the standard deviations ('std', 'image_std') must not be 0.")
  return preprocess
}
