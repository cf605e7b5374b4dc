/** Gradients of elementwise functions of one operand that are smooth: the gradient times a derivative. */
import { stringAttribute } from '../../graph/index.ts'
import { toTypeOf } from './pieces.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

/** The context with its only input `x`, output `y` and gradient `g` by name. */
interface Unary extends RuleContext {
  readonly x: string
  readonly y: string
  readonly g: string
}

/** A rule for one operand. */
function unary(rule: (context: Unary) => string): GradientRule {
  return (context) => {
    const { inputs, outputs, gradients } = context
    return [rule({ ...context, x: inputs[0]!, y: outputs[0]!, g: gradients[0]! })]
  }
}

/** A rule that multiplies by a derivative. */
function derivative(slope: (context: Unary) => string): GradientRule {
  return unary((context) => context.emit.mul(context.g, slope(context)))
}

/** `1 − v`, or `1 + v`. */
const oneMinus = ({ emit }: Unary, v: string): string => emit.sub(emit.number(1, v), v)
const onePlus = ({ emit }: Unary, v: string): string => emit.add(v, emit.number(1, v))
const square = ({ emit }: Unary, v: string): string => emit.mul(v, v)

/** A rule that divides by the square root of a value. */
function overRoot(inner: (context: Unary) => string, sign = 1): GradientRule {
  return unary((context) => {
    const { emit, g } = context
    return emit.div(emit.scale(g, sign), emit.unary('Sqrt', inner(context)))
  })
}

/** g · y · (1 − y), with y − y² for the product. */
const sigmoid = derivative((context) => context.emit.sub(context.y, square(context, context.y)))

/** With t = tanh(softplus(x)): t + x · σ(x) · (1 − t²). */
const mish = derivative((context) => {
  const { emit, x } = context
  const t = emit.unary('Tanh', emit.unary('Softplus', x))
  return emit.add(t, emit.mul(emit.mul(x, emit.unary('Sigmoid', x)), oneMinus(context, square(context, t))))
})

/** y = x · σ(αx): σ + αx·σ·(1 − σ) = σ + αy − αy·σ. */
const swish = derivative((context) => {
  const { emit, node, x, y } = context
  const attribute = node.attributes.get('alpha')
  const alpha = attribute?.kind === 'float' ? attribute.value : 1
  const s = emit.unary('Sigmoid', emit.scale(x, alpha))
  return emit.add(s, emit.mul(emit.scale(y, alpha), oneMinus(context, s)))
})

/**
 * Gelu: Φ(x) + x·φ(x), or the derivative of its tanh approximation ½x(1 + tanh(c(x + 0.044715x³))).
 *
 * @see D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, 2016
 */
const gelu = derivative((context) => {
  const { emit, node, x } = context
  const x2 = square(context, x)
  if (stringAttribute(node, 'approximate', 'none') === 'none') {
    const cumulative = emit.scale(onePlus(context, emit.unary('Erf', emit.scale(x, Math.SQRT1_2))), 0.5)
    const density = emit.scale(emit.unary('Exp', emit.scale(x2, -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return emit.add(cumulative, emit.mul(x, density))
  }
  const c = Math.sqrt(2 / Math.PI)
  const inner = emit.mul(x, emit.add(emit.scale(x2, c * 0.044715), emit.number(c, x)))
  const t = emit.unary('Tanh', inner)
  const innerSlope = emit.mul(x, emit.add(emit.scale(x2, c * 3 * 0.044715), emit.number(c, x)))
  const bend = emit.mul(innerSlope, oneMinus(context, square(context, t)))
  return emit.scale(onePlus(context, emit.add(t, bend)), 0.5)
})

/** Conversions between floating-point types; the reverse walk does not come here for others. */
const cast: GradientRule = ({ emit, inputs: [x], gradients: [g] }) => [toTypeOf(emit, g!, x!)]

/** Smooth functions of one operand. */
export const FUNCTION_RULES: GradientRules = {
  Acos: overRoot((context) => oneMinus(context, square(context, context.x)), -1),
  Acosh: overRoot(({ emit, x }) => emit.sub(emit.mul(x, x), emit.number(1, x))),
  Asin: overRoot((context) => oneMinus(context, square(context, context.x))),
  Asinh: overRoot((context) => onePlus(context, square(context, context.x))),
  Atan: unary((context) => context.emit.div(context.g, onePlus(context, square(context, context.x)))),
  Atanh: unary((context) => context.emit.div(context.g, oneMinus(context, square(context, context.x)))),
  Cast: cast,
  CastLike: cast,
  Cos: derivative(({ emit, x }) => emit.neg(emit.unary('Sin', x))),
  Cosh: derivative(({ emit, x }) => emit.unary('Sinh', x)),
  Erf: derivative((context) => {
    const { emit, x } = context
    return emit.scale(emit.unary('Exp', emit.neg(square(context, x))), 2 / Math.sqrt(Math.PI))
  }),
  Exp: derivative(({ y }) => y),
  Gelu: gelu,
  Identity: unary(({ g }) => g),
  Log: unary(({ emit, x, g }) => emit.div(g, x)),
  Mish: mish,
  Neg: unary(({ emit, g }) => emit.neg(g)),
  Reciprocal: derivative((context) => context.emit.neg(square(context, context.y))),
  Sigmoid: sigmoid,
  Sin: derivative(({ emit, x }) => emit.unary('Cos', x)),
  Sinh: derivative(({ emit, x }) => emit.unary('Cosh', x)),
  Softplus: derivative(({ emit, x }) => emit.unary('Sigmoid', x)),
  Sqrt: unary(({ emit, y, g }) => emit.div(emit.scale(g, 0.5), y)),
  Swish: swish,
  Tan: derivative((context) => onePlus(context, square(context, context.y))),
  Tanh: derivative((context) => oneMinus(context, square(context, context.y))),
}
