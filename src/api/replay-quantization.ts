/** A quantization plan, from a record or edited by hand, applied to the file it was made for. */
import {
  applyQuantize,
  type IntegerType,
  type QuantizePlan,
  type RoundingPlan,
  recordQuantize,
} from '../compress/index.ts'
import { fail, type TaskOptions, VERSION } from '../core/index.ts'
import { observeShapes } from '../engine/index.ts'
import { type Model, modelCost, type TensorMap } from '../graph/index.ts'
import type { Quantized } from './quantize.ts'
import { type PreparedForQuantization, prepareForQuantization } from './quantize-prepare.ts'
import { ROUNDING_METHODS, type RoundingChoice, recordRounding, roundWeights } from './rounding.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link replayQuantization}. */
export interface ReplayQuantizationOptions extends TaskOptions {
  /** Shapes of inputs that the model leaves open; an open first axis counts as the batch and needs none. */
  readonly inputShapes?: Readonly<Record<string, readonly number[]>> | undefined
  /** Batches of inputs, for plans whose integers were chosen on data (`rounding`): the same ones give equal integers. */
  readonly data?: (() => AsyncIterable<TensorMap>) | undefined
}

/**
 * Prepares a model as `quantize` does and applies a plan to it. No data are needed, but for integers that were chosen on
 * data: without these they are the nearest ones, and a warning says so.
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
  const { rounded, chosen, warnings } = await integersFor(prepared, plan, options, runtime)
  const applied = applyQuantize(prepared.model, plan, { rounded })
  const before = modelCost(prepared.model, prepared.shapes)
  const after = modelCost(applied.model, await observeShapes(runtime.evaluator, applied.model, { inputShapes, signal }))
  const macs = new Map([...before.perNode].map(([name, cost]) => [name, cost.macs]))
  const inputs = new Map(prepared.model.graph.nodes.map((node) => [node.name, node.inputs[0] ?? '']))
  const record = recordQuantize(VERSION, plan, applied, { before, after, macs }, inputs, warnings)
  return { model: applied.model, plan, record: recordRounding(record, chosen), float: prepared.model }
}

async function integersFor(
  { model, shapes, warnings }: PreparedForQuantization,
  plan: QuantizePlan,
  { data, signal, onProgress }: ReplayQuantizationOptions,
  runtime: Pick<Runtime, 'evaluator'>,
) {
  const { rounding, seed } = plan
  if (!rounding) return { warnings }
  if (!data) {
    const advice = 'here they are the nearest ones. Give `data` to choose them again.'
    return { warnings: [...warnings, `Integers of the plan were chosen on data (${rounding.method}); ${advice}`] }
  }
  const chosen = await roundWeights(
    model,
    plan,
    asChoice(rounding),
    { data, shapes, seed, signal, onProgress },
    runtime,
  )
  return { chosen, rounded: chosen?.rounded, warnings }
}

/** A plan may have been edited: its options are checked where they are used. */
function asChoice({ method, ...options }: RoundingPlan): RoundingChoice {
  const known = ROUNDING_METHODS.find((name) => name === method)
  if (!known) fail('INVALID_ARGUMENT', `Plan: rounding must be one of ${ROUNDING_METHODS.join(', ')}; got '${method}'.`)
  return known === 'nearest' ? known : { ...options, method: known }
}

function typesOf({ steps, activations }: QuantizePlan): IntegerType[] {
  const constants = steps.flatMap(({ weight, constants: others = [] }) => (weight ? [weight, ...others] : others))
  return [...new Set([...activations, ...constants].map(({ quantization }) => quantization.type))]
}
