/**
 * Products of many Householder reflections, applied as matrix products.
 *
 * H_0 H_1 … H_{b−1} = I − Vᵀ T V with the vectors in the rows of V and T upper triangular.
 * Source: Schreiber, Van Loan, "A storage-efficient WY representation for products of Householder transformations",
 * SIAM J. Sci. Stat. Comput. 10, 1989.
 */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { columnRange, rowRange, zeros64 } from './matrix-layout.ts'

/** Reflections per block: larger ones mean fewer passes over x, but T costs b³ / 3 operations in plain JavaScript. */
const blockSize = (n: number): number => (n < 384 ? 64 : n < 2048 ? 128 : 256)

/** T `[b, b]` of I − Vᵀ T V. @param v `[b, n]`, one vector per row. @param tau b factors. */
export async function reflectorTriangle(engine: MatrixEngine, v: Matrix64, tau: Float64Array): Promise<Matrix64> {
  const b = v.rows
  const products = (await engine.multiply(v, v, { transposeB: true })).data
  const t = zeros64(b, b)
  for (let i = 0; i < b; i++) addToTriangle(t.data, products, b, i, tau[i]!)
  return t
}

/** T[:i, i] = −tau T[:i, :i] (V[:i] v_i), T[i, i] = tau; products of vectors are symmetric. */
function addToTriangle(t: Float64Array, products: Float64Array, b: number, i: number, tau: number): void {
  const column = i * b
  for (let row = 0; row < i; row++) {
    const from = row * b
    // Two sums: half as long a chain of additions.
    let [even, odd] = [0, 0]
    let j = row
    for (; j + 1 < i; j += 2) {
      even += t[from + j]! * products[column + j]!
      odd += t[from + j + 1]! * products[column + j + 1]!
    }
    if (j < i) even += t[from + j]! * products[column + j]!
    t[from + i] = -tau * (even + odd)
  }
  t[column + i] = tau
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
