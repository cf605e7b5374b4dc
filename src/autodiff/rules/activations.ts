/** Gradients of activation functions with kinks, and of Dropout. At a kink the slope of one side is taken. */
import { float, floatAttribute, type Node } from '../../graph/index.ts'
import { toFloat64 } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { toTypeOf, wherePositive } from './pieces.ts'
import type { GradientRule, GradientRules } from './rule.ts'

/** At zero the slope is zero, as PyTorch has it. */
const relu: GradientRule = ({ emit, outputs: [y], gradients: [g] }) => [wherePositive(emit, y!, g!)]

/** A rule for functions that are linear above zero: slope `above` there, and what `below` gives elsewhere. */
function bent(above: (node: Node) => number, below: (emit: Emitter, y: string, node: Node) => string): GradientRule {
  return ({ emit, node, inputs: [x], outputs: [y], gradients: [g] }) => {
    const positive = emit.binary('Greater', x!, emit.number(0, x!))
    return [emit.mul(g!, emit.where(positive, emit.number(above(node), g!), below(emit, y!, node)))]
  }
}

const SELU_ALPHA = 1.6732632423543772
const SELU_GAMMA = 1.0507009873554805

const selu = bent(
  (node) => floatAttribute(node, 'gamma', SELU_GAMMA),
  (emit, y, node) => {
    const scale = floatAttribute(node, 'alpha', SELU_ALPHA) * floatAttribute(node, 'gamma', SELU_GAMMA)
    return emit.add(y, emit.number(scale, y))
  },
)

/** α(eˣ − 1) has the slope y + α. */
const elu = bent(
  () => 1,
  (emit, y, node) => emit.add(y, emit.number(floatAttribute(node, 'alpha', 1), y)),
)

/** α(e^(x/α) − 1) has the slope y/α + 1. */
const celu = bent(
  () => 1,
  (emit, y, node) => emit.add(emit.scale(y, 1 / floatAttribute(node, 'alpha', 1)), emit.number(1, y)),
)

const leakyRelu = bent(
  () => 1,
  (emit, y, node) => emit.number(floatAttribute(node, 'alpha', 0.01), y),
)

/** `g` where |v| is below a bound, else 0; or the other way round. */
function whereWithin(emit: Emitter, v: string, bound: number, g: string, inside = true): string {
  const within = emit.binary(inside ? 'Less' : 'Greater', emit.unary('Abs', v), emit.number(bound, v))
  return emit.where(within, g, emit.number(0, g))
}

/** max(0, min(1, αx + β)): α where it lies strictly between 0 and 1. */
const hardSigmoid: GradientRule = ({ emit, node, outputs: [y], gradients: [g] }) => {
  const centered = emit.sub(y!, emit.number(0.5, y!))
  return [whereWithin(emit, centered, 0.5, emit.scale(g!, floatAttribute(node, 'alpha', 0.2)))]
}

/** x · max(0, min(1, x/6 + ½)): 0 below −3, 1 above 3, x/3 + ½ between. */
const hardSwish: GradientRule = ({ emit, inputs: [x], gradients: [g] }) => {
  const slope = emit.add(emit.scale(x!, 1 / 3), emit.number(0.5, x!))
  const within = emit.binary('Less', emit.unary('Abs', x!), emit.number(3, x!))
  const ends = wherePositive(emit, x!, emit.number(1, x!))
  return [emit.mul(g!, emit.where(within, slope, ends))]
}

const thresholdedRelu: GradientRule = ({ emit, node, inputs: [x], gradients: [g] }) => {
  const above = emit.binary('Greater', x!, emit.number(floatAttribute(node, 'alpha', 1), x!))
  return [emit.where(above, g!, emit.number(0, g!))]
}

const shrink: GradientRule = ({ emit, node, inputs: [x], gradients: [g] }) => [
  whereWithin(emit, x!, floatAttribute(node, 'lambd', 0.5), g!, false),
]

const softsign: GradientRule = ({ emit, inputs: [x], gradients: [g] }) => {
  const reach = emit.add(emit.unary('Abs', x!), emit.number(1, x!))
  return [emit.div(g!, emit.mul(reach, reach))]
}

const abs: GradientRule = ({ emit, inputs: [x], gradients: [g] }) => [emit.mul(g!, emit.unary('Sign', x!))]

/**
 * The gradient goes to the operand, or to the bound that is active. Between constant bounds in float32 as products with
 * steps, a quarter of the time of comparisons; on a bound the slope is zero then, as PyTorch has it for ReLU6.
 */
const clip: GradientRule = ({ emit, inputs, gradients: [g], needs, constant }) => {
  const [x = '', min = '', max = ''] = inputs
  const bounds = [min, max].map((name) => (name === '' ? undefined : constant(name)))
  const levels = bounds.map((bound) => bound && toFloat64(bound)[0]!)
  if (emit.type(x).dtype === 'float32' && [min, max].every((name, at) => name === '' || isSteppable(levels[at]))) {
    const [above, below] = levels
    let inside = g!
    if (above !== undefined) inside = emit.mul(inside, step(emit, x, above, 1))
    if (below !== undefined) inside = emit.mul(inside, step(emit, x, below, -1))
    return [inside]
  }
  const zero = emit.number(0, g!)
  const below = min === '' ? undefined : emit.binary('Less', x, min)
  const above = max === '' ? undefined : emit.binary('Greater', x, max)
  let dx = g!
  if (needs(0)) for (const outside of [below, above]) if (outside !== undefined) dx = emit.where(outside, zero, dx)
  // Where the lower bound is above the upper one, the upper one is what comes out.
  const ofMin = (): string => emit.where(below!, above === undefined ? g! : emit.where(above, zero, g!), zero)
  const ofMax = (): string => {
    const reached = min === '' ? above! : emit.binary('Greater', emit.binary('Max', x, min), max)
    return emit.where(reached, g!, zero)
  }
  return [dx, needs(1) ? ofMin() : undefined, needs(2) ? ofMax() : undefined]
}

/** Slope of a ramp that is a step; a power of two, so that products with it are exact. */
const STEP = 2 ** 100

/** Whether a product with {@link STEP} is a finite float32. */
function isSteppable(level: number | undefined): boolean {
  return level !== undefined && Math.abs(level) < 2 ** 27
}

/** 1 where x is above the level (side 1) or below it (side −1), else 0. */
function step(emit: Emitter, x: string, level: number, side: 1 | -1): string {
  return emit.unary('HardSigmoid', x, { alpha: float(side * STEP), beta: float(-side * STEP * level) })
}

/**
 * In training the mask of the forward pass, scaled by 1 / (1 − ratio); in inference the gradient itself. Training may
 * be switched by an input: the mask is all true in inference, only the scale depends on it.
 */
const dropout: GradientRule = ({ emit, node, inputs, gradients: [g], constant }) => {
  const [x = '', ratioInput = '', mode = ''] = inputs
  const training = mode === '' ? false : constant(mode)
  if (training === false || (training && training.bytes[0] === 0)) return [g]
  const mask = emit.output(node, 1, { dtype: 'bool', shape: emit.shape(x) })
  const ratio = ratioInput === '' ? undefined : constant(ratioInput)
  let scale: string
  if (ratioInput === '' || ratio) scale = emit.number(1 / (1 - (ratio ? toFloat64(ratio)[0]! : 0.5)), g!)
  else {
    const kept = toTypeOf(emit, emit.sub(emit.number(1, ratioInput), ratioInput), g!)
    scale = emit.reshape(emit.unary('Reciprocal', kept), [])
  }
  if (training === undefined) scale = emit.where(emit.reshape(mode, []), scale, emit.number(1, g!))
  return [emit.where(mask, emit.mul(g!, scale), emit.number(0, g!))]
}

/** Activation functions with kinks, and Dropout. */
export const ACTIVATION_RULES: GradientRules = {
  Abs: abs,
  Celu: celu,
  Clip: clip,
  Dropout: dropout,
  Elu: elu,
  HardSigmoid: hardSigmoid,
  HardSwish: hardSwish,
  LeakyRelu: leakyRelu,
  Relu: relu,
  Selu: selu,
  Shrink: shrink,
  Softsign: softsign,
  ThresholdedRelu: thresholdedRelu,
}
