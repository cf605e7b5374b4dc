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
/** Byte addresses: results of a scan, two tables of counts, the numbers, what is left over. */
const OUT = 0
const TABLE = 64
const DATA = TABLE + 2 * 2 * HALF * 4
const REST = DATA + CHUNK * 4
const END = REST + CHUNK * 4

/** What {@link HistogramKernel.scan} finds. */
export interface Scan {
  /** NaN when any number is NaN. */
  readonly min: number
  readonly max: number
  readonly zeros: number
}

/** Loops over the chunk in {@link HistogramKernel.data}. */
export interface HistogramKernel {
  /** `[CHUNK]`: write here before each call. */
  readonly data: Float32Array
  /** Two tables `[2 · HALF]` that {@link fill} adds to; the caller sets them to zero. */
  readonly tables: Int32Array
  scan(count: number): Scan
  /** Counts what lies within ±HALF / inverse; returns a view on the numbers that do not. */
  fill(count: number, inverse: number): Float32Array
  /** A view on the numbers below `low` or above `high`. */
  outside(count: number, low: number, high: number): Float32Array
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
  const scan = exports.scan as (data: number, count: number, out: number) => void
  const fill = exports.fill as (
    data: number,
    count: number,
    inverse: number,
    half: number,
    table: number,
    rest: number,
  ) => number
  const outside = exports.outside as (data: number, count: number, low: number, high: number, out: number) => number
  const found = new Float32Array(memory.buffer, OUT, 2)
  const zeros = new Int32Array(memory.buffer, OUT + 8, 1)
  const left = (end: number): Float32Array => new Float32Array(memory.buffer, REST, (end - REST) / 4)
  return {
    data: new Float32Array(memory.buffer, DATA, CHUNK),
    tables: new Int32Array(memory.buffer, TABLE, 4 * HALF),
    scan: (count) => {
      scan(DATA, count, OUT)
      return { min: found[0]!, max: found[1]!, zeros: zeros[0]! }
    },
    fill: (count, inverse) => left(fill(DATA, count, inverse, HALF, TABLE, REST)),
    outside: (count, low, high) => left(outside(DATA, count, low, high, REST)),
  }
}
