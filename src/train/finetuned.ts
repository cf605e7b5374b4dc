/** What a fine-tuning run gives beside the model: what was measured on the way. */
import type { Preprocess } from '../data/index.ts'
import type { Model } from '../graph/index.ts'
import type { ResolvedOptions } from './finetune-options.ts'

/** What was measured from one evaluation, or the end of an epoch, to the next. */
export type HistoryEntry = {
  /** Steps done. */
  readonly step: number
  readonly epoch: number
  /** Means over the steps since the last entry. */
  readonly loss: number
  /** Share of samples that were right while training, augmentation included; with a teacher alone: like the teacher. */
  readonly accuracy: number
  /** Of the last step. */
  readonly lr: number
  /** The largest norm of all gradients together. */
  readonly gradientNorm: number
  /** On the evaluation samples, when they were looked at. */
  readonly evaluation: EvaluationEntry | null
}

/** Accuracy on the evaluation samples. */
export type EvaluationEntry = {
  readonly top1: number
  readonly top5: number | null
  readonly loss: number
  readonly samples: number
}

/** What {@link finetuneNetwork} returns. */
export interface Finetuned {
  /** The given model's graph with new weights. */
  readonly model: Model
  /** Evaluation before the first step and of the returned weights. */
  readonly before: EvaluationEntry | null
  readonly after: EvaluationEntry | null
  readonly history: readonly HistoryEntry[]
  /** Steps that were taken, and the step whose weights are returned. */
  readonly steps: number
  readonly bestStep: number
  readonly stepsPerEpoch: number
  readonly options: ResolvedOptions
  readonly preprocess: Preprocess
  /** Names of the data that were trained and evaluated on. */
  readonly data: string
  readonly evaluationData: string | null
  /** Parameters by name that were trained, frozen, and without influence on the loss. */
  readonly trained: readonly string[]
  readonly frozen: readonly string[]
  readonly unreached: readonly string[]
  /** Time of this call: in all, in training steps, waiting for samples, evaluating, writing checkpoints. */
  readonly milliseconds: {
    readonly total: number
    readonly training: number
    readonly waiting: number
    readonly evaluation: number
    readonly checkpoints: number
  }
  /** Samples that this call trained with, per second of training and waiting. */
  readonly samplesPerSecond: number
  readonly warnings: readonly string[]
}
