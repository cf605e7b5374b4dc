/**
 * Thin QR factorisation by blocked Householder reflections: orthonormal to working precision whatever the matrix, also
 * when its columns are dependent.
 *
 * Source: Golub, Van Loan, "Matrix Computations", 4th edition, 2013, sections 5.1 and 5.2.
 */
import type { TaskOptions } from '../core/index.ts'
import { applyReflections, reflectorTriangle } from './block-reflectors.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { checkMatrix, rowRange, transposed, zeros64 } from './matrix-layout.ts'

const PANEL = 32

/** A = Q R. */
export interface QrFactors {
  /** `[m, k]`, orthonormal columns, k = min(m, n). */
  readonly q: Matrix64
  /** `[k, n]`, upper triangular; the diagonal may be negative or zero. */
  readonly r: Matrix64
}

/** One reflection that maps `row[start …]` to (beta, 0 …): v is left in `vector`, beta in the row. Returns tau. */
function reflectRow(row: Float64Array, start: number, vector: Float64Array): number {
  const m = row.length
  let largest = 0
  for (let i = start + 1; i < m; i++) largest = Math.max(largest, Math.abs(row[i]!))
  vector[start] = 1
  if (largest === 0) return 0
  largest = Math.max(largest, Math.abs(row[start]!))
  const alpha = row[start]! / largest
  let sum = 0
  for (let i = start + 1; i < m; i++) sum += (row[i]! / largest) ** 2
  const norm = Math.sqrt(alpha * alpha + sum)
  const beta = alpha > 0 ? -norm : norm
  const scale = 1 / (alpha - beta)
  for (let i = start + 1; i < m; i++) {
    vector[i] = (row[i]! / largest) * scale
    row[i] = 0
  }
  row[start] = beta * largest
  return (beta - alpha) / beta
}

/** row −= tau (row · v) v from `start` on. */
function applyToRow(row: Float64Array, vector: Float64Array, tau: number, start: number): void {
  let sum = 0
  for (let i = start; i < row.length; i++) sum += row[i]! * vector[i]!
  sum *= tau
  for (let i = start; i < row.length; i++) row[i] = row[i]! - sum * vector[i]!
}

/**
 * Thin QR factors of a matrix. About 4 m n² operations, most of them products on the engine.
 *
 * @param a `[m, n]`, any shape. Not written to.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `ABORTED`.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 4, cols: 3, data: Float64Array.of(1, 0, 2, 0, 3, 0, 2, 0, 4, 0, 3, 0) }
 * const { q, r } = await thinQr(engine, a)
 * console.log([q.rows, q.cols], [r.rows, r.cols])
 */
export async function thinQr(engine: MatrixEngine, a: Matrix64, { signal }: TaskOptions = {}): Promise<QrFactors> {
  checkMatrix(a, 'QR')
  const { rows: m, cols: n } = a
  const k = Math.min(m, n)
  // Columns of A as rows: everything runs along contiguous memory.
  const columns = transposed(a)
  const vectors = zeros64(k, m)
  const tau = new Float64Array(k)
  const column = (j: number): Float64Array => columns.data.subarray(j * m, (j + 1) * m)
  for (let start = 0; start < k; start += PANEL) {
    const end = Math.min(k, start + PANEL)
    for (let j = start; j < end; j++) {
      const vector = vectors.data.subarray(j * m, (j + 1) * m)
      tau[j] = reflectRow(column(j), j, vector)
      for (let other = j + 1; other < end; other++) applyToRow(column(other), vector, tau[j]!, j)
    }
    if (end === n) break
    // The rest in one go: rows x of `columns` become x − (x Vᵀ) T V.
    const v = rowRange(vectors, start, end)
    const rest = rowRange(columns, end, n)
    const t = await reflectorTriangle(engine, v, tau.subarray(start, end))
    const projected = await engine.multiply(await engine.multiply(rest, v, { transposeB: true }), t)
    const change = (await engine.multiply(projected, v)).data
    for (let i = 0; i < change.length; i++) rest.data[i] = rest.data[i]! - change[i]!
  }
  const r = zeros64(k, n)
  for (let i = 0; i < k; i++) for (let j = i; j < n; j++) r.data[i * n + j] = columns.data[j * m + i]!
  const q = zeros64(m, k)
  for (let i = 0; i < k; i++) q.data[i * k + i] = 1
  if (k > 0) await applyReflections(engine, vectors, tau, 0, q, { signal })
  return { q, r }
}
