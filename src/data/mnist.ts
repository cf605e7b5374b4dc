/**
 * MNIST and its relatives (Fashion-MNIST, EMNIST …) in idx files, gzipped or not.
 * Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits": magic 00 00 08 03 (images: count, rows,
 * columns) and 00 00 08 01 (labels: count), big-endian.
 */
import { fail } from '../core/index.ts'
import { Tensor } from '../tensor/index.ts'
import { type ByteSource, memorySource, readRange, readRecords } from './byte-source.ts'
import type { Dataset } from './dataset.ts'
import { gunzip, isGzip } from './gzip.ts'
import { createDataset } from './sample-source.ts'

interface Idx {
  readonly file: ByteSource
  readonly shape: readonly number[]
  /** Where the elements begin. */
  readonly offset: number
}

async function unpacked(file: ByteSource): Promise<ByteSource> {
  if (file.size < 2 || !isGzip(await readRange(file, 0, 2))) return file
  return memorySource(file.name, gunzip(file.name, await readRange(file, 0, file.size)))
}

/** Reads an idx header of unsigned bytes and checks that the file has as many elements as it says. */
async function openIdx(packed: ByteSource, axes: number): Promise<Idx> {
  const file = await unpacked(packed)
  const offset = 4 + 4 * axes
  const magic = [...(await readRange(file, 0, 4))]
  if (magic.join() !== [0, 0, 8, axes].join())
    fail(
      'INVALID_FILE',
      `idx file '${file.name}': must begin with 00 00 08 0${axes} (unsigned bytes, ${axes} axes); got ` +
        `${magic.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}.`,
    )
  const header = await readRange(file, 0, offset)
  const view = new DataView(header.buffer, header.byteOffset, offset)
  const shape = Array.from({ length: axes }, (_, axis) => view.getUint32(4 + 4 * axis))
  const elements = shape.reduce((product, extent) => product * extent, 1)
  if (file.size - offset !== elements)
    fail(
      'INVALID_FILE',
      `idx file '${file.name}': shape [${shape.join(', ')}] needs ${elements} bytes after the header; got ` +
        `${file.size - offset}. The file is cut off or damaged.`,
    )
  return { file, shape, offset }
}

/**
 * The images of an idx pair, in file order.
 *
 * One input of float32 `[N, 1, rows, columns]` (28 × 28 in MNIST), values 0 … 255, 0 being background; labels as in the
 * file. Plain files are read by ranges, gzipped ones unpacked into memory.
 *
 * @throws WhittleError `INVALID_FILE` when a file is cut off, damaged or of another kind; `INVALID_DATA` when the counts
 *   of images and labels differ or there are none.
 */
export async function mnistDataset(images: ByteSource, labels: ByteSource, name = 'mnist'): Promise<Dataset> {
  const pictures = await openIdx(images, 3)
  const classes = await openIdx(labels, 1)
  const [count = 0, height = 0, width = 0] = pictures.shape
  if (count !== classes.shape[0])
    fail(
      'INVALID_DATA',
      `idx files '${images.name}' and '${labels.name}': there must be one label per image; got ${count} images and ` +
        `${classes.shape[0]} labels.`,
    )
  if (count * height * width === 0)
    fail('INVALID_DATA', `idx file '${images.name}' has no pixels: shape [${count}, ${height}, ${width}].`)
  return createDataset({
    name,
    size: count,
    sampleShapes: [[1, height, width]],
    hasLabels: true,
    async read(indices) {
      const size = indices.length
      const pixels = await readRecords(pictures.file, pictures.offset, height * width, indices)
      const numbers = await readRecords(classes.file, classes.offset, 1, indices)
      const input = Tensor.of(new Float32Array(pixels), [size, 1, height, width])
      return { inputs: [input], labels: new Int32Array(numbers), size }
    },
  })
}
