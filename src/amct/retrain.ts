/**
 * AMCT's three calls of quantization-aware training, in camelCase: `create_quant_retrain_config`,
 * `create_quant_retrain_model`, `save_quant_retrain_model`.
 *
 * Unlike there, nothing has to be run between training and saving: factors are read from what was trained.
 */
import { calibrationFeeds, prepareForTraining, type Runtime } from '../api/index.ts'
import { fakeQuantize } from '../compress/index.ts'
import { fail } from '../core/index.ts'
import type { Dataset } from '../data/index.ts'
import { observeShapes } from '../engine/index.ts'
import {
  type AmctRetrainJson,
  amctLayers,
  choicesFromAmctRetrainJson,
  expandAmctRetrain,
  planFromRecord,
  type QuantizationChoices,
  type RetrainChoice,
  readAmctRetrainCfg,
  readAmctRetrainJson,
  recordFromPlan,
  writeAmctRecord,
  writeAmctRetrainJson,
} from '../formats/index.ts'
import type { Model } from '../graph/index.ts'
import { createNodeRuntime, type FinetuneOptions } from '../node/index.ts'
import {
  deployQuantized,
  type LayerQatOptions,
  type QuantizedNetwork,
  quantizedNetwork,
  trainQuantizedNetwork,
} from '../retrain/index.ts'
import type { Finetuned, FinetuneRuntime } from '../train/index.ts'
import { modelOf, readText, writeFiles } from './files.ts'
import { layerFactors } from './layer-factors.ts'
import { loaderOf } from './loader.ts'

/** Options of calls that run the model. */
export interface AmctRuntimeOptions {
  /** Default: `onnxruntime-node` with one thread per core. */
  readonly runtime?: Pick<Runtime, 'evaluator'> | undefined
}

/** Options of {@link createQuantRetrainConfig}. */
export interface RetrainConfigOptions extends AmctRuntimeOptions {
  /** Simplified configuration (`.cfg`, text protobuf) to expand; AMCT's `config_defination`. */
  readonly configDefinition?: string | undefined
}

/**
 * Writes the JSON configuration of quantization-aware training for a model's layers, to be edited by hand.
 *
 * @param configFile path to write to.
 * @param model or the path of one.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN` for a wrong `.cfg`; `INVALID_ARGUMENT` when the file cannot
 *   be written; `INVALID_MODEL`.
 */
export async function createQuantRetrainConfig(
  configFile: string,
  model: Model | string,
  options: RetrainConfigOptions = {},
): Promise<AmctRetrainJson> {
  const runtime = options.runtime ?? (await createNodeRuntime())
  const prepared = await prepareForTraining(await modelOf(model), {}, runtime)
  const layers = amctLayers(prepared.model)
  const { configDefinition: path } = options
  const { config: message, source } =
    path === undefined ? readAmctRetrainCfg('', 'defaults') : readAmctRetrainCfg(await readText(path), path)
  const { config } = expandAmctRetrain(message, layers, { source })
  await writeFiles({ [configFile]: writeAmctRetrainJson(config) })
  return config
}

/** Options of {@link createQuantRetrainModel}. */
export interface RetrainModelOptions extends AmctRuntimeOptions {
  /** A preset's name or a preprocessing; absent: what the model's metadata say, else `none`. */
  readonly preprocess?: FinetuneOptions['preprocess']
  /** Samples per batch; the configuration says how many batches are looked at. Default 16. */
  readonly batch?: number | undefined
}

/** A model with fake quantization, to be trained and saved. */
export interface QuantRetrainModel {
  /** The network as it stands, in standard operators. */
  readonly model: Model
  readonly config: AmctRetrainJson
  /** Settings that could not be taken over as written. */
  readonly warnings: readonly string[]
  /** Its parts, for {@link saveQuantRetrainModel}. */
  readonly network: QuantizedNetwork
  /** Trains weights and ranges; once more: on from where it stands. @throws WhittleError as `finetune`. */
  train(options: FinetuneOptions): Promise<Finetuned>
}

/**
 * Puts fake quantization into a model as a configuration says, and writes the record of what it starts from: ULQ
 * (learned ends of the range) on inputs of layers, from the configuration's clips or from IFMR on the data, and ARQ or
 * learned scales on weights.
 *
 * @param configFile AMCT's JSON configuration.
 * @param model or the path of one.
 * @param recordFile path of the record to write.
 * @param data samples to calibrate on: `batch_num` batches of it.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`; `INVALID_DATA`; `NOT_FINITE`; `ENGINE`.
 */
export async function createQuantRetrainModel(
  configFile: string,
  model: Model | string,
  recordFile: string,
  data: Dataset | Promise<Dataset>,
  options: RetrainModelOptions = {},
): Promise<QuantRetrainModel> {
  const { evaluator } = options.runtime ?? (await createNodeRuntime())
  const text = await readText(configFile)
  const given = await modelOf(model)
  const plain = await prepareForTraining(given, {}, { evaluator })
  const read = readAmctRetrainJson(text, configFile, amctLayers(plain.model))
  const wide = usesFewBits(choicesFromAmctRetrainJson(read.config, amctLayers(plain.model)))
  const prepared = wide ? await prepareForTraining(given, { types: ['int4'] }, { evaluator }) : plain
  const layers = amctLayers(prepared.model)
  const choices = choicesFromAmctRetrainJson(read.config, layers)
  const batch = options.batch ?? 16
  const limit = (choices.batches ?? 1) * batch
  const { preprocess } = options
  const record = await layerFactors(
    evaluator,
    prepared.model,
    layers,
    choices,
    calibrationFeeds(prepared.model, await data, { preprocess, batch, limit }),
  )
  await writeFiles({ [recordFile]: writeAmctRecord(record) })
  const plan = planFromRecord(record, prepared.model)
  const shapes = await observeShapes(evaluator, prepared.model)
  const network = quantizedNetwork(
    { model: prepared.unfolded, planned: prepared.model, plan, shapes },
    {
      algorithm: 'ulq',
      layers: Object.fromEntries([...choices.retrain].map(([name, choice]) => [name, layerOptions(choice)])),
    },
  )
  const warnings = [...prepared.warnings, ...choices.warnings]
  return new RetrainModel({ config: read.config, warnings, network, evaluator, preprocess })
}

/** Whether types are needed that only opset 21 has. */
export function usesFewBits({ layers, tensors }: QuantizationChoices): boolean {
  return [...layers.values(), ...tensors.values()].some(({ bits }) => bits === 4 || bits === 16)
}

function layerOptions({ clip, fixedMin, weights }: RetrainChoice): LayerQatOptions {
  return { clip, fixedMin, weights }
}

interface RetrainModelParts {
  readonly config: AmctRetrainJson
  readonly warnings: readonly string[]
  readonly network: QuantizedNetwork
  readonly evaluator: Runtime['evaluator']
  readonly preprocess: FinetuneOptions['preprocess']
}

class RetrainModel implements QuantRetrainModel {
  readonly config: AmctRetrainJson
  readonly warnings: readonly string[]
  readonly network: QuantizedNetwork
  readonly #parts: RetrainModelParts
  #model: Model

  constructor(parts: RetrainModelParts) {
    this.config = parts.config
    this.warnings = parts.warnings
    this.network = parts.network
    this.#parts = parts
    this.#model = parts.network.model
  }

  get model(): Model {
    return this.#model
  }

  async train(options: FinetuneOptions): Promise<Finetuned> {
    const { evaluator, preprocess } = this.#parts
    const { qat: _, checkpoint, workers, sharedBytes, script, ...rest } = options
    const runtime: FinetuneRuntime = {
      evaluator,
      observe: (model, shapes) => observeShapes(evaluator, model, { ...shapes, signal: options.signal }),
      ...(await loaderOf({ checkpoint, workers, sharedBytes, script, signal: options.signal })),
    }
    const trained = await trainQuantizedNetwork(this.network, { preprocess, ...rest }, runtime, this.#model)
    this.#model = trained.model
    return trained
  }
}

/** Throws when a configuration is not the one a model was created with. */
function assertSameConfig(path: string, found: AmctRetrainJson, wanted: AmctRetrainJson): void {
  if (writeAmctRetrainJson(found) !== writeAmctRetrainJson(wanted))
    fail(
      'PLAN_MISMATCH',
      `Configuration '${path}': must be the one that the model was created with; it has changed. Create the model again.`,
    )
}

/** Files that {@link saveQuantRetrainModel} and `saveModel` wrote. */
export interface SavedModels {
  /** `<prefix>_deploy_model.onnx`: integer weights, QuantizeLinear and DequantizeLinear. */
  readonly deployModel: string
  /** `<prefix>_fake_quant_model.onnx`: the same numbers in float. */
  readonly fakeQuantModel: string
}

/** Paths of the two models. */
export function savedModels(savePath: string): SavedModels {
  return { deployModel: `${savePath}_deploy_model.onnx`, fakeQuantModel: `${savePath}_fake_quant_model.onnx` }
}

/**
 * Writes what was trained: the record with the learned factors, `<prefix>_deploy_model.onnx` and
 * `<prefix>_fake_quant_model.onnx`. All files appear, or none.
 *
 * @param configFile the configuration that the model was created with.
 * @param savePath folder and prefix of the two models.
 * @throws WhittleError `PLAN_MISMATCH` when the configuration is another one by now; `INVALID_FILE` for factors that a
 *   record cannot hold; `INVALID_ARGUMENT` when files cannot be written.
 */
export async function saveQuantRetrainModel(
  configFile: string,
  model: QuantRetrainModel,
  recordFile: string,
  savePath: string,
): Promise<SavedModels> {
  const { config } = readAmctRetrainJson(await readText(configFile), configFile)
  assertSameConfig(configFile, config, model.config)
  const { model: deployed, float, plan } = await deployQuantized(model.network, model.model)
  const { record } = recordFromPlan(plan, float)
  const paths = savedModels(savePath)
  await writeFiles({
    [recordFile]: writeAmctRecord(record),
    [paths.deployModel]: deployed,
    [paths.fakeQuantModel]: fakeQuantize(float, plan).model,
  })
  return paths
}
