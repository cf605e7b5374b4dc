/** Options of a fine-tuning run, and what they become. */
import { fail, type Json, type TaskOptions } from '../core/index.ts'
import type { Dataset, Preprocess, PresetName } from '../data/index.ts'
import type { Evaluator, Model } from '../graph/index.ts'
import { type Augmentation, checkAugmentation } from './augment.ts'
import type { CheckpointStore } from './checkpoint.ts'
import type { HistoryEntry } from './finetuned.ts'
import type { LossTerm } from './losses.ts'
import { baseLearningRate, type Clipping, checkOptimizer, type Optimizer } from './optimizer.ts'
import type { ObserveTypes } from './prepare.ts'
import type { SampleLoader, SampleSettings } from './samples.ts'
import { checkSchedule, type Schedule } from './schedule.ts'
import type { StepOptions } from './step-options.ts'

/** Options of {@link finetuneNetwork}. */
export interface FinetuneOptions
  extends TaskOptions,
    Pick<
      StepOptions,
      | 'output'
      | 'freeze'
      | 'parameters'
      | 'groups'
      | 'rules'
      | 'ema'
      | 'accumulate'
      | 'batchNorm'
      | 'decayWeightsOnly'
      | 'lower'
    > {
  /** Training samples. */
  readonly data: Dataset | Promise<Dataset>
  /** Labelled samples that decide which weights are kept; absent: the last weights are. */
  readonly evaluation?: Dataset | Promise<Dataset> | undefined
  /** The network to learn from; usually the original. */
  readonly teacher?: Model | undefined
  /**
   * Terms of the loss. Default: cross entropy; with a teacher and labels half of that and half distillation at
   * temperature 4; with a teacher alone distillation.
   */
  readonly loss?: readonly LossTerm[] | undefined
  /** Passes over the data; default 1. */
  readonly epochs?: number | undefined
  /** Steps in all, instead of epochs. */
  readonly steps?: number | undefined
  /** Samples per batch; default 64. */
  readonly batch?: number | undefined
  /** At most this many training samples, drawn by the seed. */
  readonly limit?: number | undefined
  /** Name or settings; default SGD with momentum 0.9 and weight decay 5e-4. */
  readonly optimizer?: Optimizer['kind'] | Optimizer | undefined
  /** Base learning rate; default the optimizer's (SGD 0.01, Adam and AdamW 0.001, RMSProp 0.01). */
  readonly lr?: number | undefined
  /** Default: half a cosine. */
  readonly schedule?: Schedule['kind'] | Schedule | undefined
  /**
   * Bounds on gradients. Default: a norm of 1, because the layers of a decomposed network stand directly behind each
   * other and their gradients are large at first; `{}` for none.
   */
  readonly clip?: Clipping | undefined
  /** Default: none. */
  readonly augmentation?: Augmentation | undefined
  /** A preset's name or a preprocessing; absent: what the model's metadata say, else `none`. */
  readonly preprocess?: PresetName | Preprocess | undefined
  /** Seed of the order of samples and of augmentation; default 0. */
  readonly seed?: number | undefined
  /** Steps between evaluations; default: an epoch. */
  readonly evaluateEvery?: number | undefined
  /** At most this many samples are evaluated. */
  readonly evaluationLimit?: number | undefined
  /** Stops after so many evaluations in a row that were no better (accuracy, then loss); absent: never. */
  readonly patience?: number | undefined
  /** Steps between checkpoints; default: an epoch. */
  readonly checkpointEvery?: number | undefined
  /** Called after every epoch and evaluation; must not throw. */
  readonly onEntry?: ((entry: HistoryEntry) => void) | undefined
  /** Goes on from the store's checkpoint when it has one. Without this, a store with a checkpoint is refused. */
  readonly resume?: boolean | undefined
}

/** What a run works with; the rest of the library and the platform give it. */
export interface FinetuneRuntime {
  readonly evaluator: Evaluator
  readonly observe: ObserveTypes
  /** Keeps checkpoints; absent: none are written. */
  readonly checkpoints?: CheckpointStore | undefined
  /** Prepares samples beside the engine; absent: between its runs. */
  readonly loader?: ((data: Dataset, settings: SampleSettings) => Promise<SampleLoader>) | undefined
}

/** Options with their defaults filled in and checked. */
export interface ResolvedOptions {
  /** The optimizer and its settings. */
  readonly optimizer: Optimizer
  /** Base learning rate. */
  readonly lr: number
  /** How the learning rate changes. */
  readonly schedule: Schedule
  /** What happens to training pictures. */
  readonly augmentation: Augmentation
  /** Terms of the loss. */
  readonly loss: readonly LossTerm[]
  /** Bounds on gradients. */
  readonly clip: Clipping
  /** Samples per batch. */
  readonly batch: number
  /** Batches per step. */
  readonly accumulate: number
  /** Seed of the order of samples and of augmentation. */
  readonly seed: number
}

/** A decomposed ResNet-20 that diverges from learning rate 0.01 on is stable with this up to five times that. */
const DEFAULT_CLIP_NORM = 1

function checkCount(name: string, value: number | undefined): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1))
    fail('INVALID_ARGUMENT', `Option ${name}: must be a whole number of at least 1; got ${value}.`)
}

function optimizerOf(choice: FinetuneOptions['optimizer']): Optimizer {
  if (choice === undefined || choice === 'sgd') return { kind: 'sgd', momentum: 0.9, weightDecay: 5e-4 }
  return typeof choice === 'string' ? { kind: choice } : choice
}

function defaultLoss(hasLabels: boolean, hasTeacher: boolean): readonly LossTerm[] {
  if (hasTeacher && hasLabels)
    return [
      { kind: 'cross-entropy', weight: 0.5 },
      { kind: 'distillation', weight: 0.5 },
    ]
  return [hasTeacher ? { kind: 'distillation' } : { kind: 'cross-entropy' }]
}

/** Fills in defaults. @throws WhittleError `INVALID_ARGUMENT` naming the option that is wrong. */
export function resolveOptions(options: FinetuneOptions, data: Dataset): ResolvedOptions {
  const { batch = 64, accumulate = 1, augmentation = {}, seed = 0, epochs, steps } = options
  const counts = { batch, accumulate, epochs, steps, limit: options.limit, patience: options.patience }
  for (const [name, value] of Object.entries(counts)) checkCount(name, value)
  for (const name of ['evaluateEvery', 'evaluationLimit', 'checkpointEvery'] as const) checkCount(name, options[name])
  if (epochs !== undefined && steps !== undefined)
    fail('INVALID_ARGUMENT', 'Options epochs and steps: exclude each other. Give one.')
  if (options.patience !== undefined && !options.evaluation)
    fail('INVALID_ARGUMENT', 'Option patience: needs samples to evaluate on. Give evaluation, or leave it out.')
  const optimizer = optimizerOf(options.optimizer)
  checkOptimizer(optimizer)
  const lr = options.lr ?? baseLearningRate(optimizer)
  if (!(Number.isFinite(lr) && lr >= 0))
    fail('INVALID_ARGUMENT', `Option lr: must be a number of at least 0; got ${lr}.`)
  const schedule: Schedule =
    typeof options.schedule === 'object' ? options.schedule : { kind: options.schedule ?? 'cosine' }
  checkSchedule(schedule)
  checkAugmentation(augmentation)
  if (!data.hasLabels && !options.teacher)
    fail(
      'INVALID_DATA',
      `Dataset '${data.name}' has no labels; training needs labels or a teacher. Give labelled data, or the original network as teacher.`,
    )
  const loss = options.loss ?? defaultLoss(data.hasLabels, options.teacher !== undefined)
  const clip = options.clip ?? { norm: DEFAULT_CLIP_NORM }
  return { optimizer, lr, schedule, augmentation, loss, clip, batch, accumulate, seed }
}

/** Everything that decides the result, as JSON: a checkpoint goes on only with the same. */
export function identityOf(
  options: FinetuneOptions,
  resolved: ResolvedOptions,
  facts: { readonly [key: string]: Json },
): { readonly [key: string]: Json } {
  const { output, freeze, groups, ema, batchNorm, decayWeightsOnly, evaluateEvery, evaluationLimit, patience } = options
  const own = { output, freeze, groups, ema, batchNorm, decayWeightsOnly }
  const pace = { evaluateEvery, evaluationLimit, patience, limit: options.limit }
  return JSON.parse(JSON.stringify({ ...facts, ...resolved, ...own, ...pace }))
}
