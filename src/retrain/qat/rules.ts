/**
 * Gradients of fake quantization y = s · round(clip(x / s, low, high)), straight through the rounding.
 *
 * The four nodes get rules together, by name: what the standard rules multiply by s and divide by s again is left out,
 * which takes a third of the time. With v = x / s, c = clip(v), r = round(c), and g the gradient of y:
 *
 *   ∂x = g where v = c, else 0
 *   ∂s = Σ g·r − Σ ∂x·v        (round(v) − v inside, the bound outside: LSQ's formula)
 *
 * @see S. K. Esser et al., Learned Step Size Quantization, ICLR 2020, equation 3
 */
import { type Emitter, GRADIENT_RULES, type GradientRule, type GradientRules } from '../../autodiff/index.ts'
import { float } from '../../graph/index.ts'

/** Slope of a ramp that is a step: no difference of float32 numbers next to each other is below 1 over it. */
const STEEP = 2 ** 100

/** 1 where v = c, else 0. @param oneSided whether v is never below c. */
function maskOf(emit: Emitter, v: string, c: string, oneSided: boolean): string {
  const distance = emit.sub(v, c)
  const attributes = { alpha: float(-STEEP), beta: float(1) }
  return emit.unary('HardSigmoid', oneSided ? distance : emit.unary('Abs', distance), attributes)
}

/** Sum of a · b over what broadcasting `like` added. */
function dot(emit: Emitter, a: string, b: string, like: string): string {
  return emit.sumTo(emit.mul(a, b), emit.shape(like))
}

/** The values and names of the four nodes of one fake quantization. */
export interface FakeQuantNodes {
  readonly divide: string
  readonly clip: string
  readonly multiply: string
  /** The value before clipping, after it, and the scale. */
  readonly v: string
  readonly c: string
  readonly scale: string
}

/** Rules by the name of the node. */
export type NodeRules = Map<string, GradientRule>

/** Bounds are constant, the scale is learned: LSQ, and ULQ whose lower end is fixed. */
export function addStepRules(rules: NodeRules, nodes: FakeQuantNodes, oneSided: boolean): void {
  const { v, c, scale } = nodes
  rules.set(nodes.multiply, ({ emit, inputs: [r], gradients: [g], needs }) => [
    g,
    needs(1) ? dot(emit, g!, r!, scale) : undefined,
  ])
  rules.set(nodes.clip, ({ emit, gradients: [g] }) => [emit.mul(g!, maskOf(emit, v, c, oneSided))])
  rules.set(nodes.divide, ({ emit, gradients: [g], needs }) => [
    g,
    needs(1) ? emit.neg(dot(emit, g!, v, scale)) : undefined,
  ])
}

/** The same with the gradient of x unchanged by clipping: AMCT's `ulq_retrain` of weights. */
export function addIdentityRules(rules: NodeRules, nodes: FakeQuantNodes): void {
  const { v, c, scale } = nodes
  rules.set(nodes.multiply, ({ emit, inputs: [r], gradients: [g], needs }) => {
    const inside = emit.mul(g!, maskOf(emit, v, c, false))
    return [g, needs(1) ? emit.sub(dot(emit, g!, r!, scale), dot(emit, inside, v, scale)) : undefined]
  })
  rules.set(nodes.clip, ({ gradients: [g] }) => [g])
  rules.set(nodes.divide, ({ gradients: [g] }) => [g])
}

/** Nothing of the scale is learned and nothing is clipped: AMCT's `arq_retrain`. */
export function addPassingRules(rules: NodeRules, { multiply, divide }: { multiply: string; divide: string }): void {
  for (const name of [multiply, divide]) addFirstOnlyRule(rules, name)
}

/**
 * Bounds are learned: ULQ with both ends, LSQ+. Beside ∂x as above
 *
 *   ∂s = Σ g·(r − c), ∂low = Σ g where v < low, ∂high = Σ g where v > high
 *
 * in units of y; `low` and `high` hand them on to what they stand for, see {@link addAnchorRule}.
 */
export function addRangeRules(rules: NodeRules, nodes: FakeQuantNodes): void {
  const { v, c, scale } = nodes
  rules.set(nodes.multiply, ({ emit, inputs: [r], gradients: [g], needs }) => [
    g,
    needs(1) ? dot(emit, g!, emit.sub(r!, c), scale) : undefined,
  ])
  rules.set(nodes.clip, ({ emit, gradients: [g], inputs: [, low, high], needs }) => {
    const distance = emit.sub(v, c)
    const beyond = (side: 1 | -1, bound: string): string =>
      dot(emit, g!, emit.unary('HardSigmoid', distance, { alpha: float(side * STEEP), beta: float(0) }), bound)
    return [
      emit.mul(g!, maskOf(emit, v, c, false)),
      needs(1) ? beyond(-1, low!) : undefined,
      needs(2) ? beyond(1, high!) : undefined,
    ]
  })
  rules.set(nodes.divide, ({ gradients: [g] }) => [g])
}

/** The gradient goes to the first operand unchanged, to others none. */
export function addFirstOnlyRule(rules: NodeRules, node: string): void {
  rules.set(node, ({ gradients: [g] }) => [g])
}

/** Where(true, value, anchor): gives the value, and its gradient to the anchor. */
export function addAnchorRule(rules: NodeRules, node: string): void {
  rules.set(node, ({ gradients: [g] }) => [undefined, undefined, g])
}

/** Operators that fake quantization is made of. */
const OPERATORS = ['Add', 'Clip', 'Div', 'Mul', 'Where'] as const

/** Rules for `gradient`: those of the named nodes, and the standard ones for all others of the same operators. */
export function asGradientRules(rules: NodeRules): GradientRules {
  return Object.fromEntries(
    OPERATORS.map((operator): [string, GradientRule] => [
      operator,
      (context) => (rules.get(context.node.name) ?? GRADIENT_RULES[operator]!)(context),
    ]),
  )
}
