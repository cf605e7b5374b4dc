/**
 * Gradients of convolutions by their weight: dW[k, c, t] = Σ over images and positions p of dY[n, k, p] X[n, c, p s + t].
 *
 * Preferences follow measurements at one thread: the convolution whose kernel is dY takes 0.62 of the time of one product
 * per element of the kernel at 16 and 32 channels, 0.55 at 64 channels of 32 × 32, 0.8 to 0.95 from there on, and 0.37
 * with 3 input channels; products per element of the kernel are left for groups and for dilated kernels. A pointwise kernel needs no transposes when each image has a product of its own, but then adds up as many weights as
 * there are images: that pays while a weight is smaller than an image's channels.
 */
import { DEPTHWISE_FORMULATIONS } from './conv-depthwise.ts'
import { type ConvGeometry, type Formulation, padSpatial, product, tapOf } from './conv-geometry.ts'
import { reach, tapsOf } from './window.ts'

const spatialAxes = ({ input }: ConvGeometry, first: number): number[] => [...input.keys()].map((axis) => axis + first)

/** One product (K / groups × N·positions) (N·positions × C / groups) per group and element of the kernel; always right. */
const perTap: Formulation = {
  name: 'per-tap',
  applies: () => true,
  prefers: () => true,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, outChannels, input, output, kernel, groups } = geometry
    const [perIn, perOut] = [inChannels / groups, outChannels / groups]
    const positions = batch * product(output)
    const lead = groups === 1 ? [] : [groups]
    // Channels last, and padded after that: both copy whole rows of channels.
    let [source, errors] = [x, dy]
    if (groups === 1) {
      source = emit.transpose(x, [0, ...spatialAxes(geometry, 2), 1])
      errors = emit.transpose(dy, [1, 0, ...spatialAxes(geometry, 2)])
    } else {
      const spatial = spatialAxes(geometry, 3)
      source = emit.transpose(emit.reshape(x, [batch, groups, perIn, ...input]), [1, 0, ...spatial, 2])
      errors = emit.transpose(emit.reshape(dy, [batch, groups, perOut, ...output]), [1, 2, 0, ...spatial])
    }
    source = padSpatial(emit, source, geometry, lead.length + 1)
    const left = emit.reshape(errors, [...lead, perOut, positions])
    const products = tapsOf(geometry).map((tap) => {
      const part = tapOf(emit, source, tap, geometry, lead.length + 1)
      return emit.matmul(left, emit.reshape(part, [...lead, positions, perIn]))
    })
    // [K, taps, C / groups], of which only the last axes are swapped: other ways to bring the taps last are 3 times slower.
    const rows = products.map((value) => emit.reshape(value, [outChannels, 1, perIn]))
    return emit.reshape(emit.transpose(emit.concat(rows, 1), [0, 2, 1]), [outChannels, perIn, ...kernel])
  },
}

/**
 * A convolution whose channels are the images, whose kernel is dY, and whose output is the gradient: with channels last,
 * an element of the kernel moves along a row by a whole pixel of C numbers, so that the last axis of the output holds
 * the kernel's last axis and the channels. Nothing is padded, cut or gathered before the product.
 */
const asConvolution: Formulation = {
  name: 'as-convolution',
  applies: ({ groups, dilations }) => groups === 1 && dilations.at(-1) === 1,
  prefers: ({ kernel }) => product(kernel) > 1,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, outChannels, input, output, kernel, strides, dilations, before, after } = geometry
    const spatial = spatialAxes(geometry, 2)
    const last = input.length - 1
    // Lengths along the last axis count channels, not pixels.
    const inNumbers = (list: readonly number[]): number[] =>
      list.map((value, axis) => (axis === last ? value * inChannels : value))
    const pads = [...inNumbers(before), ...inNumbers(after.map((amount) => Math.max(0, amount)))]
    const covered = reach({ kernel: output, dilations: strides })
    const room = input.map((extent, axis) => extent + before[axis]! + Math.max(0, after[axis]!) - covered[axis]!)
    const extents = room.map((more, axis) => Math.floor(more / dilations[axis]!) + 1)
    const channelsLast = emit.transpose(x, [0, ...spatial, 1])
    const all = emit.op(
      'Conv',
      [emit.reshape(channelsLast, [1, batch, ...inNumbers(input)]), emit.transpose(dy, [1, 0, ...spatial])],
      [1, outChannels, ...inNumbers(extents)],
      { kernel_shape: output, pads, strides: [...dilations.slice(0, -1), 1], dilations: inNumbers(strides) },
    )
    const wanted = inNumbers(kernel)
    const cut = inNumbers(extents).flatMap((extent, axis) => (extent > wanted[axis]! ? [axis] : []))
    const kept =
      cut.length === 0
        ? all
        : emit.slice(
            all,
            cut.map((axis) => axis + 2),
            cut.map(() => 0),
            cut.map((axis) => wanted[axis]!),
          )
    const perOutput = emit.reshape(kept, [outChannels, product(kernel), inChannels])
    return emit.reshape(emit.swapLast(perOutput), [outChannels, inChannels, ...kernel])
  },
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
  prefers: ({ output, inChannels, outChannels }) =>
    product(output) * (inChannels + outChannels) >= inChannels * outChannels,
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

/** In order of preference; the last is always right. */
export const WEIGHT_FORMULATIONS: readonly Formulation[] = [
  pointwise,
  ...DEPTHWISE_FORMULATIONS,
  asConvolution,
  columns,
  perTap,
]
