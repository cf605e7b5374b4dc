/**
 * Linear least squares: X that minimises ‖A X − B‖.
 *
 * By QR, not by normal equations, which would square the condition number (Golub, Van Loan, "Matrix Computations",
 * 4th edition, 2013, section 5.3).
 */
import { fail } from '../core/index.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { checkMatrix, zeros64 } from './matrix-layout.ts'
import { thinQr } from './qr.ts'

/**
 * Least-squares solution of A X ≈ B. Columns of A that depend on those before them (to 10⁻¹² of A's largest pivot) get
 * coefficient 0.
 *
 * @param a `[m, n]` with m ≥ n. @param b `[m, p]`.
 * @returns X `[n, p]`.
 * @throws WhittleError `SHAPE_MISMATCH` for other shapes; `NOT_FINITE`.
 * @example
 * const engine = createPlainMatrixEngine()
 * // The line through (0, 1), (1, 3), (2, 5).
 * const a = { rows: 3, cols: 2, data: Float64Array.of(1, 0, 1, 1, 1, 2) }
 * const line = await leastSquares(engine, a, { rows: 3, cols: 1, data: Float64Array.of(1, 3, 5) })
 * console.log([...line.data].map((value) => value.toFixed(4)))
 */
export async function leastSquares(engine: MatrixEngine, a: Matrix64, b: Matrix64): Promise<Matrix64> {
  const n = a.cols
  if (a.rows < n || b.rows !== a.rows)
    fail(
      'SHAPE_MISMATCH',
      `Least squares: A must have at least as many rows as columns, and B as many rows as A; got [${a.rows}, ${n}] and [${b.rows}, ${b.cols}].`,
    )
  checkMatrix(b, 'Least squares')
  const { q, r } = await thinQr(engine, a)
  const { data } = await engine.multiply(q, b, { transposeA: true })
  const x = zeros64(n, b.cols)
  let largest = 0
  for (let i = 0; i < n; i++) largest = Math.max(largest, Math.abs(r.data[i * (n + 1)]!))
  const p = b.cols
  for (let i = n - 1; i >= 0; i--) {
    const pivot = r.data[i * (n + 1)]!
    if (Math.abs(pivot) <= 1e-12 * largest) continue
    for (let c = 0; c < p; c++) {
      let sum = data[i * p + c]!
      for (let j = i + 1; j < n; j++) sum -= r.data[i * n + j]! * x.data[j * p + c]!
      x.data[i * p + c] = sum / pivot
    }
  }
  return x
}
