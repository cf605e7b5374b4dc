/**
 * Singular triples of a square matrix through the tridiagonal form of Golub and Kahan: with B bidiagonal, the symmetric
 * matrix [[0, B], [Bᵀ, 0]] becomes tridiagonal with a zero diagonal when its rows and columns are shuffled, and its
 * eigenvalues are ± the singular values of B: nothing is squared.
 *
 * Source: Golub, Kahan, "Calculating the singular values and pseudo-inverse of a matrix", J. SIAM Numer. Anal. 2(2),
 * 1965, sections 2 and 3.
 */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import { type BidiagonalReduction, reduceToBidiagonal } from './bidiagonal-reduction.ts'
import { applyReflections } from './block-reflectors.ts'
import { divideAndConquer } from './divide-and-conquer.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { checkedLargest, powerOfTwoScale, rowRange, zeros64 } from './matrix-layout.ts'
import { thinQr } from './qr.ts'
import { tridiagonalEigen, tridiagonalEigenvalues } from './tridiagonal-ql.ts'

/** The leading triples of A = u diag(s) vᵀ. */
export interface SquareTriples {
  /** `[n, rank]`, orthonormal columns. */
  readonly u: Matrix64
  /** `rank` values, descending. */
  readonly s: Float64Array
  /** `[n, rank]`, orthonormal columns. */
  readonly v: Matrix64
}

const SMALL = 48

/** The off-diagonal of the Golub–Kahan matrix in the order v_0, u_0, v_1, u_1 …: d_0, e_0, d_1, e_1 … */
function interleaved({ diagonal, offDiagonal }: BidiagonalReduction): Float64Array {
  const out = new Float64Array(2 * diagonal.length)
  for (let i = 0; i < diagonal.length; i++) {
    out[2 * i] = diagonal[i]!
    out[2 * i + 1] = offDiagonal[i]!
  }
  return out
}

/** All singular values of a square matrix, descending, right to about 10⁻¹⁵ of the largest. Options as below. */
export async function squareSingularValues(a: Matrix64, { signal }: TaskOptions = {}): Promise<Float64Array> {
  const n = a.rows
  const scale = powerOfTwoScale(checkedLargest(a, 'Singular values'))
  const off = interleaved(await reduceToBidiagonal(a, { scale, vectors: false, signal }))
  const values = tridiagonalEigenvalues(new Float64Array(2 * n), off)
  return Float64Array.from({ length: n }, (_, i) => Math.max(values[2 * n - 1 - i]!, 0) / scale)
}

/**
 * The leading singular triples of a square matrix: values right to about 10⁻¹⁵ of the largest, vectors orthonormal also
 * where values are zero or equal.
 *
 * @param a `[n, n]`, n ≥ 1, finite. Not written to. @param rank 1 … n.
 * @throws WhittleError `UNSUPPORTED` beyond n = 15,900; `ABORTED`.
 */
export async function squareTriples(
  engine: MatrixEngine,
  a: Matrix64,
  rank: number,
  { signal }: TaskOptions = {},
): Promise<SquareTriples> {
  const n = a.rows
  const scale = powerOfTwoScale(checkedLargest(a, 'Singular values'))
  const reduction = await reduceToBidiagonal(a, { scale, vectors: true, signal })
  const off = interleaved(reduction)
  const none = new Float64Array(2 * n)
  const { values, vectors } =
    2 * n <= SMALL ? tridiagonalEigen(none, off) : await divideAndConquer(engine, none, off, { count: rank, signal })
  const s = Float64Array.from({ length: rank }, (_, i) => Math.max(values[values.length - 1 - i]!, 0) / scale)
  checkAborted(signal)
  // B = Ub diag(s) Vbᵀ, so that A = P Bᵀ Qᵀ = (P Vb) diag(s) (Q Ub)ᵀ.
  const u = await orthonormal(engine, halves(vectors, n, rank, 0))
  const v = await orthonormal(engine, halves(vectors, n, rank, 1))
  const { p, q } = reduction
  if (n > 1) await applyReflections(engine, rowRange(p!.vectors, 0, n - 1), p!.tau.subarray(0, n - 1), 1, u, { signal })
  await applyReflections(engine, q!.vectors, q!.tau, 0, v, { signal })
  return { u, s, v }
}

/** Every other element of the last `rank` rows, ascending → `[n, rank]` columns of length near 1, descending. */
function halves(rows: Float64Array, n: number, rank: number, parity: 0 | 1): Matrix64 {
  const columns = zeros64(n, rank)
  const last = rows.length / (2 * n) - 1
  const tile = 32
  for (let i0 = 0; i0 < n; i0 += tile)
    for (let j0 = 0; j0 < rank; j0 += tile)
      for (let i = i0; i < Math.min(n, i0 + tile); i++)
        for (let j = j0; j < Math.min(rank, j0 + tile); j++)
          columns.data[i * rank + j] = Math.SQRT2 * rows[(last - j) * 2 * n + 2 * i + parity]!
  return columns
}

/** As good as orthonormal: the rounding of the products that tell. */
const ORTHONORMAL = 4e-15
/** One step of Newton's iteration makes squares of deviations: from here two of them are enough. */
const NEARLY = 1e-5

/**
 * Columns made orthonormal. Halves of eigenvectors are it up to rounding, but for values that are small beside the
 * largest; for those that are (nearly) zero, halves may be of any length and direction.
 *
 * Source of the iteration: Björck, Bowie, "An iterative algorithm for computing the best estimate of an orthogonal
 * matrix", SIAM J. Numer. Anal. 8(2), 1971.
 */
async function orthonormal(engine: MatrixEngine, a: Matrix64): Promise<Matrix64> {
  let x = a
  for (let step = 0; step < 3; step++) {
    const { cols } = x
    const deviation = await engine.multiply(x, x, { transposeA: true })
    for (let i = 0; i < cols; i++) deviation.data[i * (cols + 1)]! -= 1
    let largest = 0
    for (const value of deviation.data) largest = Math.max(largest, Math.abs(value))
    if (largest <= ORTHONORMAL) return x
    if (!(largest <= NEARLY / cols)) break
    // X ← X − ½ X (XᵀX − I)
    const change = (await engine.multiply(x, deviation)).data
    const improved = x.data.slice()
    for (let i = 0; i < improved.length; i++) improved[i] = improved[i]! - 0.5 * change[i]!
    x = { ...x, data: improved }
    if (largest * cols < 1e-8) return x
  }
  return orthonormalByReflections(engine, x)
}

/** Columns made orthonormal in order, each keeping its direction as far as it is independent of those before. */
export async function orthonormalByReflections(engine: MatrixEngine, a: Matrix64): Promise<Matrix64> {
  const { q, r } = await thinQr(engine, a)
  for (let j = 0; j < q.cols; j++)
    if (r.data[j * r.cols + j]! < 0) for (let i = 0; i < q.rows; i++) q.data[i * q.cols + j] = -q.data[i * q.cols + j]!
  return q
}
