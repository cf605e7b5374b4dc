/** What a pass is, and running several in order. */
import { checkAborted, type TaskOptions } from '../../core/index.ts'
import type { Evaluator } from '../evaluator.ts'
import type { Model } from '../model.ts'

/** What a pass may use besides the model. */
export interface PassContext extends TaskOptions {
  /** Runs constant parts of the network; passes that need it do nothing without it. */
  readonly evaluator?: Evaluator | undefined
}

/** The outcome of a pass. */
export interface PassResult {
  /** A clone with the changes made; tensors that did not change are shared with the original. */
  readonly model: Model
  /** What was changed, and what could not be and why, one sentence each; empty when there was nothing to do. */
  readonly changes: readonly string[]
}

/**
 * A rewrite of the graph that leaves the network's function unchanged.
 *
 * Obligations: the given model is not written to; names, order and types of the graph's inputs and outputs stay; the
 * result is in topological order and passes `checkModel`; running the pass on its own result leaves it as it is.
 */
export interface Pass {
  /** Kebab-case. */
  readonly name: string
  run(model: Model, context: PassContext): Promise<PassResult>
}

/** Runs passes one after the other; `changes` of each are prefixed with its name. */
export async function runPasses(model: Model, passes: readonly Pass[], context: PassContext = {}): Promise<PassResult> {
  let current = model
  const changes: string[] = []
  for (const [done, pass] of passes.entries()) {
    checkAborted(context.signal)
    context.onProgress?.({ stage: 'simplify', done, total: passes.length, item: pass.name })
    const result = await pass.run(current, context)
    current = result.model
    changes.push(...result.changes.map((change) => `${pass.name}: ${change}`))
  }
  return { model: current, changes }
}
