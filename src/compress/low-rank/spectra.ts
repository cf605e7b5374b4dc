/**
 * Rank–error curves of a site: squared singular values of the unfoldings that the forms truncate, computed when first
 * asked for and kept for the plan.
 *
 * With moments of the layer's input, the curves are those of the layer's output on that data: exact where the output's
 * covariance decides (`output` mode), and for the others of the weight whitened by the covariance of the rows that are
 * truncated. All curves are relative: they are divided by their own sum. CP truncates no matrix: `cp-curve.ts`.
 */
import { type AmctRankOptions, amctRankOfMatrix, type MatrixEngine, symmetricEigen } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { cpCurve } from './cp-curve.ts'
import { squaredNorm } from './factor.ts'
import { groupKernels, splitMatrix, splitTaps } from './kernel.ts'
import type { SiteMoments } from './moments.ts'
import type { FormVariant, Ranks, Unfolding } from './stage.ts'
import { unfoldingGram, unfoldingShape } from './unfoldings.ts'

/** Descending relative energies (squared singular values over their sum), one list per group. */
export type Curve = readonly Float64Array[]

/** What the curves of a site are computed with. */
export interface SpectraOptions {
  /** Of the layer's input, when curves are to be those of the layer's output. */
  readonly moments?: SiteMoments | undefined
  /** Of the trial decompositions behind the curves of CP; default 0. */
  readonly seed?: number
  readonly signal?: AbortSignal | undefined
}

/** The spectra of one site. */
export class SiteSpectra {
  readonly site: Site
  readonly #engine: MatrixEngine
  readonly #options: SpectraOptions
  readonly #curves = new Map<string, Promise<Curve>>()

  constructor(site: Site, engine: MatrixEngine, options: SpectraOptions = {}) {
    this.site = site
    this.#engine = engine
    this.#options = options
  }

  /** The curves that a variant's ranks truncate, by role of the rank. */
  async curves(variant: FormVariant): Promise<Readonly<Record<string, Curve>>> {
    const curves: Record<string, Curve> = {}
    for (const [role, unfolding] of Object.entries(variant.unfoldings)) curves[role] = await this.#of(unfolding)
    if (variant.form === 'cp') curves.rank = await this.#cached(`cp ${variant.variant}`, () => this.#trials(variant))
    return curves
  }

  /** The expected relative error of a variant at given ranks: √(sum of the truncated relative energies). */
  async estimate(variant: FormVariant, ranks: Ranks): Promise<number> {
    let squared = 0
    for (const [role, curve] of Object.entries(await this.curves(variant))) squared += tail(curve, ranks[role] ?? 0)
    return Math.sqrt(Math.min(1, squared))
  }

  /**
   * Singular values of each group's unfolding, with its shorter and its longer side; never data-weighted. For EVBMF.
   */
  async singularValues(unfolding: Unfolding): Promise<{ values: Float64Array; rows: number; cols: number }[]> {
    const plain = this.#options.moments ? new SiteSpectra(this.site, this.#engine) : this
    const curve = await plain.#of(unfolding)
    return groupKernels(this.site).map((kernel, group) => {
      const energy = squaredNorm(kernel.data)
      const [rows, cols] = unfoldingShape(kernel, this.site, unfolding)
      const count = Math.min(rows, cols)
      const values = Float64Array.from({ length: count }, (_, i) =>
        Math.sqrt(Math.max(0, (curve[group]![i] ?? 0) * energy)),
      )
      return { values, rows: count, cols: Math.max(rows, cols) }
    })
  }

  /**
   * AMCT's rank of the matrix that a spatial variant factors; large ones without their exact spectrum where that would
   * change nothing. Never data-weighted.
   */
  amctRank(variant: FormVariant, options: AmctRankOptions): ReturnType<typeof amctRankOfMatrix> {
    const { site } = this
    const [kernelHeight, kernelWidth] = site.kernel as [number, number]
    const matrix = splitMatrix(
      groupKernels(site)[0]!,
      splitTaps(site.kernel, variant.stages(variant.fullRanks)[0]!.carries),
    )
    const shape = { outputChannels: site.outputs, inputChannels: site.inputs, kernelHeight, kernelWidth }
    return amctRankOfMatrix(this.#engine, matrix, shape, options)
  }

  #of(unfolding: Unfolding): Promise<Curve> {
    return this.#cached(JSON.stringify(unfolding), () => this.#spectrum(unfolding))
  }

  #cached(key: string, compute: () => Promise<Curve>): Promise<Curve> {
    let curve = this.#curves.get(key)
    if (!curve) {
      curve = compute()
      this.#curves.set(key, curve)
    }
    return curve
  }

  async #spectrum(unfolding: Unfolding): Promise<Curve> {
    const { moments } = this.#options
    const curves: Float64Array[] = []
    for (const [group, kernel] of groupKernels(this.site).entries()) {
      const gram = await unfoldingGram(this.#engine, kernel, this.site, unfolding, moments?.groups[group])
      const { values } = await symmetricEigen(this.#engine, gram, { vectors: false })
      curves.push(relative(values))
    }
    return curves
  }

  async #trials(variant: FormVariant): Promise<Curve> {
    const { moments, seed = 0, signal } = this.#options
    const curves: Float64Array[] = []
    for (const [group, kernel] of groupKernels(this.site).entries()) {
      const options = { seed, signal, moments: moments?.groups[group] }
      curves.push(await cpCurve(this.#engine, kernel, this.site, variant, options))
    }
    return curves
  }
}

function relative(values: Float64Array): Float64Array {
  let sum = 0
  for (const value of values) sum += Math.max(0, value)
  return values.map((value) => (sum > 0 ? Math.max(0, value) / sum : 0))
}

/** The mean over groups of the relative energy beyond a rank. */
export function tail(curve: Curve, rank: number): number {
  let sum = 0
  for (const group of curve) for (let i = rank; i < group.length; i++) sum += group[i]!
  return sum / curve.length
}

/** Cumulative tails: element r is {@link tail} at rank r, for r = 0 … the longest list. */
export function tails(curve: Curve): Float64Array {
  const length = Math.max(...curve.map((group) => group.length))
  const out = new Float64Array(length + 1)
  for (let r = length - 1; r >= 0; r--) {
    let here = 0
    for (const group of curve) here += group[r] ?? 0
    out[r] = out[r + 1]! + here / curve.length
  }
  return out
}
