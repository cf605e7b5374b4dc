/** Gradients of reductions. */
import { fail } from '../../core/index.ts'
import { intAttribute } from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

/** A reduction with its reduced axes kept: `y` and `g` broadcast against `x`. */
interface Reduction {
  readonly emit: Emitter
  readonly x: string
  readonly y: string
  readonly g: string
  readonly axes: readonly number[]
}

/** Axes from the second input; where that is computed, from the shapes. */
function axesOf({ emit, node, inputs, outputs, constant }: RuleContext): number[] {
  const shape = emit.shape(inputs[0]!)
  const all = [...shape.keys()]
  const given = inputs[1] ?? ''
  const noop = intAttribute(node, 'noop_with_empty_axes', 0) !== 0
  if (given === '') return noop ? [] : all
  const tensor = constant(given)
  if (tensor) {
    const axes = Array.from(tensor.data, Number).map((axis) => (axis < 0 ? axis + shape.length : axis))
    return axes.length > 0 ? axes : noop ? [] : all
  }
  const reduced = emit.shape(outputs[0]!)
  if (reduced.length !== shape.length)
    fail(
      'UNSUPPORTED',
      `${node.opType} '${node.name}': its axes must be constant or kept (keepdims = 1); '${given}' is computed. Fold constants first.`,
    )
  return all.filter((axis) => shape[axis] !== reduced[axis])
}

/** A rule in terms of the kept axes; what it gives is broadcast to the input. */
function reduction(rule: (parts: Reduction) => string): GradientRule {
  return (context) => {
    const { emit, inputs, outputs, gradients } = context
    const x = inputs[0]!
    const axes = axesOf(context)
    const kept = emit.shape(x).map((extent, axis) => (axes.includes(axis) ? 1 : extent))
    const parts: Reduction = {
      emit,
      x,
      get y() {
        return keep(emit, outputs[0]!, kept)
      },
      g: keep(emit, gradients[0]!, kept),
      axes,
    }
    return [emit.expand(rule(parts), emit.shape(x))]
  }
}

/** With the reduced axes as ones; a single number broadcasts as it is. */
function keep(emit: Emitter, value: string, kept: readonly number[]): string {
  return emit.shape(value).length === 0 ? value : emit.reshape(value, kept)
}

/** The number of elements that become one. */
const countOf = ({ emit, x, axes }: Reduction): number => sizeOf(axes.map((axis) => emit.shape(x)[axis]!))

/** Equal extremes share the gradient, as in PyTorch's amax. */
const extreme = reduction(({ emit, x, y, g, axes }) => {
  const chosen = emit.binary('Equal', x, y)
  const marks = emit.where(chosen, emit.number(1, g), emit.number(0, g))
  return emit.mul(marks, emit.div(g, emit.sum(marks, axes)))
})

/** g times the product of the other elements, which is a quotient once zeros are set aside. */
const product = reduction(({ emit, x, g, axes }) => {
  const [zero, one] = [emit.number(0, x), emit.number(1, x)]
  const isZero = emit.binary('Equal', x, zero)
  const marks = emit.where(isZero, one, zero)
  const others = emit.sub(emit.sum(marks, axes), marks)
  const safe = emit.where(isZero, one, x)
  const rest = emit.div(emit.mul(g, emit.reduce('ReduceProd', safe, axes)), safe)
  return emit.where(emit.binary('Equal', others, zero), rest, zero)
})

/** x · g/‖x‖, zero where the norm is. */
const euclidean = reduction(({ emit, x, y, g }) => {
  const zero = emit.number(0, y)
  return emit.mul(x, emit.where(emit.binary('Equal', y, zero), zero, emit.div(g, y)))
})

/** Reductions. */
export const REDUCTION_RULES: GradientRules = {
  ReduceL1: reduction(({ emit, x, g }) => emit.mul(emit.unary('Sign', x), g)),
  ReduceL2: euclidean,
  ReduceLogSum: reduction(({ emit, y, g }) => emit.div(g, emit.unary('Exp', y))),
  ReduceLogSumExp: reduction(({ emit, x, y, g }) => emit.mul(emit.unary('Exp', emit.sub(x, y)), g)),
  ReduceMax: extreme,
  ReduceMean: reduction((parts) => parts.emit.scale(parts.g, 1 / countOf(parts))),
  ReduceMin: extreme,
  ReduceProd: product,
  ReduceSum: reduction(({ g }) => g),
  ReduceSumSquare: reduction(({ emit, x, g }) => emit.mul(x, emit.scale(g, 2))),
}
