/**
 * The innermost loops of streaming statistics, in WebAssembly, and the memory they work in.
 *
 * One instance of a small module (compiled when it is first needed, at once: browsers allow that up to 4 KB) and under a
 * megabyte of memory serve all tensors, chunk after chunk; no call leaves anything behind that another needs.
 */
import { HISTOGRAM_WASM } from './histogram-wasm.generated.ts'

/** Bins on each side of zero that a histogram's core has. */
export const HALF = 4096
/** Numbers handled at a time: they stay in the second-level cache. */
export const CHUNK = 65536

const PAGE = 65536
/** Byte addresses: results, two tables of counts, the numbers, those beyond the bins, those at the ends. */
const OUT = 0
const TABLE = 64
/** Distance of the two tables: behind the counts lie four places for zeros. */
const TABLE_STEP = 2 * HALF + 4
const DATA = TABLE + 2 * TABLE_STEP * 4
const REST = DATA + CHUNK * 4
const FAR = REST + CHUNK * 4
const END = FAR + CHUNK * 4

/** What there is to know about all numbers. */
export interface Scan {
  /** NaN when any number is NaN; +∞ of no numbers. */
  readonly min: number
  /** NaN when any number is NaN; −∞ of no numbers. */
  readonly max: number
  readonly zeros: number
}

/** What {@link HistogramKernel.count} finds; both views until its next call. */
export interface Counted extends Scan {
  /** Numbers that are in no bin. */
  readonly rest: Float32Array
  /** Numbers below or above the limits given. */
  readonly far: Float32Array
}

/** Loops over the chunk in {@link HistogramKernel.data}; counts of numbers are multiples of four. */
export interface HistogramKernel {
  /** `[CHUNK]`: write here before each call. */
  readonly data: Float32Array
  /** Two tables `[2 · HALF]` that {@link count} adds to; {@link clear} sets them to zero. Zeros are not counted. */
  readonly tables: readonly [Int32Array, Int32Array]
  clear(): void
  scan(numbers: number): Scan
  /** Counts what lies within ±HALF / inverse, and finds what lies below `low` or above `high`. */
  count(numbers: number, inverse: number, low: number, high: number): Counted
}

let kernel: HistogramKernel | undefined

/** The kernel; its arrays belong to the caller until it returns to its own caller. */
export function histogramKernel(): HistogramKernel {
  kernel ??= createKernel()
  return kernel
}

function createKernel(): HistogramKernel {
  const memory = new WebAssembly.Memory({ initial: Math.ceil(END / PAGE) })
  const bytes = Uint8Array.from(atob(HISTOGRAM_WASM), (character) => character.charCodeAt(0))
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } })
  const scan = exports.scan as (data: number, numbers: number, out: number) => void
  const count = exports.count as (
    data: number,
    numbers: number,
    inverse: number,
    half: number,
    table: number,
    rest: number,
    low: number,
    high: number,
    far: number,
    out: number,
  ) => void
  const ends = new Float32Array(memory.buffer, OUT, 2)
  const numbersFound = new Int32Array(memory.buffer, OUT + 8, 3)
  const found = (): Scan => ({ min: ends[0]!, max: ends[1]!, zeros: numbersFound[0]! })
  const list = (begin: number, end: number): Float32Array => new Float32Array(memory.buffer, begin, (end - begin) / 4)
  const tables = [0, 1].map((i) => new Int32Array(memory.buffer, TABLE + i * TABLE_STEP * 4, 2 * HALF))
  return {
    data: new Float32Array(memory.buffer, DATA, CHUNK),
    tables: tables as [Int32Array, Int32Array],
    clear: () => {
      for (const table of tables) table.fill(0)
    },
    scan: (numbers) => {
      scan(DATA, numbers, OUT)
      return found()
    },
    count: (numbers, inverse, low, high) => {
      count(DATA, numbers, inverse, HALF, TABLE, REST, low, high, FAR, OUT)
      return { ...found(), rest: list(REST, numbersFound[1]!), far: list(FAR, numbersFound[2]!) }
    },
  }
}

const NOTHING: Scan = { min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, zeros: 0 }

/** What two lists of numbers have together. */
export function joinScans(a: Scan, b: Scan): Scan {
  return { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max), zeros: a.zeros + b.zeros }
}

/** Least, greatest and zeros of any number of numbers, one by one. */
export function scanFew(data: Float32Array): Scan {
  let { min, max, zeros } = NOTHING
  for (let i = 0; i < data.length; i++) {
    const x = data[i]!
    min = Math.min(min, x)
    max = Math.max(max, x)
    if (x === 0) zeros++
  }
  return { min, max, zeros }
}

/** Least, greatest and zeros of any number of numbers. */
export function scanAll(data: Float32Array): Scan {
  const whole = data.length - (data.length % 4)
  let found = scanFew(data.subarray(whole))
  for (let at = 0; at < whole; at += CHUNK) {
    const { data: chunk, scan } = histogramKernel()
    const end = Math.min(at + CHUNK, whole)
    chunk.set(data.subarray(at, end))
    found = joinScans(found, scan(end - at))
  }
  return found
}
