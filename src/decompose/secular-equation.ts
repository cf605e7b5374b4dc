/**
 * The eigenproblem of a diagonal matrix plus a rank-one matrix, D + ρ z zᵀ: its secular equation
 * f(λ) = 1/ρ + Σ z_i² / (d_i − λ) = 0 has one root between each pair of neighbouring d's.
 *
 * Roots are found relative to the nearest d, so that differences d_i − λ_j keep full relative accuracy; the vectors are
 * those of a nearby problem of which the computed roots are exact, so that they are orthogonal to working precision.
 *
 * Sources: Li, "Solving secular equations stably and efficiently", LAPACK Working Note 89, 1993 (the middle way);
 * Gu, Eisenstat, "A stable and efficient algorithm for the rank-one modification of the symmetric eigenproblem", SIAM
 * J. Matrix Anal. Appl. 15, 1994 (the nearby problem).
 */
import { invariant } from '../core/index.ts'

const EPSILON = 2 ** -52
const MAX_ITERATIONS = 100

/** The root of c η² − a η + b nearest to 0 that keeps the bracketing order of the two poles. */
function quadraticStep(a: number, b: number, c: number): number {
  const root = Math.sqrt(Math.max(a * a - 4 * b * c, 0))
  return a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root)
}

/** f and its slope at d[origin] + shift, split at pole j: ψ over i ≤ j, φ over i > j. */
interface SecularSums {
  psi: number
  psiSlope: number
  phi: number
  phiSlope: number
}

/** `delta[i]` must be d_i − d_origin. */
function secularSums(sums: SecularSums, delta: Float64Array, z2: Float64Array, j: number, shift: number): void {
  let [value, slope] = [0, 0]
  for (let i = 0; i <= j; i++) {
    const t = 1 / (delta[i]! - shift)
    const u = z2[i]! * t
    value += u
    slope += u * t
  }
  sums.psi = value
  sums.psiSlope = slope
  value = 0
  slope = 0
  for (let i = j + 1; i < delta.length; i++) {
    const t = 1 / (delta[i]! - shift)
    const u = z2[i]! * t
    value += u
    slope += u * t
  }
  sums.phi = value
  sums.phiSlope = slope
}

/**
 * The root between d_j and d_{j+1} (beyond d_j for the last j).
 *
 * @param d k ≥ 2 poles, strictly ascending.
 * @param z2 squares of z, all positive, summing to 1.
 * @param rho positive.
 * @param delta receives d_i − λ for all i.
 * @returns λ.
 */
function solveRoot(d: Float64Array, z2: Float64Array, rho: number, j: number, delta: Float64Array): number {
  const k = d.length
  const last = j === k - 1
  const gap = last ? rho : d[j + 1]! - d[j]!
  const inverse = 1 / rho
  const sums: SecularSums = { psi: 0, psiSlope: 0, phi: 0, phiSlope: 0 }

  // The sign of f in the middle tells which pole is nearer to the root; distances are kept from that one.
  for (let i = 0; i < k; i++) delta[i] = d[i]! - d[j]!
  secularSums(sums, delta, z2, j, gap / 2)
  const middle = inverse + sums.psi + sums.phi
  const origin = middle > 0 || last ? j : j + 1
  let low = middle > 0 ? 0 : origin === j ? gap / 2 : -gap / 2
  let high = middle > 0 ? gap / 2 : origin === j ? gap * (1 + EPSILON) : 0
  let shift = firstGuess(z2, j, origin, gap, middle, last)
  if (!(shift > low && shift < high)) shift = (low + high) / 2
  if (origin !== j) for (let i = 0; i < k; i++) delta[i] = d[i]! - d[origin]!

  const left = last ? j - 1 : j
  for (let iteration = 0; ; iteration++) {
    invariant(iteration < MAX_ITERATIONS, 'the secular equation did not converge.')
    secularSums(sums, delta, z2, j, shift)
    const { psi, psiSlope, phi, phiSlope } = sums
    const w = inverse + psi + phi
    if (Math.abs(w) <= 0.5 * EPSILON * k * (inverse + Math.abs(psi) + Math.abs(phi))) break
    if (w > 0) high = shift
    else low = shift
    const d1 = delta[left]! - shift
    const d2 = delta[left + 1]! - shift
    const slope = psiSlope + phiSlope
    // Beyond the last pole, its own term plays the part of φ.
    const near = last ? z2[j]! / (d2 * d2) : phiSlope
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
  for (let i = 0; i < k; i++) delta[i] = delta[i]! - shift
  return d[origin]! + shift
}

function lastStep(a: number, b: number, c: number): number {
  const root = Math.sqrt(Math.max(a * a - 4 * b * c, 0))
  return a >= 0 ? (a + root) / (2 * c) : (2 * b) / (a - root)
}

/** The root when all but the two nearest poles are replaced by their value in the middle of the interval. */
function firstGuess(z2: Float64Array, j: number, origin: number, gap: number, middle: number, last: boolean): number {
  if (last) return Number.NaN
  const [zj, zNext] = [z2[j]!, z2[j + 1]!]
  const rest = middle + (zj - zNext) / (gap / 2)
  const sum = zj + zNext
  return origin === j
    ? quadraticStep(rest * gap + sum, zj * gap, rest)
    : quadraticStep(sum - rest * gap, -zNext * gap, rest)
}

/** Roots of a secular equation and what their eigenvectors are made of. */
export interface SecularSolution {
  /** λ, ascending. */
  readonly values: Float64Array
  /** `[k, k]`: d_i − λ_j at j · k + i, to full relative accuracy. */
  readonly delta: Float64Array
  /** The nearby z: component i of eigenvector j is `z[i] / delta[j * k + i]`, before normalisation. */
  readonly z: Float64Array
}

/**
 * Solves the eigenproblem of diag(d) + ρ z zᵀ.
 *
 * @param d poles, strictly ascending.
 * @param z no component 0; ‖z‖ = 1.
 * @param rho positive.
 */
export function solveSecular(d: Float64Array, z: Float64Array, rho: number): SecularSolution {
  const k = d.length
  const values = new Float64Array(k)
  const delta = new Float64Array(k * k)
  if (k === 1) {
    values[0] = d[0]! + rho * z[0]! * z[0]!
    return { values, delta: Float64Array.of(-1), z: Float64Array.of(1) }
  }
  const z2 = z.map((value) => value * value)
  for (let j = 0; j < k; j++) values[j] = solveRoot(d, z2, rho, j, delta.subarray(j * k, j * k + k))

  // ẑ_i² = (λ_i − d_i) Π_{j≠i} (λ_j − d_i) / (d_j − d_i)
  const product = new Float64Array(k).fill(1)
  for (let j = 0; j < k; j++) {
    const row = j * k
    const dj = d[j]!
    for (let i = 0; i < k; i++) product[i] = product[i]! * (i === j ? -delta[row + i]! : delta[row + i]! / (d[i]! - dj))
  }
  return { values, delta, z: product.map((value, i) => Math.sign(z[i]!) * Math.sqrt(Math.abs(value))) }
}
