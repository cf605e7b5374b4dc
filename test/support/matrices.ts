/** Matrices for the tests of linear algebra, and how far results are from what they claim. */
import { createRandom } from '../../src/core/index.ts'
import { createPlainMatrixEngine, type Matrix, type Matrix64, thinQr } from '../../src/decompose/index.ts'

const plain = createPlainMatrixEngine()

/** A matrix from a rule. */
export function matrixOf(rows: number, cols: number, element: (i: number, j: number) => number): Matrix64 {
  return {
    rows,
    cols,
    data: Float64Array.from({ length: rows * cols }, (_, at) => element(Math.floor(at / cols), at % cols)),
  }
}

/** Normally distributed numbers. */
export function randomMatrix(rows: number, cols: number, seed = 1): Matrix64 {
  const random = createRandom(seed)
  return matrixOf(rows, cols, () => random.normal())
}

/** A symmetric matrix from the lower triangle of another. */
export function symmetrized({ rows, cols, data }: Matrix64): Matrix64 {
  return matrixOf(rows, rows, (i, j) => data[Math.max(i, j) * cols + Math.min(i, j)]!)
}

/** A random matrix with the given singular values. */
export async function withSingularValues(
  rows: number,
  cols: number,
  s: readonly number[],
  seed = 1,
): Promise<Matrix64> {
  const { q: u } = await thinQr(plain, randomMatrix(rows, s.length, seed))
  const { q: v } = await thinQr(plain, randomMatrix(cols, s.length, seed + 1))
  const scaled = matrixOf(rows, s.length, (i, j) => u.data[i * s.length + j]! * s[j]!)
  return plain.multiply(scaled, v, { transposeB: true })
}

/** The matrix rounded to float32. */
export function single({ rows, cols, data }: Matrix): Matrix<Float32Array> {
  return { rows, cols, data: Float32Array.from(data) }
}

/** ‖a‖ */
export function norm({ data }: Pick<Matrix, 'data'>): number {
  // Scaled, so that tests of extreme matrices neither overflow nor vanish.
  let largest = 0
  for (const value of data) largest = Math.max(largest, Math.abs(value))
  if (largest === 0) return 0
  let sum = 0
  for (const value of data) sum += (value / largest) ** 2
  return largest * Math.sqrt(sum)
}

/** ‖a − b‖ / ‖b‖; ‖a‖ when b is 0. */
export function relativeDistance(a: Matrix, b: Matrix): number {
  if (a.rows !== b.rows || a.cols !== b.cols)
    throw new Error(`[${a.rows}, ${a.cols}] compared with [${b.rows}, ${b.cols}]`)
  const difference = { data: Float64Array.from(a.data, (value, i) => value - b.data[i]!) }
  return norm(difference) / (norm(b) || 1)
}

/** ‖QᵀQ − I‖ / √n for Q with n columns. */
export async function orthogonalityError(q: Matrix): Promise<number> {
  const columns = { ...q, data: Float64Array.from(q.data) }
  const gram = await plain.multiply(columns, columns, { transposeA: true })
  for (let i = 0; i < q.cols; i++) gram.data[i * (q.cols + 1)]! -= 1
  return norm(gram) / Math.sqrt(Math.max(q.cols, 1))
}

/** Columns of a matrix scaled. */
export function scaleColumns(a: Matrix, factors: ArrayLike<number>): Matrix64 {
  return matrixOf(a.rows, a.cols, (i, j) => a.data[i * a.cols + j]! * factors[j]!)
}
