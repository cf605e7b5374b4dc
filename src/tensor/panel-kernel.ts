/**
 * The innermost loops of matrix products, in WebAssembly, and the memory they work in.
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
  }
}
