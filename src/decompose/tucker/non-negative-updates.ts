/**
 * Updates of non-negative factors and cores with everything else fixed: minimise ½ tr(A H Aᵀ) − tr(A Mᵀ) over A ≥ 0, and
 * the same for a core.
 *
 * Sources: Kim, Choi, "Nonnegative Tucker decomposition", CVPR 2007 (multiplicative); Gillis, Glineur, "Accelerated
 * multiplicative updates and hierarchical ALS algorithms for nonnegative matrix factorization", Neural Computation 24(4),
 * 2012 (columns in turn, several times with the same M and H); Beck, Teboulle, "A fast iterative shrinkage-thresholding
 * algorithm for linear inverse problems", SIAM J. Imaging Sciences 2(1), 2009 (core).
 */
import type { Matrix64 } from '../matrix.ts'

/** Keeps multiplicative updates away from 0 / 0. */
const TINY = 1e-12
const INNER_ROUNDS = 10
/** Rounds end when one changes less than this share of the first. */
const ENOUGH = 0.01

/** A ← A · M / (A H), in place. @param a `[n, r]`. @param m `[n, r]`. @param h `[r, r]`. */
export function multiplyFactor(a: Matrix64, m: Matrix64, h: Matrix64): void {
  const { rows: n, cols: r } = a
  const row = new Float64Array(r)
  for (let i = 0; i < n; i++) {
    row.set(a.data.subarray(i * r, (i + 1) * r))
    for (let j = 0; j < r; j++) {
      let sum = 0
      for (let k = 0; k < r; k++) sum += row[k]! * h.data[k * r + j]!
      a.data[i * r + j] = (row[j]! * Math.max(TINY, m.data[i * r + j]!)) / Math.max(TINY, sum)
    }
  }
}

/** Each column of A in turn to its best with the others fixed, in place, a few rounds. Shapes as {@link multiplyFactor}. */
export function descendFactor(a: Matrix64, m: Matrix64, h: Matrix64): void {
  let first = 0
  for (let round = 0; round < INNER_ROUNDS; round++) {
    const change = descendOnce(a, m, h)
    if (round === 0) first = change
    if (change <= ENOUGH * ENOUGH * first) break
  }
}

/** @returns ‖what changed‖² */
function descendOnce({ rows: n, cols: r, data: a }: Matrix64, m: Matrix64, h: Matrix64): number {
  let change = 0
  for (let i = 0; i < n; i++) {
    const row = i * r
    for (let j = 0; j < r; j++) {
      const curvature = h.data[j * (r + 1)]!
      if (curvature <= 0) continue
      let gradient = -m.data[row + j]!
      for (let k = 0; k < r; k++) gradient += a[row + k]! * h.data[k * r + j]!
      const next = Math.max(0, a[row + j]! - gradient / curvature)
      change += (next - a[row + j]!) ** 2
      a[row + j] = next
    }
  }
  return change
}

/** G ← G · N / (Q G), in place. @param product Q G. */
export function multiplyCore(core: Float64Array, numerator: Float64Array, product: Float64Array): void {
  for (let i = 0; i < core.length; i++)
    core[i] = (core[i]! * Math.max(TINY, numerator[i]!)) / Math.max(TINY, product[i]!)
}

const CORE_STEPS = 20

/**
 * Accelerated projected gradient steps for the core, restarted whenever one would raise the objective.
 *
 * @param apply Q G. @param curvature the largest eigenvalue of Q.
 * @returns the new core and Q times it.
 */
export async function descendCore(
  core: Float64Array,
  numerator: Float64Array,
  apply: (core: Float64Array) => Promise<Float64Array>,
  curvature: number,
): Promise<{ core: Float64Array; product: Float64Array }> {
  let best = { core, product: await apply(core) }
  let value = objective(best, numerator)
  let point = best
  let momentum = 1
  let firstChange = 0
  for (let step = 0; step < CORE_STEPS && curvature > 0; step++) {
    const next = new Float64Array(core.length)
    for (let i = 0; i < next.length; i++)
      next[i] = Math.max(0, point.core[i]! - (point.product[i]! - numerator[i]!) / curvature)
    const candidate = { core: next, product: await apply(next) }
    const nextValue = objective(candidate, numerator)
    if (nextValue > value) {
      // From the best itself a step of this length cannot rise but by rounding.
      if (point === best) break
      point = best
      momentum = 1
      continue
    }
    const nextMomentum = (1 + Math.sqrt(1 + 4 * momentum * momentum)) / 2
    const change = squaredDistance(candidate.core, best.core)
    point = extrapolate(best, candidate, (momentum - 1) / nextMomentum)
    best = candidate
    value = nextValue
    momentum = nextMomentum
    if (step === 0) firstChange = change
    if (change <= ENOUGH * ENOUGH * firstChange) break
  }
  return best
}

interface CorePoint {
  readonly core: Float64Array
  readonly product: Float64Array
}

/** ½⟨G, Q G⟩ − ⟨N, G⟩ */
function objective({ core, product }: CorePoint, numerator: Float64Array): number {
  let sum = 0
  for (let i = 0; i < core.length; i++) sum += core[i]! * (0.5 * product[i]! - numerator[i]!)
  return sum
}

/** b + t (b − a); Q is linear, so that the product need not be computed again. */
function extrapolate(a: CorePoint, b: CorePoint, t: number): CorePoint {
  const along = (x: Float64Array, y: Float64Array): Float64Array => y.map((value, i) => value + t * (value - x[i]!))
  return { core: along(a.core, b.core), product: along(a.product, b.product) }
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return sum
}
