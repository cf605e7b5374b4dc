/**
 * Augmentation of pictures: each sample's is drawn from (seed, epoch, sample number), so that neither resuming nor the
 * number of workers changes it.
 *
 * Sources: Krizhevsky, Sutskever, Hinton, "ImageNet Classification", 2012, section 4.1 (crop, flip); DeVries, Taylor,
 * "Cutout", 2017; Zhang et al., "mixup", 2018.
 */
import { createRandom, fail, type Random } from '../core/index.ts'
import { mixSeed } from './sample-order.ts'

/** What happens to training pictures. */
export type Augmentation = {
  /** Random crop of the picture's size after adding this many black pixels at each edge; default 0. */
  readonly crop?: number
  /** Whether half of the pictures are mirrored; default no. */
  readonly flip?: boolean
  /** Edge in pixels of a square that is set to the mean (0 after normalisation); parts may lie outside. Default 0. */
  readonly cutout?: number
  /** Parameter α of mixup: pictures and labels of a batch are mixed in pairs with share λ ~ Beta(α, α); default 0. */
  readonly mixup?: number
}

/** Checks an augmentation. @throws WhittleError `INVALID_ARGUMENT`. */
export function checkAugmentation({ crop = 0, cutout = 0, mixup = 0 }: Augmentation): void {
  for (const [name, value] of [
    ['crop', crop],
    ['cutout', cutout],
  ] as const)
    if (!(Number.isSafeInteger(value) && value >= 0))
      fail('INVALID_ARGUMENT', `Augmentation: ${name} must be a whole number of pixels of at least 0; got ${value}.`)
  if (!(Number.isFinite(mixup) && mixup >= 0))
    fail('INVALID_ARGUMENT', `Augmentation: mixup must be a number of at least 0; got ${mixup}.`)
}

/**
 * Reads an augmentation as the command line has it: `crop=4,flip,cutout=8,mixup=0.2`.
 *
 * @throws WhittleError `INVALID_ARGUMENT` saying what is not understood.
 */
export function parseAugmentation(text: string): Augmentation {
  const entries = text.split(',').map((part): [string, number | boolean] => {
    const [name = '', value] = part.trim().split('=')
    const number = value === undefined || value.trim() === '' ? Number.NaN : Number(value)
    const known = name === 'flip' ? value === undefined : ['crop', 'cutout', 'mixup'].includes(name)
    if (!known || (name !== 'flip' && !Number.isFinite(number)))
      fail(
        'INVALID_ARGUMENT',
        `Augmentation '${text}': '${part}' is not understood; write any of crop=PIXELS, flip, cutout=PIXELS, mixup=ALPHA.`,
      )
    return [name, name === 'flip' ? true : number]
  })
  const augmentation: Augmentation = Object.fromEntries(entries)
  checkAugmentation(augmentation)
  return augmentation
}

/** What was drawn for one picture. */
export interface Draw {
  /** Where the crop begins, relative to the picture: −crop … crop. */
  readonly top: number
  readonly left: number
  readonly flip: boolean
  /** The square's center, in pixels. */
  readonly cutoutRow: number
  readonly cutoutColumn: number
}

/** Draws for one sample. @param extent height and width of the picture. */
export function drawFor(
  { crop = 0 }: Augmentation,
  place: { readonly seed: number; readonly epoch: number; readonly index: number },
  extent: { readonly height: number; readonly width: number },
): Draw {
  const random = createRandom(mixSeed(place.seed, place.epoch, place.index, 1))
  // All numbers are drawn whatever is switched on, so that options do not change each other's.
  return {
    top: random.integer(2 * crop + 1) - crop,
    left: random.integer(2 * crop + 1) - crop,
    flip: random.uniform() < 0.5,
    cutoutRow: random.integer(extent.height),
    cutoutColumn: random.integer(extent.width),
  }
}

/** A picture of planes: channels × height × width elements from `start` of `data`. */
export interface Planes<T> {
  readonly data: T
  readonly start: number
  readonly channels: number
  readonly height: number
  readonly width: number
}

/**
 * Copies a picture, cropped and mirrored. Outside the source is 0.
 *
 * @param table per channel the value of every byte, for pictures of bytes; absent: values are copied as they are.
 */
export function copyCropped(
  from: Planes<Uint8Array | Float32Array>,
  to: Float32Array,
  toStart: number,
  { top, left, flip }: Pick<Draw, 'top' | 'left' | 'flip'>,
  table?: readonly Float32Array[],
): void {
  const { data, start, channels, height, width } = from
  for (let c = 0; c < channels; c++) {
    const values = table?.[c]
    const outside = values ? values[0]! : 0
    for (let row = 0; row < height; row++) {
      const target = toStart + (c * height + row) * width
      const sourceRow = row + top
      if (sourceRow < 0 || sourceRow >= height) {
        to.fill(outside, target, target + width)
        continue
      }
      const source = start + (c * height + sourceRow) * width
      for (let column = 0; column < width; column++) {
        const at = (flip ? width - 1 - column : column) + left
        const inside = at >= 0 && at < width
        to[target + column] = !inside ? outside : values ? values[data[source + at]!]! : data[source + at]!
      }
    }
  }
}

/** Sets the square around a center to 0, in all channels. */
export function cutOut(picture: Planes<Float32Array>, edge: number, { cutoutRow, cutoutColumn }: Draw): void {
  const { data, start, channels, height, width } = picture
  const half = Math.floor(edge / 2)
  const [top, left] = [Math.max(0, cutoutRow - half), Math.max(0, cutoutColumn - half)]
  const [bottom, right] = [Math.min(height, cutoutRow - half + edge), Math.min(width, cutoutColumn - half + edge)]
  for (let c = 0; c < channels; c++)
    for (let row = top; row < bottom; row++) {
      const line = start + (c * height + row) * width
      data.fill(0, line + left, line + Math.max(left, right))
    }
}

/** A number of the gamma distribution with shape `k` (Marsaglia, Tsang, 2000). */
function gamma(random: Random, k: number): number {
  if (k < 1) return gamma(random, k + 1) * random.uniform() ** (1 / k)
  const d = k - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (;;) {
    const x = random.normal()
    const v = (1 + c * x) ** 3
    if (v > 0 && Math.log(1 - random.uniform()) < (x * x) / 2 + d - d * v + d * Math.log(v)) return d * v
  }
}

/** How a batch is mixed: the share that stays, and each sample's partner. */
export function drawMix(
  alpha: number,
  size: number,
  place: { readonly seed: number; readonly epoch: number; readonly batch: number },
): { readonly share: number; readonly partners: Int32Array } {
  const random = createRandom(mixSeed(place.seed, place.epoch, place.batch, 2))
  const [a, b] = [gamma(random, alpha), gamma(random, alpha)]
  const partners = random.shuffle(Int32Array.from({ length: size }, (_, index) => index))
  return { share: a + b > 0 ? a / (a + b) : 1, partners }
}

/** Mixes rows with those of their partners, in place. @param rows from row `first` on, `partners.length` of them. */
export function mixRows(
  rows: Float32Array,
  rowLength: number,
  first: number,
  { share, partners }: { readonly share: number; readonly partners: Int32Array },
): void {
  const before = rows.slice(first * rowLength, (first + partners.length) * rowLength)
  partners.forEach((partner, row) => {
    const target = (first + row) * rowLength
    for (let i = 0; i < rowLength; i++)
      rows[target + i] = share * before[row * rowLength + i]! + (1 - share) * before[partner * rowLength + i]!
  })
}
