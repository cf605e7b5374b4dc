/** Gradients of operators that take or add regions: Slice and Pad. */
import { fail } from '../../core/index.ts'
import { type Node, stringAttribute } from '../../graph/index.ts'
import { sizeOf, Tensor } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** The numbers behind a value, `undefined` where it is computed. */
function numbers({ constant }: RuleContext, value: string): number[] | undefined {
  const tensor = constant(value)
  return tensor && Array.from(tensor.data, Number)
}

/** Axes given as an input, made non-negative; all of them where they are omitted. */
function axesOf(context: RuleContext, input: number, rank: number, count: number): number[] | undefined {
  const name = context.inputs[input] ?? ''
  if (name === '') return [...Array(count).keys()]
  return numbers(context, name)?.map((axis) => (axis < 0 ? axis + rank : axis))
}

/** One axis with `step − 1` zeros after each element, `before` zeros in front of it and cut or filled to `extent`. */
function spreadAxis(emit: Emitter, x: string, axis: number, step: number, before: number, extent: number): string {
  const shape = emit.shape(x)
  const fill = (value: string, at: number, front: number, back: number): string => {
    const rank = emit.shape(value).length
    const amounts = (amount: number): number[] =>
      Array.from({ length: rank }, (_, other) => (other === at ? amount : 0))
    return emit.pad(value, amounts(front), amounts(back))
  }
  const count = shape[axis]!
  if (step === 1) return fill(x, axis, before, extent - before - count)
  const outer = sizeOf(shape.slice(0, axis))
  const inner = sizeOf(shape.slice(axis + 1))
  const spaced = fill(emit.reshape(x, [outer * count, 1, inner]), 1, 0, step - 1)
  const joined = emit.reshape(spaced, [outer, count * step, inner])
  const placed = fill(joined, 1, before, extent - before - count * step)
  return emit.reshape(
    placed,
    shape.map((length, other) => (other === axis ? extent : length)),
  )
}

/** The elements of one axis in reverse order. */
export function reverseAxis(emit: Emitter, x: string, axis: number): string {
  const shape = emit.shape(x)
  if (shape[axis] === 1) return x
  // The end is beyond the first element, which no non-negative number says.
  const [start, end] = [emit.integers([-1]), emit.integers([-(2 ** 31)])]
  return emit.op('Slice', [x, start, end, emit.integers([axis]), emit.integers([-1])], shape)
}

/** Back to where the elements were taken from, zeros elsewhere. */
const slice: GradientRule = (context) => {
  const { emit, inputs, gradients } = context
  const [x = '', startsInput = '', , , stepsInput = ''] = inputs
  const shape = emit.shape(x)
  const starts = numbers(context, startsInput)
  const steps = stepsInput === '' ? starts?.map(() => 1) : numbers(context, stepsInput)
  const axes = starts && axesOf(context, 3, shape.length, starts.length)
  if (!starts || !steps || !axes) return [scatterSlice(context)]
  let result = gradients[0]!
  for (const [at, axis] of axes.entries()) {
    const [extent, step] = [shape[axis]!, steps[at]!]
    const count = emit.shape(result)[axis]!
    if (count === 0) return [emit.expand(emit.number(0, result), shape)]
    const from = starts[at]! < 0 ? starts[at]! + extent : starts[at]!
    let first = Math.min(Math.max(from, 0), step > 0 ? extent : extent - 1)
    if (step < 0) {
      result = reverseAxis(emit, result, axis)
      first += (count - 1) * step
    }
    result = spreadAxis(emit, result, axis, Math.abs(step), first, extent)
  }
  return [result]
}

/** Where the bounds are computed: the same slice of the elements' positions says where they belong. */
function scatterSlice({ emit, inputs, gradients: [g] }: RuleContext): string {
  const [x = '', ...bounds] = inputs
  const shape = emit.shape(x)
  const size = sizeOf(shape)
  const count = sizeOf(emit.shape(g!))
  const positions = emit.tensor(
    Tensor.of(
      BigInt64Array.from({ length: size }, (_, at) => BigInt(at)),
      shape,
    ),
  )
  const taken = emit.reshape(emit.op('Slice', [positions, ...bounds], emit.shape(g!)), [count])
  const zeros = emit.expand(emit.number(0, g!), [size])
  return emit.reshape(emit.op('ScatterElements', [zeros, taken, emit.reshape(g!, [count])], [size], { axis: 0 }), shape)
}

/** Pads of one axis. */
interface AxisPads {
  readonly axis: number
  readonly before: number
  readonly after: number
}

function padsOf(context: RuleContext): AxisPads[] | undefined {
  const { emit, inputs } = context
  const shape = emit.shape(inputs[0]!)
  const pads = numbers(context, inputs[1]!)
  const axes = pads && axesOf(context, 3, shape.length, pads.length / 2)
  return axes?.map((axis, at) => ({ axis, before: pads![at]!, after: pads![at + axes.length]! }))
}

/** Takes padding of one axis away; where it repeats elements, what lies in it goes back to them. */
function foldPads(emit: Emitter, g: string, { axis, before, after }: AxisPads, mode: string): string {
  const extent = emit.shape(g)[axis]! - before - after
  const part = (from: number, to: number): string => emit.slice(g, [axis], [from], [to])
  const onto = (value: string, at: number): string => spreadAxis(emit, value, axis, 1, at, extent)
  const parts = [part(before, before + extent)]
  const front = (): string => part(0, before)
  const back = (): string => part(before + extent, before + extent + after)
  if (mode === 'edge') {
    if (before > 0) parts.push(onto(emit.sum(front(), [axis]), 0))
    if (after > 0) parts.push(onto(emit.sum(back(), [axis]), extent - 1))
  } else if (mode === 'reflect') {
    if (before > 0) parts.push(onto(reverseAxis(emit, front(), axis), 1))
    if (after > 0) parts.push(onto(reverseAxis(emit, back(), axis), extent - 1 - after))
  } else if (mode === 'wrap') {
    if (before > 0) parts.push(onto(front(), extent - before))
    if (after > 0) parts.push(onto(back(), 0))
  }
  return parts.reduce((total, value) => emit.add(total, value))
}

const cannotPad = (node: Node, rule: string): never => fail('UNSUPPORTED', `Pad '${node.name}': ${rule}`)

/** The region of the input; the fill value gets what lies outside of it. */
const pad: GradientRule = (context) => {
  const { emit, node, inputs, gradients, needs } = context
  const g = gradients[0]!
  const shape = emit.shape(inputs[0]!)
  const mode = stringAttribute(node, 'mode', 'constant')
  const pads = padsOf(context)
  let dx: string
  if (!pads) {
    if (mode !== 'constant')
      cannotPad(
        node,
        `with mode '${mode}' its pads must be constant; '${inputs[1]}' is computed. Fold constants first.`,
      )
    const negated = emit.op('Neg', [inputs[1]!], emit.shape(inputs[1]!))
    const axes = (inputs[3] ?? '') === '' ? [] : ['', inputs[3]!]
    dx = emit.op('Pad', [g, negated, ...axes], shape, { mode: 'constant' })
  } else if (mode === 'constant') {
    const along = (side: 'before' | 'after'): number[] =>
      shape.map((_, axis) => -sum(pads.filter((entry) => entry.axis === axis).map((entry) => entry[side])))
    dx = emit.pad(g, along('before'), along('after'))
  } else {
    const room = ({ axis, before, after }: AxisPads): boolean => {
      const most = mode === 'edge' ? Number.POSITIVE_INFINITY : shape[axis]! - (mode === 'reflect' ? 1 : 0)
      return Math.min(before, after) >= 0 && Math.max(before, after) <= most
    }
    if (!pads.every(room))
      cannotPad(node, `mode '${mode}' has a gradient rule for pads from 0 to the extent of the axis only.`)
    dx = pads.reduce((rest, entry) => foldPads(emit, rest, entry, mode), g)
  }
  const fill = (): string => {
    const outside = emit.sub(emit.sum(g, [...shape.keys()]), emit.sum(dx, [...shape.keys()]))
    return emit.reshape(outside, emit.shape(inputs[2]!))
  }
  return [dx, undefined, needs(2) ? fill() : undefined]
}

/** Regions of a tensor. */
export const SLICING_RULES: GradientRules = { Pad: pad, Slice: slice }
