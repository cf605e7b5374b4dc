/** Runs the steps of learned rounding of one unit. */
import { checkAborted, createRandom, fail, type TaskOptions, yieldToEventLoop } from '../../core/index.ts'
import type { Evaluator } from '../../graph/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { loopNames, scalarsAt } from '../../train/index.ts'
import { ROUNDING_OPTIMIZER, type RoundingUnit, roundingLoop, roundingNames } from './rounding-graph.ts'
import { type RoundingSchedule, regularizerAt, roundedShare } from './soft-rounding.ts'

/** Batches of a unit's inputs and of what it should put out. */
export interface UnitData {
  /** `[batches, …]`, by name of the unit's input. */
  readonly inputs: ReadonlyMap<string, Tensor>
  /** `[batches, …]` */
  readonly target: Tensor
  readonly batches: number
}

/** Settings of {@link learnUnit}. */
export interface LearnSettings extends RoundingSchedule {
  readonly learningRate: number
  readonly seed: number
}

/** What was learned. */
export interface LearnedUnit {
  /** Share of a step by which each weight's elements are rounded up, by name; near 0 or 1 in the end. */
  readonly shares: ReadonlyMap<string, Float32Array>
  readonly losses: Float32Array
}

/** Steps in one run of the engine: progress and cancellation come in between. */
const STEPS_PER_RUN = 100

/**
 * Learns the rounding of a unit's weights.
 *
 * @param start α of each weight's elements, by name.
 * @param what the unit's layers, for messages.
 * @throws WhittleError `NOT_FINITE` naming the unit when the loss is no finite number; `ABORTED`; `ENGINE`.
 */
export async function learnUnit(
  evaluator: Evaluator,
  unit: RoundingUnit,
  data: UnitData,
  start: ReadonlyMap<string, Float32Array>,
  settings: LearnSettings,
  what: string,
  { signal, onProgress }: TaskOptions = {},
): Promise<LearnedUnit> {
  const random = createRandom(settings.seed)
  const state = new Map<string, Tensor>()
  for (const { name, shape } of unit.weights) {
    const alpha = roundingNames.alpha(name)
    state.set(alpha, Tensor.of(start.get(name)!, shape))
    for (const part of ['mean', 'square'])
      state.set(`${part}/${alpha}`, Tensor.of(new Float32Array(start.get(name)!.length), shape))
  }
  const losses = new Float32Array(settings.steps)
  const session = await evaluator.load(roundingLoop(unit), { optimization: 'basic' })
  try {
    const fixed: Record<string, Tensor> = { [roundingNames.target]: data.target }
    for (const [name, tensor] of data.inputs) fixed[roundingNames.data(name)] = tensor
    for (let done = 0; done < settings.steps; ) {
      checkAborted(signal)
      const count = Math.min(STEPS_PER_RUN, settings.steps - done)
      const feeds = { ...fixed, ...scalarFeeds(settings, done, count, data.batches, random) }
      for (const [name, tensor] of state) feeds[loopNames.first(name)] = tensor
      const results = await session.run(feeds)
      for (const name of state.keys()) state.set(name, results[loopNames.last(name)]!)
      const found = toFloat32(results[roundingNames.loss]!)
      const wrong = found.findIndex((loss) => !Number.isFinite(loss))
      if (wrong >= 0)
        fail(
          'NOT_FINITE',
          `Rounding of ${what}: the loss must stay finite; it is ${found[wrong]} at step ${done + wrong + 1}. Lower the learning rate, or leave the layer out.`,
        )
      losses.set(found, done)
      done += count
      onProgress?.({ stage: 'learn rounding', done, total: settings.steps, values: { loss: found[count - 1]! } })
      await yieldToEventLoop()
    }
  } finally {
    await session.release()
  }
  const shares = new Map(
    unit.weights.map(({ name }) => [name, toFloat32(state.get(roundingNames.alpha(name))!).map(roundedShare)]),
  )
  return { shares, losses }
}

function scalarFeeds(
  settings: LearnSettings,
  from: number,
  count: number,
  batches: number,
  random: ReturnType<typeof createRandom>,
): Record<string, Tensor> {
  const steps = Array.from({ length: count }, (_, i) => from + i)
  const regularizers = steps.map((step) => regularizerAt(settings, step))
  const scalars = steps.map((step) =>
    scalarsAt(ROUNDING_OPTIMIZER, { weightDecay: 0, lrScale: 1 }, step, settings.learningRate),
  )
  const row = (values: readonly number[]): Tensor => Tensor.of(Float32Array.from(values), [count])
  const { stacked } = loopNames
  return {
    [loopNames.count]: Tensor.int64(count),
    [stacked(roundingNames.batch)]: Tensor.int64(steps.map(() => random.integer(batches))),
    [stacked(roundingNames.strength)]: row(regularizers.map(({ strength }) => strength)),
    [stacked(roundingNames.beta)]: row(regularizers.map(({ beta }) => beta)),
    [stacked(roundingNames.rate)]: row(scalars.map(({ rate }) => rate)),
    [stacked(roundingNames.root)]: row(scalars.map(({ root }) => root)),
  }
}
