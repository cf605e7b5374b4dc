/** Keeps samples ready ahead of the engine, and decides how many steps a run of it takes. */
import type { SampleOrder } from './sample-order.ts'
import type { PreparedSamples, SampleLoader } from './samples.ts'

/** Runs that are prepared while one is being trained with. */
const AHEAD = 2
/** A run should take this long: short enough to be cancelled, long enough to make copies of weights rare. */
const RUN_MILLISECONDS = 250
const MAX_STEPS = 16

/** Samples of one run of the engine. */
export interface PreparedRun {
  readonly start: number
  readonly count: number
  readonly samples: PreparedSamples
}

interface Pending {
  readonly start: number
  readonly count: number
  readonly samples: Promise<PreparedSamples>
}

/**
 * A queue of runs. How many steps one takes depends on the time that steps take; results do not, since steps in one run
 * give bit for bit what they give one by one.
 */
export class Pipeline {
  readonly #loader: SampleLoader
  readonly #order: SampleOrder
  readonly #signal: AbortSignal | undefined
  #pending: Pending[] = []
  #stepsPerRun = 1

  constructor(loader: SampleLoader, order: SampleOrder, signal: AbortSignal | undefined) {
    this.#loader = loader
    this.#order = order
    this.#signal = signal
  }

  /**
   * The samples from `step` on; asks for those that follow.
   *
   * @param boundary the step that a run beginning at a step may not go beyond.
   */
  async next(step: number, boundary: (from: number) => number): Promise<PreparedRun> {
    if (this.#pending[0]?.start !== step) this.#pending = []
    this.#fill(step, boundary, 1)
    const { start, count, samples } = this.#pending.shift()!
    this.#fill(start + count, boundary, AHEAD)
    return { start, count, samples: await samples }
  }

  #fill(from: number, boundary: (from: number) => number, depth: number): void {
    const last = this.#pending.at(-1)
    for (let at = last ? last.start + last.count : from; this.#pending.length < depth; ) {
      const count = Math.min(this.#stepsPerRun, boundary(at) - at)
      if (count <= 0) return
      const samples = this.#loader.load(this.#order.run(at, count), this.#signal)
      // A failure is reported when the run's turn comes.
      samples.catch(() => undefined)
      this.#pending.push({ start: at, count, samples })
      at += count
    }
  }

  /** Takes note of how long a step took. */
  tookMilliseconds(perStep: number): void {
    this.#stepsPerRun = Math.max(1, Math.min(MAX_STEPS, Math.round(RUN_MILLISECONDS / Math.max(perStep, 0.1))))
  }

  /** Waits for what was asked for and gives the loader back. */
  async close(): Promise<void> {
    await Promise.all(this.#pending.map(({ samples }) => samples.catch(() => undefined)))
    await this.#loader.close()
  }
}
