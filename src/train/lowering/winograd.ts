/**
 * Convolutions 3 × 3 of small pictures with many channels by fewer multiplications: the picture and the kernel are
 * brought by constant matrices into a basis in which the convolution is one product of matrices per element.
 *
 * Y = A (G W · T X): T, G, A act on positions, the product on channels. Two positions a side that see nothing but zeros
 * around them take 3 products in the place of 9 (Karatsuba), four take 6 of 12. The gradients are the adjoints, so
 * that all three passes share the transformed kernel, picture and errors.
 *
 * @see A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016: F(4, 3)
 */
import { Tensor } from '../../tensor/index.ts'
import type { Layouts } from './layouts.ts'

type Matrix = readonly (readonly number[])[]

/** One axis: `picture` is T `[products, extent]`, `kernel` G `[products, 3]`, `result` A `[extent, products]`. */
interface Basis {
  readonly picture: Matrix
  readonly kernel: Matrix
  readonly result: Matrix
}

/** By the extent of an axis with one zero on either side. */
const BASES: Readonly<Record<number, Basis>> = {
  2: {
    picture: [
      [1, 1],
      [0, 1],
      [1, 0],
    ],
    kernel: [
      [0, 1, 0],
      [0, -1, 1],
      [1, -1, 0],
    ],
    result: [
      [1, 1, 0],
      [1, 0, 1],
    ],
  },
  // F(4, 3) with the points 0, 1, −1, 2, −2, ∞, without the columns that meet the zeros.
  4: {
    picture: [
      [0, -5, 0, 1],
      [-4, -4, 1, 1],
      [4, -4, -1, 1],
      [-2, -1, 2, 1],
      [2, -1, -2, 1],
      [4, 0, -5, 0],
    ],
    kernel: [
      [1 / 4, 0, 0],
      [-1 / 6, -1 / 6, -1 / 6],
      [-1 / 6, 1 / 6, -1 / 6],
      [1 / 24, 1 / 12, 1 / 6],
      [1 / 24, -1 / 12, 1 / 6],
      [0, 0, 1],
    ],
    result: [
      [1, 1, 1, 1, 1, 0],
      [0, 1, -1, 2, -2, 0],
      [0, 1, 1, 4, 4, 0],
      [0, 1, -1, 8, -8, 1],
    ],
  },
}

/** Channels from which on the products outweigh the transformations. */
const MANY_CHANNELS = 128

/** What decides whether a convolution can be done this way. */
interface Shape {
  readonly inChannels: number
  readonly outChannels: number
  readonly groups: number
  readonly input: readonly number[]
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly before: readonly number[]
  readonly after: readonly number[]
}

/** Whether a convolution is done this way. @param block channels per block, of which both sides have whole numbers. */
export function suitsWinograd(convolution: Shape, block: number): boolean {
  const { inChannels, outChannels, groups, input, kernel, strides, dilations, before, after } = convolution
  const isPlain = [...strides, ...dilations, ...before, ...after].every((value) => value === 1)
  const fits = isPlain && groups === 1 && kernel.every((extent) => extent === 3)
  const channels = [inChannels, outChannels]
  const isWorthIt = channels.every((count) => count % block === 0 && count >= MANY_CHANNELS)
  return fits && isWorthIt && input.every((extent) => BASES[extent] !== undefined)
}

/** Both axes at once: the Kronecker product, rows by rows. */
function both(rows: Matrix, columns: Matrix): Matrix {
  return rows.flatMap((a) => columns.map((b) => a.flatMap((x) => b.map((y) => x * y))))
}

function transposed(matrix: Matrix): Matrix {
  return matrix[0]!.map((_, column) => matrix.map((row) => row[column]!))
}

/** A convolution in its transformed basis, in the layouts of one graph. */
export class Winograd {
  readonly #layouts: Layouts
  readonly #extents: readonly number[]
  readonly #matrices: Basis

  /** @param extents of the picture. */
  constructor(layouts: Layouts, extents: readonly number[]) {
    this.#layouts = layouts
    this.#extents = extents
    const [rows, columns] = extents.map((extent) => BASES[extent]!) as [Basis, Basis]
    this.#matrices = {
      picture: both(rows.picture, columns.picture),
      kernel: both(rows.kernel, columns.kernel),
      result: both(rows.result, columns.result),
    }
  }

  /** `[products, C, K]` of a kernel `[9, C, K]`. */
  kernel(kernel: string): string {
    const [taps, ...channels] = this.#layouts.emit.shape(kernel) as [number, number, number]
    return this.#times(this.#matrices.kernel, kernel, taps, channels)
  }

  /** `[products, N, C]` of a blocked picture. */
  picture(x: string): string {
    return this.#times(this.#matrices.picture, ...this.#positionsFirst(x))
  }

  /** `[products, N, K]` of the blocked gradient of the result. */
  errors(dy: string): string {
    return this.#times(transposed(this.#matrices.result), ...this.#positionsFirst(dy))
  }

  /** The blocked result. @param bias `[K]`. */
  result(picture: string, kernel: string, bias: string | undefined): string {
    const { emit } = this.#layouts
    const products = emit.matmul(picture, kernel)
    const [count, ...rest] = emit.shape(products) as [number, number, number]
    const sums = this.#times(this.#matrices.result, products, count, rest)
    return this.#positionsInside(bias === undefined ? sums : emit.add(sums, bias))
  }

  /** The blocked gradient by the picture. */
  pictureGradient(errors: string, kernel: string): string {
    const { emit } = this.#layouts
    const [count, batch] = emit.shape(errors) as [number, number]
    const shape = [count, batch, emit.shape(kernel)[1]!]
    const products = emit.op('com.microsoft::FusedMatMul', [errors, kernel], shape, { transB: 1 })
    return this.#positionsInside(this.#times(transposed(this.#matrices.picture), products, count, shape.slice(1)))
  }

  /** The gradient by the kernel, `[9, C, K]`. */
  kernelGradient(picture: string, errors: string): string {
    const { emit } = this.#layouts
    const [count, , inChannels] = emit.shape(picture) as [number, number, number]
    const shape = [count, inChannels, emit.shape(errors)[2]!]
    const products = emit.op('com.microsoft::FusedMatMul', [picture, errors], shape, { transA: 1 })
    return this.#times(transposed(this.#matrices.kernel), products, count, shape.slice(1))
  }

  /** A constant matrix times the first axis. */
  #times(matrix: Matrix, value: string, count: number, rest: readonly number[]): string {
    const { emit } = this.#layouts
    const constant = emit.tensor(Tensor.of(Float32Array.from(matrix.flat()), [matrix.length, count]))
    const flat = emit.reshape(value, [count, rest.reduce((size, extent) => size * extent, 1)])
    return emit.reshape(emit.matmul(constant, flat), [matrix.length, ...rest])
  }

  /** A blocked value as `[H·W, N, C]`. */
  #positionsFirst(x: string): [value: string, positions: number, rest: number[]] {
    const { emit, block } = this.#layouts
    const [batch, channels, height, width] = emit.shape(x) as [number, number, number, number]
    const parted = emit.reshape(x, [batch, channels / block, height * width, block])
    return [emit.transpose(parted, [2, 0, 1, 3]), height * width, [batch, channels]]
  }

  /** `[H·W, N, C]` as a blocked value. */
  #positionsInside(x: string): string {
    const { emit, block } = this.#layouts
    const [positions, batch, channels] = emit.shape(x) as [number, number, number]
    const parted = emit.reshape(x, [positions, batch, channels / block, block])
    return emit.reshape(emit.transpose(parted, [1, 2, 0, 3]), [batch, channels, ...this.#extents])
  }
}
