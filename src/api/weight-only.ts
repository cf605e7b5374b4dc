/** Networks with smaller weights, without data: float16, dynamic 8 bits, 4 bits in blocks. */
import {
  applyWeightOnly,
  type CompressionRecord,
  planWeightOnly,
  type WeightOnlyApplied,
  type WeightOnlyOptions,
  type WeightOnlyPlan,
} from '../compress/index.ts'
import { type TaskOptions, VERSION } from '../core/index.ts'
import { collectMagnitudes, type InputShapeOptions, observeShapes } from '../engine/index.ts'
import { type Model, modelCost, type TensorMap } from '../graph/index.ts'
import { prepareModel } from './prepare.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link quantizeWeights}. */
export interface QuantizeWeightsOptions extends WeightOnlyOptions, Pick<InputShapeOptions, 'inputShapes'>, TaskOptions {
  /** Batches of real input. Not needed; with them, activations beyond float16's range are found. */
  readonly data?: (() => AsyncIterable<TensorMap>) | undefined
}

/** A network in a format of weights. */
export interface WeightsQuantized {
  readonly model: Model
  readonly plan: WeightOnlyPlan
  readonly record: CompressionRecord
}

/**
 * Stores a network's weights in a smaller format.
 *
 * @returns the model, the plan that makes it again, and the record. Parameters and MACs are counted as before; bytes
 *   are those of all constants.
 * @throws WhittleError `INVALID_ARGUMENT` for options that do not go together or open input shapes; `INVALID_MODEL`;
 *   `NOT_FINITE`; `ENGINE`; `ABORTED`.
 */
export async function quantizeWeights(
  model: Model,
  options: QuantizeWeightsOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<WeightsQuantized> {
  const { inputShapes, signal, data } = options
  const prepared = await prepareModel(model, runtime, options)
  const types = await observeShapes(runtime.evaluator, prepared, { inputShapes, signal })
  const isHalf = options.format === 'fp16' || options.format === 'q4f16'
  const ranges = isHalf && data ? await rangesOf(prepared, types, data, options, runtime) : undefined
  const plan = planWeightOnly(prepared, options, { types, ranges })
  const applied = applyWeightOnly(prepared, plan, types)
  const cost = modelCost(prepared, types)
  return { model: applied.model, plan, record: recordWeightOnly(plan, prepared, applied, cost) }
}

async function rangesOf(
  model: Model,
  types: ReadonlyMap<string, { readonly dtype: string; readonly shape: readonly number[] }>,
  data: () => AsyncIterable<TensorMap>,
  options: TaskOptions,
  { evaluator }: Pick<Runtime, 'evaluator'>,
) {
  const produced = model.graph.nodes.flatMap((node) => node.outputs)
  const names = produced.filter((name) => {
    const type = types.get(name)
    return type?.dtype === 'float32' && !type.shape.includes(0)
  })
  const magnitudes = await collectMagnitudes(evaluator, model, names, data, options)
  return new Map([...magnitudes].map(([name, most]) => [name, { min: -most, max: most }]))
}

function recordWeightOnly(
  plan: WeightOnlyPlan,
  model: Model,
  applied: WeightOnlyApplied,
  { parameters, macs, perNode }: ReturnType<typeof modelCost>,
): CompressionRecord {
  return {
    whittle: VERSION,
    method: plan.method,
    seed: plan.seed,
    plan,
    before: { parameters, bytes: constantBytes(model), macs },
    after: { parameters, bytes: constantBytes(applied.model), macs },
    layers: applied.outcomes.map(({ step, relativeError }) => {
      const cost = perNode.get(step.node)
      const count = cost?.parameters ?? 0
      return {
        name: step.node,
        op: step.op,
        method: step.form,
        ranks: {},
        parameters: { before: count, after: count },
        macs: { before: cost?.macs ?? null, after: cost?.macs ?? null },
        relativeError,
      }
    }),
    skips: plan.skips,
    measured: [],
    warnings: plan.warnings,
  }
}

function constantBytes({ graph }: Model): number {
  let bytes = 0
  for (const tensor of graph.initializers.values()) bytes += tensor.byteLength
  return bytes
}
