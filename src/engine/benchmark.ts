/** Latency of networks, measured in turns so that a busy moment of the machine hits all of them alike. */
import { checkAborted, fail, type TaskOptions, yieldToEventLoop } from '../core/index.ts'
import type { Evaluator, Executable, Model, TensorMap } from '../graph/index.ts'
import { type InputShapeOptions, randomFeeds } from './feeds.ts'

/** A network to measure. */
export interface BenchmarkSubject {
  readonly name: string
  readonly model: Model
  /** Default: random feeds. */
  readonly feeds?: TensorMap | undefined
}

/** Options of {@link benchmark}. */
export interface BenchmarkOptions extends InputShapeOptions, TaskOptions {
  /** Measured runs of each network; default 20. */
  readonly runs?: number | undefined
  /** Runs of each before measuring; default 3. */
  readonly warmup?: number | undefined
  /** Of the random feeds; default 0. */
  readonly seed?: number | undefined
}

/** What was measured of one network. */
export interface BenchmarkResult {
  readonly name: string
  readonly runs: number
  /** Samples per run: the first axis of the first input. */
  readonly batch: number
  /** Wall time of a run, copying of inputs and outputs included. */
  readonly milliseconds: { readonly median: number; readonly min: number; readonly p90: number }
  /** At the median. */
  readonly samplesPerSecond: number
  /** Median relative to the first network's; 0.5 means twice as fast. */
  readonly ratio: number
}

/**
 * Measures networks in rounds: each round runs every network once, in an order that turns by one per round.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for bad counts or open input shapes, `ENGINE`.
 */
export async function benchmark(
  evaluator: Evaluator,
  subjects: readonly BenchmarkSubject[],
  options: BenchmarkOptions = {},
): Promise<BenchmarkResult[]> {
  const { runs = 20, warmup = 3, signal } = options
  for (const [name, count, least] of [['runs', runs, 1] as const, ['warmup', warmup, 0] as const])
    if (!Number.isInteger(count) || count < least)
      fail('INVALID_ARGUMENT', `Option ${name}: must be a whole number of at least ${least}; got ${count}.`)
  const loaded: { executable: Executable; feeds: TensorMap; times: number[] }[] = []
  try {
    for (const { model, feeds } of subjects) {
      checkAborted(signal)
      const executable = await evaluator.load(model)
      loaded.push({ executable, feeds: feeds ?? randomFeeds(model, options), times: [] })
    }
    for (let round = -warmup; round < runs; round++) {
      checkAborted(signal)
      options.onProgress?.({ stage: 'benchmark', done: Math.max(0, round), total: runs })
      for (let turn = 0; turn < loaded.length; turn++) {
        const { executable, feeds, times } = loaded[(turn + round + warmup) % loaded.length]!
        const start = performance.now()
        await executable.run(feeds)
        if (round >= 0) times.push(performance.now() - start)
      }
      await yieldToEventLoop()
    }
  } finally {
    for (const { executable } of loaded) await executable.release()
  }
  const medians = loaded.map(({ times }) => quantile(times, 0.5))
  return loaded.map(({ feeds, times, executable }, position) => {
    const median = medians[position]!
    const batch = feeds[executable.inputNames[0] ?? '']?.shape[0] ?? 1
    return {
      name: subjects[position]!.name,
      runs,
      batch,
      milliseconds: { median, min: Math.min(...times), p90: quantile(times, 0.9) },
      samplesPerSecond: (1000 * batch) / median,
      ratio: median / medians[0]!,
    }
  })
}

/** The value below which the given part of the samples lies, interpolated between neighbours. */
function quantile(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = part * (sorted.length - 1)
  const low = sorted[Math.floor(at)]!
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at))
}
