/** Pictures from files, decoded one by one while they are needed. */
import { fail, messageOf } from '../core/index.ts'
import { sizeOf, Tensor } from '../tensor/index.ts'
import type { Batch, Dataset } from './dataset.ts'
import { applyGeometry, fixedExtent, type Geometry } from './geometry.ts'
import type { Picture } from './resample.ts'
import { createDataset } from './sample-source.ts'

/** A decoded picture. */
export interface DecodedImage {
  readonly width: number
  readonly height: number
  /** width × height × 3 bytes: rows of pixels R, G, B. */
  readonly data: Uint8Array
}

/** Decodes picture files; `whittle-nn/node` has one over sharp, a browser's canvas makes another. */
export interface ImageDecoder {
  /** Upright (EXIF orientation applied), without alpha, 8 bits; throws for anything that is no picture. */
  decode(bytes: Uint8Array): Promise<DecodedImage>
}

/** A picture file. */
export interface ImageFile {
  readonly name: string
  read(): Promise<Uint8Array>
  /** Class index, when known. */
  readonly label?: number | undefined
}

/** Options of {@link imageDataset}. */
export interface ImageDatasetOptions {
  /** For records; default `images`. */
  readonly name?: string | undefined
  /** What turns files into pixels. */
  readonly decoder: ImageDecoder
  /** Resize, crop and pad while reading; absent: all pictures must have one size. */
  readonly geometry?: Geometry | undefined
  /** Pictures decoded at the same time; default 4. */
  readonly concurrency?: number | undefined
}

async function readPicture(file: ImageFile, options: ImageDatasetOptions): Promise<Picture<Uint8Array>> {
  const bytes = await file.read()
  const { width, height, data } = await options.decoder.decode(bytes).catch((error: unknown) => {
    return fail('INVALID_FILE', `Picture '${file.name}' cannot be decoded: ${messageOf(error)}.`, { cause: error })
  })
  if (!(width > 0 && height > 0) || data.length !== width * height * 3)
    fail('INVALID_FILE', `Picture '${file.name}': the decoder gave ${data.length} bytes for ${width}×${height} pixels.`)
  const picture = { width, height, channels: 3, data }
  return options.geometry ? applyGeometry(picture, options.geometry) : picture
}

/** Writes a picture's planes R, G, B into row `row` of a batch. */
function writePlanes({ width, height, data }: Picture<Uint8Array>, out: Float32Array, row: number): void {
  const plane = width * height
  const start = row * 3 * plane
  for (let p = 0; p < plane; p++) {
    out[start + p] = data[3 * p]!
    out[start + plane + p] = data[3 * p + 1]!
    out[start + 2 * plane + p] = data[3 * p + 2]!
  }
}

async function readBatch(
  files: readonly ImageFile[],
  options: ImageDatasetOptions,
  signal: AbortSignal | undefined,
): Promise<Tensor> {
  let out: Float32Array | undefined
  let shape: number[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < files.length && !signal?.aborted) {
      const row = next++
      const file = files[row]!
      const picture = await readPicture(file, options)
      const own = [files.length, 3, picture.height, picture.width]
      if (!out) {
        shape = own
        out = new Float32Array(sizeOf(shape))
      }
      if (own.join() !== shape.join())
        fail(
          'INVALID_DATA',
          `Picture '${file.name}' is ${picture.width}×${picture.height}, others are ${shape[3]}×${shape[2]}: pictures ` +
            'of different sizes need a preprocessing that resizes them (--preprocess).',
        )
      writePlanes(picture, out, row)
    }
  }
  const workers = Math.min(options.concurrency ?? 4, files.length)
  await Promise.all(Array.from({ length: workers }, worker))
  return Tensor.of(out ?? new Float32Array(0), out ? shape : [0, 3, 0, 0])
}

/**
 * A dataset of pictures.
 *
 * One input of float32 `[N, 3, H, W]`, channels R, G, B, values 0 … 255. `batches` decodes at most `concurrency` files at
 * a time and holds two batches at most. Labels are there when every file has one.
 *
 * @throws WhittleError `INVALID_DATA` when there are no files and, while reading, when sizes differ; the decoder's error
 *   for a damaged file.
 */
export function imageDataset(files: readonly ImageFile[], options: ImageDatasetOptions): Dataset {
  const hasLabels = files.every(({ label }) => label !== undefined)
  const extent = options.geometry && fixedExtent(options.geometry)
  return createDataset({
    name: options.name ?? 'images',
    size: files.length,
    sampleShapes: [extent && [3, extent.height, extent.width]],
    hasLabels,
    async read(indices, signal): Promise<Batch> {
      const chosen = Array.from(indices, (index) => files[index]!)
      const input = await readBatch(chosen, options, signal)
      const labels = hasLabels ? Int32Array.from(chosen, ({ label }) => label!) : undefined
      return { inputs: [input], labels, size: indices.length }
    },
    withGeometry: (geometry) => imageDataset(files, { ...options, geometry }),
  })
}
