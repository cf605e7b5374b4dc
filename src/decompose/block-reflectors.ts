/**
 * Products of many Householder reflections, applied as matrix products.
 *
 * H_0 H_1 … H_{b−1} = I − Vᵀ T V with the vectors in the rows of V and T upper triangular.
 * Source: Schreiber, Van Loan, "A storage-efficient WY representation for products of Householder transformations",
 * SIAM J. Sci. Stat. Comput. 10, 1989.
 */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { columnRange, rowRange } from './matrix-layout.ts'
import { TRIANGLE_WASM } from './triangle-wasm.generated.ts'
import { layOut, WasmKernel } from './wasm-kernel.ts'

/** Reflections per block: larger ones mean fewer passes over x, but T costs 2/3 b³ operations on one thread. */
const blockSize = (n: number): number => (n < 384 ? 64 : n < 2048 ? 128 : 256)

/** `formTriangle` of `wasm/triangle.ts`: addresses in bytes. */
type FormTriangle = (b: number, products: number, tau: number, column: number, t: number) => void

const kernel = new WasmKernel(TRIANGLE_WASM)

/** T `[b, b]` of I − Vᵀ T V. @param v `[b, n]`, one vector per row. @param tau b factors. */
export async function reflectorTriangle(engine: MatrixEngine, v: Matrix64, tau: Float64Array): Promise<Matrix64> {
  const b = v.rows
  const products = (await engine.multiply(v, v, { transposeB: true })).data
  const lengths = [b * b, b, b, b * b] as const
  return kernel.use(2 * b * (b + 1), ({ memory, exports }) => {
    const { views, addresses } = layOut(memory, lengths)
    views[0]!.set(products)
    views[1]!.set(tau)
    const formTriangle = exports.formTriangle as FormTriangle
    formTriangle(b, addresses[0]!, addresses[1]!, addresses[2]!, addresses[3]!)
    return { rows: b, cols: b, data: views[3]!.slice() }
  })
}

/**
 * x ← H_0 H_1 … H_{p−1} x in place, for reflections H_i = I − tau_i v_iᵀ v_i whose vector v_i is zero before column
 * i + `shift`.
 *
 * @param v `[p, n]`, one vector per row.
 * @param x `[n, m]`.
 */
export async function applyReflections(
  engine: MatrixEngine,
  v: Matrix64,
  tau: Float64Array,
  shift: number,
  x: Matrix64,
  { signal }: TaskOptions = {},
): Promise<void> {
  const n = v.cols
  const size = blockSize(n)
  const first = Math.floor((v.rows - 1) / size) * size
  for (let start = first; start >= 0; start -= size) {
    checkAborted(signal)
    const end = Math.min(v.rows, start + size)
    const from = Math.min(start + shift, n)
    if (from >= n) continue
    // The block's vectors are zero before column `from`: so are its effects on the rows before it.
    const block = columnRange(rowRange(v, start, end), from, n)
    const rows = rowRange(x, from, n)
    const t = await reflectorTriangle(engine, block, tau.subarray(start, end))
    const projected = await engine.multiply(t, await engine.multiply(block, rows))
    const change = (await engine.multiply(block, projected, { transposeA: true })).data
    subtract(rows.data, change)
  }
}

/** x −= y */
function subtract(x: Float64Array, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i] = x[i]! - y[i]!
}
