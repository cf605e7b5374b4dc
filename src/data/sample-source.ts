/** Turns random access to samples into a {@link Dataset}: order, limit, batches and reading one batch ahead. */
import { checkAborted, createRandom, fail } from '../core/index.ts'
import type { Batch, BatchOptions, Dataset } from './dataset.ts'

/** Samples that can be read in any order. */
export interface SampleSource extends Omit<Dataset, 'batches'> {
  /** Reads the samples with these numbers, in this order, as one batch. */
  read(indices: Int32Array, signal: AbortSignal | undefined): Promise<Batch>
}

function checkCount(name: string, value: number | undefined): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= 1))
    fail('INVALID_ARGUMENT', `Option '${name}' must be a whole number of at least 1; got ${value}.`)
}

function orderOf(size: number, options: BatchOptions): Int32Array {
  const order = Int32Array.from({ length: size }, (_, index) => index)
  if (options.shuffle !== undefined) createRandom(options.shuffle).shuffle(order)
  return options.limit === undefined ? order : order.subarray(0, options.limit)
}

/**
 * Makes a dataset of a source. While a batch is being used the next one is read, never more than one.
 *
 * @throws WhittleError `INVALID_DATA` when the source has no samples; from `batches`, `INVALID_ARGUMENT` for a batch or
 *   limit below 1, `ABORTED`, and what the source throws.
 */
export function createDataset(source: SampleSource): Dataset {
  if (source.size === 0) fail('INVALID_DATA', `Dataset '${source.name}' has no samples.`)
  const { name, size, sampleShapes, hasLabels, inputNames } = source
  async function* batches(options: BatchOptions = {}): AsyncGenerator<Batch> {
    checkCount('batch', options.batch)
    checkCount('limit', options.limit)
    const order = orderOf(size, options)
    const length = options.batch ?? 64
    const read = (start: number): Promise<Batch> | undefined => {
      if (start >= order.length) return undefined
      const batch = source.read(order.subarray(start, start + length), options.signal)
      // A failure is reported when the batch's turn comes, not while its predecessor is being used.
      batch.catch(() => undefined)
      return batch
    }
    let next = read(0)
    try {
      for (let start = length; next; start += length) {
        checkAborted(options.signal)
        const batch: Batch = await next
        next = read(start)
        yield batch
      }
    } finally {
      await next?.catch(() => undefined)
    }
  }
  return {
    name,
    size,
    sampleShapes,
    hasLabels,
    batches,
    read: (indices, signal) => source.read(indices, signal),
    ...(inputNames && { inputNames }),
    ...(source.withGeometry && { withGeometry: source.withGeometry.bind(source) }),
  }
}
