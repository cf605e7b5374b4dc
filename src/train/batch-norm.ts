/** Running statistics of batch normalisation, learned as PyTorch does. */
import type { Emitter } from '../autodiff/index.ts'
import { floatAttribute, type Graph, type Node } from '../graph/index.ts'
import { sizeOf } from '../tensor/index.ts'

/** A batch normalisation in training form. */
export interface TrainedBatchNorm {
  /** Names of its running mean and variance. */
  readonly statistics: readonly [mean: string, variance: string]
  /** Values of this batch's mean and (biased) variance, `[C]`. */
  readonly batch: readonly [mean: string, variance: string]
  /** Elements per channel. */
  readonly count: number
  /** Share of the old statistics that stays: ONNX's `momentum`, 1 − PyTorch's. */
  readonly momentum: number
}

/**
 * Emits the running statistics after this batch: `momentum · old + (1 − momentum) · batch`, with the unbiased variance.
 *
 * @returns pairs of the statistic's name and the value that replaces it.
 */
export function emitStatistics(
  emit: Emitter,
  { statistics, batch, count, momentum }: TrainedBatchNorm,
): [string, string][] {
  const unbiased = count > 1 ? count / (count - 1) : 1
  return statistics.map((name, at) => {
    const share = (1 - momentum) * (at === 1 ? unbiased : 1)
    return [name, emit.add(emit.scale(name, momentum), emit.scale(batch[at]!, share))]
  })
}

/**
 * Makes a batch normalisation use the batch's own statistics, in place: `y = (x − mean) · γ / √(variance + ε) + β`.
 *
 * Written out rather than with `training_mode = 1`, whose kernel in ONNX Runtime writes into its inputs.
 */
export function trainBatchNorm(graph: Graph, emit: Emitter, node: Node): TrainedBatchNorm {
  const [x = '', scale = '', bias = '', mean = '', variance = ''] = node.inputs
  const shape = emit.shape(x)
  const channels = shape[1]!
  const axes = [...shape.keys()].filter((axis) => axis !== 1)
  const wide = [1, channels, ...shape.slice(2).map(() => 1)]
  const batchMean = emit.reduce('ReduceMean', x, axes)
  const centred = emit.sub(x, batchMean)
  const batchVariance = emit.reduce('ReduceMean', emit.mul(centred, centred), axes)
  const epsilon = emit.number(floatAttribute(node, 'epsilon', 1e-5), x)
  const deviation = emit.unary('Sqrt', emit.add(batchVariance, epsilon))
  const factor = emit.div(emit.reshape(scale, wide), deviation)
  emit.add(emit.mul(centred, factor), emit.reshape(bias, wide))
  // The last node takes the place of the normalisation.
  graph.nodes.at(-1)!.outputs = [node.outputs[0]!]
  graph.nodes = graph.nodes.filter((other) => other !== node)
  return {
    statistics: [mean, variance],
    batch: [emit.reshape(batchMean, [channels]), emit.reshape(batchVariance, [channels])],
    count: sizeOf(shape) / channels,
    momentum: floatAttribute(node, 'momentum', 0.9),
  }
}
