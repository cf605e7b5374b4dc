/** What a roll-back holds the accuracy of: a number of a model, greater is better. */
import type { TaskOptions } from '../core/index.ts'
import { type Dataset, type EvaluateOptions, evaluateModel } from '../data/index.ts'
import type { Evaluator, Model } from '../graph/index.ts'

/** Measures models; the same model gives the same number. */
export interface Evaluation {
  /** Name of the number, e.g. `top1`. */
  readonly metric: string
  /** What it is measured on, for records. */
  readonly data: string
  readonly samples: number
  /** @returns a share of 1, greater is better; a drop of 0.01 is one percentage point. */
  measure(model: Model, task: TaskOptions): Promise<number>
}

/**
 * Top-1 accuracy on labelled data.
 *
 * @param options how samples become inputs and how many are taken; see `evaluateModel`. A preprocessing that the
 *   original's metadata name has to be given, since candidates may lack them.
 */
export function top1Evaluation(
  evaluator: Evaluator,
  data: Dataset,
  options: Omit<EvaluateOptions, keyof TaskOptions> = {},
): Evaluation {
  return {
    metric: 'top1',
    data: data.name,
    samples: Math.min(data.size, options.limit ?? data.size),
    measure: async (model, { signal }) => (await evaluateModel(evaluator, model, data, { ...options, signal })).top1,
  }
}
