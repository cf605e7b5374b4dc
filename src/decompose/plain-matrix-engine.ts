/** A {@link MatrixEngine} in plain JavaScript: for small work, tests, and where no runtime is at hand. */
import { gramOfUnfolding } from './gram.ts'
import type { Matrix, MatrixEngine, Slices } from './matrix.ts'
import { arrayLike, transposed } from './matrix-layout.ts'
import { checkProduct, checkSlicesProduct } from './product-shape.ts'

type Reals = Float32Array | Float64Array

/** sums += factor · (the row of b from `from` on) */
function addRow(sums: Float64Array, factor: number, b: Reals, from: number): void {
  for (let j = 0; j < sums.length; j++) sums[j] = sums[j]! + factor * b[from + j]!
}

/** sums += the next four elements of a, each times its row of b. */
function addRows(sums: Float64Array, a: Reals, at: number, b: Reals, from: number): void {
  const n = sums.length
  const [a0, a1, a2, a3] = [a[at]!, a[at + 1]!, a[at + 2]!, a[at + 3]!]
  const [b1, b2, b3] = [from + n, from + 2 * n, from + 3 * n]
  for (let j = 0; j < n; j++)
    sums[j] = sums[j]! + (a0 * b[from + j]! + a1 * b[b1 + j]! + (a2 * b[b2 + j]! + a3 * b[b3 + j]!))
}

/**
 * `a @ b` accumulated in float64, about 1–2 GFLOP/s.
 *
 * @param a `[m, k]`. @param b `[k, n]`.
 * @returns `[m, n]` of the operands' type.
 */
export function multiplyPlain<T extends Reals>(a: Matrix<T>, b: Matrix<T>): Matrix<T> {
  const { rows: m, cols: k } = a
  const n = b.cols
  const out = arrayLike(a.data, m * n)
  const sums = new Float64Array(n)
  const whole = k - (k % 4)
  for (let i = 0; i < m; i++) {
    sums.fill(0)
    const row = i * k
    // Four rows of b at a time: one pass over the sums for four products.
    for (let p = 0; p < whole; p += 4) addRows(sums, a.data, row + p, b.data, p * n)
    for (let p = whole; p < k; p++) addRow(sums, a.data[row + p]!, b.data, p * n)
    out.set(sums, i * n)
  }
  return { rows: m, cols: n, data: out }
}

/** `a @ slices[o]`, as {@link multiplyPlain}. @param a `[m, n]`. @returns `[outer, m, inner]`. */
function multiplySlicesPlain<T extends Reals>(a: Matrix<T>, { dims, data }: Slices<T>): Slices<T> {
  const [outer, n, inner] = dims
  const m = a.rows
  // Slices of one column are the rows of a matrix.
  if (inner === 1)
    return { dims: [outer, m, 1], data: multiplyPlain({ rows: outer, cols: n, data }, transposed(a)).data }
  const out = arrayLike(data, outer * m * inner)
  for (let o = 0; o < outer; o++) {
    const slice = { rows: n, cols: inner, data: data.subarray(o * n * inner, (o + 1) * n * inner) as T }
    out.set(multiplyPlain(a, slice).data, o * m * inner)
  }
  return { dims: [outer, m, inner], data: out }
}

/**
 * An engine that needs nothing; single-threaded and slow beyond a few hundred rows.
 *
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 2, cols: 2, data: Float64Array.of(1, 2, 3, 4) }
 * console.log([...(await engine.multiply(a, a, { transposeB: true })).data])
 */
export function createPlainMatrixEngine(): MatrixEngine {
  const engine: MatrixEngine = {
    async multiply(a, b, options = {}) {
      checkProduct(a, b, options)
      return multiplyPlain(options.transposeA ? transposed(a) : a, options.transposeB ? transposed(b) : b)
    },
    async multiplySlices(a, slices, options = {}) {
      checkSlicesProduct(a, slices, options)
      return multiplySlicesPlain(options.transposeA ? transposed(a) : a, slices)
    },
    gram: (a, options) => gramOfUnfolding(engine, a, options),
  }
  return engine
}
