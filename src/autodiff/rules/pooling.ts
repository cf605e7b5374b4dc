/** Gradients of poolings. Sums over windows are separable, so that their transposes are products with 0-1 matrices. */
import { intAttribute } from '../../graph/index.ts'
import { fromNumbers, sizeOf } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { constantMatrix, mapAxis, repeatSpatial } from './axis-map.ts'
import { MAX_POOL_RULES } from './max-pool.ts'
import { type GradientRules, mergeRules, type RuleContext } from './rule.ts'
import { sameAttributes } from './same-attributes.ts'
import { isExact, isTiling, poolingWindow, type SlidingWindow } from './window.ts'

/** The sum, for every input element, of the values of the windows it lies in. */
function spread(emit: Emitter, x: string, window: SlidingWindow): string {
  const { input, output, kernel, strides, dilations, before } = window
  if (isTiling(window) && isExact(window) && emit.type(x).dtype === 'float32') return repeatSpatial(emit, x, kernel)
  let value = x
  for (const [axis, extent] of input.entries()) {
    const matrix = constantMatrix(emit, extent, output[axis]!, x, (element, position) => {
      const tap = (element + before[axis]! - position * strides[axis]!) / dilations[axis]!
      return Number.isInteger(tap) && tap >= 0 && tap < kernel[axis]! ? 1 : 0
    })
    value = mapAxis(emit, value, axis + 2, matrix)
  }
  return value
}

/** How many elements of the input, padding not counted, the windows have: one factor per axis. */
function counts({ input, output, kernel, strides, dilations, before }: SlidingWindow): Float64Array {
  const perAxis = input.map((extent, axis) =>
    Array.from({ length: output[axis]! }, (_, position) => {
      const first = position * strides[axis]! - before[axis]!
      const met = Array.from({ length: kernel[axis]! }, (_, tap) => first + tap * dilations[axis]!)
      return met.filter((at) => at >= 0 && at < extent).length
    }),
  )
  const all = perAxis.reduce((outer, inner) => outer.flatMap((a) => inner.map((b) => a * b)), [1])
  return Float64Array.from(all)
}

/**
 * dX = transposed window sum of dY / count. What padded windows are divided by has changed between versions of the
 * operator and differs with ceil_mode, so it is asked from the operator itself: pooling ones gives (elements that are
 * no padding) / count.
 */
function averagePool(context: RuleContext): readonly string[] {
  const { emit, node, gradients } = context
  const window = poolingWindow(context)
  const dy = gradients[0]!
  if (isExact(window)) return [spread(emit, emit.scale(dy, 1 / sizeOf(window.kernel)), window)]
  const { dtype } = emit.type(dy)
  const shape = [1, 1, ...window.output]
  const ones = emit.tensor(fromNumbers(new Float64Array(sizeOf(window.input)).fill(1), [1, 1, ...window.input], dtype))
  const pooled = emit.op('AveragePool', [ones], shape, sameAttributes(node))
  const known = counts(window).map((count) => (count === 0 ? 0 : 1 / count))
  const weights = emit.mul(pooled, emit.tensor(fromNumbers(known, shape, dtype)))
  return [spread(emit, emit.mul(dy, weights), window)]
}

function globalAveragePool({ emit, inputs, gradients }: RuleContext): readonly string[] {
  const shape = emit.shape(inputs[0]!)
  return [emit.expand(emit.scale(gradients[0]!, 1 / sizeOf(shape.slice(2))), shape)]
}

/**
 * y = (Σ |x|^p)^(1/p): dX = sign(x) |x|^(p−1) · transposed window sum of (dY y^(1−p)). Windows of zeros, where the
 * gradient does not exist for p > 1, get zero.
 */
function lpGradient(
  { emit, node, inputs, outputs, gradients }: RuleContext,
  spreadSum: (value: string) => string,
): readonly string[] {
  const [x, y] = [inputs[0]!, outputs[0]!]
  const p = intAttribute(node, 'p', 2)
  const direction = emit.unary('Sign', x)
  if (p === 1) return [emit.mul(direction, spreadSum(gradients[0]!))]
  const zero = emit.number(0, y)
  const scaled = emit.mul(gradients[0]!, emit.binary('Pow', y, emit.number(1 - p, y)))
  const sum = spreadSum(emit.where(emit.binary('Equal', y, zero), zero, scaled))
  if (p === 2) return [emit.mul(x, sum)]
  const slope = emit.binary('Pow', emit.unary('Abs', x), emit.number(p - 1, x))
  return [emit.mul(emit.mul(direction, slope), sum)]
}

/** MaxPool, AveragePool, LpPool and their global forms. */
export const POOLING_RULES: GradientRules = mergeRules(MAX_POOL_RULES, {
  AveragePool: averagePool,
  GlobalAveragePool: globalAveragePool,
  LpPool: (context) => lpGradient(context, (value) => spread(context.emit, value, poolingWindow(context))),
  GlobalLpPool: (context) =>
    lpGradient(context, (value) => context.emit.expand(value, context.emit.shape(context.inputs[0]!))),
})
