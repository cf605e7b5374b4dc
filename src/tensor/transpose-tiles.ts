/**
 * Transposing matrices inside arrays, four rows and four columns at a time: float32 numbers in WebAssembly where they lie
 * in long runs, others in loops.
 *
 * Elements are moved as 32-bit integers or float64 numbers, each by a function of its own: engines compile a loop for
 * the one kind of array that it has seen, and one that sees both kinds takes twice as long.
 */
import { PASS_LENGTH, passKernel } from './pass-kernel.ts'

/** What data is moved as: float32 as its bits. */
export type Words = Int32Array | Float64Array

/** Element (x, y) lies at `source + y · down + x` before and at `target + x · across + y` after. */
export interface Transposition {
  readonly source: number
  readonly target: number
  /** Extent of y. */
  readonly rows: number
  /** Extent of x. */
  readonly cols: number
  readonly down: number
  readonly across: number
}

/** Rows and columns of a tile: what is read and written stays in the first-level cache. */
const TILE_ROWS = 64
const TILE_COLS = 16
/** Results of more bytes than the processor's address cache covers are made piece by piece, and the pieces copied. */
const FAR_BYTES = 16 * 1024 * 1024
/**
 * Rows and columns of such a piece: half a megabyte, with rows long enough for the copy, and not of a power of two,
 * which would put all of them into the same lines of the cache.
 */
const PIECE_ROWS = 2064
const PIECE_COLS = 64

/** The data as it is moved, not copied. */
export function wordsOf(data: Float32Array | Float64Array): Words {
  return data instanceof Float64Array ? data : new Int32Array(data.buffer, data.byteOffset, data.length)
}

/** Copies a matrix transposed. @param to of the same type as `from`; must not overlap it. */
export function transposeInto(from: Words, to: Words, job: Transposition): void {
  if (from instanceof Int32Array && suitsKernel(job)) transposeByKernel(from, to as Int32Array, job)
  else if (from instanceof Float64Array && isFar(job)) transposeFar(from, to as Float64Array, job)
  else transposeTiles(from, to, job)
}

/** Matrices of at least this many elements are worth the way through the kernel's memory, */
const KERNEL_SIZE = 32 * 32
/** in runs of at least this many elements, or in one. */
const KERNEL_RUN = 48

function suitsKernel({ rows, cols, down, across }: Transposition): boolean {
  if (rows * cols < KERNEL_SIZE || Math.min(rows, cols) < 4) return false
  return (cols >= KERNEL_RUN || down === cols) && (rows >= KERNEL_RUN || across === rows)
}

/** Extents up to this are not cut. */
const WHOLE = 512
const SIXTEENS = 16

/** Rows and columns of the pieces that go through the kernel: long runs on both sides. */
function pieceOf({ rows, cols }: Transposition): readonly [rows: number, cols: number] {
  const fitting = (other: number): number => Math.floor(PASS_LENGTH / other)
  if (cols <= WHOLE) {
    const most = fitting(cols)
    // Rows of an odd number of cache lines do not fall into the same lines of the cache.
    return [rows <= most ? rows : most - (most % (2 * SIXTEENS)) - SIXTEENS, cols]
  }
  if (rows <= WHOLE) return [rows, Math.min(cols, fitting(rows))]
  return [fitting(WHOLE) - SIXTEENS, WHOLE]
}

function transposeByKernel(from: Int32Array, to: Int32Array, job: Transposition): void {
  const { source, target, rows, cols, down, across } = job
  const { inputBits, outputBits, transpose } = passKernel()
  const [height, width] = pieceOf(job)
  for (let y = 0; y < rows; y += height) {
    const tall = Math.min(height, rows - y)
    for (let x = 0; x < cols; x += width) {
      const wide = Math.min(width, cols - x)
      const first = source + y * down + x
      if (wide === down) inputBits.set(from.subarray(first, first + tall * wide))
      else
        for (let k = 0; k < tall; k++) inputBits.set(from.subarray(first + k * down, first + k * down + wide), k * wide)
      transpose(tall, wide)
      const place = target + x * across + y
      if (tall === across) to.set(outputBits.subarray(0, tall * wide), place)
      else for (let k = 0; k < wide; k++) to.set(outputBits.subarray(k * tall, (k + 1) * tall), place + k * across)
    }
  }
}

function isFar({ rows, cols, across }: Transposition): boolean {
  return (cols - 1) * across * Float64Array.BYTES_PER_ELEMENT > FAR_BYTES && rows >= PIECE_ROWS / 2
}

function transposeFar(from: Float64Array, to: Float64Array, job: Transposition): void {
  const { rows, cols, source, target, down, across } = job
  const piece = new Float64Array(PIECE_ROWS * PIECE_COLS)
  for (let y = 0; y < rows; y += PIECE_ROWS) {
    const height = Math.min(PIECE_ROWS, rows - y)
    for (let x = 0; x < cols; x += PIECE_COLS) {
      const width = Math.min(PIECE_COLS, cols - x)
      const at = source + y * down + x
      transposeTiles(from, piece, { source: at, target: 0, rows: height, cols: width, down, across: height })
      for (let k = 0; k < width; k++)
        to.set(piece.subarray(k * height, (k + 1) * height), target + (x + k) * across + y)
    }
  }
}

function transposeTiles(from: Words, to: Words, job: Transposition): void {
  for (let y = 0; y < job.rows; y += TILE_ROWS) {
    const rows = Math.min(TILE_ROWS, job.rows - y)
    for (let x = 0; x < job.cols; x += TILE_COLS) {
      const cols = Math.min(TILE_COLS, job.cols - x)
      const source = job.source + y * job.down + x
      const target = job.target + x * job.across + y
      if (from instanceof Int32Array) bitsTile(from, source, job.down, to as Int32Array, target, job.across, rows, cols)
      else doublesTile(from, source, job.down, to as Float64Array, target, job.across, rows, cols)
    }
  }
}

function bitsTile(
  from: Int32Array,
  source: number,
  down: number,
  to: Int32Array,
  target: number,
  across: number,
  rows: number,
  cols: number,
): void {
  const [wholeRows, wholeCols] = [rows - (rows % 4), cols - (cols % 4)]
  for (let x = 0; x < wholeCols; x += 4) {
    let t0 = target + x * across
    let t1 = t0 + across
    let t2 = t1 + across
    let t3 = t2 + across
    let s0 = source + x
    for (let y = 0; y < wholeRows; y += 4) {
      const s1 = s0 + down
      const s2 = s1 + down
      const s3 = s2 + down
      to[t0] = from[s0]!
      to[t0 + 1] = from[s1]!
      to[t0 + 2] = from[s2]!
      to[t0 + 3] = from[s3]!
      to[t1] = from[s0 + 1]!
      to[t1 + 1] = from[s1 + 1]!
      to[t1 + 2] = from[s2 + 1]!
      to[t1 + 3] = from[s3 + 1]!
      to[t2] = from[s0 + 2]!
      to[t2 + 1] = from[s1 + 2]!
      to[t2 + 2] = from[s2 + 2]!
      to[t2 + 3] = from[s3 + 2]!
      to[t3] = from[s0 + 3]!
      to[t3 + 1] = from[s1 + 3]!
      to[t3 + 2] = from[s2 + 3]!
      to[t3 + 3] = from[s3 + 3]!
      t0 += 4
      t1 += 4
      t2 += 4
      t3 += 4
      s0 = s3 + down
    }
  }
  for (let x = 0; x < cols; x++) {
    const first = x < wholeCols ? wholeRows : 0
    for (let y = first; y < rows; y++) to[target + x * across + y] = from[source + y * down + x]!
  }
}

/** {@link bitsTile} for numbers of eight bytes; two rows and columns at a time are enough to fill the memory's lanes. */
function doublesTile(
  from: Float64Array,
  source: number,
  down: number,
  to: Float64Array,
  target: number,
  across: number,
  rows: number,
  cols: number,
): void {
  const [wholeRows, wholeCols] = [rows - (rows % 2), cols - (cols % 2)]
  for (let x = 0; x < wholeCols; x += 2) {
    let t0 = target + x * across
    let t1 = t0 + across
    let s0 = source + x
    for (let y = 0; y < wholeRows; y += 2) {
      const s1 = s0 + down
      to[t0] = from[s0]!
      to[t0 + 1] = from[s1]!
      to[t1] = from[s0 + 1]!
      to[t1 + 1] = from[s1 + 1]!
      t0 += 2
      t1 += 2
      s0 = s1 + down
    }
  }
  for (let x = 0; x < cols; x++) {
    const first = x < wholeCols ? wholeRows : 0
    for (let y = first; y < rows; y++) to[target + x * across + y] = from[source + y * down + x]!
  }
}
