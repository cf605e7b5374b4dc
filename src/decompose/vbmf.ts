/**
 * The analytic global solution of variational Bayesian matrix factorisation (VBMF) with given priors: V = B Aᵀ + noise,
 * columns of A and B normal with variances c_a² and c_b². Only the product c_a c_b matters. EVBMF (`evbmf.ts`) estimates
 * it from the matrix instead. For wide priors the threshold is near σ√M, below the largest singular value σ(√L + √M) of
 * pure noise: where the rank matters, and not the posterior, EVBMF is the one to ask.
 *
 * Source: Nakajima, Sugiyama, Babacan, Tomioka, "Global Analytic Solution of Fully-observed Variational Bayesian Matrix
 * Factorization", JMLR 14, 2013, theorem 2 (shrinkage, threshold) and equations 16–18 (free energy).
 */
import { fail } from '../core/index.ts'
import type { EvbmfResult } from './evbmf.ts'
import { minimizeBounded } from './minimize-bounded.ts'

/** Options of {@link vbmf}. */
export interface VbmfOptions {
  /** c_a c_b, the scale that components are expected to have. */
  readonly priorScale: number
  /** Variance σ² of the noise on each element; default: the one of the least free energy. */
  readonly noiseVariance?: number
}

/** What {@link vbmf} found. */
export interface VbmfResult extends EvbmfResult {
  /** The kept singular values, shrunk: those of the posterior mean of B Aᵀ. */
  readonly singularValues: Float64Array
}

/**
 * The VBMF rank of a matrix from its singular values, and the shrunken values.
 *
 * @param singularValues all min(rows, cols) of them, descending.
 * @param rows,cols shape of the matrix, in either order.
 * @throws WhittleError `SHAPE_MISMATCH` when their number is not min(rows, cols); `NOT_FINITE`; `INVALID_ARGUMENT` for
 *   scales and variances that are not positive.
 * @see Nakajima et al. 2013, theorem 2.
 * @example
 * const { rank, singularValues } = vbmf([20, 12, 1.1, 1, 0.9], 5, 8, { priorScale: 10, noiseVariance: 0.1 })
 * console.log(rank, singularValues)
 */
export function vbmf(
  singularValues: ArrayLike<number>,
  rows: number,
  cols: number,
  { priorScale, noiseVariance }: VbmfOptions,
): VbmfResult {
  const l = Math.min(rows, cols)
  const m = Math.max(rows, cols)
  const what = `VBMF of a matrix [${rows}, ${cols}]`
  if (singularValues.length !== l || l < 1)
    fail('SHAPE_MISMATCH', `${what}: all ${l} singular values are needed; got ${singularValues.length}.`)
  const values = Float64Array.from(singularValues)
  if (!values.every((value) => Number.isFinite(value * value)))
    fail('NOT_FINITE', `${what}: singular values must be finite numbers.`)
  if (!(priorScale > 0 && priorScale < Number.POSITIVE_INFINITY))
    fail('INVALID_ARGUMENT', `${what}: priorScale must be a positive number; got ${priorScale}.`)
  if (noiseVariance !== undefined && !(noiseVariance > 0 && noiseVariance < Number.POSITIVE_INFINITY))
    fail('INVALID_ARGUMENT', `${what}: noiseVariance must be a positive number; got ${noiseVariance}.`)
  const variance = noiseVariance ?? estimateVariance(values, l, m, priorScale)
  if (variance === 0) return { rank: 0, noiseVariance: 0, threshold: 0, singularValues: new Float64Array(0) }
  const threshold = thresholdOf({ l, m, variance, scale: priorScale })
  const kept = values.filter((value) => value > threshold)
  return {
    rank: kept.length,
    noiseVariance: variance,
    threshold,
    singularValues: kept.map((value) => shrink(value, { l, m, variance, scale: priorScale })),
  }
}

interface Problem {
  readonly l: number
  readonly m: number
  /** σ² */
  readonly variance: number
  /** c_a c_b */
  readonly scale: number
}

/** Singular values up to this are explained by noise. */
function thresholdOf({ l, m, variance, scale }: Problem): number {
  const half = (l + m + variance / scale ** 2) / 2
  return Math.sqrt(variance * (half + Math.sqrt(half * half - l * m)))
}

/** The posterior mean of a component with singular value γ above the threshold. */
function shrink(gamma: number, { l, m, variance, scale }: Problem): number {
  const spread = Math.sqrt((m - l) ** 2 + ((2 * gamma) / scale) ** 2)
  return gamma * (1 - (variance / (2 * gamma * gamma)) * (l + m + spread))
}

/**
 * Twice the free energy of a component, with c_a² = c_b² = c: M ln(c/σ_a²) + L ln(c/σ_b²) + (a² + Mσ_a² + b² + Lσ_b²)/c −
 * (L + M) + ((a² + Mσ_a²)(b² + Lσ_b²) − 2abγ)/σ².
 */
function componentEnergy(gamma: number, problem: Problem): number {
  const { l, m, variance, scale } = problem
  const { ab, aa, bb, varianceA, varianceB } =
    gamma > thresholdOf(problem) ? keptComponent(gamma, problem) : droppedComponent(problem)
  const [a, b] = [aa + m * varianceA, bb + l * varianceB]
  return (
    m * Math.log(scale / varianceA) +
    l * Math.log(scale / varianceB) +
    (a + b) / scale -
    (l + m) +
    (a * b - 2 * ab * gamma) / variance
  )
}

/** Posterior of a component: a·b, a², b² and the variances of their elements. */
interface Posterior {
  readonly ab: number
  readonly aa: number
  readonly bb: number
  readonly varianceA: number
  readonly varianceB: number
}

/** With δ = a/b: σ_a² = σ²δ/γ, σ_b² = σ²/(γδ), and δ from the stationary equation of σ_a². */
function keptComponent(gamma: number, problem: Problem): Posterior {
  const { l, variance, scale } = problem
  const ab = shrink(gamma, problem)
  const delta = (scale / variance) * (gamma - ab - (l * variance) / gamma)
  return {
    ab,
    aa: ab * delta,
    bb: ab / delta,
    varianceA: (variance * delta) / gamma,
    varianceB: variance / (gamma * delta),
  }
}

/** a = b = 0: p = σ_a² σ_b² solves L M p² − (L + M + σ²/c²) σ² p + σ⁴ = 0. */
function droppedComponent({ l, m, variance, scale }: Problem): Posterior {
  const sum = l + m + variance / scale ** 2
  // The smaller root, without cancellation.
  const p = (2 * variance) / (sum + Math.sqrt(sum * sum - 4 * l * m))
  const varianceA = (scale * (variance - l * p)) / variance
  const varianceB = (scale * (variance - m * p)) / variance
  return { ab: 0, aa: 0, bb: 0, varianceA, varianceB }
}

/** Variances that are compared before the search within the best interval. */
const GRID = 200

/** σ² with the least free energy 2F = LM ln(2πσ²) + Σ γ²/σ² + Σ 2F_h; 0 for a zero matrix. */
function estimateVariance(values: Float64Array, l: number, m: number, scale: number): number {
  const energy = values.reduce((sum, value) => sum + value * value, 0)
  if (energy === 0) return 0
  // What narrow priors call noise may exceed the variance of the elements: dropped components vary too.
  const mean = Math.log(energy / (l * m))
  const [lower, upper] = [mean + Math.log(1e-8), mean + Math.log(1e2)]
  const freeEnergy = (logVariance: number): number => {
    const problem = { l, m, variance: Math.exp(logVariance), scale }
    let sum = l * m * logVariance + energy / problem.variance
    for (const value of values) sum += componentEnergy(value, problem)
    return sum
  }
  const step = (upper - lower) / GRID
  let best = 0
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i <= GRID; i++) {
    const value = freeEnergy(lower + i * step)
    if (value < least) [best, least] = [i, value]
  }
  const from = lower + Math.max(0, best - 1) * step
  const to = lower + Math.min(GRID, best + 1) * step
  return Math.exp(minimizeBounded(freeEnergy, from, to, { tolerance: 1e-10 }).x)
}
