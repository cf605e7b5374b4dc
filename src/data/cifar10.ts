/**
 * CIFAR-10 in its binary form: records of 3,073 bytes, a label 0 … 9 and 32 × 32 pixels as three planes R, G, B.
 * Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
 * https://www.cs.toronto.edu/~kriz/cifar.html ("Binary version").
 */
import { fail } from '../core/index.ts'
import { Tensor } from '../tensor/index.ts'
import { type ByteSource, readRecords } from './byte-source.ts'
import type { Dataset } from './dataset.ts'
import { createDataset } from './sample-source.ts'

const PIXELS = 3 * 32 * 32
const RECORD = 1 + PIXELS

/** The ten classes, by label. */
export const CIFAR10_CLASSES: readonly string[] = [
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
]

interface Part {
  readonly file: ByteSource
  readonly first: number
  readonly count: number
}

function partsOf(files: readonly ByteSource[]): Part[] {
  let first = 0
  return files.map((file) => {
    if (file.size === 0 || file.size % RECORD !== 0)
      fail(
        'INVALID_FILE',
        `CIFAR-10 file '${file.name}': its size must be a multiple of ${RECORD} bytes; got ${file.size} bytes. ` +
          'Use the binary version of CIFAR-10 (data_batch_1.bin … test_batch.bin).',
      )
    const part = { file, first, count: file.size / RECORD }
    first += part.count
    return part
  })
}

/**
 * The images of one or more binary batches, in file order.
 *
 * One input of float32 `[N, 3, 32, 32]`, channels R, G, B, values 0 … 255; labels 0 … 9. Read by ranges.
 *
 * @throws WhittleError `INVALID_FILE` when a file is no whole number of records; `INVALID_DATA` for no files and, while
 *   reading, for a label above 9.
 */
export function cifar10Dataset(files: readonly ByteSource[], name = 'cifar10'): Dataset {
  const parts = partsOf(files)
  const size = parts.reduce((sum, part) => sum + part.count, 0)
  return createDataset({
    name,
    size,
    sampleShapes: [[3, 32, 32]],
    hasLabels: true,
    async read(indices) {
      const pixels = new Float32Array(indices.length * PIXELS)
      const labels = new Int32Array(indices.length)
      for (const { file, first, count } of parts) {
        const rows: number[] = []
        indices.forEach((index, row) => {
          if (index >= first && index < first + count) rows.push(row)
        })
        if (rows.length === 0) continue
        const numbers = rows.map((row) => indices[row]! - first)
        const bytes = await readRecords(file, 0, RECORD, numbers)
        rows.forEach((row, i) => {
          const label = bytes[i * RECORD]!
          if (label > 9)
            fail(
              'INVALID_DATA',
              `CIFAR-10 file '${file.name}', image ${numbers[i]}: the label must be 0 … 9; got ${label}.`,
            )
          labels[row] = label
          pixels.set(bytes.subarray(i * RECORD + 1, (i + 1) * RECORD), row * PIXELS)
        })
      }
      return { inputs: [Tensor.of(pixels, [indices.length, 3, 32, 32])], labels, size: indices.length }
    },
  })
}
