/** Gradients of softmax and of the losses that are built on it. */
import { intAttribute, stringAttribute } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { toTypeOf } from './pieces.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

/** y · (g − Σ g·y). */
const softmax: GradientRule = ({ emit, node, outputs: [y], gradients: [g] }) => {
  const axis = lastAxis(emit, y!, intAttribute(node, 'axis', -1))
  const product = emit.mul(g!, y!)
  return [emit.sub(product, emit.mul(y!, emit.sum(product, [axis])))]
}

/** g − eʸ · Σ g. */
const logSoftmax: GradientRule = ({ emit, node, outputs: [y], gradients: [g] }) => [
  throughLogSoftmax(emit, y!, g!, lastAxis(emit, y!, intAttribute(node, 'axis', -1))),
]

function lastAxis(emit: Emitter, x: string, axis: number): number {
  return axis < 0 ? axis + emit.shape(x).length : axis
}

function throughLogSoftmax(emit: Emitter, y: string, g: string, axis: number): string {
  return emit.sub(g, emit.mul(emit.unary('Exp', y), emit.sum(g, [axis])))
}

/**
 * The gradient of the negative log likelihood by the log probabilities [N, C, …]: −weight of the label at the label's
 * place, divided by the sum of the weights for the mean.
 */
function likelihood({ emit, node, inputs, gradients: [g] }: RuleContext): string {
  const [scores = '', labels = '', weights = ''] = inputs
  const shape = emit.shape(scores)
  const [batch, classes, ...rest] = shape as [number, number, ...number[]]
  const one = [batch, 1, ...rest]
  const ignored = intAttribute(node, 'ignore_index', undefined)
  const reduction = stringAttribute(node, 'reduction', 'mean')
  const { dtype } = emit.type(labels)
  const range = emit.integers([...Array(classes).keys()])
  const numbers = emit.reshape(toTypeOf(emit, range, labels), [1, classes, ...rest.map(() => 1)])
  const chosen = emit.binary('Equal', emit.reshape(labels, one), numbers)
  const unit = emit.number(1, scores)
  const zero = emit.number(0, scores)
  const perClass = weights === '' ? unit : emit.reshape(weights, [1, classes, ...rest.map(() => 1)])
  let placed = emit.where(chosen, perClass, zero)
  if (ignored !== undefined) {
    const code = dtype === 'int32' ? Tensor.of(Int32Array.of(ignored), []) : Tensor.int64(ignored)
    placed = emit.where(emit.binary('Equal', emit.reshape(labels, one), emit.tensor(code)), zero, placed)
  }
  const seed = reduction === 'none' ? emit.reshape(g!, one) : emit.reshape(g!, [])
  if (reduction !== 'mean') return emit.mul(placed, emit.neg(seed))
  const total = emit.reshape(emit.sum(placed, [...shape.keys()]), [])
  return emit.mul(placed, emit.neg(emit.div(seed, total)))
}

const negativeLogLikelihood: GradientRule = (context) => [likelihood(context)]

/** Both outputs pass their gradient through the same log-softmax; it is computed anew where the node omits it. */
const softmaxCrossEntropy: GradientRule = (context) => {
  const { emit, inputs, outputs, gradients } = context
  const scores = inputs[0]!
  const logs = outputs[1] || emit.op('LogSoftmax', [scores], emit.shape(scores), { axis: 1 })
  const parts: string[] = []
  if (gradients[0] !== undefined) parts.push(likelihood(context))
  if (gradients[1] !== undefined) parts.push(gradients[1])
  const seed = parts.length === 2 ? emit.add(parts[0]!, parts[1]!) : parts[0]!
  return [throughLogSoftmax(emit, logs, seed, 1)]
}

/** Softmax, and classification losses. */
export const SOFTMAX_RULES: GradientRules = {
  LogSoftmax: logSoftmax,
  NegativeLogLikelihoodLoss: negativeLogLikelihood,
  Softmax: softmax,
  SoftmaxCrossEntropyLoss: softmaxCrossEntropy,
}
