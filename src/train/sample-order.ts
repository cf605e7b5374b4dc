/**
 * The order of samples, a pure function of seed, epoch and step, so that a resumed run sees the samples that an
 * uninterrupted one would have seen.
 */
import { createRandom, fail } from '../core/index.ts'

/** Mixes numbers into one seed (after MurmurHash3's finisher), so that neighbouring seeds give unrelated sequences. */
export function mixSeed(...numbers: readonly number[]): number {
  let hash = 0x9e3779b9
  for (const number of numbers) {
    hash = Math.imul(hash ^ (number >>> 0), 0x85ebca6b) >>> 0
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35) >>> 0
    hash = (hash ^ (hash >>> 16)) >>> 0
  }
  return hash
}

/** Where the samples of a step are. */
export interface SampleRun {
  readonly epoch: number
  /** Number of the first batch of the run in its epoch. */
  readonly firstBatch: number
  /** Numbers of the samples, whole batches of them. */
  readonly indices: Int32Array
}

/** The samples of every step of a training. */
export interface SampleOrder {
  readonly stepsPerEpoch: number
  /** The samples of `count` steps from `step` on, which must lie in one epoch. */
  run(step: number, count: number): SampleRun
}

/** Options of {@link sampleOrder}. */
export interface OrderOptions {
  /** Samples per batch. */
  readonly batch: number
  /** Batches per step; default 1. */
  readonly accumulate?: number | undefined
  readonly seed: number
  /** At most this many samples. */
  readonly limit?: number | undefined
}

/**
 * Shuffles anew in every epoch; samples that do not fill a last step are left out of that epoch.
 *
 * @param size samples in all.
 * @param limit how many of them are used: which ones is drawn from the seed, since data may be sorted by class.
 * @throws WhittleError `INVALID_ARGUMENT` when one step needs more samples than there are.
 */
export function sampleOrder(size: number, { batch, accumulate = 1, seed, limit = size }: OrderOptions): SampleOrder {
  const count = Math.min(size, limit)
  const perStep = batch * accumulate
  if (perStep > count)
    fail(
      'INVALID_ARGUMENT',
      `Training: a step needs ${accumulate > 1 ? `${accumulate} × ` : ''}${batch} samples; ${count < size ? 'the limit leaves' : 'the data have'} ${count}. Take a smaller batch or more data.`,
    )
  const stepsPerEpoch = Math.floor(count / perStep)
  const all = Int32Array.from({ length: size }, (_, index) => index)
  const used = count < size ? createRandom(mixSeed(seed, 0x5eed)).shuffle(all).slice(0, count) : all
  let known: { epoch: number; order: Int32Array } | undefined
  const orderOf = (epoch: number): Int32Array => {
    if (known?.epoch !== epoch) {
      known = { epoch, order: createRandom(mixSeed(seed, epoch, 1)).shuffle(used.slice()) }
    }
    return known.order
  }
  return {
    stepsPerEpoch,
    run(step, count) {
      const epoch = Math.floor(step / stepsPerEpoch)
      const first = step - epoch * stepsPerEpoch
      return {
        epoch,
        firstBatch: first * accumulate,
        indices: orderOf(epoch).slice(first * perStep, (first + count) * perStep),
      }
    },
  }
}
