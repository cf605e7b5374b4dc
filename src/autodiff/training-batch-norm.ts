/**
 * Batch normalisation for training: BatchNormalization nodes that normalise with the statistics of the batch.
 *
 * The operator has that form itself (`training_mode`), and its kernel is the fastest there is: 0.6 ms where mean,
 * centring, variance and scaling by operators take 1.25 ms ([64, 16, 32, 32], one thread). But ONNX Runtime's kernel
 * writes the statistics over its inputs for the running ones, so that nodes which share such an input, or constants
 * equal to it, corrupt each other silently: the loss stays right, the gradients do not. Hence every node gets two
 * inputs of its own, that nothing else reads, that are no constants, and that no optimization can merge: an element of
 * x per channel plus a number used once. With momentum 0 they do not influence the result.
 *
 * The node stays one node, so that its gradient is the closed form of the rule and not that of its parts.
 */
import { fail } from '../core/index.ts'
import {
  createNode,
  float,
  floatAttribute,
  type Graph,
  intAttribute,
  liftOpset,
  type Model,
  NameGenerator,
  type Node,
  sortNodes,
} from '../graph/index.ts'
import { DTYPES, type DType, fromNumbers, sizeOf, Tensor } from '../tensor/index.ts'
import type { Typed } from './emitter.ts'
import { GRADIENT_OPSET } from './gradient.ts'

/** The statistics of one node, for a trainer to update the running ones with. All are of shape `[C]`. */
export interface BatchStatistics {
  /** Name of the BatchNormalization node. */
  readonly node: string
  /** The running mean and variance that the inference form reads: the names of the original inputs. */
  readonly runningMean: string
  readonly runningVariance: string
  /** Values that hold the batch's mean, and its unbiased variance, which PyTorch's running variance is made of. */
  readonly batchMean: string
  readonly batchVariance: string
  /**
   * ONNX's momentum, default 0.9: `running ← momentum · running + (1 − momentum) · batch`. PyTorch's is 1 − this.
   */
  readonly momentum: number
}

/** What {@link toTrainingBatchNorm} gives. */
export interface TrainingBatchNorm {
  /** A clone whose BatchNormalization nodes use batch statistics; its inputs and outputs are unchanged. */
  readonly model: Model
  /** The given types and those of the values added. */
  readonly types: ReadonlyMap<string, Typed>
  /** One entry per node that was changed, in the order of the graph. */
  readonly statistics: readonly BatchStatistics[]
}

/** Options of {@link toTrainingBatchNorm}. */
export interface TrainingBatchNormOptions {
  /** Nodes that keep normalising with their fixed statistics; default: none. */
  readonly frozen?: ((node: Node) => boolean) | undefined
}

/**
 * Makes the BatchNormalization nodes of the main graph normalise with the mean and (biased) variance of the batch, as
 * PyTorch's modules do in training mode, and names those statistics. Call it before {@link gradient}.
 *
 * @param types element type and concrete shape of every value, as `observeShapes` gives them for the batch size that
 *   is trained with.
 * @throws WhittleError `INVALID_ARGUMENT` when a channel has a single element in the batch; `INVALID_MODEL` when the
 *   type of a node's input is not known.
 *
 * @example
 * const training = toTrainingBatchNorm(model, await observeShapes(evaluator, model))
 * const { gradients } = gradient(training.model, { loss: 'loss', withRespectTo, types: training.types })
 */
export function toTrainingBatchNorm(
  model: Model,
  types: ReadonlyMap<string, Typed>,
  { frozen = () => false }: TrainingBatchNormOptions = {},
): TrainingBatchNorm {
  const clone = liftOpset(model, GRADIENT_OPSET)
  const additions = new Additions(clone.graph, types)
  const statistics: BatchStatistics[] = []
  for (const node of [...clone.graph.nodes])
    if (node.domain === '' && node.opType === 'BatchNormalization' && !frozen(node))
      statistics.push(toTraining(additions, node, statistics.length))
  sortNodes(clone.graph)
  return { model: clone, types: additions.types, statistics }
}

/** Nodes and values added to a graph, with the types of the values. */
class Additions {
  readonly types: Map<string, Typed>
  readonly #graph: Graph
  readonly #names: NameGenerator

  constructor(graph: Graph, types: ReadonlyMap<string, Typed>) {
    this.#graph = graph
    this.#names = new NameGenerator(graph)
    this.types = new Map(types)
    for (const [name, { dtype, shape }] of graph.initializers) this.types.set(name, { dtype, shape })
  }

  type(node: Node, value: string): Typed {
    const rule = 'the element type and shape of its inputs must be known'
    return (
      this.types.get(value) ??
      fail('INVALID_MODEL', `BatchNormalization '${node.name}': ${rule}; '${value}' was not observed.`)
    )
  }

  value(name: string, type: Typed): string {
    const fresh = this.#names.fresh(name)
    this.types.set(fresh, type)
    return fresh
  }

  op(opType: string, inputs: readonly string[], output: string, attributes = {}): string {
    this.#graph.nodes.push(createNode(opType, inputs, [output], attributes, this.#names.fresh(`${output}_${opType}`)))
    return output
  }

  constant(name: string, tensor: Tensor): string {
    const fresh = this.value(name, tensor)
    this.#graph.initializers.set(fresh, tensor)
    return fresh
  }

  number(name: string, value: number, dtype: DType): string {
    return this.constant(name, fromNumbers(Float64Array.of(value), [], dtype))
  }
}

function toTraining(additions: Additions, node: Node, ordinal: number): BatchStatistics {
  const [x, , , runningMean, runningVariance] = node.inputs as [string, string, string, string, string]
  const { shape } = additions.type(node, x)
  const { dtype } = additions.type(node, runningMean)
  const perChannel: Typed = { dtype, shape: [shape[1]!] }
  const count = sizeOf(shape) / shape[1]!
  if (!(count > 1))
    fail(
      'INVALID_ARGUMENT',
      `BatchNormalization '${node.name}': training needs more than one element per channel; its input is [${shape.join(', ')}]. Take a larger batch, or freeze the node.`,
    )
  const momentum = floatAttribute(node, 'momentum', 0.9)
  const wasTraining = intAttribute(node, 'training_mode', 0) === 1
  const [, oldMean, oldVariance] = node.outputs
  const some = elementPerChannel(additions, node, dtype)
  for (const at of [0, 1] as const) {
    const name = `${node.name}_${at === 0 ? 'mean' : 'variance'}_buffer`
    const once = additions.number(`${name}_number`, 2 * ordinal + at, dtype)
    node.inputs[3 + at] = additions.op('Add', [some, once], additions.value(name, perChannel))
  }
  const mean = additions.value(`${node.name}_batch_mean`, perChannel)
  const biased = additions.value(`${node.name}_batch_variance`, perChannel)
  node.outputs = [node.outputs[0]!, mean, biased]
  const { attributes } = createNode('BatchNormalization', [], [], { training_mode: 1, momentum: float(0) })
  for (const [name, value] of attributes) node.attributes.set(name, value)
  const factor = additions.number(`${node.name}_unbias`, count / (count - 1), dtype)
  const unbiased = additions.value(`${node.name}_unbiased_variance`, perChannel)
  additions.op('Mul', [biased, factor], unbiased)
  if (wasTraining) {
    if (oldMean) blend(additions, momentum, [runningMean, mean], oldMean, perChannel)
    if (oldVariance) blend(additions, momentum, [runningVariance, biased], oldVariance, perChannel)
  }
  return { node: node.name, runningMean, runningVariance, batchMean: mean, batchVariance: unbiased, momentum }
}

/** The first element of every channel of the node's input, `[C]`: values that are no constants. */
function elementPerChannel(additions: Additions, node: Node, dtype: DType): string {
  const x = node.inputs[0]!
  const { shape, dtype: from } = additions.type(node, x)
  const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1)
  const list = (name: string, values: readonly number[]): string =>
    additions.constant(`${node.name}_${name}`, Tensor.int64(values))
  const ends = list(
    'ends',
    axes.map(() => 1),
  )
  const inputs = [
    x,
    list(
      'starts',
      axes.map(() => 0),
    ),
    ends,
    list('axes', axes),
  ]
  const sample = additions.value(`${node.name}_sample`, {
    dtype: from,
    shape: shape.map((c, axis) => (axis === 1 ? c : 1)),
  })
  additions.op('Slice', inputs, sample)
  const flat = additions.value(`${node.name}_element`, { dtype: from, shape: [shape[1]!] })
  additions.op('Reshape', [sample, list('channels', [shape[1]!])], flat)
  if (from === dtype) return flat
  const cast = additions.value(`${node.name}_element_cast`, { dtype, shape: [shape[1]!] })
  return additions.op('Cast', [flat], cast, { to: DTYPES[dtype].code })
}

/** What a node in training mode gives by itself: `momentum · running + (1 − momentum) · batch`. */
function blend(
  additions: Additions,
  momentum: number,
  [running, batch]: readonly [string, string],
  output: string,
  type: Typed,
): void {
  const scaled = ([name, value, factor]: readonly [string, string, number]): string =>
    additions.op(
      'Mul',
      [value, additions.number(`${output}_${name}_factor`, factor, type.dtype)],
      additions.value(`${output}_${name}`, type),
    )
  const parts = [scaled(['running', running, momentum]), scaled(['batch', batch, 1 - momentum])]
  additions.op('Add', parts, output)
}
