/** From a trained network with fake quantization to the plan of the model that is deployed. */
import {
  type ActivationStep,
  biasSafeScales,
  type QuantizePlan,
  type QuantizeStep,
  rangeOf,
} from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import { GraphIndex, type Model, modelHash, weightFactsOf } from '../../graph/index.ts'
import { type Tensor, toFloat32, toFloat64 } from '../../tensor/index.ts'
import { withWeights } from '../../train/index.ts'
import { learnedStep } from './activations.ts'
import { channelsOf } from './initial-scales.ts'
import type { FakeQuantized } from './network.ts'
import { learnedScales, roundWeight, type WeightQuantizer } from './weights.ts'

/** A model in float and the plan that quantizes it. */
export interface LearnedPlan {
  /** Normalisations folded; its weights are numbers that integers stand for. */
  readonly model: Model
  readonly plan: QuantizePlan
}

/**
 * The plan with the ranges and scales that were learned.
 *
 * @param source the model that fake quantization was added to, as it was before.
 * @param trained the trained network with fake quantization.
 * @param fold folds normalisations, as it was done for the model of `plan`.
 */
export async function learnedPlan(
  source: Model,
  network: FakeQuantized,
  trained: Model,
  plan: QuantizePlan,
  fold: (model: Model) => Promise<Model>,
): Promise<LearnedPlan> {
  const weights = trained.graph.initializers
  const rounded = new Map<string, { integers: Int32Array; scales: Float32Array }>()
  const replaced = new Map<string, Tensor>()
  for (const name of source.graph.initializers.keys()) {
    const tensor = weights.get(name)
    if (tensor) replaced.set(name, tensor)
  }
  for (const quantizer of network.weights) {
    const scales = learnedScales(quantizer, weights)
    const result = roundWeight(weights.get(quantizer.weight)!, scales, quantizer.quantization)
    rounded.set(quantizer.weight, { integers: result.integers, scales })
    replaced.set(quantizer.weight, result.rounded)
  }
  const model = await fold(withWeights(source, replaced))
  const activations = learnedActivations(network, trained, plan)
  const byTensor = new Map(activations.map((step) => [step.tensor, step]))
  const index = new GraphIndex(model.graph)
  const steps = plan.steps.map((step): QuantizeStep => {
    const node = index.node(step.node)
    if (!node) return fail('INTERNAL', `Internal: layer '${step.node}' is gone after training.`)
    if (step.removed) return keepIfNeeded(step, index, byTensor)
    const quantizer = network.weights.find((candidate) => candidate.node === step.node)
    if (!quantizer || !step.weight) return step
    const facts = weightFactsOf(node)!
    const tensor = node.inputs[facts.weightInput]!
    const bias = facts.biasInput === undefined ? '' : (node.inputs[facts.biasInput] ?? '')
    const weight = model.graph.initializers.get(tensor)!
    const effective = effectiveScales(weight, rounded.get(quantizer.weight)!, quantizer)
    const input = byTensor.get(node.inputs[0]!)?.quantization
    const values = model.graph.initializers.get(bias)
    const scale =
      values && input ? biasSafeScales(effective, input.scale[0]!, toFloat32(values), weight, node) : effective
    const quantization = { ...step.weight.quantization, scale }
    const { bias: _, ...rest } = step
    return {
      ...rest,
      weight: { tensor, quantization, algorithm: quantizer.algorithm },
      ...(bias === '' || step.bias === undefined ? {} : { bias }),
    }
  })
  return { model, plan: { ...plan, model: modelHash(model), steps, activations } }
}

/** Steps of activations, those that share a scale with that of the first. */
function learnedActivations({ activations }: FakeQuantized, trained: Model, plan: QuantizePlan): ActivationStep[] {
  const learned = new Map(activations.map((one) => [one.tensor, learnedStep(one, trained.graph.initializers)]))
  const steps = new Map(plan.activations.map((step) => [step.tensor, step]))
  const rootOf = (step: ActivationStep): string => {
    let root = step
    for (let count = 0; root.sharedWith !== undefined && count < steps.size; count++)
      root = steps.get(root.sharedWith) ?? { ...root, tensor: root.sharedWith, sharedWith: undefined as never }
    return root.tensor
  }
  return plan.activations.map((step) => {
    const { quantization, range, algorithm } = learned.get(rootOf(step)) ?? step
    return { ...step, quantization, range, algorithm }
  })
}

/** Scales of a weight after folding, which multiplied each channel by a number of its own. */
function effectiveScales(
  weight: Tensor,
  { integers, scales }: { integers: Int32Array; scales: Float32Array },
  { quantization: { axis }, node }: WeightQuantizer,
): number[] {
  const data = toFloat32(weight)
  const { channels, inner } = channelsOf(weight.shape, axis)
  const level = new Int32Array(channels)
  const effective = Float32Array.from(scales)
  for (let i = 0; i < data.length; i++) {
    const channel = Math.floor(i / inner) % channels
    const integer = Math.abs(integers[i]!)
    if (integer <= level[channel]!) continue
    level[channel] = integer
    effective[channel] = Math.abs(data[i]!) / integer
  }
  // A factor of 0 leaves nothing of a channel.
  for (const [channel, scale] of effective.entries()) if (!(scale > 0)) effective[channel] = scales[channel]!
  for (let i = 0; i < data.length; i++) {
    const scale = effective[Math.floor(i / inner) % channels]!
    if (Math.abs(Math.abs(data[i]!) - Math.abs(integers[i]!) * scale) > 0.01 * scale && data[i] !== 0)
      fail('INTERNAL', `Internal: the folded weight of '${node}' does not lie on the grid that it was trained on.`)
  }
  return [...effective]
}

/** A removed Relu or Clip comes back where the learned range reaches beyond its bounds. */
function keepIfNeeded(
  step: QuantizeStep,
  index: GraphIndex,
  activations: ReadonlyMap<string, ActivationStep>,
): QuantizeStep {
  const node = index.node(step.node)!
  const quantization = activations.get(node.outputs[0]!)?.quantization
  const { removed: _, ...kept } = step
  if (!quantization) return kept
  const { min, max } = rangeOf(quantization)
  const slack = quantization.scale[0]! / 4
  const bound = (position: number, open: number): number => {
    const tensor = index.constant(node.inputs[position] ?? '')
    return tensor ? toFloat64(tensor)[0]! : open
  }
  const [low, high] =
    node.opType === 'Relu'
      ? [0, Number.POSITIVE_INFINITY]
      : [bound(1, Number.NEGATIVE_INFINITY), bound(2, Number.POSITIVE_INFINITY)]
  return min >= low - slack && max <= high + slack ? step : kept
}
