/** Gradients of operators that take or place elements by index. */
import { fail } from '../../core/index.ts'
import { intAttribute, stringAttribute } from '../../graph/index.ts'
import { sizeOf, Tensor } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'
import { scatterAdd } from './pieces.ts'
import type { GradientRule, GradientRules, RuleContext } from './rule.ts'

function axisOf({ emit, node, inputs }: RuleContext, fallback: number): number {
  const axis = intAttribute(node, 'axis', fallback)
  return axis < 0 ? axis + emit.shape(inputs[0]!).length : axis
}

/** Zeros of a shape. */
const zeros = (emit: Emitter, shape: readonly number[], like: string): string =>
  emit.expand(emit.number(0, like), shape)

/**
 * ∂data of Gather. Constant indices without repetition: the gradient is gathered by the inverse. Others: rows are
 * added up.
 */
const gather: GradientRule = (context) => {
  const { emit, inputs, gradients, constant } = context
  const [data = '', indices = ''] = inputs
  const g = gradients[0]!
  const shape = emit.shape(data)
  const axis = axisOf(context, 0)
  const count = sizeOf(emit.shape(indices))
  const [outer, extent, inner] = [sizeOf(shape.slice(0, axis)), shape[axis]!, sizeOf(shape.slice(axis + 1))]
  const rows = [...shape.slice(0, axis), count, ...shape.slice(axis + 1)]
  const known = constant(indices)
  const inverse = known && inverseOf(Array.from(known.data, Number), extent)
  if (inverse) return [gatherBack(emit, emit.reshape(g, rows), axis, inverse)]
  const updates = emit.reshape(g, [outer, count, inner])
  const places = emit.op(
    'Expand',
    [emit.reshape(indices, [1, count, 1]), emit.integers([outer, count, inner])],
    [outer, count, inner],
  )
  return [emit.reshape(scatterAdd(emit, [outer, extent, inner], places, updates, 1), shape)]
}

/** For each place which of the indices points there, −1 for none; `undefined` when two point to one place. */
function inverseOf(indices: readonly number[], extent: number): number[] | undefined {
  const inverse = Array<number>(extent).fill(-1)
  for (const [at, index] of indices.entries()) {
    const place = index < 0 ? index + extent : index
    if (inverse[place] !== -1) return undefined
    inverse[place] = at
  }
  return inverse
}

/** The gradient's rows at their places along an axis, zeros elsewhere. */
function gatherBack(emit: Emitter, g: string, axis: number, inverse: readonly number[]): string {
  const shape = emit.shape(g)
  const count = shape[axis]!
  const first = inverse.indexOf(0)
  const along = (amount: number): number[] => shape.map((_, other) => (other === axis ? amount : 0))
  const contiguous = inverse.every((at, place) => at === (place >= first && place < first + count ? place - first : -1))
  if (contiguous) return emit.pad(g, along(first), along(inverse.length - first - count))
  // One row of zeros behind the others serves all places that nothing was taken from.
  const source = inverse.includes(-1) ? emit.pad(g, along(0), along(1)) : g
  const order = emit.integers(inverse.map((at) => (at === -1 ? count : at)))
  const full = shape.map((extent, other) => (other === axis ? inverse.length : extent))
  return emit.op('Gather', [source, order], full, { axis })
}

const gatherElements: GradientRule = (context) => {
  const { emit, inputs, gradients } = context
  return [scatterAdd(emit, emit.shape(inputs[0]!), inputs[1]!, gradients[0]!, axisOf(context, 0))]
}

/** Indices of GatherND and ScatterND as positions along one flat axis, and how many elements follow each. */
function flatPositions(emit: Emitter, shape: readonly number[], indices: string, batch: number): [string, number] {
  const tuples = emit.shape(indices)
  const depth = tuples.at(-1)!
  const lead = tuples.slice(0, -1)
  const inner = sizeOf(shape.slice(batch + depth))
  const extents = shape.slice(batch, batch + depth)
  const strides = extents.map((_, at) => BigInt(sizeOf(extents.slice(at + 1))))
  const spans = emit.tensor(Tensor.of(BigInt64Array.from(extents, BigInt), [depth]))
  // Negative indices count from the end.
  const zero = emit.tensor(Tensor.int64(0))
  const wrapped = emit.where(emit.binary('Less', indices, zero), emit.add(indices, spans), indices)
  let flat = emit.sum(emit.mul(wrapped, emit.tensor(Tensor.of(BigInt64Array.from(strides), [depth]))), [
    tuples.length - 1,
  ])
  if (batch > 0) {
    const perBatch = BigInt(sizeOf(extents))
    const offsets = Array.from({ length: sizeOf(shape.slice(0, batch)) }, (_, at) => BigInt(at) * perBatch)
    const offsetShape = [...shape.slice(0, batch), ...tuples.slice(batch).map(() => 1)]
    flat = emit.add(flat, emit.tensor(Tensor.of(BigInt64Array.from(offsets), offsetShape)))
  }
  return [emit.reshape(flat, [sizeOf(lead), 1]), inner]
}

/** As rows of one flat axis, so that ScatterElements can add them one after the other. */
const gatherND: GradientRule = ({ emit, node, inputs, gradients }) => {
  const [data = '', indices = ''] = inputs
  const g = gradients[0]!
  const shape = emit.shape(data)
  const [places, inner] = flatPositions(emit, shape, indices, intAttribute(node, 'batch_dims', 0))
  const count = emit.shape(places)[0]!
  const rows = emit.op('Expand', [places, emit.integers([count, inner])], [count, inner])
  const updates = emit.reshape(g, [count, inner])
  return [emit.reshape(scatterAdd(emit, [sizeOf(shape) / inner, inner], rows, updates, 0), shape)]
}

/** Placing: the data gets nothing where it was overwritten, the updates get what lies in their places. */
function scatter(take: 'GatherElements' | 'GatherND'): GradientRule {
  return ({ emit, node, inputs, gradients, needs }) => {
    const [data = '', indices = '', updates = ''] = inputs
    const g = gradients[0]!
    const reduction = stringAttribute(node, 'reduction', 'none')
    if (reduction !== 'none' && reduction !== 'add')
      fail(
        'UNSUPPORTED',
        `${node.opType} '${node.name}': only the reductions 'none' and 'add' have a gradient rule; it has '${reduction}'.`,
      )
    const axis = take === 'GatherElements' ? { axis: intAttribute(node, 'axis', 0) } : {}
    const erased = (): string =>
      emit.op(node.opType, [g, indices, zeros(emit, emit.shape(updates), g)], emit.shape(data), axis)
    return [
      needs(0) ? (reduction === 'add' ? g : erased()) : undefined,
      undefined,
      needs(2) ? emit.op(take, [g, indices], emit.shape(updates), axis) : undefined,
    ]
  }
}

/** The values go back to where they were found. */
const topK: GradientRule = (context) => {
  const { emit, node, inputs, outputs, gradients } = context
  const shape = emit.shape(inputs[0]!)
  const indices = emit.output(node, 1, { dtype: 'int64', shape: emit.shape(outputs[0]!) })
  const target = zeros(emit, shape, gradients[0]!)
  return [emit.op('ScatterElements', [target, indices, gradients[0]!], shape, { axis: axisOf(context, -1) })]
}

/** Elements by index. */
export const INDEXING_RULES: GradientRules = {
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherND,
  ScatterElements: scatter('GatherElements'),
  ScatterND: scatter('GatherND'),
  TopK: topK,
}
