/** Datasets: streams of batches, the same for every source. */
import type { Tensor } from '../tensor/index.ts'
import type { Geometry } from './geometry.ts'

/** One batch: model inputs and, when the data have them, one label per sample. */
export interface Batch {
  /** Input tensors by position; the first axis is the batch. Raw values before preprocessing are documented per source. */
  readonly inputs: readonly Tensor[]
  /** Class indices, one per sample. */
  readonly labels?: Int32Array | undefined
  /** Number of samples. */
  readonly size: number
}

/** Options of a pass over the data. */
export interface BatchOptions {
  /** Samples per batch; default 64. The last batch may be smaller. */
  readonly batch?: number | undefined
  /** At most this many samples, the first ones after shuffling. */
  readonly limit?: number | undefined
  /** Shuffles with this seed; absent: the data's own order. */
  readonly shuffle?: number | undefined
  /** Stops the pass: the next batch is not read, `ABORTED` is thrown. */
  readonly signal?: AbortSignal | undefined
}

/** A source of samples that can be passed over any number of times. */
export interface Dataset {
  /** What it is, for records: e.g. `cifar10:test`. */
  readonly name: string
  /** Samples in all. */
  readonly size: number
  /** Shape of one sample of each input, without the batch axis; `undefined` when samples differ. */
  readonly sampleShapes: readonly (readonly number[] | undefined)[]
  readonly hasLabels: boolean
  /** Names of the model inputs that `inputs` are for; absent: by position. */
  readonly inputNames?: readonly string[] | undefined
  batches(options?: BatchOptions): AsyncIterable<Batch>
  /** Reads the samples with these numbers, in this order, as one batch. Sources that can only stream lack this. */
  read?(indices: Int32Array, signal?: AbortSignal): Promise<Batch>
  /**
   * The same samples, resized and cropped while they are read. Only sources of pictures, whose samples may differ in
   * size, have this.
   */
  withGeometry?(geometry: Geometry): Dataset
}
