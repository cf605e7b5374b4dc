/**
 * Gradients of convolutions by their weight: dW[k, c, t] = Σ over images and positions p of dY[n, k, p] X[n, c, p s + t].
 *
 * Preferences follow measurements at one thread: one large product per element of the kernel is within 3 % of the best
 * from 16 channels on (85 to 209 GFLOP/s), collected columns are 3.4 times faster with few input channels, and depthwise
 * kernels want a product per channel at stride 1, a convolution with one group per image and channel otherwise.
 */
import type { Emitter } from '../emitter.ts'
import { type ConvGeometry, type Formulation, isDense, padSpatial, product, tapOf } from './conv-geometry.ts'
import { reach, tapsOf } from './window.ts'

const spatialAxes = ({ input }: ConvGeometry, first: number): number[] => [...input.keys()].map((axis) => axis + first)

/** One product (K / groups × N·positions) (N·positions × C / groups) per group and element of the kernel; always right. */
const perTap: Formulation = {
  name: 'per-tap',
  applies: () => true,
  prefers: () => true,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, outChannels, output, kernel, groups } = geometry
    const [perIn, perOut] = [inChannels / groups, outChannels / groups]
    const positions = batch * product(output)
    const padded = padSpatial(emit, x, geometry, 2)
    const extents = emit.shape(padded).slice(2)
    const lead = groups === 1 ? [] : [groups]
    let [source, errors] = [padded, dy]
    if (groups === 1) {
      source = emit.transpose(padded, [0, ...spatialAxes(geometry, 2), 1])
      errors = emit.transpose(dy, [1, 0, ...spatialAxes(geometry, 2)])
    } else {
      const spatial = spatialAxes(geometry, 3)
      source = emit.transpose(emit.reshape(padded, [batch, groups, perIn, ...extents]), [1, 0, ...spatial, 2])
      errors = emit.transpose(emit.reshape(dy, [batch, groups, perOut, ...output]), [1, 2, 0, ...spatial])
    }
    const left = emit.reshape(errors, [...lead, perOut, positions])
    const products = tapsOf(geometry).map((tap) => {
      const part = tapOf(emit, source, tap, geometry, lead.length + 1)
      return emit.matmul(left, emit.reshape(part, [...lead, positions, perIn]))
    })
    return tapsLast(emit, products, [outChannels, perIn, ...kernel])
  },
}

/** Values per element of the kernel, each of the same `outer` elements, as one of shape `[…outer, kernel…]`. */
function tapsLast(emit: Emitter, values: readonly string[], shape: readonly number[]): string {
  const outer = shape[0]! * shape[1]!
  const rows = values.map((value) => emit.reshape(value, [1, outer]))
  return emit.reshape(emit.transpose(emit.concat(rows, 0), [1, 0]), shape)
}

/** Columns of all elements of the kernel side by side, one product per image, summed over the images. */
const columns: Formulation = {
  name: 'columns',
  applies: ({ groups }) => groups === 1,
  prefers: ({ inChannels }) => inChannels <= 8,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, outChannels, output, kernel } = geometry
    const positions = product(output)
    const padded = padSpatial(emit, x, geometry, 2)
    const parts = tapsOf(geometry).map((tap) =>
      emit.reshape(tapOf(emit, padded, tap, geometry, 2), [batch, inChannels, positions]),
    )
    const all = emit.transpose(emit.concat(parts, 1), [0, 2, 1])
    const perImage = emit.matmul(emit.reshape(dy, [batch, outChannels, positions]), all)
    const count = product(kernel)
    const sum = emit.reshape(emit.sum(perImage, [0], false), [outChannels, count, inChannels])
    return emit.reshape(emit.transpose(sum, [0, 2, 1]), [outChannels, inChannels, ...kernel])
  },
}

/** Kernel 1: dY Xᵀ per image, summed over the images. */
const pointwise: Formulation = {
  name: 'pointwise',
  applies: ({ groups, kernel }) => groups === 1 && product(kernel) === 1,
  prefers: () => true,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, outChannels, output, kernel } = geometry
    const positions = product(output)
    const met = tapOf(
      emit,
      padSpatial(emit, x, geometry, 2),
      kernel.map(() => 0),
      geometry,
      2,
    )
    const rows = emit.swapLast(emit.reshape(met, [batch, inChannels, positions]))
    const perImage = emit.matmul(emit.reshape(dy, [batch, outChannels, positions]), rows)
    return emit.reshape(emit.sum(perImage, [0], false), [outChannels, inChannels, ...kernel])
  },
}

const isDepthwise = ({ groups, inChannels }: ConvGeometry): boolean => groups === inChannels && groups > 1

/** Depthwise: per channel one product (kernel × N·positions) (N·positions × K / C). */
const perChannel: Formulation = {
  name: 'per-channel',
  applies: isDepthwise,
  prefers: (geometry) => isDense(geometry) || geometry.outChannels !== geometry.inChannels,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, outChannels, output, kernel, groups } = geometry
    const [positions, multiplier] = [batch * product(output), outChannels / groups]
    const spatial = spatialAxes(geometry, 2)
    const source = emit.transpose(padSpatial(emit, x, geometry, 2), [1, 0, ...spatial])
    const parts = tapsOf(geometry).map((tap) =>
      emit.reshape(tapOf(emit, source, tap, geometry, 2), [inChannels, 1, positions]),
    )
    const all = emit.concat(parts, 1)
    const errors = emit.reshape(emit.transpose(dy, [1, 0, ...spatial]), [groups, multiplier, positions])
    const right = multiplier === 1 ? emit.reshape(errors, [groups, positions, 1]) : emit.swapLast(errors)
    const products = emit.matmul(all, right)
    return emit.reshape(multiplier === 1 ? products : emit.swapLast(products), [outChannels, 1, ...kernel])
  },
}

/** Depthwise: every plane of X convolved with its plane of dY, strides and dilations in each other's place. */
const perPlane: Formulation = {
  name: 'per-plane',
  applies: (geometry) => isDepthwise(geometry) && geometry.outChannels === geometry.inChannels,
  prefers: () => true,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, input, output, kernel, strides, dilations, before, after } = geometry
    const planes = batch * inChannels
    const end = after.map((amount) => Math.max(0, amount))
    const covered = reach({ kernel: output, dilations: strides })
    const extents = input.map(
      (extent, axis) => Math.floor((extent + before[axis]! + end[axis]! - covered[axis]!) / dilations[axis]!) + 1,
    )
    const all = emit.op(
      'Conv',
      [emit.reshape(x, [1, planes, ...input]), emit.reshape(dy, [planes, 1, ...output])],
      [1, planes, ...extents],
      { kernel_shape: output, pads: [...before, ...end], strides: dilations, dilations: strides, group: planes },
    )
    const more = [...kernel.keys()].filter((axis) => extents[axis]! > kernel[axis]!)
    const cut =
      more.length === 0
        ? all
        : emit.slice(
            all,
            more.map((axis) => axis + 2),
            more.map(() => 0),
            more.map((axis) => kernel[axis]!),
          )
    const perImage = emit.reshape(cut, [batch, inChannels, 1, ...kernel])
    return emit.sum(perImage, [0], false)
  },
}

/** In order of preference; the last is always right. */
export const WEIGHT_FORMULATIONS: readonly Formulation[] = [pointwise, perChannel, perPlane, columns, perTap]
