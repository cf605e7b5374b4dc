/**
 * Graphs that turn a layer's input into the rows its weight is applied to, and sum up their outer products.
 *
 * A convolution is a product with the patches of its input: one row per output position, one column per weight element
 * of an output channel. The graph moves channels last, takes one strided slice per kernel position and multiplies the
 * rows with themselves. Columns come out as (kernel position, channel), blocks of the upper triangle only.
 */
import { GraphBuilder, type Model } from '../graph/index.ts'
import { type DType, Tensor } from '../tensor/index.ts'

/** What rows look like. */
export interface PatchGeometry {
  /** Input channels or features in all groups. */
  readonly channels: number
  readonly group: number
  /** Kernel lengths; empty for a linear layer. */
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  /** Begin of every axis, then end of every axis. */
  readonly pads: readonly number[]
  readonly dilations: readonly number[]
}

/** The columns of one block: kernel positions times channels from `start`, `width` in all. */
export interface ColumnBlock {
  readonly start: number
  readonly width: number
}

/** A block whose products run at full speed; wider ones waste work on the lower triangle. */
const BLOCK_WIDTH = 768

/** Columns of a row in one group: channels / group · ∏ kernel. */
export function patchSize({ channels, group, kernel }: PatchGeometry): number {
  return (channels / group) * kernel.reduce((product, extent) => product * extent, 1)
}

/** The blocks that the columns of an ungrouped layer are cut into. */
export function columnBlocks(geometry: PatchGeometry): ColumnBlock[] {
  const size = patchSize(geometry)
  if (geometry.group > 1) return [{ start: 0, width: size }]
  const taps = size / geometry.channels
  // Whole kernel positions, so that blocks are made of whole slices; a linear layer is cut anywhere.
  const unit = taps === 1 ? 1 : geometry.channels
  const units = size / unit
  const count = Math.max(1, Math.min(units, Math.round(size / BLOCK_WIDTH)))
  const blocks: ColumnBlock[] = []
  for (let block = 0; block < count; block++) {
    const start = Math.round((block * units) / count) * unit
    blocks.push({ start, width: Math.round(((block + 1) * units) / count) * unit - start })
  }
  return blocks
}

/** Name of the output with the products of blocks i ≤ j, `[width i, width j]`, or `[group, size, size]` of groups. */
export const gramOutput = (i: number, j: number): string => `gram_${i}_${j}`
/** Name of the output with the columns' sums of block i, `[width]` or `[group, size]`. */
export const sumOutput = (i: number): string => `sum_${i}`

/** The length of an output axis. */
export function outputLength(geometry: PatchGeometry, axis: number, length: number): number {
  const { kernel, strides, pads, dilations } = geometry
  const padded = length + pads[axis]! + pads[kernel.length + axis]!
  return Math.floor((padded - (kernel[axis]! - 1) * dilations[axis]! - 1) / strides[axis]!) + 1
}

/**
 * Input `x`: `[rows, features]` for a linear layer, `[N, channels, spatial…]` for a convolution, whose input `window`
 * `[2, spatial]` (int64) says which output positions to take: the padded offsets of the first and behind the last.
 */
export function patchModel(geometry: PatchGeometry, dtype: DType): Model {
  const { channels, group, kernel } = geometry
  const b = new GraphBuilder('moments')
  const spatial = kernel.map((_, axis) => `s${axis}`)
  const input = b.input('x', dtype, kernel.length === 0 ? ['rows', channels] : ['batch', channels, ...spatial])
  const x = dtype === 'float32' ? input : b.op('Cast', [input], { to: 1 })
  const slices = kernel.length === 0 ? [x] : spatialSlices(b, x, geometry)
  const blocks = columnBlocks(geometry)
  if (group > 1) {
    groupedMoments(b, slices, geometry)
    return b.model()
  }
  const perSlice = slices.map((slice) =>
    kernel.length === 0 ? slice : b.op('Reshape', [slice, b.constant(Tensor.int64([-1, channels]))]),
  )
  const matrices = blocks.map(({ start, width }) => blockMatrix(b, perSlice, channels, start, width))
  for (const [i, left] of matrices.entries()) {
    b.op('ReduceSum', [left, b.constant(Tensor.int64([0]))], { keepdims: 0 }, sumOutput(i))
    b.output(sumOutput(i), 'float32')
    for (const [j, right] of matrices.entries()) {
      if (j < i) continue
      b.op('Gemm', [left, right], { transA: 1 }, gramOutput(i, j))
      b.output(gramOutput(i, j), 'float32')
    }
  }
  return b.model()
}

/** One `[N, out…, channels]` per kernel position, in row-major order. */
function spatialSlices(b: GraphBuilder, x: string, geometry: PatchGeometry): string[] {
  const { kernel, strides, pads, dilations } = geometry
  const n = kernel.length
  const spatialAxes = kernel.map((_, axis) => axis + 1)
  let image = b.op('Transpose', [x], { perm: [0, ...kernel.map((_, axis) => axis + 2), 1] })
  if (pads.some((pad) => pad !== 0)) {
    const full = [0, ...pads.slice(0, n), 0, 0, ...pads.slice(n), 0]
    image = b.op('Pad', [image, b.constant(Tensor.int64(full))])
  }
  const window = b.input('window', 'int64', [2, n])
  const row = (index: number): string => b.op('Gather', [window, b.constant(Tensor.int64(index))], { axis: 0 })
  const [first, last] = [row(0), row(1)]
  const axes = b.constant(Tensor.int64(spatialAxes))
  const steps = b.constant(Tensor.int64(strides))
  const slices: string[] = []
  const position = kernel.map(() => 0)
  for (;;) {
    const offset = b.constant(Tensor.int64(position.map((tap, axis) => tap * dilations[axis]!)))
    slices.push(b.op('Slice', [image, b.op('Add', [first, offset]), b.op('Add', [last, offset]), axes, steps]))
    let axis = n - 1
    while (axis >= 0 && ++position[axis]! === kernel[axis]!) position[axis--] = 0
    if (axis < 0) return slices
  }
}

/** Columns `start … start + width` of the slices side by side, `[rows, width]`. */
function blockMatrix(
  b: GraphBuilder,
  slices: readonly string[],
  channels: number,
  start: number,
  width: number,
): string {
  if (slices.length === 1) {
    if (width === channels) return slices[0]!
    const bounds = [start, start + width, 1].map((value) => b.constant(Tensor.int64([value])))
    return b.op('Slice', [slices[0]!, bounds[0]!, bounds[1]!, bounds[2]!])
  }
  const parts = slices.slice(start / channels, (start + width) / channels)
  return parts.length === 1 ? parts[0]! : b.op('Concat', parts, { axis: 1 })
}

/** Products within each group: `[group, size, rows]` times `[group, rows, size]`. */
function groupedMoments(b: GraphBuilder, slices: readonly string[], { channels, group }: PatchGeometry): void {
  const shape = b.constant(Tensor.int64([-1, group, channels / group]))
  const parts = slices.map((slice) => b.op('Reshape', [slice, shape]))
  const rows = parts.length === 1 ? parts[0]! : b.op('Concat', parts, { axis: 2 })
  const left = b.op('Transpose', [rows], { perm: [1, 2, 0] })
  const right = b.op('Transpose', [rows], { perm: [1, 0, 2] })
  b.op('MatMul', [left, right], {}, gramOutput(0, 0))
  b.op('ReduceSum', [rows, b.constant(Tensor.int64([0]))], { keepdims: 0 }, sumOutput(0))
  b.output(gramOutput(0, 0), 'float32')
  b.output(sumOutput(0), 'float32')
}
