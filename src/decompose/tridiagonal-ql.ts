/**
 * Eigenvalues and eigenvectors of symmetric tridiagonal matrices by implicit QL with Wilkinson's shift.
 *
 * Sources: Bowdler, Martin, Reinsch, Wilkinson, "The QR and QL algorithms for symmetric matrices", Numer. Math. 11,
 * 1968; Parlett, "The Symmetric Eigenvalue Problem", 1980, section 8.15 (the form without square roots, by Pal, Walker
 * and Kahan).
 */
import { invariant } from '../core/index.ts'

/** Eigenvalues, ascending, and one eigenvector per row. */
export interface TridiagonalEigen {
  readonly values: Float64Array
  /** Row j `vectors[j * n … j * n + n − 1]` belongs to `values[j]`. */
  readonly vectors: Float64Array
}

const EPSILON = 2 ** -52
const MAX_ITERATIONS = 60

/** What is smaller is zero whatever its neighbours are: without it rows of zeros would never separate. */
const TINY = 1e-290

/** Rotates rows i and i + 1 of `rows` (of length n) by (c, s). */
function rotateRows(rows: Float64Array, n: number, i: number, c: number, s: number): void {
  const a = i * n
  const b = a + n
  for (let k = 0; k < n; k++) {
    const x = rows[a + k]!
    const y = rows[b + k]!
    rows[b + k] = s * x + c * y
    rows[a + k] = c * x - s * y
  }
}

/** One QL sweep over the unreduced block l … m, with shifts; rotations go to `rows`. */
function qlSweep(d: Float64Array, e: Float64Array, l: number, m: number, rows: Float64Array): void {
  const n = d.length
  let g = (d[l + 1]! - d[l]!) / (2 * e[l]!)
  let r = Math.hypot(g, 1)
  g = d[m]! - d[l]! + e[l]! / (g + (g >= 0 ? r : -r))
  let [s, c, p] = [1, 1, 0]
  for (let i = m - 1; i >= l; i--) {
    const f = s * e[i]!
    const b = c * e[i]!
    r = Math.hypot(f, g)
    e[i + 1] = r
    if (r === 0) {
      // The block falls apart here.
      d[i + 1] = d[i + 1]! - p
      e[m] = 0
      return
    }
    s = f / r
    c = g / r
    g = d[i + 1]! - p
    r = (d[i]! - g) * s + 2 * c * b
    p = s * r
    d[i + 1] = g + p
    g = c * r - b
    rotateRows(rows, n, i, c, s)
  }
  d[l] = d[l]! - p
  e[l] = g
  e[m] = 0
}

/**
 * All eigenpairs of a small symmetric tridiagonal matrix.
 *
 * About 3 n³ operations: for the leaves of divide and conquer and for small matrices.
 *
 * @param diagonal n numbers.
 * @param offDiagonal at least n − 1 numbers. Neither is written to.
 */
export function tridiagonalEigen(diagonal: Float64Array, offDiagonal: Float64Array): TridiagonalEigen {
  const n = diagonal.length
  const d = diagonal.slice()
  const e = new Float64Array(n)
  e.set(offDiagonal.subarray(0, Math.max(n - 1, 0)))
  const rows = new Float64Array(n * n)
  for (let i = 0; i < n; i++) rows[i * n + i] = 1
  for (let l = 0; l < n; l++)
    for (let iteration = 0; ; iteration++) {
      let m = l
      while (m < n - 1 && Math.abs(e[m]!) > EPSILON * (Math.abs(d[m]!) + Math.abs(d[m + 1]!)) + TINY) m++
      if (m === l) break
      invariant(iteration < MAX_ITERATIONS, 'QL did not converge.')
      qlSweep(d, e, l, m, rows)
    }
  const order = Array.from(d.keys()).sort((a, b) => d[a]! - d[b]!)
  const vectors = new Float64Array(n * n)
  order.forEach((from, to) => {
    vectors.set(rows.subarray(from * n, from * n + n), to * n)
  })
  return { values: Float64Array.from(order, (i) => d[i]!), vectors }
}

/** One sweep over the block l … m without square roots; `e` holds squares. */
function squaredQlSweep(d: Float64Array, e: Float64Array, l: number, m: number): void {
  const root = Math.sqrt(e[l]!)
  const half = (d[l + 1]! - d[l]!) / (2 * root)
  const r = Math.hypot(half, 1)
  const sigma = d[l]! - root / (half + (half >= 0 ? r : -r))
  let [c, s] = [1, 0]
  let gamma = d[m]! - sigma
  let p = gamma * gamma
  for (let i = m - 1; i >= l; i--) {
    const square = e[i]!
    const sum = p + square
    if (i < m - 1) e[i + 1] = s * sum
    const previousC = c
    const previousGamma = gamma
    c = p / sum
    s = square / sum
    gamma = c * (d[i]! - sigma) - s * previousGamma
    d[i + 1] = previousGamma + (d[i]! - gamma)
    p = c === 0 ? previousC * square : (gamma * gamma) / c
  }
  e[l] = s * p
  d[l] = sigma + gamma
}

/**
 * All eigenvalues of a symmetric tridiagonal matrix, ascending. O(n²).
 *
 * @param diagonal n numbers, the largest in about 1 … 2⁶⁴ (squares of the off-diagonal are taken).
 * @param offDiagonal at least n − 1 numbers. Neither is written to.
 */
export function tridiagonalEigenvalues(diagonal: Float64Array, offDiagonal: Float64Array): Float64Array {
  const n = diagonal.length
  const d = diagonal.slice()
  const e = new Float64Array(n)
  e.set(offDiagonal.subarray(0, Math.max(n - 1, 0)))
  // QL keeps the small eigenvalues of graded matrices exact when they stand at the top.
  if (Math.abs(d[0] ?? 0) > Math.abs(d[n - 1] ?? 0)) {
    d.reverse()
    e.subarray(0, n - 1).reverse()
  }
  for (let i = 0; i < n; i++) e[i] = e[i]! * e[i]!
  for (let l = 0; l < n; l++)
    for (let iteration = 0; ; iteration++) {
      let m = l
      while (m < n - 1 && e[m]! > EPSILON * EPSILON * Math.abs(d[m]! * d[m + 1]!) + TINY) m++
      if (m < n - 1) e[m] = 0
      if (m === l) break
      invariant(iteration < MAX_ITERATIONS, 'QL did not converge.')
      squaredQlSweep(d, e, l, m)
    }
  return d.sort()
}
