// AssemblyScript: Cholesky factor of a symmetric positive definite float64 matrix, and its extreme eigenvalues.
//
// Compiled by scripts/build-wasm.mjs into src/decompose/cholesky-wasm.generated.ts; not part of the TypeScript projects.
// The host owns the memory and passes byte addresses; nothing is allocated here.
//
// Source: Golub, Van Loan, "Matrix Computations", 4th edition, 2013, section 4.2: right-looking, in panels of PANEL
// columns; the update of what is right of a panel works on 2 × 4 dot products of contiguous rows at once.

const PANEL: i32 = 32

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
  let i = 0
  for (; i + 3 < n; i += 4) {
    s0 = f64x2.add(s0, f64x2.mul(v128.load(at(a, i)), v128.load(at(b, i))))
    s1 = f64x2.add(s1, f64x2.mul(v128.load(at(a, i), 16), v128.load(at(b, i), 16)))
  }
  let sum = sumOfLanes(f64x2.add(s0, s1))
  for (; i < n; i++) sum += get(a, i) * get(b, i)
  return sum
}

/** y −= factor x, n elements. */
function subtract(y: usize, factor: f64, x: usize, n: i32): void {
  const f = f64x2.splat(factor)
  let i = 0
  for (; i + 1 < n; i += 2) {
    const p = at(y, i)
    v128.store(p, f64x2.sub(v128.load(p), f64x2.mul(f, v128.load(at(x, i)))))
  }
  if (i < n) set(y, i, get(y, i) - factor * get(x, i))
}

function subtractAt(base: usize, index: i32, sum: v128): void {
  set(base, index, get(base, index) - sumOfLanes(sum))
}

/** Rows i, i+1 and columns j … j+3 of the matrix, minus dot products of their panel rows (PANEL numbers each). */
function updateTile(row0: usize, row1: usize, j: i32, p0: usize, p1: usize, q: usize, stride: usize): void {
  const q1 = q + stride
  const q2 = q1 + stride
  const q3 = q2 + stride
  let s00 = f64x2.splat(0)
  let s01 = s00
  let s02 = s00
  let s03 = s00
  let s10 = s00
  let s11 = s00
  let s12 = s00
  let s13 = s00
  for (let o: usize = 0; o < (<usize>PANEL) << 3; o += 16) {
    const x0 = v128.load(p0 + o)
    const x1 = v128.load(p1 + o)
    let y = v128.load(q + o)
    s00 = f64x2.add(s00, f64x2.mul(x0, y))
    s10 = f64x2.add(s10, f64x2.mul(x1, y))
    y = v128.load(q1 + o)
    s01 = f64x2.add(s01, f64x2.mul(x0, y))
    s11 = f64x2.add(s11, f64x2.mul(x1, y))
    y = v128.load(q2 + o)
    s02 = f64x2.add(s02, f64x2.mul(x0, y))
    s12 = f64x2.add(s12, f64x2.mul(x1, y))
    y = v128.load(q3 + o)
    s03 = f64x2.add(s03, f64x2.mul(x0, y))
    s13 = f64x2.add(s13, f64x2.mul(x1, y))
  }
  subtractAt(row0, j, s00)
  subtractAt(row0, j + 1, s01)
  subtractAt(row0, j + 2, s02)
  subtractAt(row0, j + 3, s03)
  subtractAt(row1, j, s10)
  subtractAt(row1, j + 1, s11)
  subtractAt(row1, j + 2, s12)
  subtractAt(row1, j + 3, s13)
}

/** The trailing lower triangle, rows and columns from `low`, minus P Pᵀ of the full panel of columns low−PANEL … low−1. */
function updateTrailing(a: usize, n: i32, low: i32): void {
  const stride = (<usize>n) << 3
  const panel = low - PANEL
  let i = low
  for (; i + 1 < n; i += 2) {
    const row0 = a + <usize>i * stride
    const row1 = row0 + stride
    const p0 = at(row0, panel)
    const p1 = at(row1, panel)
    let j = low
    // May reach a few elements beyond the diagonal: they are cleared at the end.
    for (; j <= i + 1 && j + 3 < n; j += 4) updateTile(row0, row1, j, p0, p1, at(a + <usize>j * stride, panel), stride)
    for (; j <= i + 1; j++) {
      const q = at(a + <usize>j * stride, panel)
      set(row0, j, get(row0, j) - dot(p0, q, PANEL))
      set(row1, j, get(row1, j) - dot(p1, q, PANEL))
    }
  }
  if (i < n) {
    const row = a + <usize>i * stride
    for (let j = low; j <= i; j++) {
      set(row, j, get(row, j) - dot(at(row, panel), at(a + <usize>j * stride, panel), PANEL))
    }
  }
}

/**
 * A = L Lᵀ in place; what is above the diagonal becomes 0.
 *
 * @param a n × n, row-major; the lower triangle is read.
 * @param tolerance pivots must be positive and exceed this share of their diagonal element.
 * @returns whether A is positive definite in that sense; if not, `a` is of no use.
 */
export function factor(a: usize, n: i32, tolerance: f64, diagonal: usize): bool {
  const stride = (<usize>n) << 3
  for (let i = 0; i < n; i++) set(diagonal, i, get(a + <usize>i * stride, i))
  for (let low = 0; low < n; low += PANEL) {
    const high = min(n, low + PANEL)
    for (let i = low; i < n; i++) {
      const row = a + <usize>i * stride
      const last = min(i, high)
      for (let j = low; j < last; j++) {
        const other = a + <usize>j * stride
        set(row, j, (get(row, j) - dot(at(row, low), at(other, low), j - low)) / get(other, j))
      }
      if (i < high) {
        const pivot = get(row, i) - dot(at(row, low), at(row, low), i - low)
        if (!(pivot > tolerance * get(diagonal, i) && pivot > 0)) return false
        set(row, i, Math.sqrt(pivot))
      }
    }
    if (high < n) updateTrailing(a, n, high)
  }
  for (let i = 0; i + 1 < n; i++) memory.fill(at(a + <usize>i * stride, i + 1), 0, (<usize>(n - 1 - i)) << 3)
  return true
}

/**
 * The inverse of the block of rows and columns from … from+size−1 of L.
 *
 * @param out size × size; only its lower triangle is written.
 */
export function invertBlock(l: usize, n: i32, from: i32, size: i32, out: usize): void {
  const stride = (<usize>n) << 3
  for (let i = 0; i < size; i++) {
    const row = at(l + <usize>(from + i) * stride, from)
    const target = at(out, i * size)
    memory.fill(target, 0, (<usize>(i + 1)) << 3)
    for (let k = 0; k < i; k++) subtract(target, get(row, k), at(out, k * size), k + 1)
    const pivot = get(row, i)
    for (let j = 0; j < i; j++) set(target, j, get(target, j) / pivot)
    set(target, i, 1 / pivot)
  }
}

/** Scales x to length 1 and returns what its length was. */
function normalise(x: usize, n: i32): f64 {
  const length = Math.sqrt(dot(x, x, n))
  if (length > 0) for (let i = 0; i < n; i++) set(x, i, get(x, i) / length)
  return length
}

/** About the smallest eigenvalue of L Lᵀ, from above, by inverse iteration. @param x start vector, overwritten. */
export function smallestEigenvalue(l: usize, n: i32, x: usize, steps: i32): f64 {
  const stride = (<usize>n) << 3
  let value: f64 = 0
  normalise(x, n)
  for (let step = 0; step < steps; step++) {
    for (let i = 0; i < n; i++) {
      const row = l + <usize>i * stride
      set(x, i, (get(x, i) - dot(row, x, i)) / get(row, i))
    }
    for (let i = n - 1; i >= 0; i--) {
      const row = l + <usize>i * stride
      const xi = get(x, i) / get(row, i)
      set(x, i, xi)
      subtract(x, xi, row, i)
    }
    value = 1 / normalise(x, n)
  }
  return value
}

/** About the largest eigenvalue of L Lᵀ, from below, by power iteration. @param x start vector, overwritten. */
export function largestEigenvalue(l: usize, n: i32, x: usize, y: usize, steps: i32): f64 {
  const stride = (<usize>n) << 3
  let value: f64 = 0
  normalise(x, n)
  for (let step = 0; step < steps; step++) {
    // y = Lᵀ x, x = L y
    memory.fill(y, 0, stride)
    for (let i = 0; i < n; i++) subtract(y, -get(x, i), l + <usize>i * stride, i + 1)
    for (let i = 0; i < n; i++) set(x, i, dot(l + <usize>i * stride, y, i + 1))
    value = normalise(x, n)
  }
  return value
}
