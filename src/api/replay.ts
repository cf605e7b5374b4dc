/** Replay of `decompose_info.json` on a fresh model. */
import {
  applyLowRank,
  type CompressionRecord,
  type DecomposeInfo,
  loadWeights,
  planFromInfo,
  recordLowRank,
} from '../compress/index.ts'
import { type TaskOptions, VERSION } from '../core/index.ts'
import { observeShapes } from '../engine/index.ts'
import { type Model, modelCost } from '../graph/index.ts'
import { sizeOf, type Tensor } from '../tensor/index.ts'
import { prepareModel } from './prepare.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link replay}. */
export interface ReplayOptions extends TaskOptions {
  /** Saved weights by name, as the decomposed model had them; absent: factors are computed from the model's own. */
  readonly weights?: ReadonlyMap<string, Tensor> | undefined
  /** Shapes of inputs that the model leaves open; an open first axis counts as the batch and needs none. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
}

/**
 * Rebuilds a decomposed structure on a fresh model and loads saved weights.
 *
 * @throws WhittleError `PLAN_MISMATCH` when the model, the information or the weights do not belong together.
 */
export async function replay(
  model: Model,
  info: DecomposeInfo,
  options: ReplayOptions,
  runtime: Runtime,
): Promise<{ model: Model; record: CompressionRecord }> {
  const { inputShapes, signal, onProgress } = options
  const prepared = await prepareModel(model, runtime, options)
  const shapes = await observeShapes(runtime.evaluator, prepared, { inputShapes, signal })
  const plan = planFromInfo(prepared, info, shapes)
  const applied = await applyLowRank(prepared, plan, { matrices: runtime.matrices, signal, onProgress })
  const loaded = options.weights ? loadWeights(applied.model, options.weights) : { model: applied.model, kept: [] }
  // Shapes and single numbers are rarely among saved weights; anything else ought to be.
  const { initializers } = loaded.model.graph
  const stale = loaded.kept.filter((name) => {
    const { dtype, shape } = initializers.get(name)!
    return dtype !== 'int64' && sizeOf(shape) > 1
  })
  const warnings = stale.length > 0 ? [`Not in the saved weights, kept from the model: ${stale.join(', ')}.`] : []
  const after = modelCost(loaded.model, await observeShapes(runtime.evaluator, loaded.model, { inputShapes, signal }))
  const record = recordLowRank(VERSION, { ...plan, warnings }, applied, modelCost(prepared, shapes), after)
  return { model: loaded.model, record }
}
