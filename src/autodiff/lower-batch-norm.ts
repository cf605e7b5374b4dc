/** Batch statistics by reductions, for runtimes without BatchNormalization's training mode. */

import { fail } from '../core/index.ts'
import { cloneModel, float, floatAttribute, intAttribute, type Model, removeNodes, sortNodes } from '../graph/index.ts'
import { Emitter, type Typed } from './emitter.ts'

/**
 * Replaces BatchNormalization in training mode, as `toTrainingBatchNorm` leaves it, by operators that every runtime
 * has: mean and variance by reductions in two passes, and the inference form with them. About twice as slow on ONNX
 * Runtime's CPU. Call it on the model that {@link gradient} gave.
 *
 * @param types of the model that was differentiated.
 * @throws WhittleError `UNSUPPORTED` for a node that mixes its running statistics with the batch's (momentum not 0).
 */
export function lowerTrainingBatchNorm(model: Model, types: ReadonlyMap<string, Typed>): Model {
  const clone = cloneModel(model)
  const { graph } = clone
  const emit = new Emitter(graph, types)
  const nodes = graph.nodes.filter(
    (node) =>
      node.domain === '' && node.opType === 'BatchNormalization' && intAttribute(node, 'training_mode', 0) === 1,
  )
  for (const node of nodes) {
    const [x, scale, bias] = node.inputs as [string, string, string]
    const [y, meanOutput, varianceOutput] = node.outputs
    if (floatAttribute(node, 'momentum', 0.9) !== 0 && (meanOutput || varianceOutput))
      fail(
        'UNSUPPORTED',
        `BatchNormalization '${node.name}': training mode must have momentum 0 to be lowered; bring it in that form first.`,
      )
    const first = graph.nodes.length
    const shape = emit.shape(x)
    const axes = shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]))
    const center = emit.reduce('ReduceMean', x, axes)
    const centered = emit.sub(x, center)
    const variance = emit.reduce('ReduceMean', emit.mul(centered, centered), axes, false)
    const mean = emit.reshape(center, [shape[1]!])
    const epsilon = float(floatAttribute(node, 'epsilon', 1e-5))
    const normalized = emit.op('BatchNormalization', [x, scale, bias, mean, variance], shape, { epsilon })
    // The new values take the names that the rest of the graph reads.
    const named = new Map([
      [normalized, y],
      [mean, meanOutput],
      [variance, varianceOutput],
    ])
    for (const added of graph.nodes.slice(first)) {
      added.outputs = added.outputs.map((name) => named.get(name) || name)
      added.inputs = added.inputs.map((name) => named.get(name) || name)
    }
    removeNodes(graph, new Set([node]))
  }
  sortNodes(graph)
  return clone
}
