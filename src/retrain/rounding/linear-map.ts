/**
 * A layer as products of rows: y[o] = Σ_j W[o, j] · x[j], with one row x per output position and group.
 *
 * Convolutions of any number of axes, transposed ones and linear layers differ only in which input position each
 * element of a row is read from; padding and the holes of transposed convolutions read zero.
 */
import { momentRequest, type Site } from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import { intAttribute } from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'

/** How rows are read from a layer's input, and outputs from its output. */
export interface LinearMap {
  readonly group: number
  /** Length of a row in one group: input channels of the group times kernel positions. */
  readonly rowLength: number
  /** Outputs of one group. */
  readonly groupOutputs: number
  /** Channels or features of the input, in all groups. */
  readonly channels: number
  /** Output positions of one sample; each is one row. */
  readonly positions: number
  /** Positions of one sample's input. */
  readonly inputPositions: number
  /** Whether the channels are the last axis of the input and the output, as in linear layers. */
  readonly channelsLast: boolean
  /** Kernel positions. */
  readonly taps: number
  /** Writes the input position that each tap reads at an output position; −1 where it reads zero. */
  readonly inputsAt: (position: number, into: Int32Array) => void
  /** Index into the weight tensor of each element of the matrix `[outputs, rowLength]`. */
  readonly weightOrder: Int32Array
}

/**
 * The rows of a site.
 *
 * @param site with observed shapes.
 * @returns the map, or a sentence that says why the layer is no product of rows.
 */
export function linearMap(site: Site): LinearMap | string {
  const { inputShape, outputShape } = site
  if (!inputShape || !outputShape) return 'The shapes of its input and output are not known.'
  if (site.kind === 'linear') return linearRows(site, inputShape)
  const taps = sizeOf(site.kernel)
  const [inputLengths, outputLengths] = [inputShape.slice(2), outputShape.slice(2)]
  if (inputLengths.length !== site.kernel.length) return 'Its input does not have the axes of its kernel.'
  const common = {
    group: site.group,
    rowLength: (site.inputs / site.group) * taps,
    groupOutputs: site.outputs / site.group,
    channels: site.inputs,
    positions: sizeOf(outputLengths),
    inputPositions: sizeOf(inputLengths),
    channelsLast: false,
    taps,
  }
  if (site.kind === 'transposed-convolution')
    return {
      ...common,
      inputsAt: windowReader(site, inputLengths, outputLengths, transposedSource(site, inputLengths, outputLengths)),
      weightOrder: transposedOrder(site, taps),
    }
  const request = momentRequest(site)
  if (typeof request === 'string') return request
  return {
    ...common,
    inputsAt: windowReader(
      site,
      inputLengths,
      outputLengths,
      (axis, at, tap) => at * site.strides[axis]! + tap * site.dilations[axis]! - request.pads[axis]!,
    ),
    // [out, in / group, kernel…] is the matrix as it is.
    weightOrder: Int32Array.from({ length: site.weight.size }, (_, at) => at),
  }
}

function linearRows(site: Site, inputShape: readonly number[]): LinearMap | string {
  if (site.op === 'Gemm' && intAttribute(site.node, 'transA', 0) !== 0) return 'A Gemm with transA has no rows.'
  if (inputShape.length < 2) return 'Its input has no batch axis.'
  const { inputs, outputs, weightIsOutputFirst } = site
  const positions = sizeOf(inputShape.slice(1, -1))
  return {
    group: 1,
    rowLength: inputs,
    groupOutputs: outputs,
    channels: inputs,
    positions,
    inputPositions: positions,
    channelsLast: true,
    taps: 1,
    inputsAt: (position, into) => {
      into[0] = position
    },
    weightOrder: Int32Array.from({ length: inputs * outputs }, (_, at) =>
      weightIsOutputFirst ? at : (at % inputs) * outputs + Math.floor(at / inputs),
    ),
  }
}

/** Where along one axis a tap reads; below zero, beyond the end or no whole number where it reads zero. */
type AxisSource = (axis: number, at: number, tap: number) => number

function windowReader(
  { kernel }: Site,
  inputLengths: readonly number[],
  outputLengths: readonly number[],
  source: AxisSource,
): LinearMap['inputsAt'] {
  const axes = kernel.length
  const at = new Array<number>(axes).fill(0)
  const tap = new Array<number>(axes).fill(0)
  return (position, into) => {
    for (let axis = axes - 1, rest = position; axis >= 0; axis--) {
      at[axis] = rest % outputLengths[axis]!
      rest = Math.floor(rest / outputLengths[axis]!)
    }
    tap.fill(0)
    for (let t = 0; t < into.length; t++) {
      let index = 0
      for (let axis = 0; axis < axes; axis++) {
        const x = source(axis, at[axis]!, tap[axis]!)
        if (!(Number.isInteger(x) && x >= 0 && x < inputLengths[axis]!)) {
          index = -1
          break
        }
        index = index * inputLengths[axis]! + x
      }
      into[t] = index
      for (let axis = axes - 1; axis >= 0 && ++tap[axis]! === kernel[axis]!; axis--) tap[axis] = 0
    }
  }
}

/** Source: ONNX operator ConvTranspose, attributes auto_pad and output_shape. */
function transposedSource(site: Site, inputLengths: readonly number[], outputLengths: readonly number[]): AxisSource {
  const { kernel, strides, dilations, pads, autoPad, outputPadding } = site
  const begins = kernel.map((extent, axis) => {
    const total =
      strides[axis]! * (inputLengths[axis]! - 1) +
      (outputPadding?.[axis] ?? 0) +
      ((extent - 1) * dilations[axis]! + 1) -
      outputLengths[axis]!
    if (autoPad === 'SAME_UPPER') return Math.floor(total / 2)
    if (autoPad === 'SAME_LOWER' || site.fixedOutput) return total - Math.floor(total / 2)
    return autoPad === 'VALID' ? 0 : pads[axis]!
  })
  return (axis, at, tap) => (at + begins[axis]! - tap * dilations[axis]!) / strides[axis]!
}

/** [in, out / group, kernel…] as `[outputs, in / group · taps]`. */
function transposedOrder({ inputs, outputs, group, weight }: Site, taps: number): Int32Array {
  const [perIn, perOut] = [inputs / group, outputs / group]
  const order = new Int32Array(weight.size)
  for (let o = 0, at = 0; o < outputs; o++) {
    const g = Math.floor(o / perOut)
    for (let c = 0; c < perIn; c++)
      for (let t = 0; t < taps; t++) order[at++] = ((g * perIn + c) * perOut + (o % perOut)) * taps + t
  }
  return order
}

/** The weight's elements as the matrix `[outputs, rowLength]`. */
export function matrixOfWeight(map: LinearMap, weight: ArrayLike<number>): Float64Array {
  if (weight.length !== map.weightOrder.length)
    fail('INTERNAL', `Internal: a weight of ${weight.length} elements has ${map.weightOrder.length} in its matrix.`)
  return Float64Array.from(map.weightOrder, (from) => weight[from]!)
}
