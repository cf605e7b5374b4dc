/**
 * Gradients of convolutions by their weight: dW[k, c, t] = Σ over images and positions p of dY[n, k, p] X[n, c, p s + t].
 *
 * Preferences follow measurements at one thread: one large product per element of the kernel is within 3 % of the best
 * from 16 channels on (85 to 209 GFLOP/s), and collected columns are 3.4 times faster with few input channels. A
 * pointwise kernel needs no transposes when each image has a product of its own, but then adds up as many weights as
 * there are images: that pays while a weight is smaller than an image's channels.
 */
import { DEPTHWISE_FORMULATIONS } from './conv-depthwise.ts'
import { type ConvGeometry, type Formulation, padSpatial, product, tapOf } from './conv-geometry.ts'
import { tapsOf } from './window.ts'

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
export const WEIGHT_FORMULATIONS: readonly Formulation[] = [pointwise, ...DEPTHWISE_FORMULATIONS, columns, perTap]
