/** Gradients of elementwise operators of several operands; the reverse walk sums over broadcast axes. */
import { toFloat64 } from '../../tensor/index.ts'
import { toTypeOf } from './pieces.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

const add: GradientRule = ({ inputs, gradients: [g] }) => inputs.map(() => g)

const sub: GradientRule = ({ emit, gradients: [g], needs }) => [g, needs(1) ? emit.neg(g!) : undefined]

const mul: GradientRule = ({ emit, inputs: [a, b], gradients: [g], needs }) => [
  needs(0) ? emit.mul(g!, b!) : undefined,
  needs(1) ? emit.mul(g!, a!) : undefined,
]

/** With y = a / b: ∂a = g / b, ∂b = −(g / b) · y. */
const div: GradientRule = ({ emit, inputs: [, b], outputs: [y], gradients: [g], needs }) => {
  const quotient = emit.div(g!, b!)
  return [quotient, needs(1) ? emit.neg(emit.mul(quotient, y!)) : undefined]
}

/** ∂base of base^exponent for an exponent that is one constant number; `undefined` for others. */
function powConstant({ emit, inputs: [a, b], outputs: [y], gradients: [g], constant }: RuleContext) {
  const tensor = constant(b!)
  if (tensor?.size !== 1) return undefined
  const exponent = toFloat64(tensor)[0]!
  if (exponent === 1) return g!
  if (exponent === 2) return emit.mul(g!, emit.scale(a!, 2))
  if (exponent === 3) return emit.mul(g!, emit.scale(emit.mul(a!, a!), 3))
  if (exponent === 0.5) return emit.div(emit.scale(g!, 0.5), y!)
  const slope = emit.scale(emit.binary('Pow', a!, emit.number(exponent - 1, a!)), exponent)
  return emit.mul(g!, slope)
}

/** ∂a = g · b · a^(b−1), zero where b is zero; ∂b = g · y · ln a, zero where a is zero and b is not negative. */
const pow: GradientRule = (context) => {
  const { emit, inputs, outputs, gradients, needs } = context
  const [a, y, g] = [inputs[0]!, outputs[0]!, gradients[0]!]
  const zero = emit.number(0, g)
  let da: string | undefined
  let db: string | undefined
  if (needs(0)) {
    da = powConstant(context)
    if (da === undefined) {
      const b = toTypeOf(emit, inputs[1]!, a)
      const slope = emit.mul(b, emit.binary('Pow', a, emit.sub(b, emit.number(1, b))))
      da = emit.where(emit.binary('Equal', b, zero), zero, emit.mul(g, slope))
    }
  }
  if (needs(1)) {
    const b = inputs[1]!
    const none = emit.op(
      'And',
      [emit.binary('Equal', a, emit.number(0, a)), emit.binary('GreaterOrEqual', b, emit.number(0, b))],
      emit.shape(y),
      {},
      'bool',
    )
    const slope = emit.where(none, zero, emit.mul(y, emit.unary('Log', a)))
    db = toTypeOf(emit, emit.mul(g, slope), b)
  }
  return [da, db]
}

/** Max and Min: the gradient goes to the operand that was chosen; of equal ones to the first. */
const choose: GradientRule = ({ emit, inputs, outputs: [y], gradients: [g], needs }) => {
  const zero = emit.number(0, g!)
  const last = inputs.findLastIndex((_, at) => needs(at))
  let rest = g!
  return inputs.map((x, at) => {
    if (at === inputs.length - 1) return rest
    if (at > last) return undefined
    const chosen = emit.binary('Equal', x, y!)
    const part = needs(at) ? emit.where(chosen, rest, zero) : undefined
    if (at < last) rest = emit.where(chosen, zero, rest)
    return part
  })
}

const where: GradientRule = ({ emit, inputs: [condition], gradients: [g], needs }) => {
  const zero = emit.number(0, g!)
  return [
    undefined,
    needs(1) ? emit.where(condition!, g!, zero) : undefined,
    needs(2) ? emit.where(condition!, zero, g!) : undefined,
  ]
}

/** y = x where x > 0, else slope · x. */
const prelu: GradientRule = ({ emit, inputs: [x, slope], gradients: [g], needs }) => {
  const zero = emit.number(0, x!)
  const dx = () => emit.mul(g!, emit.where(emit.binary('Greater', x!, zero), emit.number(1, x!), slope!))
  return [needs(0) ? dx() : undefined, needs(1) ? emit.mul(g!, emit.binary('Min', x!, zero)) : undefined]
}

const mean: GradientRule = ({ emit, inputs, gradients: [g] }) => {
  const part = emit.scale(g!, 1 / inputs.length)
  return inputs.map(() => part)
}

/** Elementwise operators of two or more operands. */
export const ELEMENTWISE_RULES: GradientRules = {
  Add: add,
  Div: div,
  Max: choose,
  Mean: mean,
  Min: choose,
  Mul: mul,
  PRelu: prelu,
  Pow: pow,
  Sub: sub,
  Sum: add,
  Where: where,
}
