/** Brings a model into the form that compression methods expect, without changing its function. */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import {
  assertModel,
  cloneModel,
  constantsToInitializers,
  ensureUniqueNames,
  foldConstants,
  type Model,
  removeUnused,
  runPasses,
} from '../graph/index.ts'
import type { Runtime } from './runtime.ts'

/**
 * A checked clone with unique node names and with weights as initializers: Constant nodes are turned into initializers,
 * and weights that are computed from constants (a Reshape before a MatMul, say) are computed now.
 *
 * Before IR version 4 every initializer had to be listed among the inputs too; those entries are dropped there, since
 * nobody meant them to be fed.
 *
 * @throws WhittleError `INVALID_MODEL` listing what is wrong with the graph.
 */
export async function prepareModel(
  model: Model,
  runtime: Pick<Runtime, 'evaluator'>,
  task: TaskOptions = {},
): Promise<Model> {
  assertModel(model)
  const clone = cloneModel(model)
  ensureUniqueNames(clone)
  if (clone.irVersion < 4) {
    const { graph } = clone
    graph.inputs = graph.inputs.filter((input) => !graph.initializers.has(input.name))
    clone.irVersion = 4
  }
  checkAborted(task.signal)
  const result = await runPasses(clone, [constantsToInitializers, foldConstants, removeUnused], {
    evaluator: runtime.evaluator,
    signal: task.signal,
  })
  return result.model
}
