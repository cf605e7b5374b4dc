/** A {@link MatrixEngine} in plain JavaScript: for small work, tests, and where no runtime is at hand. */
import { gramOfUnfolding } from './gram.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { arrayLike, transposed } from './matrix-layout.ts'
import { checkProduct } from './product-shape.ts'

/**
 * `a @ b` accumulated in float64, about 1–2 GFLOP/s.
 *
 * @param a `[m, k]`. @param b `[k, n]`.
 * @returns `[m, n]` of the operands' type.
 */
export function multiplyPlain<T extends Float32Array | Float64Array>(a: Matrix<T>, b: Matrix<T>): Matrix<T> {
  const { rows: m, cols: k } = a
  const n = b.cols
  const out = arrayLike(a.data, m * n)
  const sums = new Float64Array(n)
  for (let i = 0; i < m; i++) {
    sums.fill(0)
    for (let p = 0; p < k; p++) {
      const factor = a.data[i * k + p]!
      if (factor === 0) continue
      const row = p * n
      for (let j = 0; j < n; j++) sums[j] = sums[j]! + factor * b.data[row + j]!
    }
    out.set(sums, i * n)
  }
  return { rows: m, cols: n, data: out }
}

/** An engine that needs nothing; single-threaded and slow beyond a few hundred rows. */
export function createPlainMatrixEngine(): MatrixEngine {
  const engine: MatrixEngine = {
    async multiply(a, b, options = {}) {
      checkProduct(a, b, options)
      return multiplyPlain(options.transposeA ? transposed(a) : a, options.transposeB ? transposed(b) : b)
    },
    gram: (a, options) => gramOfUnfolding(engine, a, options),
  }
  return engine
}
