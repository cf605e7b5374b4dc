/** Accuracy of a model on a dataset. */
import { checkAborted, fail, type TaskOptions, yieldToEventLoop } from '../core/index.ts'
import type { Evaluator, Executable, Model } from '../graph/index.ts'
import type { Dataset } from './dataset.ts'
import { feedsOf, type InputSpec, modelInputs } from './feeds.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { type Preprocess, type PresetName, preprocessDataset } from './preprocess.ts'
import { resolvePreprocess } from './resolve-preprocess.ts'

/** Options of {@link evaluateExecutable}. */
export interface EvaluateExecutableOptions extends TaskOptions {
  /** How samples become inputs; absent: as they are. */
  readonly preprocess?: Preprocess | undefined
  /** Samples that are read at once, and run at once where the model's batch axis is open; default 64. */
  readonly batch?: number | undefined
  /** At most this many samples. */
  readonly limit?: number | undefined
  /** Seed of the order; absent: the data's own order. */
  readonly shuffle?: number | undefined
  /** Name of the output with the class scores; default: the model's first output. */
  readonly output?: string | undefined
}

/** Options of {@link evaluateModel}. */
export interface EvaluateOptions extends Omit<EvaluateExecutableOptions, 'preprocess'> {
  /** A preset's name or a preprocessing; absent: what the model's metadata say, else `none`. */
  readonly preprocess?: PresetName | Preprocess | undefined
}

/** What {@link evaluateExecutable} measured. */
export interface Evaluation extends Metrics {
  /** Time of the whole pass, reading and preprocessing included. */
  readonly milliseconds: number
}

/** What {@link evaluateModel} measured, and how. */
export interface ModelEvaluation extends Evaluation {
  /** Name of the dataset. */
  readonly data: string
  readonly preprocess: Preprocess
  /** Where the preprocessing came from. */
  readonly preprocessFrom: 'option' | 'model' | 'default'
}

function chooseOutput(executable: Executable, output: string | undefined): string {
  const names = executable.outputNames
  const chosen = output ?? names[0]
  if (chosen === undefined || !names.includes(chosen))
    fail(
      'NOT_FOUND',
      `Output '${output ?? ''}' is not one of the model's outputs: ${names.map((name) => `'${name}'`).join(', ')}.`,
    )
  return chosen
}

/**
 * Measures a model that is ready to run: top-1, top-5 and loss, in one streaming pass.
 *
 * @param inputs what the model's inputs want; see `modelInputs`.
 * @throws WhittleError `INVALID_DATA` when the data have no labels, or labels do not fit the outputs; `SHAPE_MISMATCH`
 *   when samples do not fit the inputs; `NOT_FINITE` for NaN outputs; `NOT_FOUND` for an unknown output; `ABORTED`.
 */
export async function evaluateExecutable(
  executable: Executable,
  inputs: readonly InputSpec[],
  data: Dataset | Promise<Dataset>,
  options: EvaluateExecutableOptions = {},
): Promise<Evaluation> {
  const began = performance.now()
  const { preprocess, batch, limit, shuffle, signal, onProgress } = options
  const raw = await data
  if (!raw.hasLabels) fail('INVALID_DATA', `Dataset '${raw.name}' has no labels; accuracy needs one class per sample.`)
  const output = chooseOutput(executable, options.output)
  const dataset = preprocess ? preprocessDataset(raw, preprocess) : raw
  const metrics = createMetrics(output)
  const total = Math.min(dataset.size, limit ?? dataset.size)
  let done = 0
  for await (const samples of dataset.batches({ batch, limit, shuffle, signal })) {
    const runs = feedsOf(samples, inputs, { inputNames: dataset.inputNames, layout: preprocess?.layout })
    for (const { feeds, start, size } of runs) {
      checkAborted(signal)
      const scores = (await executable.run(feeds, [output]))[output]!
      metrics.add(scores, samples.labels!.subarray(start, start + size))
    }
    done += samples.size
    onProgress?.({ stage: 'evaluate', done, total })
    await yieldToEventLoop()
  }
  return { ...metrics.result(), milliseconds: performance.now() - began }
}

/**
 * Measures a model's accuracy: top-1, top-5 and cross entropy.
 *
 * Models with a fixed batch (often 1) are fed that many samples at a time. The model is loaded, measured and released.
 *
 * @example
 * const { top1 } = await evaluateModel(evaluator, model, dataset, { preprocess: 'imagenet', limit: 1000 })
 * @throws WhittleError as {@link evaluateExecutable}; `ENGINE` when the runtime refuses the model.
 */
export async function evaluateModel(
  evaluator: Evaluator,
  model: Model,
  data: Dataset | Promise<Dataset>,
  options: EvaluateOptions = {},
): Promise<ModelEvaluation> {
  const { preprocess, from } = resolvePreprocess(model, options.preprocess)
  const dataset = await data
  const executable = await evaluator.load(model)
  try {
    const result = await evaluateExecutable(executable, modelInputs(model), dataset, { ...options, preprocess })
    return { ...result, data: dataset.name, preprocess, preprocessFrom: from }
  } finally {
    await executable.release()
  }
}
