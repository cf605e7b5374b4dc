/** The library's operations with ONNX Runtime for Node already in its place. */
import * as api from '../api/index.ts'
import type { DecomposeInfo } from '../compress/index.ts'
import { fail } from '../core/index.ts'
import {
  type Dataset,
  type EvaluateOptions,
  evaluateModel,
  type ModelEvaluation,
  resolvePreprocess,
} from '../data/index.ts'
import type { Model } from '../graph/index.ts'
import { checkpointFolder } from './checkpoint-folder.ts'
import { defaultRuntime } from './runtime.ts'
import { createWorkerLoader, type WorkerLoaderOptions } from './sample-workers.ts'

/** Samples that the doctor looks at unless told otherwise. */
export const DOCTOR_SAMPLES = 128

/** Options of {@link decompose}. */
export interface DecomposeOptions
  extends Omit<api.DecomposeOptions, 'data'>,
    Pick<api.CalibrationOptions, 'preprocess' | 'batch' | 'limit'> {
  /** Samples to fit the factors to: the layers' outputs are kept instead of their weights. */
  readonly data?: Dataset | Promise<Dataset> | undefined
}

/**
 * Decomposes the convolutions and linear layers of a model.
 *
 * @param runtime default: `onnxruntime-node` with one thread per core.
 * @example
 * const { model, record } = await decompose(original, { budget: { metric: 'macs', fraction: 0.5 } })
 * @throws WhittleError as `decompose` of the main door.
 */
export async function decompose(
  model: Model,
  options: DecomposeOptions = {},
  runtime?: api.Runtime,
): Promise<api.Decomposed> {
  const { data, preprocess, batch, limit, ...rest } = options
  const { seed, signal } = rest
  const feeds = data && api.calibrationFeeds(model, await data, { preprocess, batch, limit, seed, signal })
  return api.decompose(model, { ...rest, data: feeds }, runtime ?? (await defaultRuntime()))
}

/** Options of {@link quantize}. */
export interface QuantizeOptions
  extends Omit<api.QuantizeOptions, 'data'>,
    Pick<api.CalibrationOptions, 'preprocess' | 'batch' | 'limit'> {
  /** Samples to see the ranges of activations on; default 256 of them. Needed unless `activations` is `'none'`. */
  readonly data?: Dataset | Promise<Dataset> | undefined
  /**
   * Percentage points of top-1 that may be lost: layers are rolled back to floating point until that holds. Needs
   * `evaluation`; absent: nothing is evaluated.
   */
  readonly maxDrop?: number | undefined
  /** Labelled data that top-1 is measured on, all of it, or a measurement of one's own. */
  readonly evaluation?: Dataset | Promise<Dataset> | api.RollbackEvaluation | undefined
  /** How layers to roll back are looked for; default `greedy`. */
  readonly strategy?: api.RollbackOptions['strategy']
}

/**
 * Quantizes a model: layers and what is between them work on integers.
 *
 * @param runtime default: `onnxruntime-node` with one thread per core.
 * @example
 * const { model, record } = await quantize(original, { data: datasets.images('./samples'), preprocess: 'imagenet' })
 * @throws WhittleError as `quantize` of the main door; with `maxDrop` as `quantizeWithin`: `CHECK_FAILED` when the limit
 *   holds only with every layer rolled back.
 */
export async function quantize(
  model: Model,
  options: QuantizeOptions = {},
  runtime?: Pick<api.Runtime, 'evaluator'>,
): Promise<api.Quantized | api.QuantizedWithin> {
  const { data, preprocess, batch, limit = api.QUANTIZATION_SAMPLES, maxDrop, evaluation, strategy, ...rest } = options
  const { seed, signal } = rest
  const feeds = data && api.calibrationFeeds(model, await data, { preprocess, batch, limit, seed, signal })
  const used = runtime ?? (await defaultRuntime())
  const own = { ...rest, preprocess, data: feeds }
  if (maxDrop === undefined) return api.quantize(model, own, used)
  const given = await evaluation
  if (!given) fail('INVALID_ARGUMENT', 'Option maxDrop: needs data to measure top-1 on. Give `evaluation`.')
  const measured =
    'measure' in given
      ? given
      : api.top1Evaluation(used.evaluator, given, {
          preprocess: resolvePreprocess(model, preprocess).preprocess,
          batch,
        })
  return api.quantizeWithin(model, { ...own, maxDrop, strategy, evaluation: measured }, used)
}

/** Options of {@link analyseQuantization}. */
export interface AnalyseOptions
  extends Omit<api.AnalyseOptions, 'data'>,
    Pick<api.CalibrationOptions, 'preprocess' | 'batch' | 'limit' | 'seed'> {
  /** Samples that both networks are fed; default 256 of them. */
  readonly data: Dataset | Promise<Dataset>
}

/**
 * Compares a quantized network with its float original, layer by layer, the most damaged first.
 *
 * @param runtime default: `onnxruntime-node` with one thread per core.
 * @example
 * const { layers } = await analyseQuantization(original, model, { data: datasets.images('./samples'), preprocess: 'imagenet' })
 * @throws WhittleError as `analyseQuantization` of the main door.
 */
export async function analyseQuantization(
  original: Model,
  quantized: Model,
  options: AnalyseOptions,
  runtime?: Pick<api.Runtime, 'evaluator'>,
): Promise<api.QuantizationAnalysis> {
  const { data, preprocess, batch, limit = api.QUANTIZATION_SAMPLES, seed, ...rest } = options
  const { signal } = rest
  const feeds = api.calibrationFeeds(original, await data, { preprocess, batch, limit, seed, signal })
  return api.analyseQuantization(original, quantized, { ...rest, data: feeds }, runtime ?? (await defaultRuntime()))
}

/** Options of {@link diagnose}. */
export interface DiagnoseOptions
  extends Omit<api.DiagnoseOptions, 'data'>,
    Pick<api.CalibrationOptions, 'batch' | 'limit' | 'seed'> {
  /** Samples that ranges would be found from, default 128 of them; without any only the network is looked at. */
  readonly data?: Dataset | Promise<Dataset> | undefined
}

/**
 * Looks at a network and at samples for the usual causes of bad quantization.
 *
 * @param runtime default: `onnxruntime-node` with one thread per core.
 * @example
 * const { findings } = await diagnose(model, { data: datasets.images('./samples'), preprocess: 'imagenet' })
 * @throws WhittleError as `diagnose` of the main door.
 */
export async function diagnose(
  model: Model,
  options: DiagnoseOptions = {},
  runtime?: Pick<api.Runtime, 'evaluator'>,
): Promise<api.Diagnosis> {
  const { data, batch, limit = DOCTOR_SAMPLES, seed, ...rest } = options
  const { preprocess, signal } = rest
  const feeds = data && api.calibrationFeeds(model, await data, { preprocess, batch, limit, seed, signal })
  return api.diagnose(model, { ...rest, data: feeds }, runtime ?? (await defaultRuntime()))
}

/** Rebuilds a decomposed structure on a fresh model; see `replay` of the main door. */
export async function replay(
  model: Model,
  info: DecomposeInfo,
  options: api.ReplayOptions = {},
  runtime?: api.Runtime,
): ReturnType<typeof api.replay> {
  return api.replay(model, info, options, runtime ?? (await defaultRuntime()))
}

/** Inspects a model; see `inspect` of the main door. */
export async function inspect(
  model: Model,
  options: api.InspectOptions = {},
  runtime?: api.Runtime,
): Promise<api.Inspection> {
  return api.inspect(model, options, runtime ?? (await defaultRuntime()))
}

/**
 * Measures a model's accuracy on labelled data.
 *
 * @example
 * const { top1 } = await evaluate(model, { data: datasets.cifar10('./cifar10'), preprocess: 'imagenet' })
 * @throws WhittleError `INVALID_DATA` when the data have no labels or labels do not fit the outputs.
 */
export async function evaluate(
  model: Model,
  options: EvaluateOptions & { readonly data: Dataset | Promise<Dataset> },
  runtime?: api.Runtime,
): Promise<ModelEvaluation> {
  const { data, ...rest } = options
  return evaluateModel((runtime ?? (await defaultRuntime())).evaluator, model, data, rest)
}

/** Options of {@link finetune}. */
export interface FinetuneOptions extends api.TuneOptions, Pick<WorkerLoaderOptions, 'sharedBytes' | 'script'> {
  /** Folder for checkpoints; absent: none are written. */
  readonly checkpoint?: string | undefined
  /** Threads that prepare samples; default 1; 0: they are prepared between the engine's runs. */
  readonly workers?: number | undefined
}

/**
 * Trains a model further, on labels, on a teacher's answers, or on both.
 *
 * @param runtime default: `onnxruntime-node` with one thread per core.
 * @example
 * const data = datasets.cifar10('./cifar10', { split: 'train' })
 * const evaluation = datasets.cifar10('./cifar10')
 * const { model, record } = await finetune(small, { data, evaluation, teacher: original, epochs: 2, checkpoint: './run' })
 * @throws WhittleError as `finetune` of the main door; `INVALID_ARGUMENT` when the folder cannot be used.
 */
export async function finetune(
  model: Model,
  options: FinetuneOptions,
  runtime?: Pick<api.Runtime, 'evaluator'>,
): Promise<api.Tuned> {
  const { checkpoint, workers = 1, sharedBytes, script, ...rest } = options
  const { evaluator } = runtime ?? (await defaultRuntime())
  const { signal } = rest
  return api.finetune(model, rest, {
    evaluator,
    checkpoints: checkpoint === undefined ? undefined : await checkpointFolder(checkpoint),
    loader:
      workers === 0
        ? undefined
        : (data, settings) => createWorkerLoader(data, settings, { workers, sharedBytes, script, signal }),
  })
}
