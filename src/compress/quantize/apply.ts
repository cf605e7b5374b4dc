/**
 * Applying a quantization plan: weights become integers behind DequantizeLinear, activations go through QuantizeLinear
 * and DequantizeLinear. Decides nothing. Names are those of onnxruntime.quantization.
 *
 * Two deviations from there: the DequantizeLinear of a bias has no zero point (WebGPU refuses it; it is 0 anyway), and
 * a value that a float node makes stays in float for float nodes that read it.
 */
import { fail } from '../../core/index.ts'
import { cloneModel, type Model, modelHash } from '../../graph/index.ts'
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
  checkPlan(model, plan)
  const emitter = new Emitter(cloneModel(model), plan, options, form)
  const outcomes = emitter.run()
  return { model: emitter.model, outcomes }
}

function checkPlan(model: Model, plan: QuantizePlan): void {
  if (plan.method !== 'quantize' || plan.version !== QUANTIZE_PLAN_VERSION)
    fail(
      'PLAN_MISMATCH',
      `A plan of method 'quantize', version ${QUANTIZE_PLAN_VERSION}, is needed; got '${plan.method}', version ${plan.version}. Plan again.`,
    )
  const hash = modelHash(model)
  if (plan.model !== hash)
    fail(
      'PLAN_MISMATCH',
      `The plan was made for another model: it is for ${plan.model}, this one is ${hash}. Plan again.`,
    )
  const seen = new Set<string>()
  for (const { node } of plan.steps) {
    if (seen.has(node)) fail('PLAN_MISMATCH', `The plan names node '${node}' twice. Remove one of the steps.`)
    seen.add(node)
  }
}
