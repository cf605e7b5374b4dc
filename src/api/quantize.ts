/** Quantization of a whole model: prepare, improve, calibrate, plan, apply, record. */
import {
  applyQuantize,
  type CompressionRecord,
  type IntegerType,
  planQuantize,
  type QuantizeApplied,
  type QuantizeImprovements,
  type QuantizePlan,
  type QuantizePlanOptions,
  recordQuantize,
  type WeightOnlyPlan,
} from '../compress/index.ts'
import { fail, type TaskOptions, VERSION } from '../core/index.ts'
import { observeShapes } from '../engine/index.ts'
import { type Model, modelCost, type TensorMap } from '../graph/index.ts'
import { improveRanges, type RangeOptions } from './better-ranges.ts'
import { type BiasCorrectionOptions, correctBiasesOnData } from './bias-correction.ts'
import { type Calibrated, type CalibrateOptions, calibrateModel } from './calibrate.ts'
import { type DiagnoseOptions, type Finding, findingText, InputWatch, quickFindings } from './doctor/index.ts'
import { assertSomeLayer, type PreparedForQuantization, prepareForQuantization } from './quantize-prepare.ts'
import { PlanRounding, type RoundedWeights, type RoundingChoice, recordRounding } from './rounding.ts'
import type { Runtime } from './runtime.ts'
import { quantizeWeights } from './weight-only.ts'

/** Options of {@link quantize}. */
export interface QuantizeOptions
  extends Omit<QuantizePlanOptions, 'activations' | 'weights' | 'calibration'>,
    CalibrateOptions,
    RangeOptions {
  /** Batches of real inputs; called once per pass. Needed unless `activations` is `'none'`. */
  readonly data?: (() => AsyncIterable<TensorMap>) | undefined
  /** Type of activations; default uint8. `'none'`: weights alone, without data. */
  readonly activations?: 'uint8' | 'int8' | 'uint16' | 'int16' | 'uint4' | 'int4' | 'none' | undefined
  /** Type of weights; default int8. */
  readonly weights?: IntegerType | undefined
  /** Whether biases take up what quantization shifts layers' outputs by in the mean; default false. */
  readonly correctBiases?: boolean | Pick<BiasCorrectionOptions, 'samples' | 'order'> | undefined
  /**
   * How weights become integers: `'nearest'`, or chosen on the data, layer by layer in the order of the graph: `'gptq'`
   * (seconds), `'adaround'`, `'block'` (minutes); or a method with options. Default: `gptq` for weights of 4 bits and
   * fewer, which need it, the nearest for the others.
   */
  readonly rounding?: RoundingChoice | undefined
  /** Shapes of inputs that the model leaves open; an open first axis counts as the batch and needs none. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
  /** The preprocessing that `data` went through, if somebody chose one: then raw pixels are no finding. */
  readonly preprocess?: DiagnoseOptions['preprocess']
}

/** What {@link quantize} returns. */
export interface Quantized {
  readonly model: Model
  readonly record: CompressionRecord
  readonly plan: QuantizePlan | WeightOnlyPlan
  /** The float network that the plan is for: prepared, and improved where that was asked for; not for weights alone. */
  readonly float?: Model | undefined
  /** What usually goes wrong and was seen in passing, among the record's warnings too; `diagnose` looks closer. */
  readonly findings?: readonly Finding[] | undefined
}

/** What plans of one model are made from; for making several of them from one calibration. */
export interface QuantizationBasis {
  /** The float model that plans are for: prepared, and improved where that was asked for. */
  readonly model: Model
  readonly calibrated: Calibrated
  /** Options with all that the preparation decided. */
  readonly planOptions: QuantizePlanOptions
  readonly warnings: readonly string[]
  readonly findings: readonly Finding[]
  /** What was done to the float model; absent: nothing. */
  readonly improvements?: QuantizeImprovements | undefined
  /** Integers that were chosen for its plans. */
  readonly rounding: PlanRounding
}

/**
 * Quantizes a model: layers and what is between them work on integers.
 *
 * @throws WhittleError `INVALID_ARGUMENT` without data, for a model that is quantized already, for patterns that match
 *   nothing, and when no layer can be quantized; `INVALID_DATA` without a batch; `NOT_FINITE`; `UNSUPPORTED` when the
 *   opset is too low and cannot be lifted; `INVALID_MODEL`; `ENGINE`; `ABORTED`.
 */
export async function quantize(
  model: Model,
  options: QuantizeOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<Quantized> {
  if (options.activations === 'none') return weightsAlone(model, options, runtime)
  const basis = await quantizationBasis(model, options, runtime)
  return finishQuantization(basis, planFrom(basis, options), options, runtime)
}

function weightsAlone(model: Model, options: QuantizeOptions, runtime: Pick<Runtime, 'evaluator'>): Promise<Quantized> {
  const { weights = 'int8', only, skip, perChannel, data, inputShapes, signal, onProgress } = options
  const format = { int8: 'int8', uint8: 'uint8', int4: 'q4', uint4: 'q4' }[weights as string] as
    | 'int8'
    | 'uint8'
    | 'q4'
    | undefined
  if (!format)
    fail('INVALID_ARGUMENT', `Option weights: must be int8, uint8 or int4 for weights alone; got '${weights}'.`)
  const bits = options.reduceRange ? 7 : undefined
  return quantizeWeights(
    model,
    { format, only, skip, perChannel, bits, data, inputShapes, signal, onProgress },
    runtime,
  )
}

/**
 * Prepares and calibrates a model, so that any number of plans can be made for it.
 *
 * @throws WhittleError as {@link quantize}.
 */
export async function quantizationBasis(
  model: Model,
  options: QuantizeOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<QuantizationBasis> {
  const { data, inputShapes, signal } = options
  if (!data)
    fail(
      'INVALID_ARGUMENT',
      "Quantizing activations needs data to see their ranges. Give some, or set activations to 'none'.",
    )
  const single = [...(options.layers?.values() ?? []), ...(options.tensors?.values() ?? [])]
  const chosen = single.flatMap(({ type, quantization }) => [type, quantization?.type])
  const types = [options.activations, options.weights, ...chosen].filter(
    (type) => type !== undefined && type !== 'none',
  )
  const prepared = await prepareForQuantization(model, { inputShapes, types, signal }, runtime)
  const watch = new InputWatch(model)
  const watched = { ...options, data: watch.of(data) }
  const { model: improved, record: improvements } = await improve(prepared, watched, runtime)
  const planOptions = planOptionsOf(options, prepared)
  const shapes = improved === prepared.model ? prepared.shapes : undefined
  const calibrated = await calibrateModel(improved, planOptions, { ...watched, shapes }, runtime)
  const findings = quickFindings(model, improved, watch, { ...options, perChannel: planOptions.perChannel })
  const warnings = [...prepared.warnings, ...findings.map(findingText)]
  const rounding = new PlanRounding()
  return { model: improved, calibrated, planOptions, warnings, findings, improvements, rounding }
}

async function improve(
  { model, batchNorms, shapes }: PreparedForQuantization,
  options: QuantizeOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): ReturnType<typeof improveRanges> {
  const { equalize, absorbBiases, balance, balanceLayers, data, signal, onProgress } = options
  const context = { shapes, data, batchNorms, signal, onProgress }
  return improveRanges(model, { equalize, absorbBiases, balance, balanceLayers }, context, runtime)
}

function planOptionsOf(options: QuantizeOptions, prepared: PreparedForQuantization): QuantizePlanOptions {
  const { activations, perChannel, calibration = 'minmax' } = options
  const { only, skip, operators, excluded, keepRemovableActivations, activationBits, activationsSymmetric } = options
  const { weights, weightBits, reduceRange, weightAlgorithm, layers, tensors, target, seed } = options
  const { floatBiases, perTensorOperators } = options
  return {
    only,
    skip,
    operators,
    excluded,
    keepRemovableActivations,
    activationBits,
    activationsSymmetric,
    weights,
    weightBits,
    reduceRange,
    floatBiases,
    perTensorOperators,
    weightAlgorithm,
    layers,
    tensors,
    target,
    seed,
    calibration: typeof calibration === 'string' ? calibration : calibration.method,
    activations: activations === 'none' ? undefined : activations,
    perChannel: prepared.allowsPerChannel ? perChannel : false,
  }
}

/**
 * A plan from a basis, with other options than those it was made with where that needs no other ranges: layers left
 * alone (`excluded`, which needs a basis with `complete`), choices for single layers.
 */
export function planFrom(
  basis: QuantizationBasis,
  options: Pick<QuantizePlanOptions, 'excluded' | 'layers' | 'tensors'> & TaskOptions = {},
): QuantizePlan {
  const { excluded, layers, tensors, signal, onProgress } = options
  const given = {
    ...(excluded ? { excluded } : {}),
    ...(layers ? { layers } : {}),
    ...(tensors ? { tensors } : {}),
  }
  const { shapes, ranges } = basis.calibrated
  const plan = planQuantize(basis.model, { ...basis.planOptions, ...given }, { shapes, ranges, signal, onProgress })
  assertSomeLayer(basis.model, plan.steps, plan.skips)
  return plan
}

/**
 * Integers of a plan's weights that are chosen on data, once for all plans of a basis.
 *
 * @returns `undefined` where all are the nearest.
 * @throws WhittleError as `learnRounding`.
 */
export async function chooseIntegers(
  basis: QuantizationBasis,
  plan: QuantizePlan,
  { rounding, data, signal, onProgress }: Pick<QuantizeOptions, 'rounding' | 'data'> & TaskOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<RoundedWeights | undefined> {
  if (!data) return undefined
  const { shapes } = basis.calibrated
  const inputs = { data, shapes, seed: basis.planOptions.seed, signal, onProgress }
  return basis.rounding.of(basis.model, plan, rounding, inputs, runtime)
}

/**
 * Corrects biases where that is asked for, applies a plan, and writes the record.
 *
 * @throws WhittleError as {@link quantize}.
 */
export async function finishQuantization(
  basis: QuantizationBasis,
  planned: QuantizePlan,
  options: Pick<
    QuantizeOptions,
    'rounding' | 'correctBiases' | 'data' | 'inputShapes' | 'excluded' | 'layers' | 'tensors'
  > &
    TaskOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<Quantized & { readonly plan: QuantizePlan; readonly applied: QuantizeApplied; readonly float: Model }> {
  const { inputShapes, signal } = options
  let { model } = basis
  let plan = planned
  let { improvements = {} } = basis
  const chosen = await chooseIntegers(basis, plan, options, runtime)
  const rounded = chosen?.rounded
  if (options.correctBiases && options.data) {
    const settings = options.correctBiases === true ? {} : options.correctBiases
    const replan = (corrected: Model): QuantizePlan => planFrom({ ...basis, model: corrected }, options)
    const corrected = await correctBiasesOnData(
      model,
      (float) => applyQuantize(float, replan(float), { rounded }).model,
      options.data,
      runtime,
      { ...settings, signal, onProgress: options.onProgress },
    )
    model = corrected.model
    plan = replan(model)
    improvements = { ...improvements, corrected: corrected.record }
  }
  if (chosen && chosen.layers.length > 0) plan = { ...plan, rounding: chosen.rounding }
  const applied = applyQuantize(model, plan, { rounded })
  const before = modelCost(model, basis.calibrated.shapes)
  const after = modelCost(applied.model, await observeShapes(runtime.evaluator, applied.model, { inputShapes, signal }))
  const macs = new Map([...before.perNode].map(([name, cost]) => [name, cost.macs]))
  const inputs = new Map(model.graph.nodes.map((node) => [node.name, node.inputs[0] ?? '']))
  const counted = recordQuantize(VERSION, plan, applied, { before, after, macs }, inputs, basis.warnings)
  const record = Object.keys(improvements).length > 0 ? { ...counted, improvements } : counted
  const { findings } = basis
  return { model: applied.model, plan, record: recordRounding(record, chosen), applied, float: model, findings }
}
