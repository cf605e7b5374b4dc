/**
 * Resizes pictures exactly as Pillow does, because Pillow made the pictures that most published networks were trained
 * and measured on: separable filters widened by the scale when shrinking (antialiasing), columns first, rounded to
 * whole numbers after each pass.
 * Source: Pillow 11, `src/libImaging/Resample.c` (filters, 22-bit coefficients) and `Geometry.c` (nearest); behaviour
 * re-implemented, not copied. Keys, "Cubic convolution interpolation for digital image processing", 1981 (a = −0.5).
 */

/** How new pixels are computed from old ones. */
export type Filter = 'nearest' | 'box' | 'bilinear' | 'hamming' | 'bicubic' | 'lanczos'

/** A picture: rows of pixels, channels side by side (`[height, width, channels]`). */
export interface Picture<Data extends Uint8Array | Float32Array = Uint8Array | Float32Array> {
  readonly width: number
  readonly height: number
  readonly channels: number
  readonly data: Data
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x))

function bicubic(x: number): number {
  const t = Math.abs(x)
  const a = -0.5
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0
}

/** Half the filter's width in pixels at scale 1, and its weight at a distance. */
const FILTERS: Readonly<Record<Exclude<Filter, 'nearest'>, readonly [number, (x: number) => number]>> = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [
    1,
    (x) => (Math.abs(x) < 1 ? sinc(x) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(Math.PI * x)) : 0),
  ],
  bicubic: [2, bicubic],
  lanczos: [3, (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)],
}

/** Pillow keeps coefficients as whole multiples of 2⁻²². */
const PRECISION = 2 ** 22

/** For each new position: the first old one that contributes, and the weights of it and its successors. */
interface Taps {
  readonly first: number
  readonly weights: Float64Array
}

function tapsOf(from: number, to: number, filter: Filter, whole: boolean): Taps[] {
  const scale = from / to
  return Array.from({ length: to }, (_, position) => {
    if (filter === 'nearest') return { first: Math.floor((position + 0.5) * scale), weights: Float64Array.of(1) }
    const [radius, weight] = FILTERS[filter]
    const stretch = Math.max(scale, 1)
    const shrink = 1 / stretch
    const center = (position + 0.5) * scale
    const first = Math.max(0, Math.trunc(center - radius * stretch + 0.5))
    const end = Math.min(from, Math.trunc(center + radius * stretch + 0.5))
    const weights = Float64Array.from({ length: end - first }, (_, i) => weight((i + first - center + 0.5) * shrink))
    const sum = weights.reduce((total, value) => total + value, 0)
    for (let i = 0; i < weights.length; i++) {
      const normal = sum === 0 ? weights[i]! : weights[i]! / sum
      weights[i] = whole ? Math.trunc(normal * PRECISION + (normal < 0 ? -0.5 : 0.5)) / PRECISION : normal
    }
    return { first, weights }
  })
}

const clampByte = (value: number): number => Math.min(255, Math.max(0, Math.floor(value + 0.5)))

/**
 * One pass. The picture is `[outer, from, inner]`; the middle axis becomes `taps.length` long. With `whole`, sums are
 * multiples of 2⁻²² below 2⁵³, so they are exact and round as Pillow's integers do.
 */
function pass<Data extends Uint8Array | Float32Array>(
  data: Data,
  out: Data,
  [outer, from, inner]: readonly [number, number, number],
  taps: readonly Taps[],
  whole: boolean,
): Data {
  let position = 0
  for (let block = 0; block < outer; block++) {
    const start = block * from * inner
    for (const { first, weights } of taps) {
      for (let lane = 0; lane < inner; lane++) {
        let sum = 0
        let at = start + first * inner + lane
        for (let i = 0; i < weights.length; i++, at += inner) sum += data[at]! * weights[i]!
        out[position++] = whole ? clampByte(sum) : sum
      }
    }
  }
  return out
}

/**
 * Resizes a picture.
 *
 * @param width new width, at least 1. @param height new height, at least 1.
 * @param whole whether pixels are whole numbers 0 … 255 and are to stay so; bytes always are.
 * @returns a picture of the same channels and kind of array; the same object when the size does not change.
 */
export function resample<Data extends Uint8Array | Float32Array>(
  picture: Picture<Data>,
  width: number,
  height: number,
  filter: Filter = 'bilinear',
  whole: boolean = picture.data instanceof Uint8Array,
): Picture<Data> {
  const make = (length: number): Data =>
    (picture.data instanceof Uint8Array ? new Uint8Array(length) : new Float32Array(length)) as Data
  const { channels } = picture
  let { data } = picture
  if (width === picture.width && height === picture.height) return picture
  if (width !== picture.width) {
    const out = make(picture.height * width * channels)
    const taps = tapsOf(picture.width, width, filter, whole)
    data = pass(data, out, [picture.height, picture.width, channels], taps, whole)
  }
  if (height !== picture.height) {
    const out = make(height * width * channels)
    const taps = tapsOf(picture.height, height, filter, whole)
    data = pass(data, out, [1, picture.height, width * channels], taps, whole)
  }
  return { width, height, channels, data }
}
