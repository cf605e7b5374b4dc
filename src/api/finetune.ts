/** Fine-tuning of a whole model: train, keep the best weights, record. */
import type { CompressionRecord, Measurement, Plan, Skip } from '../compress/index.ts'
import { type Json, VERSION } from '../core/index.ts'
import { observeShapes } from '../engine/index.ts'
import { type Model, modelCost, modelHash } from '../graph/index.ts'
import {
  type Finetuned,
  type FinetuneOptions,
  type FinetuneRuntime,
  finetuneNetwork,
  type HistoryEntry,
} from '../train/index.ts'
import { type QatOptions, type TrainedQuantized, trainQuantized } from './qat.ts'
import type { Runtime } from './runtime.ts'

/** What fine-tuning did, beside what every record says. */
export type FinetuneRecord = CompressionRecord & {
  readonly history: readonly HistoryEntry[]
  /** Steps that were taken, and the step whose weights were kept. */
  readonly steps: number
  readonly bestStep: number
  readonly samplesPerSecond: number
  /** Share of training time in which the engine waited for samples. */
  readonly idleShare: number
  readonly milliseconds: Finetuned['milliseconds']
}

/** What {@link finetune} returns. */
export interface Tuned {
  /**
   * The given model with new weights: same nodes, same names, nothing of training in it. With `qat` it is quantized.
   */
  readonly model: Model
  readonly record: FinetuneRecord
  /** With `qat`: the plan, the trained network in float, and the one that was trained. */
  readonly quantized?: TrainedQuantized | undefined
}

/** Options of {@link finetune}. */
export interface TuneOptions extends FinetuneOptions {
  /** Trains with rounding, and quantizes: `true` for 8 bits each. The result's model is the one to deploy. */
  readonly qat?: boolean | QatOptions | undefined
}

/** What fine-tuning runs on: the engine, and what the platform adds. */
export type TrainingRuntime = Pick<Runtime, 'evaluator'> & Pick<FinetuneRuntime, 'checkpoints' | 'loader'>

/**
 * Trains a model further, on labels, on a teacher's answers, or on both.
 *
 * @example
 * const { model, record } = await finetune(decomposed, { data: training, evaluation: test, teacher: original }, runtime)
 * @throws WhittleError as `finetuneNetwork`: `INVALID_ARGUMENT`, `INVALID_DATA`, `UNSUPPORTED` for operators without
 *   gradient, `NOT_FINITE` naming step and layer, `PLAN_MISMATCH` for a checkpoint of another run, `ABORTED`.
 */
export async function finetune(model: Model, options: TuneOptions, runtime: TrainingRuntime): Promise<Tuned> {
  const { evaluator, checkpoints, loader } = runtime
  const { qat, ...training } = options
  const context: FinetuneRuntime = {
    evaluator,
    observe: (network, shapes) => observeShapes(evaluator, network, { ...shapes, signal: options.signal }),
    checkpoints,
    loader,
  }
  if (qat) {
    const quantized = await trainQuantized(model, qat === true ? {} : qat, training, context)
    return { model: quantized.model, record: quantizedRecord(model, quantized), quantized }
  }
  const result = await finetuneNetwork(model, training, context)
  return { model: result.model, record: await recordOf(model, result, runtime) }
}

/** The record of quantization with that of training. */
function quantizedRecord(model: Model, { record, training }: TrainedQuantized): FinetuneRecord {
  const own = [...training.frozen, ...training.unreached].filter((name) => model.graph.initializers.has(name))
  const skips = skipsOf({
    frozen: own.filter((name) => training.frozen.includes(name)),
    unreached: own.filter((name) => training.unreached.includes(name)),
  })
  return {
    ...record,
    skips: [...record.skips, ...skips],
    measured: measurementsOf(training),
    warnings: [...record.warnings, ...training.warnings],
    ...progressOf(training),
  }
}

async function recordOf(model: Model, result: Finetuned, { evaluator }: TrainingRuntime): Promise<FinetuneRecord> {
  const { parameters, bytes, macs } = modelCost(model, await observeShapes(evaluator, model).catch(() => new Map()))
  const { warnings } = result
  const skips = skipsOf(result)
  const cost = { parameters, bytes, macs }
  return {
    whittle: VERSION,
    method: 'finetune',
    seed: result.options.seed,
    plan: planOf(model, result, skips),
    before: cost,
    after: cost,
    layers: [],
    skips,
    measured: measurementsOf(result),
    warnings,
    ...progressOf(result),
  }
}

function skipsOf({ frozen, unreached }: Pick<Finetuned, 'frozen' | 'unreached'>): Skip[] {
  return [
    ...frozen.map((name) => ({ name, reason: 'It is frozen.' })),
    ...unreached.map((name) => ({ name, reason: 'It has no influence on the loss.' })),
  ]
}

function progressOf(result: Finetuned): Omit<FinetuneRecord, keyof CompressionRecord> {
  const { history, steps, bestStep, samplesPerSecond, milliseconds } = result
  const busy = milliseconds.training + milliseconds.waiting
  return {
    history,
    steps,
    bestStep,
    samplesPerSecond,
    idleShare: busy > 0 ? milliseconds.waiting / busy : 0,
    milliseconds,
  }
}

function planOf(model: Model, result: Finetuned, skips: readonly Skip[]): Plan {
  const { options, preprocess, data, evaluationData, stepsPerEpoch, trained, warnings } = result
  const step: Json = JSON.parse(
    JSON.stringify({ ...options, preprocess, data, evaluationData, stepsPerEpoch, trained }),
  )
  return {
    method: 'finetune',
    version: 1,
    model: modelHash(model),
    seed: options.seed,
    steps: [step],
    skips,
    warnings,
  }
}

function measurementsOf({ before: start, after, history, evaluationData, data, options }: Finetuned): Measurement[] {
  const measured: Measurement[] = []
  if (start && after && evaluationData !== null) {
    const common = { data: evaluationData, samples: after.samples, command: 'finetune' }
    measured.push({ metric: 'top1', before: start.top1, after: after.top1, ...common })
    if (after.top5 !== null) measured.push({ metric: 'top5', before: start.top5, after: after.top5, ...common })
    measured.push({ metric: 'loss', before: start.loss, after: after.loss, ...common })
  }
  const [first, last] = [history[0], history.at(-1)]
  if (first && last) {
    const samples = last.step * options.batch * options.accumulate
    const before = history.length > 1 ? first.loss : null
    measured.push({ metric: 'training loss', before, after: last.loss, data, samples, command: 'finetune' })
  }
  return measured
}
