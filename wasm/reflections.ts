// AssemblyScript: what the blocked Householder reductions to tridiagonal and to bidiagonal form share.
//
// Compiled into the modules that import it. The host owns the memory and passes byte addresses.

// The host scales matrices to a largest element of 1 … 2⁶⁴. What is smaller than this is taken for zero: its square would
// lose digits to underflow, and the reflection its orthogonality.
export const NEGLIGIBLE: f64 = 1e-140

/** Address of element `index` of the float64 array at `base`. */
export function at(base: usize, index: i32): usize {
  return base + ((<usize>index) << 3)
}

export function get(base: usize, index: i32): f64 {
  return load<f64>(at(base, index))
}

export function set(base: usize, index: i32, value: f64): void {
  store<f64>(at(base, index), value)
}

export function sumOfLanes(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1)
}

/** Σ a[i] b[i] over i < n. */
export function dot(a: usize, b: usize, n: i32): f64 {
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
export function axpy(y: usize, factor: f64, x: usize, n: i32): void {
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

/** y += Σ_q factors[q] x_q over q < count; rows x_q of n elements, `stride` bytes apart. Four rows per pass over y. */
export function addRows(y: usize, factors: usize, count: i32, x: usize, stride: usize, n: i32): void {
  let q = 0
  for (; q + 3 < count; q += 4) {
    const x1 = x + stride
    const x2 = x1 + stride
    const x3 = x2 + stride
    const f0 = v128.load64_splat(at(factors, q))
    const f1 = v128.load64_splat(at(factors, q), 8)
    const f2 = v128.load64_splat(at(factors, q), 16)
    const f3 = v128.load64_splat(at(factors, q), 24)
    let i = 0
    for (; i + 1 < n; i += 2) {
      const o = (<usize>i) << 3
      const low = f64x2.add(f64x2.mul(f0, v128.load(x + o)), f64x2.mul(f1, v128.load(x1 + o)))
      const high = f64x2.add(f64x2.mul(f2, v128.load(x2 + o)), f64x2.mul(f3, v128.load(x3 + o)))
      v128.store(y + o, f64x2.add(v128.load(y + o), f64x2.add(low, high)))
    }
    if (i < n)
      set(
        y,
        i,
        get(y, i) +
          (get(factors, q) * get(x, i) +
            get(factors, q + 1) * get(x1, i) +
            (get(factors, q + 2) * get(x2, i) + get(factors, q + 3) * get(x3, i))),
      )
    x = x3 + stride
  }
  for (; q < count; q++) {
    axpy(y, get(factors, q), x, n)
    x += stride
  }
}

/** out[q] = factor · Σ_i x_q[i] y[i] over q < count; rows x_q of n elements, `stride` bytes apart. */
export function rowProducts(out: usize, factor: f64, count: i32, x: usize, stride: usize, y: usize, n: i32): void {
  let q = 0
  for (; q + 3 < count; q += 4) {
    const x1 = x + stride
    const x2 = x1 + stride
    const x3 = x2 + stride
    let s0 = f64x2.splat(0)
    let s1 = s0
    let s2 = s0
    let s3 = s0
    let i = 0
    for (; i + 1 < n; i += 2) {
      const o = (<usize>i) << 3
      const yi = v128.load(y + o)
      s0 = f64x2.add(s0, f64x2.mul(v128.load(x + o), yi))
      s1 = f64x2.add(s1, f64x2.mul(v128.load(x1 + o), yi))
      s2 = f64x2.add(s2, f64x2.mul(v128.load(x2 + o), yi))
      s3 = f64x2.add(s3, f64x2.mul(v128.load(x3 + o), yi))
    }
    const last = i < n ? get(y, i) : 0
    const end = i < n ? i : 0
    set(out, q, factor * (sumOfLanes(s0) + get(x, end) * last))
    set(out, q + 1, factor * (sumOfLanes(s1) + get(x1, end) * last))
    set(out, q + 2, factor * (sumOfLanes(s2) + get(x2, end) * last))
    set(out, q + 3, factor * (sumOfLanes(s3) + get(x3, end) * last))
    x = x3 + stride
  }
  for (; q < count; q++) {
    set(out, q, factor * dot(x, y, n))
    x += stride
  }
}

/** out[q] = factor · x_q[index] over q < count; rows x_q `stride` bytes apart. */
export function gatherColumn(out: usize, factor: f64, count: i32, x: usize, stride: usize, index: i32): void {
  for (let q = 0; q < count; q++) {
    set(out, q, factor * get(x, index))
    x += stride
  }
}

/** The factor of the last reflection that {@link reflect} made. */
export let reflectionTau: f64 = 0
/** What that reflection's vector, all but its first element, was multiplied by; 0 when there was nothing to reflect. */
export let reflectionScale: f64 = 0

/**
 * The reflection I − tau v vᵀ that maps x `[n]`, n ≥ 1, to (beta, 0 …): x becomes v, with v[0] = 1. Returns beta; tau is
 * in {@link reflectionTau}.
 */
export function reflect(x: usize, n: i32): f64 {
  const alpha = get(x, 0)
  const tail = at(x, 1)
  const norm = n > 1 ? Math.sqrt(dot(tail, tail, n - 1)) : 0
  let beta = alpha
  reflectionTau = 0
  reflectionScale = 0
  if (norm > NEGLIGIBLE) {
    beta = -copysign(Math.sqrt(alpha * alpha + norm * norm), alpha)
    reflectionTau = (beta - alpha) / beta
    reflectionScale = 1 / (alpha - beta)
    for (let r = 1; r < n; r++) set(x, r, get(x, r) * reflectionScale)
  }
  set(x, 0, 1)
  return beta
}

/** Packs columns low … n−1 of the panels V and W (rows of length n) as [tile of 4 columns][k][v v v v w w w w]. */
export function packPanels(v: usize, w: usize, n: i32, low: i32, width: i32, packed: usize): void {
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
export function minusRank2(c: v128, row: usize, index: i32, vj: v128, wj: v128): v128 {
  const vi = v128.load64_splat(at(row, index))
  const wi = v128.load64_splat(at(row, index + 4))
  return f64x2.sub(c, f64x2.add(f64x2.mul(vi, wj), f64x2.mul(wi, vj)))
}

/** The tile of 4 rows from `row` and 4 columns from `column` (addresses of its first element): A −= V Wᵀ + W Vᵀ. */
export function updateTile(tile: usize, stride: usize, rows: usize, columns: usize, width: i32): void {
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

/** Columns start … start+count−1, from row `start` on, as rows of `columns`: eight of them share each cache line. */
export function copyColumns(a: usize, n: i32, start: i32, count: i32, columns: usize): void {
  const stride = (<usize>n) << 3
  for (let r = start; r < n; r++) {
    const row = at(a + <usize>r * stride, start)
    const to = at(columns, r)
    for (let k = 0; k < count; k++) store<f64>(to + <usize>k * stride, load<f64>(at(row, k)))
  }
}
