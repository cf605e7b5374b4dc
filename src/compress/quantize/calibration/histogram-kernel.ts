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
/** Where memory that is lent begins. */
const LENT = Math.ceil(END / PAGE) * PAGE

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

/** Loops over numbers in the kernel's memory; counts of numbers are multiples of four and at most {@link CHUNK}. */
export interface HistogramKernel {
  /** Where the numbers `from` … `to` of an array are in the kernel's memory: where they were, or copied. */
  addressOf(data: Float32Array, from: number, to: number): number
  /** Two tables `[2 · HALF]` that {@link count} adds to; {@link clear} sets them to zero. Zeros are not counted. */
  readonly tables: readonly [Int32Array, Int32Array]
  clear(): void
  scan(address: number, numbers: number): Scan
  /** Counts what lies within ±HALF / inverse, and finds what lies below `low` or above `high`. */
  count(address: number, numbers: number, inverse: number, low: number, high: number): Counted
}

/** Memory that statistics read without copying. */
export interface StatisticsMemory {
  /** `[numbers]`, all zero or not; of no use after {@link release}. */
  readonly data: Float32Array
  /** Gives it back. */
  release(): void
}

let kernel: HistogramKernel | undefined
let memory: WebAssembly.Memory | undefined
let module: WebAssembly.Module | undefined
let isLent = false

/** The kernel; its arrays belong to the caller until it returns to its own caller. */
export function histogramKernel(): HistogramKernel {
  kernel ??= createKernel(END)
  return kernel
}

/**
 * Lends memory of the kernel: numbers written there are counted where they are.
 *
 * @param numbers float32 elements. @returns `undefined` while it is lent to somebody else, or where there is not enough.
 */
export function lendStatisticsMemory(numbers: number): StatisticsMemory | undefined {
  if (isLent) return undefined
  try {
    kernel = createKernel(LENT + numbers * 4)
  } catch {
    kernel = undefined
    return undefined
  }
  isLent = true
  return {
    data: new Float32Array(memory!.buffer, LENT, numbers),
    release: () => {
      isLent = false
      // WebAssembly's memory does not shrink; the next one to count gets a small one.
      kernel = undefined
      memory = undefined
    },
  }
}

function createKernel(bytes: number): HistogramKernel {
  const own = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE) })
  module ??= new WebAssembly.Module(Uint8Array.from(atob(HISTOGRAM_WASM), (character) => character.charCodeAt(0)))
  const { exports } = new WebAssembly.Instance(module, { env: { memory: own } })
  memory = own
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
  const ends = new Float32Array(own.buffer, OUT, 2)
  const numbersFound = new Int32Array(own.buffer, OUT + 8, 3)
  const found = (): Scan => ({ min: ends[0]!, max: ends[1]!, zeros: numbersFound[0]! })
  const list = (begin: number, end: number): Float32Array => new Float32Array(own.buffer, begin, (end - begin) / 4)
  const chunk = new Float32Array(own.buffer, DATA, CHUNK)
  const tables = [0, 1].map((i) => new Int32Array(own.buffer, TABLE + i * TABLE_STEP * 4, 2 * HALF))
  return {
    addressOf: (data, from, to) => {
      if (data.buffer === own.buffer) return data.byteOffset + from * 4
      chunk.set(data.subarray(from, to))
      return DATA
    },
    tables: tables as [Int32Array, Int32Array],
    clear: () => {
      for (const table of tables) table.fill(0)
    },
    scan: (address, numbers) => {
      scan(address, numbers, OUT)
      return found()
    },
    count: (address, numbers, inverse, low, high) => {
      count(address, numbers, inverse, HALF, TABLE, REST, low, high, FAR, OUT)
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
    const { addressOf, scan } = histogramKernel()
    const end = Math.min(at + CHUNK, whole)
    found = joinScans(found, scan(addressOf(data, at, end), end - at))
  }
  return found
}
