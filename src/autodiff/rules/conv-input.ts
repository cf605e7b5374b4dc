/**
 * Gradients of convolutions by their input: dX = the transposed convolution of dY with W.
 *
 * Preferences follow measurements at one thread: a convolution with the turned weight beats ConvTranspose by 1.2 to
 * 1.6 times at stride 1, ConvTranspose beats filling with zeros by 4.5 times at stride 2, and one product with added
 * shifts beats both from 128 channels on where at most 16 positions are left.
 */
import type { Emitter } from '../emitter.ts'
import { constantMatrix } from './axis-map.ts'
import { type ConvGeometry, convolve, type Formulation, isDense, product } from './conv-geometry.ts'
import { reach, tapsOf } from './window.ts'

/** ConvTranspose with the convolution's own attributes; always right. */
const transposed: Formulation = {
  name: 'transposed',
  applies: () => true,
  prefers: () => true,
  emit: (emit, dy, weight, geometry) => {
    const { batch, inChannels, input, before, after, kernel, strides, dilations, groups } = geometry
    return emit.op('ConvTranspose', [dy, weight], [batch, inChannels, ...input], {
      kernel_shape: kernel,
      strides,
      dilations,
      pads: [...before, ...after.map((amount) => Math.max(0, amount))],
      // Trailing elements that no window covers; fewer than a stride.
      output_padding: after.map((amount) => Math.max(0, -amount)),
      group: groups,
    })
  },
}

/** The weight with its kernel turned around and its channels swapped: [C, K / groups, kernel…]. */
function turned(emit: Emitter, weight: string, { inChannels, outChannels, kernel, groups }: ConvGeometry): string {
  const [perIn, perOut] = [inChannels / groups, outChannels / groups]
  const spatial = kernel.map((_, axis) => axis + 2)
  let swapped = weight
  if (groups === 1) swapped = emit.transpose(weight, [1, 0, ...spatial])
  else if (perIn > 1 || perOut > 1) {
    const grouped = emit.reshape(weight, [groups, perOut, perIn, ...kernel])
    swapped = emit.transpose(grouped, [0, 2, 1, ...spatial.map((axis) => axis + 1)])
  }
  const shape = [inChannels, perOut, ...kernel]
  const count = product(kernel)
  if (count === 1) return emit.reshape(swapped, shape)
  // A product with a turned identity matrix, which is exact, is twice as fast as Slice with negative steps.
  const flat = emit.reshape(swapped, [inChannels * perOut, count])
  const reversal = constantMatrix(emit, count, count, weight, (row, at) => (row + at === count - 1 ? 1 : 0))
  return emit.reshape(emit.matmul(flat, reversal), shape)
}

/** Stride 1: a convolution of dY with the turned weight. */
const turnedWeight: Formulation = {
  name: 'turned-weight',
  applies: isDense,
  prefers: () => true,
  emit: (emit, dy, weight, geometry) => {
    const { batch, inChannels, input, before, after, dilations, groups } = geometry
    const covered = reach(geometry)
    return convolve(emit, dy, turned(emit, weight, geometry), [batch, inChannels, ...input], {
      before: before.map((amount, axis) => covered[axis]! - 1 - amount),
      after: after.map((amount, axis) => covered[axis]! - 1 - amount),
      dilations,
      groups,
    })
  },
}

/** Kernel 1, stride 1, no padding: Wᵀ dY per image. */
const pointwise: Formulation = {
  name: 'pointwise',
  applies: (geometry) =>
    geometry.groups === 1 &&
    isDense(geometry) &&
    product(geometry.kernel) === 1 &&
    [...geometry.before, ...geometry.after].every((amount) => amount === 0),
  prefers: () => false,
  emit: (emit, dy, weight, { batch, inChannels, outChannels, input, output }) => {
    const matrix = emit.transpose(emit.reshape(weight, [outChannels, inChannels]), [1, 0])
    const columns = emit.reshape(dy, [batch, outChannels, product(output)])
    return emit.reshape(emit.matmul(matrix, columns), [batch, inChannels, ...input])
  },
}

/** Stride 1, one group: all products of dY with W at once, channels last, then added up shifted by their offsets. */
const shiftedSum: Formulation = {
  name: 'shifted-sum',
  applies: (geometry) => geometry.groups === 1 && isDense(geometry),
  prefers: ({ kernel, output, inChannels }) => product(kernel) > 1 && product(output) <= 16 && inChannels >= 128,
  emit: (emit, dy, weight, geometry) => {
    const { batch, inChannels, outChannels, input, output, kernel, before, after } = geometry
    const spatial = [...input.keys()].map((axis) => axis + 2)
    const rows = emit.reshape(emit.transpose(dy, [0, ...spatial, 1]), [batch * product(output), outChannels])
    const count = product(kernel)
    const matrix = emit.reshape(emit.transpose(weight, [0, ...spatial, 1]), [outChannels, count * inChannels])
    const columns = emit.reshape(emit.matmul(rows, matrix), [batch, ...output, count, inChannels])
    const tapAxis = output.length + 1
    const padded = input.map((extent, axis) => extent + before[axis]! + after[axis]!)
    const parts = tapsOf(geometry).map((tap, at) => {
      const part = emit.reshape(emit.slice(columns, [tapAxis], [at], [at + 1]), [batch, ...output, inChannels])
      const rest = tap.map((offset, axis) => padded[axis]! - output[axis]! - offset)
      return emit.pad(part, [0, ...tap, 0], [0, ...rest, 0])
    })
    const sum = parts.length === 1 ? parts[0]! : emit.op('Sum', parts, [batch, ...padded, inChannels])
    // Gradients of padding are cut off; trailing elements that no window covers get zeros.
    const negated = (amounts: readonly number[]): number[] => [0, ...amounts.map((amount) => 0 - amount), 0]
    const cut = emit.pad(sum, negated(before), negated(after))
    return emit.transpose(cut, [0, input.length + 1, ...spatial.map((axis) => axis - 1)])
  },
}

/** In order of preference; the last is always right. */
export const INPUT_FORMULATIONS: readonly Formulation[] = [shiftedSum, pointwise, turnedWeight, transposed]
