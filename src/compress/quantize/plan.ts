/** Planning quantization: scales and zero points for every value, from ranges that somebody measured. Changes nothing. */
import { checkAborted, fail, type TaskOptions } from '../../core/index.ts'
import { type Graph, type Model, modelHash, type Node } from '../../graph/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import { toFloat32 } from '../../tensor/index.ts'
import { affineParameters, rangeOf } from './affine.ts'
import { biasSafeScales } from './bias.ts'
import {
  findQuantizable,
  type ObservedValues,
  type Quantizable,
  type QuantizableNode,
  type QuantizableOptions,
  type QuantizableTensor,
} from './regions.ts'
import { INTEGER_TYPES, type IntegerType, type Quantization, type Range } from './scheme.ts'
import {
  type ActivationStep,
  type ConstantStep,
  QUANTIZE_PLAN_VERSION,
  type QuantizePlan,
  type QuantizeStep,
} from './step.ts'
import { type WeightAlgorithm, weightQuantization } from './weights.ts'

/** Choices that may differ from layer to layer. */
export interface LayerChoice {
  readonly type?: IntegerType | undefined
  readonly bits?: number | undefined
  readonly perChannel?: boolean | undefined
  readonly algorithm?: WeightAlgorithm | undefined
  /** Scales and zero points themselves, found elsewhere. */
  readonly quantization?: Quantization | undefined
}

/** Choices that may differ from activation to activation. */
export interface ActivationChoice {
  readonly type?: IntegerType | undefined
  readonly bits?: number | undefined
  readonly symmetric?: boolean | undefined
  /** Scale and zero point themselves, found elsewhere. */
  readonly quantization?: Quantization | undefined
}

/** Options of {@link planQuantize}. */
export interface QuantizePlanOptions extends QuantizableOptions {
  /** Type of activations; default uint8, asymmetric. */
  readonly activations?: IntegerType | undefined
  /** Bits in use of it; default: all. */
  readonly activationBits?: number | undefined
  /** Whether activations have their zero in the middle; default false. */
  readonly activationsSymmetric?: boolean | undefined
  /** Type of weights, symmetric where it is signed; default int8. */
  readonly weights?: IntegerType | undefined
  /** Bits in use of it; default: all; 7 with `reduceRange`. */
  readonly weightBits?: number | undefined
  /** Whether every output channel of a weight has its own scale; default true. */
  readonly perChannel?: boolean | undefined
  /** Operators whose weights have one scale whatever `perChannel` says. */
  readonly perTensorOperators?: ReadonlySet<string> | undefined
  /** Whether biases stay float32, for runtimes that take no int32 ones; default false. */
  readonly floatBiases?: boolean | undefined
  /** Whether 8-bit weights use 7 bits, for processors that add products of uint8 and int8 up in 16 bits; default false. */
  readonly reduceRange?: boolean | undefined
  /** How weights' scales are found; default `minmax`, at 4 bits and fewer `mse`. */
  readonly weightAlgorithm?: WeightAlgorithm | undefined
  /** Choices for single layers, by name. */
  readonly layers?: ReadonlyMap<string, LayerChoice> | undefined
  /** Choices for single activations, by name of the value; those that share a scale follow the one they share it with. */
  readonly tensors?: ReadonlyMap<string, ActivationChoice> | undefined
  /** Name of the profile the choices are for; default `custom`. */
  readonly target?: string | undefined
  /** What found the ranges; default `minmax`. */
  readonly calibration?: string | undefined
  /** Of what is random; kept in the plan; default 0. */
  readonly seed?: number | undefined
}

/** What planning needs besides model and options. */
export interface QuantizePlanContext extends TaskOptions {
  readonly shapes: ObservedValues
  /** Measured ranges, by name of the value; see {@link findQuantizable} for those that are needed. */
  readonly ranges: ReadonlyMap<string, Range>
  /** What {@link findQuantizable} answered for the same options, if it is known. */
  readonly quantizable?: Quantizable | undefined
}

/**
 * Plans the quantization of a model.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when a range is missing, the model is quantized already, or a pattern matches
 *   nothing; `NOT_FINITE` for weights with NaN; `ABORTED`.
 */
export function planQuantize(model: Model, options: QuantizePlanOptions, context: QuantizePlanContext): QuantizePlan {
  const found = context.quantizable ?? findQuantizable(model, context.shapes, options)
  const activations = planActivations(found.tensors, options, context.ranges)
  const byTensor = new Map(activations.map((step) => [step.tensor, step]))
  const nodes = new Map(model.graph.nodes.map((node) => [node.name, node]))
  const weights = new SharedWeights(model.graph)
  const removed = new Set<string>()
  const steps: QuantizeStep[] = []
  for (const [done, node] of found.nodes.entries()) {
    checkAborted(context.signal)
    context.onProgress?.({ stage: 'quantize', done, total: found.nodes.length, item: node.name })
    if (isReplaced(node, nodes.get(node.name)!, found.tensors, byTensor)) {
      removed.add(node.inputs[0]!)
      steps.push({ node: node.name, op: node.op, removed: true })
    } else steps.push(planNode(node, nodes.get(node.name)!, model.graph, options, weights, byTensor))
  }
  context.onProgress?.({ stage: 'quantize', done: found.nodes.length, total: found.nodes.length })
  return {
    method: 'quantize',
    version: QUANTIZE_PLAN_VERSION,
    model: modelHash(model),
    seed: options.seed ?? 0,
    target: options.target ?? 'custom',
    steps: steps.map((step) => weights.settle(step)),
    activations: activations.filter((step) => !removed.has(step.tensor)),
    skips: found.skips,
    warnings: weights.warnings,
  }
}

function planActivations(
  tensors: readonly QuantizableTensor[],
  options: QuantizePlanOptions,
  ranges: ReadonlyMap<string, Range>,
): ActivationStep[] {
  const missing = tensors
    .filter(({ name, sharedWith, fixedRange }) => sharedWith === undefined && !fixedRange && !ranges.has(name))
    .filter(({ name }) => !options.tensors?.get(name)?.quantization)
  if (missing.length > 0)
    fail(
      'INVALID_ARGUMENT',
      `Quantization: every activation needs a range; ${missing.length} have none, first '${missing[0]!.name}'. Calibrate them.`,
      { details: { missing: missing.map(({ name }) => name) } },
    )
  const roots = new Map<string, ActivationStep>()
  for (const tensor of tensors)
    if (tensor.sharedWith === undefined) roots.set(tensor.name, activationStep(tensor, options, ranges))
  return tensors.map(({ name, sharedWith }) => {
    if (sharedWith === undefined) return roots.get(name)!
    return { ...roots.get(sharedWith)!, tensor: name, sharedWith }
  })
}

function activationStep(
  { name, fixedRange, bounds }: QuantizableTensor,
  options: QuantizePlanOptions,
  ranges: ReadonlyMap<string, Range>,
): ActivationStep {
  const choice = options.tensors?.get(name) ?? {}
  if (choice.quantization)
    return { tensor: name, quantization: choice.quantization, range: rangeOf(choice.quantization), algorithm: 'given' }
  const type = choice.type ?? options.activations ?? 'uint8'
  const bits = choice.bits ?? (choice.type ? undefined : options.activationBits) ?? INTEGER_TYPES[type].bits
  const symmetric = choice.symmetric ?? options.activationsSymmetric ?? false
  const measured = fixedRange ?? ranges.get(name)!
  const range = bounds ? cut(measured, bounds) : measured
  const { scale, zeroPoint } = affineParameters(range, { type, bits, symmetric })
  return {
    tensor: name,
    quantization: { type, bits, scale: [scale], zeroPoint: [zeroPoint], axis: null },
    range,
    algorithm: fixedRange ? 'fixed' : (options.calibration ?? 'minmax'),
  }
}

/** The part of a range within bounds; a range outside becomes the bound it is nearest to. */
function cut(range: Range, bounds: Range): Range {
  const clamp = (value: number): number => Math.min(Math.max(value, bounds.min), bounds.max)
  return { min: clamp(range.min), max: clamp(range.max) }
}

/** Whether the limits of the integers cut off all that a Relu or Clip does. */
function isReplaced(
  node: QuantizableNode,
  source: Node,
  tensors: readonly QuantizableTensor[],
  activations: ReadonlyMap<string, ActivationStep>,
): boolean {
  const output = node.outputs[0]
  if (!node.removable || output === undefined) return false
  const bounds = tensors.find(({ name }) => name === output)?.bounds
  const step = activations.get(output)
  if (!bounds || !step || source.inputs[0] === output) return false
  const { min, max } = rangeOf(step.quantization)
  // Half a step further is rounded to the bound itself; the float32 scale may reach past it by an ulp.
  const slack = step.quantization.scale[0]! / 4
  return min >= bounds.min - slack && max <= bounds.max + slack
}

function planNode(
  node: QuantizableNode,
  source: Node,
  graph: Graph,
  options: QuantizePlanOptions,
  weights: SharedWeights,
  activations: ReadonlyMap<string, ActivationStep>,
): QuantizeStep {
  const constants = node.constants.map((name): ConstantStep => {
    const type = options.activations ?? 'uint8'
    const symmetric = options.activationsSymmetric ?? false
    return {
      tensor: name,
      quantization: weightQuantization(graph.initializers.get(name)!, {
        type,
        bits: options.activationBits,
        axis: null,
        symmetric,
      }),
      algorithm: 'minmax',
    }
  })
  const step: QuantizeStep = {
    node: node.name,
    op: node.op,
    ...(node.weight ? { weight: planWeight(node, graph.initializers.get(node.weight.tensor)!, options) } : {}),
    ...(node.bias === undefined || options.floatBiases ? {} : { bias: node.bias }),
    ...(constants.length > 0 ? { constants } : {}),
  }
  weights.add(step, source, activations.get(source.inputs[0]!)?.quantization)
  return step
}

function planWeight(node: QuantizableNode, tensor: Tensor, options: QuantizePlanOptions): ConstantStep {
  const choice = options.layers?.get(node.name) ?? {}
  const name = node.weight!.tensor
  if (choice.quantization) return { tensor: name, quantization: choice.quantization, algorithm: 'given' }
  const type = choice.type ?? options.weights ?? 'int8'
  const all = INTEGER_TYPES[type].bits
  const reduced = options.reduceRange && all === 8 ? 7 : all
  const bits = choice.bits ?? (choice.type ? undefined : options.weightBits) ?? reduced
  const perChannel =
    choice.perChannel ?? (options.perTensorOperators?.has(node.op) ? false : (options.perChannel ?? true))
  const algorithm = choice.algorithm ?? options.weightAlgorithm ?? (bits <= 4 ? 'mse' : 'minmax')
  const axis = perChannel ? node.weight!.axis : null
  return { tensor: name, quantization: weightQuantization(tensor, { type, bits, axis, algorithm }), algorithm }
}

/**
 * Weights of several nodes: they have one set of scales, large enough for the biases of all of them.
 *
 * A bias is stored with the scales of input and weight multiplied; where that scale is too small for 32 bits, the
 * weight's is raised (onnxruntime.quantization, `_adjust_weight_scale_for_int32_bias`).
 */
class SharedWeights {
  readonly warnings: string[] = []
  readonly #graph: Graph
  /** Final scales by weight and by how it was quantized at first. */
  readonly #scales = new Map<string, readonly number[]>()

  constructor(graph: Graph) {
    this.#graph = graph
  }

  add(step: QuantizeStep, node: Node, input: Quantization | undefined): void {
    if (!step.weight) return
    const { quantization } = step.weight
    const key = keyOf(step.weight)
    const scales = this.#scales.get(key) ?? quantization.scale
    const bias = step.bias === undefined ? undefined : this.#graph.initializers.get(step.bias)
    const weight = this.#graph.initializers.get(step.weight.tensor)!
    const safe =
      bias && input && quantization.zeroPoint.every((zero) => zero === 0)
        ? biasSafeScales(scales, input.scale[0]!, toFloat32(bias), weight, node)
        : scales
    if (safe !== scales)
      this.warnings.push(`The weight of '${step.node}' has larger scales, so that its bias fits into 32 bits.`)
    this.#scales.set(key, safe)
  }

  /** The step with its weight's final scales. */
  settle(step: QuantizeStep): QuantizeStep {
    if (!step.weight) return step
    const scale = this.#scales.get(keyOf(step.weight))!
    return { ...step, weight: { ...step.weight, quantization: { ...step.weight.quantization, scale } } }
  }
}

const keyOf = ({ tensor, quantization }: ConstantStep): string => JSON.stringify([tensor, quantization])
