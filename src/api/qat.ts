/** Quantization-aware training of a whole model: prepare, calibrate, plan, train with fake quantization, apply, record. */
import {
  type ActivationChoice,
  type CalibrationMethod,
  type CalibratorOptions,
  type CompressionRecord,
  findQuantizable,
  INTEGER_TYPES,
  type LayerChoice,
  planQuantize,
  type Quantizable,
  type QuantizePlanOptions,
  recordQuantize,
  type TargetName,
} from '../compress/index.ts'
import { fail, VERSION } from '../core/index.ts'
import { observeShapes } from '../engine/index.ts'
import { GraphIndex, type Model, modelCost } from '../graph/index.ts'
import {
  finetuneQuantized,
  type QuantizedStart,
  type QuantizedTraining,
  type QuantizerOptions,
} from '../retrain/index.ts'
import type { FinetuneOptions, FinetuneRuntime } from '../train/index.ts'
import { type CalibrateOptions, calibrateModel } from './calibrate.ts'
import { calibrationFeeds, QUANTIZATION_SAMPLES } from './calibration.ts'
import { assertSomeLayer, prepareForTraining } from './quantize-prepare.ts'
import { optionsForTarget } from './target.ts'

/** Bits of weights and activations by name. */
export type QatBits = 'int8' | 'w4a8' | 'w4a4'

/** What quantization-aware training does, beside how it trains. */
export interface QatOptions
  extends QuantizerOptions,
    Pick<
      QuantizePlanOptions,
      'only' | 'skip' | 'excluded' | 'perChannel' | 'reduceRange' | 'activationsSymmetric' | 'target' | 'tensors'
    >,
    Pick<CalibrateOptions, 'calibrations' | 'ranges'> {
  /** `int8` (default): 8 bits each; `w4a8`: weights of 4 bits; `w4a4`: activations too. */
  readonly bits?: QatBits | undefined
  /** Type of activations; default uint8. Fewer bits than its own are stored in it. */
  readonly activations?: QuantizePlanOptions['activations'] | undefined
  /** Type of weights; default int8. With 4 bits in use it stays this type, for which there are integer kernels. */
  readonly weightType?: QuantizePlanOptions['weights'] | undefined
  /** The target that the runtime at hand is: its integers are measured, as `optionsForTarget` does it. */
  readonly own?: TargetName | undefined
  /** Bits of layers that read the network's inputs or give its outputs; default 8, as in the LSQ paper. */
  readonly edgeBits?: number | undefined
  /** Choices for the weights of single layers, by name: what `quantize` calls `layers`. They count before `edgeBits`. */
  readonly weightChoices?: ReadonlyMap<string, LayerChoice> | undefined
  /** How the ranges that training starts from are found; default `mse`. */
  readonly calibration?: CalibrationMethod | CalibratorOptions | undefined
  /** Training samples to calibrate on; default 256. */
  readonly calibrationSamples?: number | undefined
}

const BITS: Readonly<Record<QatBits, { readonly weights: number; readonly activations: number }>> = {
  int8: { weights: 8, activations: 8 },
  w4a8: { weights: 4, activations: 8 },
  w4a4: { weights: 4, activations: 4 },
}

/** A trained network in integers, and its record as far as quantization goes. */
export interface TrainedQuantized extends QuantizedTraining {
  readonly record: CompressionRecord
}

/**
 * What training starts from: the prepared network with and without batch normalisations, and the plan by calibration.
 *
 * @throws WhittleError as `quantize`.
 */
export async function startQat(
  model: Model,
  qat: QatOptions,
  options: Pick<FinetuneOptions, 'data' | 'preprocess' | 'batch' | 'seed' | 'signal' | 'onProgress'>,
  runtime: Pick<FinetuneRuntime, 'evaluator'>,
): Promise<QuantizedStart & { readonly warnings: readonly string[] }> {
  const { signal, onProgress, seed = 0 } = options
  const { options: planOptions, warnings } = await forTarget(planOptionsOf(qat, seed), qat, runtime, signal)
  const single = [...(qat.weightChoices?.values() ?? []), ...(qat.tensors?.values() ?? [])]
  const chosen = single.flatMap(({ type, quantization }) => [type, quantization?.type])
  const types = [planOptions.activations, planOptions.weights, ...chosen].filter((type) => type !== undefined)
  const prepared = await prepareForTraining(model, { types, signal }, runtime)
  const { calibration = 'mse', calibrations, ranges, calibrationSamples: limit = QUANTIZATION_SAMPLES } = qat
  const dataset = await options.data
  const feeds = calibrationFeeds(prepared.model, dataset, { ...options, limit, seed })
  const perChannel = prepared.allowsPerChannel ? planOptions.perChannel : false
  const shapes = await observeShapes(runtime.evaluator, prepared.model, { signal })
  const edges = edgesOf(prepared.model, planOptions, qat, shapes)
  const all = { ...planOptions, perChannel, ...edges }
  const calibrated = await calibrateModel(
    prepared.model,
    all,
    { calibration, calibrations, ranges, data: feeds, signal, onProgress },
    runtime,
  )
  const plan = planQuantize(prepared.model, all, { shapes, ranges: calibrated.ranges, signal })
  assertSomeLayer(prepared.model, plan.steps, plan.skips)
  const found = { model: prepared.unfolded, planned: prepared.model, plan, shapes }
  return { ...found, warnings: [...warnings, ...prepared.warnings] }
}

/** Options with what a target decides, where one was named. */
async function forTarget(
  options: QuantizePlanOptions,
  { target, own, activations, weightType: weights }: QatOptions,
  runtime: Pick<FinetuneRuntime, 'evaluator'>,
  signal: AbortSignal | undefined,
): Promise<{ readonly options: QuantizePlanOptions; readonly warnings: readonly string[] }> {
  if (target === undefined) return { options, warnings: [] }
  const { calibration, ...rest } = options
  const found = await optionsForTarget({ ...rest, target, activations, weights }, runtime, { own, signal })
  const { activations: type } = found.options
  const chosen = type === 'none' ? undefined : type
  return {
    options: { ...options, ...found.options, calibration, activations: chosen },
    warnings: found.warnings,
  }
}

function planOptionsOf(qat: QatOptions, seed: number): QuantizePlanOptions {
  const { bits = 'int8', activations = 'uint8', weightType: weights = 'int8', calibration = 'mse' } = qat
  if (!Object.hasOwn(BITS, bits))
    fail('INVALID_ARGUMENT', `Option qat: bits must be one of ${Object.keys(BITS).join(', ')}; got '${String(bits)}'.`)
  const { only, skip, excluded, perChannel, reduceRange, activationsSymmetric, target, tensors } = qat
  const method = typeof calibration === 'string' ? calibration : calibration.method
  return {
    ...{ only, skip, excluded, perChannel, reduceRange, activationsSymmetric, target, tensors, seed },
    activations,
    activationBits: Math.min(BITS[bits].activations, INTEGER_TYPES[activations].bits),
    weights,
    weightBits: BITS[bits].weights === 8 ? undefined : Math.min(BITS[bits].weights, INTEGER_TYPES[weights].bits),
    calibration: method,
  }
}

/** Choices for the layers at either end of the network. */
function edgesOf(
  model: Model,
  options: QuantizePlanOptions,
  { edgeBits = 8, tensors: given, weightChoices = new Map(), bits = 'int8' }: QatOptions,
  shapes: QuantizedStart['shapes'],
): Pick<QuantizePlanOptions, 'layers' | 'tensors'> {
  if (bits === 'int8') return { layers: weightChoices, tensors: given }
  const found = findQuantizable(model, shapes, options)
  const { first, last } = endsOf(model, found)
  const roots = new Map(found.tensors.map(({ name, sharedWith }) => [name, sharedWith ?? name]))
  const layers = new Map<string, LayerChoice>()
  const tensors = new Map<string, ActivationChoice>()
  for (const node of [...first, ...last]) {
    const most = options.reduceRange ? 7 : INTEGER_TYPES[options.weights!].bits
    layers.set(node.name, { bits: Math.min(edgeBits, most) })
    for (const input of node.inputs)
      tensors.set(roots.get(input) ?? input, { bits: Math.min(edgeBits, INTEGER_TYPES[options.activations!].bits) })
  }
  for (const [name, choice] of weightChoices) layers.set(name, choice)
  for (const [name, choice] of given ?? []) tensors.set(name, choice)
  return { layers, tensors }
}

/** Layers before and behind which there is no other. */
function endsOf(model: Model, { nodes }: Quantizable) {
  const layers = nodes.filter(({ weight }) => weight !== undefined)
  const names = new Set(layers.map(({ name }) => name))
  const index = new GraphIndex(model.graph)
  const producers = (value: string) => [index.producer(value)].filter((node) => node !== undefined)
  const reaches = (start: string, next: (name: string) => readonly { readonly name: string }[]): boolean => {
    const seen = new Set<string>()
    const open = [...next(start)]
    for (let node = open.pop(); node; node = open.pop()) {
      if (names.has(node.name)) return true
      if (seen.has(node.name)) continue
      seen.add(node.name)
      open.push(...next(node.name))
    }
    return false
  }
  const before = (name: string) => index.node(name)!.inputs.flatMap(producers)
  const after = (name: string) => index.node(name)!.outputs.flatMap((value) => index.users(value))
  return {
    first: layers.filter(({ name }) => !reaches(name, before)),
    last: layers.filter(({ name }) => !reaches(name, after)),
  }
}

/**
 * Trains a model that rounds as its integers will, and quantizes it with all that it learned.
 *
 * @throws WhittleError as `quantize` and `finetuneNetwork`.
 */
export async function trainQuantized(
  model: Model,
  qat: QatOptions,
  options: FinetuneOptions,
  runtime: FinetuneRuntime,
): Promise<TrainedQuantized> {
  const start = await startQat(model, qat, options, runtime)
  const result = await finetuneQuantized(start, options, qat, runtime)
  const { plan, float, applied } = result
  const before = modelCost(float, start.shapes)
  const shapes = await observeShapes(runtime.evaluator, applied.model, { signal: options.signal })
  const after = modelCost(applied.model, shapes)
  const macs = new Map([...before.perNode].map(([name, cost]) => [name, cost.macs]))
  const inputs = new Map(float.graph.nodes.map((node) => [node.name, node.inputs[0] ?? '']))
  const record = recordQuantize(VERSION, plan, applied, { before, after, macs }, inputs, start.warnings)
  return { ...result, record }
}
