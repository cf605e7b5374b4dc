/** Gradients of operators that move all elements to other places: the reverse movement. */
import { intAttribute, intsAttribute, stringAttribute } from '../../graph/index.ts'
import type { GradientRule, GradientRules } from './rule.ts'

/** The same elements in another shape. */
const reshape: GradientRule = ({ emit, inputs: [x], gradients: [g] }) => [emit.reshape(g!, emit.shape(x!))]

const transpose: GradientRule = ({ emit, node, inputs: [x], gradients: [g] }) => {
  const rank = emit.shape(x!).length
  const perm = intsAttribute(node, 'perm', undefined) ?? [...Array(rank).keys()].reverse()
  const inverse = Array.from(perm, (_, axis) => perm.indexOf(axis))
  return [emit.transpose(g!, inverse)]
}

/** The reverse walk sums over the broadcast axes. */
const expand: GradientRule = ({ gradients: [g] }) => [g]

/** The sum over the copies: repeated axes are split into copies and elements. */
const tile: GradientRule = ({ emit, inputs: [x], gradients: [g] }) => {
  const shape = emit.shape(x!)
  const tiled = emit.shape(g!)
  const split: number[] = []
  const copies: number[] = []
  for (const [axis, extent] of shape.entries()) {
    if (tiled[axis] !== extent) {
      copies.push(split.length)
      split.push(tiled[axis]! / extent)
    }
    split.push(extent)
  }
  return [emit.reshape(emit.sum(emit.reshape(g!, split), copies), shape)]
}

const concat: GradientRule = ({ emit, node, inputs, gradients: [g], needs }) => {
  const rank = emit.shape(g!).length
  const given = intAttribute(node, 'axis', 0)
  const axis = given < 0 ? given + rank : given
  const extents = inputs.map((input) => emit.shape(input)[axis]!)
  const wanted = inputs.flatMap((_, at) => (needs(at) ? [at] : []))
  if (wanted.length > 1) {
    const types = inputs.map((input) => ({ dtype: emit.type(g!).dtype, shape: emit.shape(input) }))
    return emit.ops('Split', [g!, emit.integers(extents)], types, { axis })
  }
  const start = extents.slice(0, wanted[0]).reduce((sum, extent) => sum + extent, 0)
  const part = emit.slice(g!, [axis], [start], [start + extents[wanted[0]!]!])
  return inputs.map((_, at) => (at === wanted[0] ? part : undefined))
}

/** Parts without gradient are zeros; where only one has a gradient, it is padded. */
const split: GradientRule = ({ emit, node, inputs: [x], outputs, gradients }) => {
  const shape = emit.shape(x!)
  const given = intAttribute(node, 'axis', 0)
  const axis = given < 0 ? given + shape.length : given
  const total = (extents: readonly number[]): number => extents.reduce((sum, extent) => sum + extent, 0)
  // ONNX Runtime crashes on a Split of which an output is omitted: all are there.
  const extents = outputs.map((output) => emit.shape(output)[axis]!)
  const along = (extent: number, others: 'shape' | 0): number[] =>
    shape.map((length, other) => (other === axis ? extent : others === 0 ? 0 : length))
  const some = gradients.findIndex((g) => g !== undefined)
  if (some === gradients.findLastIndex((g) => g !== undefined)) {
    const [before, after] = [extents.slice(0, some), extents.slice(some + 1)]
    return [emit.pad(gradients[some]!, along(total(before), 0), along(total(after), 0))]
  }
  const zero = emit.number(0, gradients[some]!)
  return [
    emit.concat(
      gradients.map((g, at) => g ?? emit.expand(zero, along(extents[at]!, 'shape'))),
      axis,
    ),
  ]
}

/** Space to depth is its inverse; the order CRD has no operator and is written out. */
const depthToSpace: GradientRule = ({ emit, node, inputs: [x], gradients: [g] }) => {
  const shape = emit.shape(x!)
  const block = intAttribute(node, 'blocksize', 1)
  if (stringAttribute(node, 'mode', 'DCR') === 'DCR')
    return [emit.op('SpaceToDepth', [g!], shape, { blocksize: block })]
  const [batch, channels, height, width] = shape as [number, number, number, number]
  const blocks = emit.reshape(g!, [batch, channels / block ** 2, height, block, width, block])
  return [emit.reshape(emit.transpose(blocks, [0, 1, 3, 5, 2, 4]), shape)]
}

const spaceToDepth: GradientRule = ({ emit, node, inputs: [x], gradients: [g] }) => [
  emit.op('DepthToSpace', [g!], emit.shape(x!), { blocksize: intAttribute(node, 'blocksize', 1) }),
]

const trilu: GradientRule = ({ emit, node, inputs: [x, k = ''], gradients: [g] }) => [
  emit.op('Trilu', k === '' ? [g!] : [g!, k], emit.shape(x!), { upper: intAttribute(node, 'upper', 1) }),
]

/** The cumulative sum from the other end. */
const cumulativeSum: GradientRule = ({ emit, node, inputs: [x, axis], gradients: [g] }) => [
  emit.op('CumSum', [g!, axis!], emit.shape(x!), {
    exclusive: intAttribute(node, 'exclusive', 0),
    reverse: 1 - intAttribute(node, 'reverse', 0),
  }),
]

const reverseSequence: GradientRule = ({ emit, node, inputs: [x, lengths], gradients: [g] }) => [
  emit.op('ReverseSequence', [g!, lengths!], emit.shape(x!), {
    batch_axis: intAttribute(node, 'batch_axis', 1),
    time_axis: intAttribute(node, 'time_axis', 0),
  }),
]

/** Movements of all elements. */
export const MOVEMENT_RULES: GradientRules = {
  Concat: concat,
  CumSum: cumulativeSum,
  DepthToSpace: depthToSpace,
  Expand: expand,
  Flatten: reshape,
  Reshape: reshape,
  ReverseSequence: reverseSequence,
  SpaceToDepth: spaceToDepth,
  Split: split,
  Squeeze: reshape,
  Tile: tile,
  Transpose: transpose,
  Trilu: trilu,
  Unsqueeze: reshape,
}
