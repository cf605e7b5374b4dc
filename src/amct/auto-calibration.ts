/**
 * AMCT's `accuracy_based_auto_calibration` in camelCase: quantize everything, and roll back the layers that suffer most
 * until the evaluator is satisfied.
 *
 * Beside the models it writes AMCT's three JSON files; its record of the search is valid JSON here.
 */
import { basename, dirname, join } from 'node:path'
import { configureQuantization, type QuantizedWithin, quantizeWithin, type RollbackOptions } from '../api/index.ts'
import {
  AMCT_ROLLBACK_FILES,
  amctRollbackFiles,
  fakeQuantize,
  type RollbackRecord,
  type RollbackStrategy,
} from '../compress/index.ts'
import { fail, type Json, WhittleError } from '../core/index.ts'
import { amctLayers, recordFromPlan, writeAmctRecord } from '../formats/index.ts'
import type { Executable, Model, TensorMap } from '../graph/index.ts'
import { createNodeRuntime } from '../node/index.ts'
import { modelOf, readText, writeFiles } from './files.ts'
import { type AmctRuntimeOptions, type SavedModels, savedModels } from './retrain.ts'

/** What the caller implements: AMCT's `AutoCalibrationEvaluatorBase`. */
export interface AutoCalibrationEvaluator {
  /** Runs the model on calibration data, a batch per run; what it is fed is kept and decides on ranges. */
  calibration(model: Executable): Promise<void>
  /** The model's accuracy: one number. */
  evaluate(model: Executable): Promise<number>
  /** Whether an accuracy will do, and the loss. The original's against itself has to. */
  metricEval(originalMetric: number, newMetric: number): readonly [satisfied: boolean, loss: number]
}

/** Options of {@link accuracyBasedAutoCalibration}. */
export interface AutoCalibrationOptions extends AmctRuntimeOptions {
  /** Decides which layers to roll back next; default AMCT's binary search. */
  readonly strategy?: 'BinarySearch' | RollbackStrategy | undefined
  /** How similar a layer's outputs are before and after, 0 … 1; default AMCT's cosine. */
  readonly sensitivity?: 'CosineSimilarity' | NonNullable<RollbackOptions['similarity']> | undefined
}

/** What {@link accuracyBasedAutoCalibration} did. */
export interface AutoCalibrated {
  /** What was tried and found; `status` is `original` when every layer had to be rolled back and no model was written. */
  readonly rollback: RollbackRecord
  /** Paths of the models; `undefined` when there are none. */
  readonly models: SavedModels | undefined
}

/**
 * Quantizes a model so that the evaluator is satisfied.
 *
 * Writes `<prefix>_deploy_model.onnx`, `<prefix>_fake_quant_model.onnx` and the record (neither when every layer had to
 * be rolled back), and beside them `accuracy_based_auto_calibration_ranking_information.json`,
 * `…_final_config.json` and `…_record.json`.
 *
 * @param model or the path of one.
 * @param configFile AMCT's JSON configuration.
 * @param recordFile path of the record to write.
 * @param saveDir folder and prefix of the models.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`; `INVALID_ARGUMENT` when the evaluator answers with something
 *   else than it should, or the original does not satisfy it; `INVALID_DATA` when `calibration` runs nothing; `ENGINE`.
 */
export async function accuracyBasedAutoCalibration(
  model: Model | string,
  evaluator: AutoCalibrationEvaluator,
  configFile: string,
  recordFile: string,
  saveDir: string,
  options: AutoCalibrationOptions = {},
): Promise<AutoCalibrated> {
  const runtime = options.runtime ?? (await createNodeRuntime())
  const original = await modelOf(model)
  const text = await readText(configFile)
  const feeds = await recordFeeds(original, evaluator, runtime)
  const data = async function* (): AsyncIterable<TensorMap> {
    yield* feeds
  }
  const configured = await configureQuantization(original, text, configFile, { data }, runtime)
  const { strategy = 'BinarySearch', sensitivity = 'CosineSimilarity' } = options
  const search: RollbackOptions = {
    evaluation: {
      metric: 'metric',
      data: 'evaluator',
      samples: 0,
      measure: (candidate) => measure(candidate, evaluator, runtime),
    },
    judge: (before, after) => judged(evaluator.metricEval(before, after)),
    strategy: strategy === 'BinarySearch' ? 'binary-search' : strategy,
    similarity: sensitivity === 'CosineSimilarity' ? undefined : sensitivity,
  }
  let found: QuantizedWithin | undefined
  let rollback: RollbackRecord
  try {
    found = await quantizeWithin(original, { ...configured.options, ...search }, runtime)
    rollback = found.record.rollback
  } catch (error) {
    rollback = failedRecord(error)
  }
  const models = found && savedModels(saveDir)
  await writeFiles({
    ...(found && models ? modelFiles(found, models, recordFile) : {}),
    ...searchFiles(rollback, JSON.parse(text), found?.float ?? original, dirname(saveDir)),
  })
  return { rollback, models }
}

async function recordFeeds(
  model: Model,
  evaluator: AutoCalibrationEvaluator,
  runtime: NonNullable<AmctRuntimeOptions['runtime']>,
): Promise<readonly TensorMap[]> {
  const feeds: TensorMap[] = []
  const executable = await runtime.evaluator.load(model)
  try {
    await evaluator.calibration({
      inputNames: executable.inputNames,
      outputNames: executable.outputNames,
      outputTypes: executable.outputTypes,
      run: (given, outputs) => {
        feeds.push({ ...given })
        return executable.run(given, outputs)
      },
      release: async () => {},
    })
  } finally {
    await executable.release()
  }
  if (feeds.length === 0)
    fail('INVALID_DATA', "The evaluator's calibration() must run the model at least once; it did not. Run its batches.")
  return feeds
}

async function measure(
  model: Model,
  evaluator: AutoCalibrationEvaluator,
  runtime: NonNullable<AmctRuntimeOptions['runtime']>,
): Promise<number> {
  const executable = await runtime.evaluator.load(model)
  try {
    const metric: unknown = await evaluator.evaluate(executable)
    return typeof metric === 'number' && Number.isFinite(metric)
      ? metric
      : fail(
          'INVALID_ARGUMENT',
          `The evaluator's evaluate() must answer with a finite number; got ${typeof metric === 'function' ? 'a function; call it' : String(metric)}.`,
        )
  } finally {
    await executable.release()
  }
}

function judged(answer: unknown): { satisfied: boolean; loss: number } {
  const [satisfied, loss] = Array.isArray(answer) ? (answer as unknown[]) : []
  return typeof satisfied === 'boolean' && typeof loss === 'number'
    ? { satisfied, loss }
    : fail(
        'INVALID_ARGUMENT',
        `The evaluator's metricEval() must answer with [satisfied, loss], a boolean and a number; got ${JSON.stringify(answer) ?? String(answer)}.`,
      )
}

/** The record of a search that rolled everything back. */
function failedRecord(error: unknown): RollbackRecord {
  const details = error instanceof WhittleError && error.code === 'CHECK_FAILED' ? error.details : null
  if (typeof details === 'object' && details !== null && 'trials' in details) return details as RollbackRecord
  throw error
}

function modelFiles(found: QuantizedWithin, models: SavedModels, recordFile: string): Record<string, string | Model> {
  return {
    [models.deployModel]: found.model,
    [models.fakeQuantModel]: fakeQuantize(found.float, found.plan).model,
    [recordFile]: writeAmctRecord(recordFromPlan(found.plan, found.float).record),
  }
}

/** AMCT's three files, with layers named as in the configuration. */
function searchFiles(
  rollback: RollbackRecord,
  config: { readonly [key: string]: Json },
  model: Model,
  folder: string,
): Record<string, string> {
  const layers = amctLayers(model)
  const keys = new Map(Object.keys(config).map((key) => [layers.find(key)?.node ?? key, key]))
  const named = (name: string): string => keys.get(name) ?? name
  const outcome = {
    ...rollback,
    rolledBack: rollback.rolledBack.map(named),
    ranking: rollback.ranking.map(({ layer, score }) => ({ layer: named(layer), score })),
    trials: rollback.trials.map((trial) => ({ ...trial, rolledBack: trial.rolledBack.map(named) })),
  }
  const contents = amctRollbackFiles(outcome, rollback.layers.map(named), config)
  return Object.fromEntries(
    (['ranking', 'config', 'record'] as const).map((kind) => [
      join(folder, basename(AMCT_ROLLBACK_FILES[kind])),
      `${JSON.stringify(contents[kind], null, 2)}\n`,
    ]),
  )
}
