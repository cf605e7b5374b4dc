// AssemblyScript: reduction of a symmetric float64 matrix to tridiagonal form by blocked Householder reflections.
//
// Compiled by scripts/build-wasm.mjs into src/decompose/tridiagonal-wasm.generated.ts; not part of the TypeScript
// projects. The host owns the memory and passes byte addresses; nothing is allocated here.
//
// Source: Dongarra, Hammarling, Sorensen, "Block reduction of matrices to condensed forms for eigenvalue computations",
// J. Comput. Appl. Math. 27, 1989. Half of the work is the product of the trailing matrix with each reflector (bound
// by memory: four rows are read at once, each for both the dot product and its mirror image), half the rank-2b update
// of the trailing matrix once per panel of b columns (bound by arithmetic: 4 × 4 tiles in registers over packed panels).

// The host scales the matrix to a largest element near 1. What is smaller than this is taken for zero: its square would
// lose digits to underflow, and the reflection its orthogonality.
const NEGLIGIBLE: f64 = 1e-140

/** Address of element `index` of the float64 array at `base`. */
function at(base: usize, index: i32): usize {
  return base + ((<usize>index) << 3)
}

function get(base: usize, index: i32): f64 {
  return load<f64>(at(base, index))
}

function set(base: usize, index: i32, value: f64): void {
  store<f64>(at(base, index), value)
}

function sumOfLanes(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1)
}

/** Σ a[i] b[i] over i < n. */
function dot(a: usize, b: usize, n: i32): f64 {
  let s0 = f64x2.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  let i = 0
  for (; i + 7 < n; i += 8) {
    const p = at(a, i)
    const q = at(b, i)
    s0 = f64x2.add(s0, f64x2.mul(v128.load(p), v128.load(q)))
    s1 = f64x2.add(s1, f64x2.mul(v128.load(p, 16), v128.load(q, 16)))
    s2 = f64x2.add(s2, f64x2.mul(v128.load(p, 32), v128.load(q, 32)))
    s3 = f64x2.add(s3, f64x2.mul(v128.load(p, 48), v128.load(q, 48)))
  }
  let sum = sumOfLanes(f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3)))
  for (; i < n; i++) sum += get(a, i) * get(b, i)
  return sum
}

/** y += factor x, n elements. */
function axpy(y: usize, factor: f64, x: usize, n: i32): void {
  const f = f64x2.splat(factor)
  let i = 0
  for (; i + 3 < n; i += 4) {
    const p = at(y, i)
    const q = at(x, i)
    v128.store(p, f64x2.add(v128.load(p), f64x2.mul(f, v128.load(q))))
    v128.store(p, f64x2.add(v128.load(p, 16), f64x2.mul(f, v128.load(q, 16))), 16)
  }
  for (; i < n; i++) set(y, i, get(y, i) + factor * get(x, i))
}

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

/** Packs columns low … n−1 of the panels V and W (rows of length n) as [tile of 4 columns][k][v v v v w w w w]. */
function packPanels(v: usize, w: usize, n: i32, low: i32, width: i32, packed: usize): void {
  const stride = (<usize>n) << 3
  let to = packed
  for (let j = low; j < n; j += 4) {
    for (let k = 0; k < width; k++) {
      const vk = v + <usize>k * stride
      const wk = w + <usize>k * stride
      for (let c = 0; c < 4; c++) {
        const inside = j + c < n
        set(to, c, inside ? get(vk, j + c) : 0)
        set(to, c + 4, inside ? get(wk, j + c) : 0)
      }
      to += 64
    }
  }
}

/** c − (v_i w_j + w_i v_j) for one row of a tile, two columns. */
function minusRank2(c: v128, row: usize, index: i32, vj: v128, wj: v128): v128 {
  const vi = v128.load64_splat(at(row, index))
  const wi = v128.load64_splat(at(row, index + 4))
  return f64x2.sub(c, f64x2.add(f64x2.mul(vi, wj), f64x2.mul(wi, vj)))
}

/** The tile of 4 rows from `row` and 4 columns from `column` (addresses of its first element): A −= V Wᵀ + W Vᵀ. */
function updateTile(tile: usize, stride: usize, rows: usize, columns: usize, width: i32): void {
  const t1 = tile + stride
  const t2 = t1 + stride
  const t3 = t2 + stride
  let c00 = v128.load(tile)
  let c01 = v128.load(tile, 16)
  let c10 = v128.load(t1)
  let c11 = v128.load(t1, 16)
  let c20 = v128.load(t2)
  let c21 = v128.load(t2, 16)
  let c30 = v128.load(t3)
  let c31 = v128.load(t3, 16)
  for (let k = 0; k < width; k++) {
    const v0 = v128.load(columns)
    const v1 = v128.load(columns, 16)
    const w0 = v128.load(columns, 32)
    const w1 = v128.load(columns, 48)
    c00 = minusRank2(c00, rows, 0, v0, w0)
    c01 = minusRank2(c01, rows, 0, v1, w1)
    c10 = minusRank2(c10, rows, 1, v0, w0)
    c11 = minusRank2(c11, rows, 1, v1, w1)
    c20 = minusRank2(c20, rows, 2, v0, w0)
    c21 = minusRank2(c21, rows, 2, v1, w1)
    c30 = minusRank2(c30, rows, 3, v0, w0)
    c31 = minusRank2(c31, rows, 3, v1, w1)
    rows += 64
    columns += 64
  }
  v128.store(tile, c00)
  v128.store(tile, c01, 16)
  v128.store(t1, c10)
  v128.store(t1, c11, 16)
  v128.store(t2, c20)
  v128.store(t2, c21, 16)
  v128.store(t3, c30)
  v128.store(t3, c31, 16)
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

/** Columns start … start+count−1, from row `start` on, as rows of `columns`: eight of them share each cache line. */
function copyColumns(a: usize, n: i32, start: i32, count: i32, columns: usize): void {
  const stride = (<usize>n) << 3
  for (let r = start; r < n; r++) {
    const row = at(a + <usize>r * stride, start)
    const to = at(columns, r)
    for (let k = 0; k < count; k++) store<f64>(to + <usize>k * stride, load<f64>(at(row, k)))
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
    for (let q = 0; q < k; q++) {
      const vq = panel + <usize>q * stride
      const wq = w + <usize>q * stride
      axpy(at(v, i), -get(wq, i), at(vq, i), n - i)
      axpy(at(v, i), -get(vq, i), at(wq, i), n - i)
    }
    set(diagonal, i, get(v, i))
    memory.fill(v, 0, (<usize>next) << 3)

    // H = I − tau v vᵀ maps the column below the diagonal to (beta, 0, …, 0).
    const alpha = get(v, next)
    const tail = at(v, next + 1)
    const norm = length > 1 ? Math.sqrt(dot(tail, tail, length - 1)) : 0
    let t: f64 = 0
    let beta = alpha
    if (norm > NEGLIGIBLE) {
      beta = -copysign(Math.sqrt(alpha * alpha + norm * norm), alpha)
      t = (beta - alpha) / beta
      const scale = 1 / (alpha - beta)
      for (let r = next + 1; r < n; r++) set(v, r, get(v, r) * scale)
    }
    set(v, next, 1)
    set(off, i, beta)
    set(tau, i, t)

    // w = tau (A v) − ½ tau² (vᵀ A v) v, with A as it is after the panel's earlier reflections.
    symmetricTimesVector(a, n, next, v, wk)
    memory.fill(wk, 0, (<usize>next) << 3)
    const vTail = at(v, next)
    const wTail = at(wk, next)
    for (let q = 0; q < k; q++) {
      const vq = at(panel + <usize>q * stride, next)
      const wq = at(w + <usize>q * stride, next)
      const wv = dot(wq, vTail, length)
      const vv = dot(vq, vTail, length)
      axpy(wTail, -wv, vq, length)
      axpy(wTail, -vv, wq, length)
    }
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
