/**
 * AMCT's calls of post-training quantization, in camelCase: `create_quant_config`, `quantize_model`, `save_model`.
 *
 * Unlike there, `quantizeModel` looks at the data itself, so that the record is complete when it returns.
 */
import { calibrationFeeds, prepareForQuantization } from '../api/index.ts'
import { applyQuantize, fakeQuantize } from '../compress/index.ts'
import { fail } from '../core/index.ts'
import type { Dataset } from '../data/index.ts'
import {
  type AmctQuantConfig,
  amctLayers,
  choicesFromAmctQuantConfig,
  expandAmctCalibration,
  planFromRecord,
  type QuantizationChoices,
  readAmctCalibrationCfg,
  readAmctQuantConfig,
  readAmctRecord,
  writeAmctQuantConfig,
  writeAmctRecord,
} from '../formats/index.ts'
import type { Model } from '../graph/index.ts'
import { createNodeRuntime, loadModel } from '../node/index.ts'
import { modelOf, readText, writeFiles } from './files.ts'
import { layerFactors } from './layer-factors.ts'
import {
  type AmctRuntimeOptions,
  type RetrainModelOptions,
  type SavedModels,
  savedModels,
  usesFewBits,
} from './retrain.ts'

/** Options of {@link createQuantConfig}. With `configDefinition` the others are not looked at, as in AMCT. */
export interface QuantConfigOptions extends AmctRuntimeOptions {
  /** Layers to leave in float. */
  readonly skipLayers?: readonly string[] | undefined
  /** Batches to calibrate on; default 1. */
  readonly batchNum?: number | undefined
  /** Whether activations have an offset (are asymmetric); default true. */
  readonly activationOffset?: boolean | undefined
  /** Simplified configuration (`.cfg`, text protobuf) to expand; AMCT's `config_defination`. */
  readonly configDefinition?: string | undefined
}

/**
 * Writes the JSON configuration of post-training quantization for a model's layers, to be edited by hand.
 *
 * @param configFile path to write to.
 * @param model or the path of one.
 * @throws WhittleError `INVALID_FILE` for a wrong `.cfg` and for layers that do not exist; `INVALID_ARGUMENT` when the
 *   file cannot be written; `INVALID_MODEL`.
 */
export async function createQuantConfig(
  configFile: string,
  model: Model | string,
  options: QuantConfigOptions = {},
): Promise<AmctQuantConfig> {
  const { skipLayers = [], batchNum = 1, activationOffset = true, configDefinition: path } = options
  const runtime = options.runtime ?? (await createNodeRuntime())
  const prepared = await prepareForQuantization(await modelOf(model), {}, runtime)
  const { config: message, source } =
    path === undefined ? readAmctCalibrationCfg('', 'options') : readAmctCalibrationCfg(await readText(path), path)
  const own = { batch_num: batchNum, activation_offset: activationOffset, skip_layers: skipLayers }
  const asked = path === undefined ? { ...message, ...own } : message
  const { config } = expandAmctCalibration(asked, amctLayers(prepared.model), path === undefined ? {} : { source })
  await writeFiles({ [configFile]: writeAmctQuantConfig(config) })
  return config
}

/**
 * Folds normalisations, finds the factors of layers as a configuration says, and writes the folded model and the record.
 *
 * @param configFile AMCT's JSON configuration.
 * @param modifiedOnnxFile path of the folded model to write.
 * @param recordFile path of the record to write.
 * @param model or the path of one.
 * @param data samples to calibrate on: `batch_num` batches of it.
 * @returns settings that could not be taken over as written.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`; `UNSUPPORTED` for balancing, AdaRound and non-uniform
 *   weights, which `quantize` with the same file does; `INVALID_DATA`; `NOT_FINITE`; `ENGINE`.
 */
export async function quantizeModel(
  configFile: string,
  modifiedOnnxFile: string,
  recordFile: string,
  model: Model | string,
  data: Dataset | Promise<Dataset>,
  options: RetrainModelOptions = {},
): Promise<{ readonly warnings: readonly string[] }> {
  const runtime = options.runtime ?? (await createNodeRuntime())
  const text = await readText(configFile)
  const given = await modelOf(model)
  const plain = await prepareForQuantization(given, {}, runtime)
  const { config } = readAmctQuantConfig(text, configFile, amctLayers(plain.model))
  const wide = usesFewBits(choicesFromAmctQuantConfig(config, amctLayers(plain.model)))
  const prepared = wide ? await prepareForQuantization(given, { types: ['int16'] }, runtime) : plain
  const layers = amctLayers(prepared.model)
  const choices = choicesFromAmctQuantConfig(config, layers)
  assertPlain(configFile, choices)
  const { preprocess, batch = 16 } = options
  const feeds = calibrationFeeds(prepared.model, await data, {
    preprocess,
    batch,
    limit: batch * (choices.batches ?? 1),
  })
  const record = await layerFactors(runtime.evaluator, prepared.model, layers, choices, feeds)
  await writeFiles({ [recordFile]: writeAmctRecord(record), [modifiedOnnxFile]: prepared.model })
  return { warnings: [...prepared.warnings, ...choices.warnings] }
}

function assertPlain(path: string, { adaRound, balance, levels }: QuantizationChoices): void {
  for (const [what, found] of [
    ['AdaRound', adaRound],
    ['balancing (dmq)', balance],
    ['non-uniform weights', levels],
  ] as const) {
    const [name] = found.keys()
    if (name !== undefined)
      fail(
        'UNSUPPORTED',
        `Configuration '${path}': layer '${name}' asks for ${what}, which a record cannot hold. Take quantize (whittle quantize --config) with the same file.`,
      )
  }
}

/**
 * Writes `<prefix>_deploy_model.onnx` and `<prefix>_fake_quant_model.onnx` from a folded model and its record.
 *
 * @param modifiedOnnxFile what {@link quantizeModel} wrote.
 * @param savePath folder and prefix of the two models.
 * @throws WhittleError `INVALID_FILE` with the place of what is wrong in the record; `INVALID_ARGUMENT` when files
 *   cannot be written.
 */
export async function saveModel(modifiedOnnxFile: string, recordFile: string, savePath: string): Promise<SavedModels> {
  const model = await loadModel(modifiedOnnxFile)
  const { config: record, source } = readAmctRecord(await readText(recordFile), recordFile)
  const plan = planFromRecord(record, model, { source })
  const paths = savedModels(savePath)
  await writeFiles({
    [paths.deployModel]: applyQuantize(model, plan).model,
    [paths.fakeQuantModel]: fakeQuantize(model, plan).model,
  })
  return paths
}
