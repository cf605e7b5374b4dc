import { cloneModel, type Model } from '../../graph/index.ts'
import { assertPlanFits } from '../check-plan.ts'
import { type ApplyQuantizeOptions, Emitter, type WeightOutcome } from './emit.ts'
import { QUANTIZE_PLAN_VERSION, type QuantizePlan } from './step.ts'

/** A model with a quantization plan applied to it. */
export interface QuantizeApplied {
  readonly model: Model
  /** Of steps with a weight, in their order. */
  readonly outcomes: readonly WeightOutcome[]
}

/**
 * Applies a plan: the model to deploy, with QuantizeLinear and DequantizeLinear nodes (QDQ).
 *
 * @param model the one the plan was made for.
 * @throws WhittleError `PLAN_MISMATCH` when the plan is for another model, method or version, or names what is not
 *   there; `UNSUPPORTED` when the model's opset is too low for the plan's types; `SHAPE_MISMATCH` for rounded weights
 *   or biases of other shapes.
 */
export function applyQuantize(model: Model, plan: QuantizePlan, options: ApplyQuantizeOptions = {}): QuantizeApplied {
  return emitPlan(model, plan, options, 'integers')
}

/**
 * The same network with floats in the place of integer weights: activations go through the same QuantizeLinear and
 * DequantizeLinear, weights and biases are the floats that their integers stand for. Its outputs are those of
 * {@link applyQuantize}'s, to rounding. For accuracy work and training: gradients reach the weights.
 *
 * @throws WhittleError as {@link applyQuantize}.
 */
export function fakeQuantize(model: Model, plan: QuantizePlan, options: ApplyQuantizeOptions = {}): QuantizeApplied {
  return emitPlan(model, plan, options, 'floats')
}

function emitPlan(
  model: Model,
  plan: QuantizePlan,
  options: ApplyQuantizeOptions,
  form: 'integers' | 'floats',
): QuantizeApplied {
  assertPlanFits(
    model,
    plan,
    { method: 'quantize', version: QUANTIZE_PLAN_VERSION },
    plan.steps.map(({ node }) => node),
  )
  const emitter = new Emitter(cloneModel(model), plan, options, form)
  const outcomes = emitter.run()
  return { model: emitter.model, outcomes }
}
