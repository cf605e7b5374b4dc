/** A quantization plan, from a record or edited by hand, applied to the file it was made for. */
import { applyQuantize, type IntegerType, type QuantizePlan, recordQuantize } from '../compress/index.ts'
import { type TaskOptions, VERSION } from '../core/index.ts'
import { observeShapes } from '../engine/index.ts'
import { type Model, modelCost } from '../graph/index.ts'
import type { Quantized } from './quantize.ts'
import { prepareForQuantization } from './quantize-prepare.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link replayQuantization}. */
export interface ReplayQuantizationOptions extends TaskOptions {
  /** Shapes of inputs that the model leaves open; an open first axis counts as the batch and needs none. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
}

/**
 * Prepares a model as `quantize` does and applies a plan to it; no data are needed.
 *
 * Plans of networks that were equalised, balanced or bias-corrected before are for those networks: apply them to
 * `Quantized.float` with `applyQuantize`.
 *
 * @param plan what `quantize` returned, or the `plan` of its record.
 * @throws WhittleError `PLAN_MISMATCH` when the plan is for another model or names what is not there; `UNSUPPORTED`;
 *   `INVALID_MODEL`; `ENGINE`; `ABORTED`.
 */
export async function replayQuantization(
  model: Model,
  plan: QuantizePlan,
  options: ReplayQuantizationOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<Quantized & { readonly plan: QuantizePlan; readonly float: Model }> {
  const { inputShapes, signal } = options
  const prepared = await prepareForQuantization(model, { inputShapes, types: typesOf(plan), signal }, runtime)
  const applied = applyQuantize(prepared.model, plan)
  const before = modelCost(prepared.model, prepared.shapes)
  const after = modelCost(applied.model, await observeShapes(runtime.evaluator, applied.model, { inputShapes, signal }))
  const macs = new Map([...before.perNode].map(([name, cost]) => [name, cost.macs]))
  const inputs = new Map(prepared.model.graph.nodes.map((node) => [node.name, node.inputs[0] ?? '']))
  const record = recordQuantize(VERSION, plan, applied, { before, after, macs }, inputs, prepared.warnings)
  return { model: applied.model, plan, record, float: prepared.model }
}

function typesOf({ steps, activations }: QuantizePlan): IntegerType[] {
  const constants = steps.flatMap(({ weight, constants: others = [] }) => (weight ? [weight, ...others] : others))
  return [...new Set([...activations, ...constants].map(({ quantization }) => quantization.type))]
}
