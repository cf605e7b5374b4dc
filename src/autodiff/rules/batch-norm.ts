/**
 * Gradients of BatchNormalization with fixed and with batch statistics, over all axes but the second.
 *
 * With x̂ = (x − m) / √(v + ε), y = γ x̂ + β, and M elements per channel:
 * dβ = Σ dy, dγ = Σ dy x̂ = (Σ dy x − m dβ) / √(v + ε);
 * fixed statistics: dx = dy γ / √(v + ε); batch statistics: dx = γ / √(v + ε) · (dy − dβ / M − x̂ dγ / M), whose part
 * in x is itself a normalisation with fixed statistics.
 *
 * @see S. Ioffe, C. Szegedy, Batch Normalization, ICML 2015, section 3
 */
import { float, floatAttribute, intAttribute } from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

/** Axes of all but the channels. */
function reducedAxes(shape: readonly number[]): number[] {
  return shape.flatMap((_, axis) => (axis === 1 ? [] : [axis]))
}

/** A value per channel, to be broadcast against `[N, C, …]` of the given rank. */
function perChannel(emit: Emitter, value: string, rank: number): string {
  return emit.reshape(value, [emit.shape(value)[0]!, ...new Array<number>(rank - 2).fill(1)])
}

/** 1 / √(v + ε). */
function inverseDeviation(emit: Emitter, variance: string, epsilon: number): string {
  return emit.unary('Reciprocal', emit.unary('Sqrt', emit.add(variance, emit.number(epsilon, variance))))
}

/** Mean and variance of a training-mode node: its own outputs where they are the batch's, else computed again. */
function batchStatistics({ emit, node, inputs, outputs }: RuleContext): readonly [string, string] {
  const [, mean, variance] = outputs
  if (floatAttribute(node, 'momentum', 0.9) === 0 && mean && variance) return [mean, variance]
  const x = inputs[0]!
  const shape = emit.shape(x)
  const axes = reducedAxes(shape)
  const center = emit.reduce('ReduceMean', x, axes)
  const spread = emit.sub(x, center)
  return [emit.reshape(center, [shape[1]!]), emit.reduce('ReduceMean', emit.mul(spread, spread), axes, false)]
}

const batchNormalization: GradientRule = (context) => {
  const { emit, node, inputs, gradients, needs } = context
  const [x, scale] = inputs as [string, string]
  const shape = emit.shape(x)
  const dy = gradients[0]
  // Running statistics leave the network; nothing is learnt through them.
  if (dy === undefined) return []
  const training = intAttribute(node, 'training_mode', 0) === 1
  const epsilon = floatAttribute(node, 'epsilon', 1e-5)
  const [mean, variance] = training ? batchStatistics(context) : [inputs[3]!, inputs[4]!]
  const inverse = inverseDeviation(emit, variance, epsilon)
  const factor = emit.mul(scale, inverse)
  const wantsStatistics = !training && (needs(3) || needs(4))
  const [dScale, dBias] =
    needs(1) || needs(2) || wantsStatistics || (training && needs(0))
      ? parameterGradients(emit, { x, dy, mean, inverse })
      : ['', '']
  let dx: string | undefined
  if (needs(0)) {
    dx = emit.mul(dy, perChannel(emit, factor, shape.length))
    if (training) {
      const share = emit.scale(factor, -1 / (sizeOf(shape) / shape[1]!))
      const parts = [x, emit.mul(share, dScale), emit.mul(share, dBias), mean, variance]
      dx = emit.add(dx, emit.op('BatchNormalization', parts, shape, { epsilon: float(epsilon) }))
    }
  }
  if (!wantsStatistics) return [dx, needs(1) ? dScale : undefined, needs(2) ? dBias : undefined]
  const dMean = emit.neg(emit.mul(factor, dBias))
  const dVariance = emit.scale(emit.mul(emit.mul(factor, inverse), dScale), -0.5)
  return [dx, dScale, dBias, dMean, dVariance]
}

function parameterGradients(
  emit: Emitter,
  { x, dy, mean, inverse }: { x: string; dy: string; mean: string; inverse: string },
): [string, string] {
  const axes = reducedAxes(emit.shape(x))
  const dBias = emit.sum(dy, axes, false)
  const products = emit.sum(emit.mul(dy, x), axes, false)
  return [emit.mul(emit.sub(products, emit.mul(mean, dBias)), inverse), dBias]
}

/** BatchNormalization. */
export const BATCH_NORM_RULES: GradientRules = { BatchNormalization: batchNormalization }
