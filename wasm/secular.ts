// AssemblyScript: roots of secular equations, the eigenvectors they give, and products of small matrices, in float64.
//
// Compiled by scripts/build-wasm.mjs into src/decompose/secular-wasm.generated.ts; not part of the TypeScript projects.
// The host owns the memory and passes byte addresses; nothing is allocated here.
//
// Sources: see src/decompose/secular-equation.ts.
import { at, get, set, sumOfLanes } from './reflections'

const EPSILON: f64 = 2.220446049250313e-16
const MAX_ITERATIONS: i32 = 100

let sum: f64 = 0
let slopeOfSum: f64 = 0
let converged: bool = true

/** Σ z2_i / (delta_i − shift) over from ≤ i < end, and its derivative, into `sum` and `slopeOfSum`. */
function partialSums(delta: usize, z2: usize, from: i32, end: i32, shift: f64): void {
  const one = f64x2.splat(1)
  const s = f64x2.splat(shift)
  let values = f64x2.splat(0)
  let slopes = values
  let i = from
  for (; i + 1 < end; i += 2) {
    const t = f64x2.div(one, f64x2.sub(v128.load(at(delta, i)), s))
    const u = f64x2.mul(v128.load(at(z2, i)), t)
    values = f64x2.add(values, u)
    slopes = f64x2.add(slopes, f64x2.mul(u, t))
  }
  sum = sumOfLanes(values)
  slopeOfSum = sumOfLanes(slopes)
  if (i < end) {
    const t = 1 / (get(delta, i) - shift)
    const u = get(z2, i) * t
    sum += u
    slopeOfSum += u * t
  }
}

/** delta_i ← x_i − shift over i < k. */
function subtractAll(delta: usize, x: usize, shift: f64, k: i32): void {
  const s = f64x2.splat(shift)
  let i = 0
  for (; i + 1 < k; i += 2) v128.store(at(delta, i), f64x2.sub(v128.load(at(x, i)), s))
  if (i < k) set(delta, i, get(x, i) - shift)
}

/** The root of c η² − a η + b nearest to 0 that keeps the bracketing order of the two poles. */
function quadraticStep(a: f64, b: f64, c: f64): f64 {
  const root = Math.sqrt(max(a * a - 4 * b * c, 0))
  return a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root)
}

function lastStep(a: f64, b: f64, c: f64): f64 {
  const root = Math.sqrt(max(a * a - 4 * b * c, 0))
  return a >= 0 ? (a + root) / (2 * c) : (2 * b) / (a - root)
}

/** The root when all but the two nearest poles are replaced by their value in the middle of the interval. */
function firstGuess(z2: usize, j: i32, atLeft: bool, gap: f64, middle: f64): f64 {
  const zj = get(z2, j)
  const zNext = get(z2, j + 1)
  const rest = middle + (zj - zNext) / (gap / 2)
  const both = zj + zNext
  return atLeft
    ? quadraticStep(rest * gap + both, zj * gap, rest)
    : quadraticStep(both - rest * gap, -zNext * gap, rest)
}

/**
 * The root between d_j and d_{j+1} (beyond d_j for the last j); clears `converged` when it is not found.
 *
 * @param z2 squares of z, all positive, summing to 1. @param delta receives d_i − λ for all i.
 */
function solveRoot(k: i32, d: usize, z2: usize, rho: f64, j: i32, delta: usize): f64 {
  const last = j === k - 1
  const dj = get(d, j)
  const gap = last ? rho : get(d, j + 1) - dj
  const inverse = 1 / rho

  // The sign of f in the middle tells which pole is nearer to the root; distances are kept from that one.
  subtractAll(delta, d, dj, k)
  partialSums(delta, z2, 0, j + 1, gap / 2)
  let middle = inverse + sum
  partialSums(delta, z2, j + 1, k, gap / 2)
  middle += sum
  const atLeft = middle > 0 || last
  let low: f64 = middle > 0 ? 0 : atLeft ? gap / 2 : -gap / 2
  let high: f64 = middle > 0 ? gap / 2 : atLeft ? gap * (1 + EPSILON) : 0
  let shift: f64 = last ? NaN : firstGuess(z2, j, atLeft, gap, middle)
  if (!(shift > low && shift < high)) shift = (low + high) / 2
  const origin = atLeft ? dj : get(d, j + 1)
  if (!atLeft) subtractAll(delta, d, origin, k)

  const left = last ? j - 1 : j
  for (let iteration = 0; ; iteration++) {
    if (iteration === MAX_ITERATIONS) {
      converged = false
      break
    }
    partialSums(delta, z2, 0, j + 1, shift)
    const psi = sum
    const psiSlope = slopeOfSum
    partialSums(delta, z2, j + 1, k, shift)
    const phi = sum
    const phiSlope = slopeOfSum
    const w = inverse + psi + phi
    if (Math.abs(w) <= 0.5 * EPSILON * k * (inverse + Math.abs(psi) + Math.abs(phi))) break
    if (w > 0) high = shift
    else low = shift
    const d1 = get(delta, left) - shift
    const d2 = get(delta, left + 1) - shift
    const slope = psiSlope + phiSlope
    // Beyond the last pole, its own term plays the part of φ.
    const near = last ? get(z2, j) / (d2 * d2) : phiSlope
    const c = w - d1 * (slope - near) - d2 * near
    const a = (d1 + d2) * w - d1 * d2 * slope
    const b = d1 * d2 * w
    let step = last ? lastStep(a, b, Math.abs(c)) : quadraticStep(a, b, c)
    if (!(w * step < 0)) step = -w / slope
    let next = shift + step
    if (!(next > low && next < high)) next = (low + high) / 2
    if (next === shift) break
    shift = next
  }
  subtractAll(delta, delta, shift, k)
  return origin + shift
}

/** product_i ← product_i · delta_i / (d_i − d_j) for i ≠ j, and −delta_j for i = j. */
function multiplyIn(product: usize, delta: usize, d: usize, j: i32, k: i32): void {
  const own = get(product, j) * -get(delta, j)
  const s = f64x2.splat(get(d, j))
  let i = 0
  for (; i + 1 < k; i += 2) {
    const ratio = f64x2.div(v128.load(at(delta, i)), f64x2.sub(v128.load(at(d, i)), s))
    v128.store(at(product, i), f64x2.mul(v128.load(at(product, i)), ratio))
  }
  if (i < k) set(product, i, (get(product, i) * get(delta, i)) / (get(d, i) - get(d, j)))
  set(product, j, own)
}

/**
 * Roots of 1/ρ + Σ z_i² / (d_i − λ) = 0, and the z of the nearby problem of which they are the exact roots.
 *
 * @param k at least 2. @param d strictly ascending. @param z `[k]`, becomes the nearby z.
 * @param first delta is kept for the roots from this one on.
 * @param values receives the roots. @param delta `[k − first, k]`, receives d_i − λ_j. @param scratch 3 k numbers.
 * @returns whether all roots were found.
 */
export function solve(
  k: i32,
  d: usize,
  z: usize,
  rho: f64,
  first: i32,
  values: usize,
  delta: usize,
  scratch: usize,
): bool {
  const z2 = scratch
  const product = at(scratch, k)
  const spare = at(product, k)
  for (let i = 0; i < k; i++) {
    set(z2, i, get(z, i) * get(z, i))
    set(product, i, 1)
  }
  converged = true
  for (let j = 0; j < k; j++) {
    const row = j < first ? spare : delta + ((<usize>(j - first) * <usize>k) << 3)
    const root = solveRoot(k, d, z2, rho, j, row)
    if (!converged) return false
    set(values, j, root)
    multiplyIn(product, row, d, j, k)
  }
  for (let i = 0; i < k; i++) set(z, i, copysign(Math.sqrt(Math.abs(get(product, i))), get(z, i)))
  return true
}

/** Rows of delta become eigenvectors of length 1: z_i / delta_i. */
export function formVectors(k: i32, rows: i32, delta: usize, z: usize): void {
  for (let r = 0; r < rows; r++) {
    let squares = f64x2.splat(0)
    let i = 0
    for (; i + 1 < k; i += 2) {
      const x = f64x2.div(v128.load(at(z, i)), v128.load(at(delta, i)))
      v128.store(at(delta, i), x)
      squares = f64x2.add(squares, f64x2.mul(x, x))
    }
    let total = sumOfLanes(squares)
    if (i < k) {
      const x = get(z, i) / get(delta, i)
      set(delta, i, x)
      total += x * x
    }
    const scale = 1 / Math.sqrt(total)
    for (i = 0; i < k; i++) set(delta, i, get(delta, i) * scale)
    delta += (<usize>k) << 3
  }
}

/** out[r, q] = x[r, members[q]]; members are int32, and 0 stands for those that are negative. */
export function gatherColumns(k: i32, rows: i32, x: usize, members: usize, count: i32, out: usize): void {
  for (let r = 0; r < rows; r++) {
    for (let q = 0; q < count; q++) {
      const i = load<i32>(members + ((<usize>q) << 2))
      set(out, q, i < 0 ? 0 : get(x, i))
    }
    x += (<usize>k) << 3
    out += (<usize>count) << 3
  }
}

/** c[m, n] = a[m, k] b[k, n]: for small ones, whose operands stay in the cache. */
export function multiply(m: i32, k: i32, n: i32, a: usize, b: usize, c: usize): void {
  const strideA = (<usize>k) << 3
  const stride = (<usize>n) << 3
  let i = 0
  for (; i + 3 < m; i += 4) {
    const a0 = a + <usize>i * strideA
    const a1 = a0 + strideA
    const a2 = a1 + strideA
    const a3 = a2 + strideA
    const c0 = c + <usize>i * stride
    const c1 = c0 + stride
    const c2 = c1 + stride
    const c3 = c2 + stride
    let j = 0
    for (; j + 3 < n; j += 4) {
      let s00 = f64x2.splat(0)
      let s01 = s00
      let s10 = s00
      let s11 = s00
      let s20 = s00
      let s21 = s00
      let s30 = s00
      let s31 = s00
      let row = at(b, j)
      for (let p = 0; p < k; p++) {
        const b0 = v128.load(row)
        const b1 = v128.load(row, 16)
        let f = v128.load64_splat(at(a0, p))
        s00 = f64x2.add(s00, f64x2.mul(f, b0))
        s01 = f64x2.add(s01, f64x2.mul(f, b1))
        f = v128.load64_splat(at(a1, p))
        s10 = f64x2.add(s10, f64x2.mul(f, b0))
        s11 = f64x2.add(s11, f64x2.mul(f, b1))
        f = v128.load64_splat(at(a2, p))
        s20 = f64x2.add(s20, f64x2.mul(f, b0))
        s21 = f64x2.add(s21, f64x2.mul(f, b1))
        f = v128.load64_splat(at(a3, p))
        s30 = f64x2.add(s30, f64x2.mul(f, b0))
        s31 = f64x2.add(s31, f64x2.mul(f, b1))
        row += stride
      }
      v128.store(at(c0, j), s00)
      v128.store(at(c0, j), s01, 16)
      v128.store(at(c1, j), s10)
      v128.store(at(c1, j), s11, 16)
      v128.store(at(c2, j), s20)
      v128.store(at(c2, j), s21, 16)
      v128.store(at(c3, j), s30)
      v128.store(at(c3, j), s31, 16)
    }
    for (; j < n; j++) {
      multiplyElement(k, a0, at(b, j), stride, at(c0, j))
      multiplyElement(k, a1, at(b, j), stride, at(c1, j))
      multiplyElement(k, a2, at(b, j), stride, at(c2, j))
      multiplyElement(k, a3, at(b, j), stride, at(c3, j))
    }
  }
  for (; i < m; i++)
    for (let j = 0; j < n; j++)
      multiplyElement(k, a + <usize>i * strideA, at(b, j), stride, at(c + <usize>i * stride, j))
}

/** The product of a row and a column. */
function multiplyElement(k: i32, row: usize, column: usize, stride: usize, target: usize): void {
  let total: f64 = 0
  for (let p = 0; p < k; p++) {
    total += get(row, p) * load<f64>(column)
    column += stride
  }
  store<f64>(target, total)
}
