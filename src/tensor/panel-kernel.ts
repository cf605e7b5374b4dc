/**
 * The innermost loops of matrix products and Khatri–Rao products, in WebAssembly, and the memory they work in.
 *
 * One instance of a small module (compiled at the first product, at once: browsers allow that up to 4 KB) and one
 * memory of a megabyte serve all products, which run to their end one after the other.
 */
import { PANELS_WASM } from './panels-wasm.generated.ts'

/** Rows and columns of a panel. */
export const PANEL = 4
/** Rows, columns and depth of the blocks: 256 KB of packed rows and of sums, 512 KB of packed columns. */
export const ROWS = 128
export const COLUMNS = 256
export const DEPTH = 256

/** Where operands are packed and sums are made; the same for every product. */
export interface PanelKernel {
  /** Panels of four rows, each `[depth, 4]`. */
  readonly left: Float64Array
  /** Panels of four columns, each `[depth, 4]`. */
  readonly right: Float64Array
  /** `[rows, width]` */
  readonly sums: Float64Array
  /** sums += left @ right; rows and columns are rounded up to fours. */
  multiply(rows: number, columns: number, depth: number, width: number): void
  /** {@link right} as float32 numbers: rows for {@link scale}. */
  readonly rows32: Float32Array
  /** {@link sums} as float32 numbers: results of {@link scale}. */
  readonly scaled32: Float32Array
  /** `count` rows of {@link rows32} from `first` on, each times the first `rank` numbers of {@link left}. */
  scale(first: number, count: number, rank: number): void
}

const PAGE = 65536
let kernel: PanelKernel | undefined

/** The kernel; its arrays belong to the caller until its product is finished. */
export function panelKernel(): PanelKernel {
  kernel ??= createKernel()
  return kernel
}

function createKernel(): PanelKernel {
  const lengths = [ROWS * DEPTH, DEPTH * COLUMNS, ROWS * COLUMNS] as const
  const [left, right, sums] = [0, lengths[0] * 8, (lengths[0] + lengths[1]) * 8]
  const end = sums + lengths[2] * 8
  const memory = new WebAssembly.Memory({ initial: Math.ceil(end / PAGE) })
  const bytes = Uint8Array.from(atob(PANELS_WASM), (character) => character.charCodeAt(0))
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } })
  const scaleRows = exports.scaleRows as (
    factors: number,
    rows: number,
    count: number,
    rank: number,
    out: number,
  ) => void
  const multiplyPanels = exports.multiplyPanels as (
    a: number,
    rows: number,
    b: number,
    columns: number,
    depth: number,
    sums: number,
    width: number,
  ) => void
  return {
    left: new Float64Array(memory.buffer, left, lengths[0]),
    right: new Float64Array(memory.buffer, right, lengths[1]),
    sums: new Float64Array(memory.buffer, sums, lengths[2]),
    multiply: (rows, columns, depth, width) => multiplyPanels(left, rows, right, columns, depth, sums, width),
    rows32: new Float32Array(memory.buffer, right, 2 * lengths[1]),
    scaled32: new Float32Array(memory.buffer, sums, 2 * lengths[2]),
    scale: (first, count, rank) => scaleRows(left, right + 4 * first * rank, count, rank, sums),
  }
}
