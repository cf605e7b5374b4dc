// AssemblyScript: reduction of a square float64 matrix to bidiagonal form by blocked Householder reflections.
//
// Compiled by scripts/build-wasm.mjs into src/decompose/bidiagonal-wasm.generated.ts; not part of the TypeScript
// projects. The host owns the memory and passes byte addresses; nothing is allocated here.
//
// Sources: Dongarra, Hammarling, Sorensen, "Block reduction of matrices to condensed forms for eigenvalue computations",
// J. Comput. Appl. Math. 27, 1989 (panels); Howell, Demmel, Fulton, Hammarling, Marmol, "Cache efficient
// bidiagonalization using BLAS 2.5 operators", ACM TOMS 34(3), 2008 (both products with the trailing matrix in one pass
// over it: the second reflection's vector is the row to be reflected but for its first element, so that each row of the
// matrix can be added to the second product as soon as the first product has its element).
import {
  addRows,
  at,
  axpy,
  copyColumns,
  dot,
  gatherColumn,
  get,
  packPanels,
  reflect,
  reflectionScale,
  reflectionTau,
  rowProducts,
  set,
  sumOfLanes,
  updateTile,
} from './reflections'

/**
 * For rows j = i+1 … n−1 of M: y_j ← tau (M_j · v − y_j), u_j ← u_j − y_j, x += u_j M_j; v from element i on, x from
 * i + 1 on.
 */
function bothProducts(m: usize, stride: usize, n: i32, i: i32, tau: f64, v: usize, y: usize, u: usize, x: usize): void {
  let j = i + 1
  for (; j + 3 < n; j += 4) {
    const m0 = m + <usize>j * stride
    const m1 = m0 + stride
    const m2 = m1 + stride
    const m3 = m2 + stride
    let s0 = f64x2.splat(0)
    let s1 = s0
    let s2 = s0
    let s3 = s0
    let r = i
    for (; r + 1 < n; r += 2) {
      const o = (<usize>r) << 3
      const vr = v128.load(v + o)
      s0 = f64x2.add(s0, f64x2.mul(v128.load(m0 + o), vr))
      s1 = f64x2.add(s1, f64x2.mul(v128.load(m1 + o), vr))
      s2 = f64x2.add(s2, f64x2.mul(v128.load(m2 + o), vr))
      s3 = f64x2.add(s3, f64x2.mul(v128.load(m3 + o), vr))
    }
    const last = r < n ? get(v, r) : 0
    const end = r < n ? r : 0
    const y0 = tau * (sumOfLanes(s0) + get(m0, end) * last - get(y, j))
    const y1 = tau * (sumOfLanes(s1) + get(m1, end) * last - get(y, j + 1))
    const y2 = tau * (sumOfLanes(s2) + get(m2, end) * last - get(y, j + 2))
    const y3 = tau * (sumOfLanes(s3) + get(m3, end) * last - get(y, j + 3))
    const u0 = get(u, j) - y0
    const u1 = get(u, j + 1) - y1
    const u2 = get(u, j + 2) - y2
    const u3 = get(u, j + 3) - y3
    set(y, j, y0)
    set(y, j + 1, y1)
    set(y, j + 2, y2)
    set(y, j + 3, y3)
    set(u, j, u0)
    set(u, j + 1, u1)
    set(u, j + 2, u2)
    set(u, j + 3, u3)
    const f0 = f64x2.splat(u0)
    const f1 = f64x2.splat(u1)
    const f2 = f64x2.splat(u2)
    const f3 = f64x2.splat(u3)
    for (r = i + 1; r + 1 < n; r += 2) {
      const o = (<usize>r) << 3
      const low = f64x2.add(f64x2.mul(f0, v128.load(m0 + o)), f64x2.mul(f1, v128.load(m1 + o)))
      const high = f64x2.add(f64x2.mul(f2, v128.load(m2 + o)), f64x2.mul(f3, v128.load(m3 + o)))
      v128.store(x + o, f64x2.add(v128.load(x + o), f64x2.add(low, high)))
    }
    if (r < n) set(x, r, get(x, r) + (u0 * get(m0, r) + u1 * get(m1, r) + (u2 * get(m2, r) + u3 * get(m3, r))))
  }
  for (; j < n; j++) {
    const row = m + <usize>j * stride
    const yj = tau * (dot(at(row, i), at(v, i), n - i) - get(y, j))
    const uj = get(u, j) - yj
    set(y, j, yj)
    set(u, j, uj)
    axpy(at(x, i + 1), uj, at(row, i + 1), n - i - 1)
  }
}

/** M −= Yᵀ V + Uᵀ X on rows and columns low … n−1 rounded up to fours. */
function updateTrailing(m: usize, stride: usize, n: i32, low: i32, width: i32, rows: usize, packed: usize): void {
  const tileBytes = (<usize>width) << 6
  for (let j = low; j < n; j += 4) {
    let columns = packed
    for (let r = low; r < n; r += 4) {
      updateTile(at(m + <usize>j * stride, r), stride, rows, columns, width)
      columns += tileBytes
    }
    rows += tileBytes
  }
}

/**
 * Reduces rows and columns start … start+width−1 of M = P Bᵀ Qᵀ, B upper bidiagonal, and updates the rest. Call for
 * start = 0, width, 2·width … while start < n.
 *
 * @param m n rows of `ld` numbers, n of them used, in memory for a whole number of fours of rows. Rows that are done hold
 *   their reflector of Q: row i is v_i with zeros before column i and 1 in column i.
 * @param u n rows of `ld` numbers: row i becomes the reflector u_i of P, zeros up to column i and 1 in column i+1.
 * @param ld n rounded up to fours. @param width a multiple of four.
 * @param y,x,columns scratch, width · ld numbers each. @param packed scratch, 4 · width · ld numbers.
 * @param factors scratch, width numbers.
 * @param diagonal,off,tauQ,tauP results, n numbers each; element n−1 of `off` and `tauP` is not written.
 */
export function reducePanel(
  m: usize,
  u: usize,
  n: i32,
  ld: i32,
  y: usize,
  x: usize,
  columns: usize,
  packed: usize,
  factors: usize,
  diagonal: usize,
  off: usize,
  tauQ: usize,
  tauP: usize,
  start: i32,
  width: i32,
): void {
  const stride = (<usize>ld) << 3
  const count = min(width, n - start)
  const vs = m + <usize>start * stride
  const us = u + <usize>start * stride
  copyColumns(m, ld, start, count, columns)
  for (let k = 0; k < count; k++) {
    const i = start + k
    const next = i + 1
    const length = n - next
    const offset = <usize>k * stride
    const v = vs + offset
    const uk = us + offset
    const yk = y + offset
    const xk = x + offset

    // Row i: the panel's earlier reflections are still to be applied to it; then it becomes a reflector of Q.
    gatherColumn(factors, -1, k, y, stride, i)
    addRows(at(v, i), factors, k, at(vs, i), stride, length + 1)
    gatherColumn(factors, -1, k, us, stride, i)
    addRows(at(v, i), factors, k, at(x, i), stride, length + 1)
    memory.fill(v, 0, (<usize>i) << 3)
    set(diagonal, i, reflect(at(v, i), length + 1))
    const tau = reflectionTau
    set(tauQ, i, tau)
    memory.fill(uk, 0, stride)
    if (length === 0) break

    // What the panel's earlier reflections take from M v, and column i as they leave it.
    memory.fill(yk, 0, stride)
    memory.fill(xk, 0, stride)
    const yTail = at(yk, next)
    const uTail = at(uk, next)
    const xTail = at(xk, next)
    rowProducts(factors, 1, k, at(vs, i), stride, at(v, i), length + 1)
    addRows(yTail, factors, k, at(y, next), stride, length)
    rowProducts(factors, 1, k, at(x, i), stride, at(v, i), length + 1)
    addRows(yTail, factors, k, at(us, next), stride, length)
    memory.copy(uTail, at(columns + offset, next), (<usize>length) << 3)
    gatherColumn(factors, -1, k, vs, stride, i)
    addRows(uTail, factors, k, at(y, next), stride, length)
    gatherColumn(factors, -1, k, x, stride, i)
    addRows(uTail, factors, k, at(us, next), stride, length)

    bothProducts(m, stride, n, i, tau, v, yk, uk, xk)
    const beta = reflect(uTail, length)
    const t = reflectionTau
    const scale = t * reflectionScale
    set(off, i, beta)
    set(tauP, i, t)
    // x was the product with the unreflected column: its first element differs by beta, the rest by a factor.
    axpy(xTail, -beta, at(m + <usize>next * stride, next), length)
    for (let r = 0; r < length; r++) set(xTail, r, get(xTail, r) * scale)
    rowProducts(factors, -t, k + 1, at(y, next), stride, uTail, length)
    addRows(xTail, factors, k + 1, at(vs, next), stride, length)
    rowProducts(factors, -t, k, at(us, next), stride, uTail, length)
    addRows(xTail, factors, k, at(x, next), stride, length)
  }
  const low = start + count
  if (low >= n) return
  packPanels(y, us, ld, low, count, packed)
  const right = packed + ((<usize>(2 * width)) << 3) * <usize>ld
  packPanels(x, vs, ld, low, count, right)
  updateTrailing(m, stride, n, low, count, packed, right)
}
