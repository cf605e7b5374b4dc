/**
 * Gradients of depthwise convolutions by their weight, which are all sums and hardly any products.
 *
 * Preferences follow measurements at one thread: sums with the channels last are fastest where at most 16 positions
 * are left, products of rows at stride 1 up to 64 positions per row (1.2 to 2.3 times the next best), and a
 * convolution of planes everywhere else.
 */
import { constantMatrix } from './axis-map.ts'
import { type ConvGeometry, type Formulation, isDense, padSpatial, product, tapOf } from './conv-geometry.ts'
import { reach, type SlidingWindow, tapsOf } from './window.ts'

const isDepthwise = ({ groups, inChannels }: ConvGeometry): boolean => groups === inChannels && groups > 1

/** One output per channel. */
const isPlain = (geometry: ConvGeometry): boolean =>
  isDepthwise(geometry) && geometry.outChannels === geometry.inChannels

const spatialAxes = ({ input }: ConvGeometry, first: number): number[] => [...input.keys()].map((axis) => axis + first)

/** Channels last, per element of the kernel a product of all elements and their sum over the positions. */
const channelsLast: Formulation = {
  name: 'channels-last',
  applies: isPlain,
  prefers: ({ output }) => product(output) <= 16,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, output, kernel } = geometry
    const last = [0, ...spatialAxes(geometry, 2), 1]
    const source = padSpatial(emit, emit.transpose(x, last), geometry, 1)
    const errors = emit.transpose(dy, last)
    const sums = tapsOf(geometry).map((tap) => {
      const products = emit.mul(tapOf(emit, source, tap, geometry, 1), errors)
      return emit.sum(emit.reshape(products, [batch * product(output), inChannels]), [0])
    })
    return emit.reshape(emit.transpose(emit.concat(sums, 0), [1, 0]), [inChannels, 1, ...kernel])
  },
}

/**
 * Per channel and offset of whole rows: the products of all elements of dY's rows with all elements of X's rows, summed
 * over rows and images. The sums along its diagonals are the gradients along a row of the kernel.
 */
const rowProducts: Formulation = {
  name: 'row-products',
  applies: isPlain,
  prefers: (geometry) => isDense(geometry) && geometry.output.at(-1)! <= 64,
  emit: (emit, x, dy, geometry) => {
    const { batch, inChannels, output, kernel, strides, dilations } = geometry
    const rows = lastAxisLeftOut(geometry)
    const [width, rowCount] = [output.at(-1)!, batch * product(rows.output)]
    const swapped = [1, 0, ...spatialAxes(geometry, 2)]
    const source = emit.transpose(padSpatial(emit, x, geometry, 2), swapped)
    const length = emit.shape(source).at(-1)!
    const errors = emit.swapLast(emit.reshape(emit.transpose(dy, swapped), [inChannels, rowCount, width]))
    const taps = rows.input.length === 0 ? [[]] : tapsOf(rows)
    const products = taps.map((tap) => {
      const met = emit.reshape(tapOf(emit, source, tap, rows, 2), [inChannels, rowCount, length])
      return emit.reshape(emit.matmul(errors, met), [inChannels, 1, width * length])
    })
    const diagonals = constantMatrix(emit, width * length, kernel.at(-1)!, x, (pair, at) => {
      const [position, element] = [Math.floor(pair / length), pair % length]
      return element === position * strides.at(-1)! + at * dilations.at(-1)! ? 1 : 0
    })
    return emit.reshape(emit.matmul(emit.concat(products, 1), diagonals), [inChannels, 1, ...kernel])
  },
}

/** The window without its last axis. */
function lastAxisLeftOut(window: ConvGeometry): SlidingWindow {
  const rest = (list: readonly number[]): number[] => list.slice(0, -1)
  return {
    input: rest(window.input),
    output: rest(window.output),
    kernel: rest(window.kernel),
    strides: rest(window.strides),
    dilations: rest(window.dilations),
    before: rest(window.before),
    after: rest(window.after),
  }
}

/** Every plane of X convolved with its plane of dY, strides and dilations in each other's place. */
const perPlane: Formulation = {
  name: 'per-plane',
  applies: isPlain,
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

/** Any number of outputs per channel: one product per channel, (kernel × N·positions) (N·positions × K / C). */
const perChannel: Formulation = {
  name: 'per-channel',
  applies: isDepthwise,
  prefers: () => true,
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

/** In order of preference. */
export const DEPTHWISE_FORMULATIONS: readonly Formulation[] = [channelsLast, rowProducts, perPlane, perChannel]
