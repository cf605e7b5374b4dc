/**
 * The rule of error-preserving corrections: each factor in turn becomes the one of least sensitivity whose error is
 * within the bound.
 *
 * With the other factors given, the part of the sensitivity that depends on A is Σ_r w_r ‖a_r‖², and the problem is
 * min ‖W^½ A‖² subject to ‖X − X̂‖ ≤ δ: A = (G + μW)⁻¹ M with the largest μ that keeps the bound. In the eigenvectors of
 * W^−½ G W^−½ the error is a sum over rank terms for every μ. All of it is computed as differences from the factor there
 * is, so that small errors do not drown in the rounding of the tensor's norm.
 *
 * Source: Phan et al., "Stable low-rank tensor decomposition for compression of convolutional neural network", ECCV
 * 2020, section 3.3.
 */
import type { MatrixEngine } from '../matrix.ts'
import { toTypeOf, zeros64 } from '../matrix-layout.ts'
import { symmetricEigen } from '../symmetric-eigen.ts'
import type { FactorRule, RuleInput } from './alternating.ts'
import type { Reals } from './cp-options.ts'

/** The least μ, relative to the largest eigenvalue: beyond it directions are rounding. */
const LEAST = { float32: 1e-9, float64: 1e-14 } as const
/** Halvings of the range of log μ, 1e-14 … 1e14. */
const HALVINGS = 60

/** What the correction of a decomposition starts from. */
export interface CorrectionStart {
  readonly shape: readonly number[]
  /** ‖X‖², of the observed elements. */
  readonly squaredNorm: number
  /** ‖X − X̂‖ / ‖X‖ of the factors there are. */
  readonly relativeError: number
  /** ‖X − X̂‖ / ‖X‖ that is allowed. */
  readonly errorBound: number
  /** Sweeps end when the sensitivity falls by less than this share. */
  readonly tolerance: number
}

/** Corrections of one decomposition. */
export class ErrorPreservingCorrection<T extends Reals> implements FactorRule<T> {
  readonly #engine: MatrixEngine
  readonly #start: CorrectionStart
  /** ‖X − X̂‖² after the last update. */
  #squaredError: number
  #sensitivity = Number.POSITIVE_INFINITY
  #lastSensitivity = Number.POSITIVE_INFINITY

  constructor(engine: MatrixEngine, start: CorrectionStart) {
    this.#engine = engine
    this.#start = start
    this.#squaredError = start.relativeError ** 2 * start.squaredNorm
  }

  settled(relativeError: number): boolean {
    const { squaredNorm, errorBound, tolerance } = this.#start
    this.#squaredError = relativeError ** 2 * squaredNorm
    const change = this.#lastSensitivity - this.#sensitivity
    this.#lastSensitivity = this.#sensitivity
    return relativeError <= errorBound && Math.abs(change) < tolerance * this.#sensitivity
  }

  async update({ mode, mttkrp, gram, factors, grams }: RuleInput<T>): Promise<T> {
    const previous = factors[mode]!
    const rank = Math.sqrt(gram.length)
    const weights = sensitivityWeights(this.#start.shape, grams, mode, rank)
    const scale = weights.map((weight) => (weight > 0 ? 1 / Math.sqrt(weight) : 0))
    const scaled = zeros64(rank, rank)
    for (let r = 0; r < rank; r++)
      for (let s = 0; s < rank; s++) scaled.data[r * rank + s] = gram[r * rank + s]! * scale[r]! * scale[s]!
    const { values, vectors } = await symmetricEigen(this.#engine, scaled, { count: rank })
    // In the eigenvectors: a of the factor there is, and g = M − G A, scaled, half of the downhill direction.
    const extent = previous.length / rank
    const rotate = async (rows: Float64Array): Promise<Float64Array> =>
      (await this.#engine.multiply(vectors!, { rows: rank, cols: extent, data: rows }, { transposeA: true })).data
    const a = await rotate(scaledRows(previous, rank, (r) => (scale[r]! > 0 ? 1 / scale[r]! : 0)))
    const g = await rotate(scaledRows(mttkrp, rank, (r) => scale[r]!))
    for (let r = 0; r < rank; r++) {
      const s = Math.max(values[r]!, 0)
      for (let at = r * extent; at < (r + 1) * extent; at++) g[at] = g[at]! - s * a[at]!
    }
    const step = new BoundedStep(values, g, a, this.#squaredError)
    const least = LEAST[mttkrp instanceof Float32Array ? 'float32' : 'float64'] * Math.max(values[0]!, 1e-300)
    const mu = step.largestWithin(this.#start.errorBound ** 2 * this.#start.squaredNorm, least)
    this.#squaredError = step.squaredErrorAt(mu)
    for (let r = 0; r < rank; r++) {
      const s = Math.max(values[r]!, 0)
      // The corrected factor (g + s a) / (s + μ), as the change from a.
      for (let at = r * extent; at < (r + 1) * extent; at++) g[at] = (g[at]! - mu * a[at]!) / (s + mu)
    }
    const change = await this.#engine.multiply(vectors!, { rows: rank, cols: extent, data: g })
    const out = Float64Array.from(previous)
    for (let at = 0; at < out.length; at++) out[at] = out[at]! + change.data[at]! * scale[Math.floor(at / extent)]!
    this.#sensitivity = sensitivityOf(this.#start.shape, grams, mode, { out, weights, rank })
    return toTypeOf({ rows: rank, cols: extent, data: out }, previous).data
  }
}

/** How the error depends on μ. */
class BoundedStep {
  readonly #values: Float64Array
  /** Σ g², Σ g a and Σ a² per eigenvector. */
  readonly #sums: Float64Array
  readonly #squaredError: number

  constructor(values: Float64Array, g: Float64Array, a: Float64Array, squaredError: number) {
    const rank = values.length
    const extent = g.length / rank
    this.#values = values
    this.#squaredError = squaredError
    this.#sums = new Float64Array(3 * rank)
    for (let r = 0; r < rank; r++)
      for (let at = r * extent; at < (r + 1) * extent; at++) {
        this.#sums[3 * r]! += g[at]! * g[at]!
        this.#sums[3 * r + 1]! += g[at]! * a[at]!
        this.#sums[3 * r + 2]! += a[at]! * a[at]!
      }
  }

  /** ‖X − X̂‖² with μ: for the change d = (g − μa) / (s + μ), the error there is plus Σ s d² − 2 g d. */
  squaredErrorAt(mu: number): number {
    let sum = this.#squaredError
    for (let r = 0; r < this.#values.length; r++) {
      const s = Math.max(this.#values[r]!, 0)
      const [gg, ga, aa] = [this.#sums[3 * r]!, this.#sums[3 * r + 1]!, this.#sums[3 * r + 2]!]
      sum += (s * (gg - 2 * mu * ga + mu * mu * aa)) / (s + mu) ** 2 - (2 * (gg - mu * ga)) / (s + mu)
    }
    return sum
  }

  /** The largest μ from `least` on whose squared error is within the bound; `least` when none is. */
  largestWithin(bound: number, least: number): number {
    if (!(this.squaredErrorAt(least) < bound)) return least
    let [low, high] = [Math.log(least), Math.log(Math.max(this.#values[0]!, 1e-300)) + 32]
    for (let step = 0; step < HALVINGS; step++) {
      const middle = (low + high) / 2
      if (this.squaredErrorAt(Math.exp(middle)) <= bound) low = middle
      else high = middle
    }
    return Math.exp(low)
  }
}

/** w_r of one mode: Σ_{k≠n} i_k Π_{j≠k,n} ‖a_r⁽ʲ⁾‖². */
function sensitivityWeights(
  shape: readonly number[],
  grams: readonly Float64Array[],
  mode: number,
  rank: number,
): Float64Array {
  return Float64Array.from({ length: rank }, (_, r) => {
    let sum = 0
    for (const [k, extent] of shape.entries()) {
      if (k === mode) continue
      let product = extent
      for (const [j, gram] of grams.entries()) if (j !== k && j !== mode) product *= gram[r * (rank + 1)]!
      sum += product
    }
    return sum
  })
}

/** The sensitivity with a new factor of one mode: Σ_r w_r ‖a_r‖² + i_n Σ_r Π_{j≠n} ‖a_r⁽ʲ⁾‖². */
function sensitivityOf(
  shape: readonly number[],
  grams: readonly Float64Array[],
  mode: number,
  { out, weights, rank }: { readonly out: Float64Array; readonly weights: Float64Array; readonly rank: number },
): number {
  const extent = shape[mode]!
  let sum = 0
  for (let r = 0; r < rank; r++) {
    let square = 0
    for (let at = r * extent; at < (r + 1) * extent; at++) square += out[at]! ** 2
    let others = extent
    for (const [j, gram] of grams.entries()) if (j !== mode) others *= gram[r * (rank + 1)]!
    sum += weights[r]! * square + others
  }
  return sum
}

function scaledRows(rows: Reals, rank: number, scale: (row: number) => number): Float64Array {
  const extent = rows.length / rank
  const out = Float64Array.from(rows)
  for (let r = 0; r < rank; r++) {
    const factor = scale(r)
    for (let at = r * extent; at < (r + 1) * extent; at++) out[at] = out[at]! * factor
  }
  return out
}
