// AssemblyScript: reduction of a symmetric float64 matrix to tridiagonal form by blocked Householder reflections.
//
// Compiled by scripts/build-wasm.mjs into src/decompose/tridiagonal-wasm.generated.ts; not part of the TypeScript
// projects. The host owns the memory and passes byte addresses; nothing is allocated here.
//
// Source: Dongarra, Hammarling, Sorensen, "Block reduction of matrices to condensed forms for eigenvalue computations",
// J. Comput. Appl. Math. 27, 1989. Half of the work is the product of the trailing matrix with each reflector (bound
// by memory: four rows are read at once, each for both the dot product and its mirror image), half the rank-2b update
// of the trailing matrix once per panel of b columns (bound by arithmetic: 4 × 4 tiles in registers over packed panels).

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
  reflectionTau,
  rowProducts,
  set,
  sumOfLanes,
  updateTile,
} from './reflections'

/** y = S x for the symmetric S whose lower triangle is in rows and columns low … n−1 of `a`. */
function symmetricTimesVector(a: usize, n: i32, low: i32, x: usize, y: usize): void {
  memory.fill(at(y, low), 0, (<usize>(n - low)) << 3)
  const stride = (<usize>n) << 3
  let i = low
  for (; i + 3 < n; i += 4) {
    const r0 = a + <usize>i * stride
    const r1 = r0 + stride
    const r2 = r1 + stride
    const r3 = r2 + stride
    const x0 = get(x, i)
    const x1 = get(x, i + 1)
    const x2 = get(x, i + 2)
    const x3 = get(x, i + 3)
    const v0 = f64x2.splat(x0)
    const v1 = f64x2.splat(x1)
    const v2 = f64x2.splat(x2)
    const v3 = f64x2.splat(x3)
    let s0 = f64x2.splat(0)
    let s1 = s0
    let s2 = s0
    let s3 = s0
    let j = low
    for (; j + 1 < i; j += 2) {
      const offset = (<usize>j) << 3
      const a0 = v128.load(r0 + offset)
      const a1 = v128.load(r1 + offset)
      const a2 = v128.load(r2 + offset)
      const a3 = v128.load(r3 + offset)
      const xj = v128.load(x + offset)
      s0 = f64x2.add(s0, f64x2.mul(a0, xj))
      s1 = f64x2.add(s1, f64x2.mul(a1, xj))
      s2 = f64x2.add(s2, f64x2.mul(a2, xj))
      s3 = f64x2.add(s3, f64x2.mul(a3, xj))
      const upper = f64x2.add(f64x2.mul(a0, v0), f64x2.mul(a1, v1))
      const lower = f64x2.add(f64x2.mul(a2, v2), f64x2.mul(a3, v3))
      v128.store(y + offset, f64x2.add(v128.load(y + offset), f64x2.add(upper, lower)))
    }
    let d0 = sumOfLanes(s0)
    let d1 = sumOfLanes(s1)
    let d2 = sumOfLanes(s2)
    let d3 = sumOfLanes(s3)
    for (; j < i; j++) {
      const xj = get(x, j)
      d0 += get(r0, j) * xj
      d1 += get(r1, j) * xj
      d2 += get(r2, j) * xj
      d3 += get(r3, j) * xj
      set(y, j, get(y, j) + get(r0, j) * x0 + get(r1, j) * x1 + get(r2, j) * x2 + get(r3, j) * x3)
    }
    // The 4 × 4 block on the diagonal: its lower triangle, used twice.
    const b10 = get(r1, i)
    const b20 = get(r2, i)
    const b21 = get(r2, i + 1)
    const b30 = get(r3, i)
    const b31 = get(r3, i + 1)
    const b32 = get(r3, i + 2)
    set(y, i, get(y, i) + d0 + get(r0, i) * x0 + b10 * x1 + b20 * x2 + b30 * x3)
    set(y, i + 1, get(y, i + 1) + d1 + b10 * x0 + get(r1, i + 1) * x1 + b21 * x2 + b31 * x3)
    set(y, i + 2, get(y, i + 2) + d2 + b20 * x0 + b21 * x1 + get(r2, i + 2) * x2 + b32 * x3)
    set(y, i + 3, get(y, i + 3) + d3 + b30 * x0 + b31 * x1 + b32 * x2 + get(r3, i + 3) * x3)
  }
  for (; i < n; i++) {
    const row = a + <usize>i * stride
    const xi = get(x, i)
    let sum = get(row, i) * xi
    for (let j = low; j < i; j++) {
      sum += get(row, j) * get(x, j)
      set(y, j, get(y, j) + get(row, j) * xi)
    }
    set(y, i, get(y, i) + sum)
  }
}

/** A −= V Wᵀ + W Vᵀ on the lower triangle of rows and columns low … n−1; may also touch the upper part of tiles. */
function updateTrailing(a: usize, n: i32, low: i32, width: i32, packed: usize): void {
  const stride = (<usize>n) << 3
  const tileBytes = (<usize>width) << 6
  let rows = packed
  for (let i = low; i < n; i += 4) {
    let columns = packed
    if (i + 3 < n) {
      for (let j = low; j <= i; j += 4) {
        updateTile(at(a + <usize>i * stride, j), stride, rows, columns, width)
        columns += tileBytes
      }
    } else {
      for (let r = i; r < n; r++) {
        columns = packed
        for (let j = low; j <= r; j++) {
          const column = (j - low) & 3
          let sum: f64 = 0
          for (let k = 0; k < width; k++) {
            const p = rows + ((<usize>k) << 6)
            const q = columns + ((<usize>k) << 6)
            sum += get(p, r - i) * get(q, column + 4) + get(p, r - i + 4) * get(q, column)
          }
          const target = a + <usize>r * stride
          set(target, j, get(target, j) - sum)
          if (column === 3) columns += tileBytes
        }
      }
    }
    rows += tileBytes
  }
}

/**
 * Reduces columns start … start+width−1 and updates the rest. Call for start = 0, width, 2·width … while start < n−1.
 *
 * @param a n × n, row-major; the lower triangle of rows and columns ≥ start is read. Rows that are done hold their
 *   reflector: row i is v_i with zeros up to column i and 1 in column i+1.
 * @param w scratch, width · n numbers.
 * @param packed scratch, 8 · width · ceil(n / 4) numbers.
 * @param columns scratch, width · n numbers.
 * @param factors scratch, width numbers.
 * @param diagonal,off,tau results, n numbers each; element n−1 of off and tau is not written, and the last diagonal
 *   element is written by the last panel.
 */
export function reducePanel(
  a: usize,
  n: i32,
  w: usize,
  packed: usize,
  diagonal: usize,
  off: usize,
  tau: usize,
  start: i32,
  width: i32,
  columns: usize,
  factors: usize,
): void {
  const stride = (<usize>n) << 3
  const count = min(width, n - 1 - start)
  const panel = a + <usize>start * stride
  copyColumns(a, n, start, count, columns)
  for (let k = 0; k < count; k++) {
    const i = start + k
    const next = i + 1
    const length = n - next
    const v = panel + <usize>k * stride
    const wk = w + <usize>k * stride
    // Column i of the matrix becomes row i; the panel's earlier reflections are still to be applied to it.
    memory.copy(at(v, i), at(columns + <usize>k * stride, i), (<usize>(n - i)) << 3)
    gatherColumn(factors, -1, k, w, stride, i)
    addRows(at(v, i), factors, k, at(panel, i), stride, n - i)
    gatherColumn(factors, -1, k, panel, stride, i)
    addRows(at(v, i), factors, k, at(w, i), stride, n - i)
    set(diagonal, i, get(v, i))
    memory.fill(v, 0, (<usize>next) << 3)

    const vTail = at(v, next)
    const wTail = at(wk, next)
    set(off, i, reflect(vTail, length))
    const t = reflectionTau
    set(tau, i, t)

    // w = tau (A v) − ½ tau² (vᵀ A v) v, with A as it is after the panel's earlier reflections.
    symmetricTimesVector(a, n, next, v, wk)
    memory.fill(wk, 0, (<usize>next) << 3)
    const before = at(panel, next)
    rowProducts(factors, -1, k, at(w, next), stride, vTail, length)
    addRows(wTail, factors, k, before, stride, length)
    rowProducts(factors, -1, k, before, stride, vTail, length)
    addRows(wTail, factors, k, at(w, next), stride, length)
    for (let r = next; r < n; r++) set(wk, r, get(wk, r) * t)
    axpy(wTail, -0.5 * t * dot(wTail, vTail, length), vTail, length)
  }
  packPanels(panel, w, n, start + count, count, packed)
  updateTrailing(a, n, start + count, count, packed)
  if (start + count === n - 1) {
    const last = a + <usize>(n - 1) * stride
    set(diagonal, n - 1, get(last, n - 1))
    memory.fill(last, 0, stride)
  }
}
