/** Brings a model into the form that compression methods expect, without changing its function. */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import {
  assertModel,
  cloneModel,
  constantsToInitializers,
  ensureUniqueNames,
  foldConstants,
  freezeInitializers,
  type Model,
  removeUnused,
  runPasses,
  sortNodes,
} from '../graph/index.ts'
import type { Runtime } from './runtime.ts'

/**
 * A checked clone with unique node names and with weights as initializers: Constant nodes are turned into initializers,
 * and weights that are computed from constants (a Reshape before a MatMul, say) are computed now.
 *
 * Initializers that are listed among the inputs, as IR version 3 required, become plain constants.
 *
 * Nodes are sorted where they are not.
 *
 * @throws WhittleError `INVALID_MODEL` listing what is wrong with the graph.
 */
export async function prepareModel(
  model: Model,
  runtime: Pick<Runtime, 'evaluator'>,
  task: TaskOptions = {},
): Promise<Model> {
  const clone = cloneModel(model)
  ensureUniqueNames(clone)
  // ONNX wants nodes sorted, runtimes do not mind, and some exporters know it.
  sortNodes(clone.graph)
  assertModel(clone)
  checkAborted(task.signal)
  const result = await runPasses(clone, [constantsToInitializers, freezeInitializers, foldConstants, removeUnused], {
    evaluator: runtime.evaluator,
    signal: task.signal,
  })
  return result.model
}
