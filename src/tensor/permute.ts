/**
 * Rearranging the modes of a tensor.
 *
 * Modes that stay neighbours are one mode for the copy. Then either the last mode stays last and whole runs are copied,
 * or the copy is a transposition of the two modes that run fastest on either side, for all indices of the others.
 */
import { fail } from '../core/index.ts'
import { checkMode, realsOf, shapeText, unwrittenLike } from './reals.ts'
import { Tensor } from './tensor.ts'
import { transposeInto, type Words, wordsOf } from './transpose-tiles.ts'

/** One loop of a copy. */
interface Loop {
  readonly extent: number
  readonly from: number
  readonly to: number
}

/** From this length on a run is copied by `set`. */
const LONG_RUN = 64

/**
 * The tensor with its modes in another order: mode k of the result is mode `order[k]` of the tensor.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64.
 * @param order each mode once; default: all modes reversed.
 * @returns `[i_{order[0]}, …, i_{order[N−1]}]`; shares the data when no element moves.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const x = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
 * console.log(toNested(transposeTensor(x, [2, 0, 1])))
 */
export function transposeTensor(tensor: Tensor, order?: readonly number[]): Tensor {
  const { shape } = tensor
  const modes = order ?? shape.map((_, mode) => shape.length - 1 - mode)
  if (modes.length !== shape.length || new Set(modes).size !== modes.length)
    fail(
      'INVALID_ARGUMENT',
      `transposeTensor of ${shapeText(shape)}: order must name each of ${shape.length} modes once; got ${shapeText(modes)}.`,
    )
  for (const mode of modes) checkMode(shape, mode, 'transposeTensor', 'each mode of order')
  return permuted(tensor, modes, 'transposeTensor')
}

/**
 * The tensor with one mode moved to another place; the others keep their order.
 *
 * @param tensor float32 or float64.
 * @param source the mode to move. @param destination its place in the result.
 * @returns shares the data when no element moves.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * console.log(moveaxis(randomTensor([3, 4, 2]), 0, 2).shape)
 */
export function moveaxis(tensor: Tensor, source: number, destination: number): Tensor {
  checkMode(tensor.shape, source, 'moveaxis', 'source')
  checkMode(tensor.shape, destination, 'moveaxis', 'destination')
  const order = tensor.shape.map((_, mode) => mode).filter((mode) => mode !== source)
  order.splice(destination, 0, source)
  return permuted(tensor, order, 'moveaxis')
}

/** {@link transposeTensor} for an order that is known to be a permutation. @param what begins messages. */
export function permuted(tensor: Tensor, order: readonly number[], what: string): Tensor {
  const data = realsOf(tensor, what)
  const shape = order.map((mode) => tensor.shape[mode]!)
  const loops = loopsOf(tensor.shape, order)
  if (loops.length <= 1) return tensor.reshape(shape)
  const out = unwrittenLike(tensor, tensor.size)
  if (tensor.size > 0) copy(wordsOf(data), wordsOf(out), loops)
  return Tensor.of(out, shape)
}

/** The loops of the copy, outermost of the result first, neighbours on both sides merged, extents of 1 left out. */
function loopsOf(shape: readonly number[], order: readonly number[]): Loop[] {
  const strides = stridesOf(shape)
  const result = stridesOf(order.map((mode) => shape[mode]!))
  const loops: Loop[] = []
  for (const [at, mode] of order.entries()) {
    const loop = { extent: shape[mode]!, from: strides[mode]!, to: result[at]! }
    if (loop.extent === 1) continue
    const last = loops.at(-1)
    if (last && last.from === loop.from * loop.extent)
      loops[loops.length - 1] = { ...loop, extent: last.extent * loop.extent }
    else loops.push(loop)
  }
  return loops
}

function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let mode = shape.length - 1; mode >= 0; mode--) {
    strides[mode] = stride
    stride *= shape[mode]!
  }
  return strides
}

function copy(from: Words, to: Words, loops: readonly Loop[]): void {
  const last = loops.at(-1)!
  if (last.from === 1) {
    // In the order in which they are read: the processor then fetches ahead, and writes wait for nobody.
    const inOrder = loops.slice(0, -1).sort((a, b) => b.from - a.from)
    copyRuns(from, to, inOrder, last.extent)
    return
  }
  // The loop that runs fastest in the source, and the one that runs fastest in the result.
  const read = loops.find((loop) => loop.from === 1)!
  const outer = loops.filter((loop) => loop !== read && loop !== last)
  const job = { rows: last.extent, cols: read.extent, down: last.from, across: read.to }
  forEachOffset(outer, (source, target) => transposeInto(from, to, { ...job, source, target }))
}

function copyRuns(from: Words, to: Words, loops: readonly Loop[], length: number): void {
  if (length >= LONG_RUN)
    forEachOffset(loops, (source, target) => to.set(from.subarray(source, source + length), target))
  else if (from instanceof Int32Array)
    forEachOffset(loops, (source, target) => copyBits(from, source, to as Int32Array, target, length))
  else forEachOffset(loops, (source, target) => copyDoubles(from, source, to as Float64Array, target, length))
}

function copyBits(from: Int32Array, source: number, to: Int32Array, target: number, length: number): void {
  for (let i = 0; i < length; i++) to[target + i] = from[source + i]!
}

/** {@link copyBits} for numbers of eight bytes; see transpose-tiles.ts for why these are two functions. */
function copyDoubles(from: Float64Array, source: number, to: Float64Array, target: number, length: number): void {
  for (let i = 0; i < length; i++) to[target + i] = from[source + i]!
}

/** Calls `visit` with the offsets of every combination of the loops, the first one outermost. */
function forEachOffset(loops: readonly Loop[], visit: (source: number, target: number) => void): void {
  const inner = loops.at(-1) ?? { extent: 1, from: 0, to: 0 }
  const outer = loops.slice(0, -1)
  const index = outer.map(() => 0)
  let source = 0
  let target = 0
  for (;;) {
    for (let i = 0; i < inner.extent; i++) visit(source + i * inner.from, target + i * inner.to)
    let level = outer.length - 1
    for (; level >= 0; level--) {
      const loop = outer[level]!
      source += loop.from
      target += loop.to
      index[level]! += 1
      if (index[level]! < loop.extent) break
      source -= loop.from * loop.extent
      target -= loop.to * loop.extent
      index[level] = 0
    }
    if (level < 0) return
  }
}
