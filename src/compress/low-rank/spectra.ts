/**
 * Rank–error curves of a site: squared singular values of the unfoldings that the forms truncate, computed when first
 * asked for and kept for the plan.
 *
 * With moments of the layer's input, the curves are those of the layer's output on that data: exact where the output's
 * covariance decides (`output` mode), and for the others of the weight whitened by the covariance of the rows that are
 * truncated. All curves are relative: they are divided by their own sum.
 */
import {
  type AmctRankOptions,
  amctRankOfMatrix,
  type MatrixEngine,
  modeGram,
  symmetricEigen,
} from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { squaredNorm } from './factor.ts'
import type { FormVariant, Ranks } from './forms.ts'
import { type GroupKernel, groupKernels, splitMatrix, splitTaps } from './kernel.ts'
import { outputGram, rowGram, type SiteMoments } from './moments.ts'

/** Descending relative energies (squared singular values over their sum), one list per group. */
export type Curve = readonly Float64Array[]

/** The spectra of one site. */
export class SiteSpectra {
  readonly site: Site
  readonly #engine: MatrixEngine
  readonly #moments: SiteMoments | undefined
  readonly #curves = new Map<string, Promise<Curve>>()

  constructor(site: Site, engine: MatrixEngine, moments?: SiteMoments) {
    this.site = site
    this.#engine = engine
    this.#moments = moments
  }

  /** The curves that a variant's ranks truncate, by role of the rank. */
  async curves(variant: FormVariant): Promise<Readonly<Record<string, Curve>>> {
    if (variant.form === 'tucker') return { output: await this.#of('output'), input: await this.#of('input') }
    if (variant.form === 'spatial') return { rank: await this.#of(variant.variant, variant) }
    return { rank: await this.#of(variant.variant === 'kernel-last' ? 'input' : 'output') }
  }

  /** The expected relative error of a variant at given ranks: √(sum of the truncated relative energies). */
  async estimate(variant: FormVariant, ranks: Ranks): Promise<number> {
    let squared = 0
    for (const [role, curve] of Object.entries(await this.curves(variant))) squared += tail(curve, ranks[role] ?? 0)
    return Math.sqrt(Math.min(1, squared))
  }

  /**
   * Singular values of each group's unfolding for one role, with its shape; never data-weighted. For EVBMF.
   */
  async singularValues(
    variant: FormVariant,
    role: string,
  ): Promise<{ values: Float64Array; rows: number; cols: number }[]> {
    const plain = this.#moments ? new SiteSpectra(this.site, this.#engine) : this
    const curve = (await plain.curves(variant))[role]!
    return groupKernels(this.site).map((kernel, group) => {
      const energy = squaredNorm(kernel.data)
      const [rows, cols] = unfoldingShape(kernel, variant, role, this.site)
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
    const matrix = splitMatrix(groupKernels(site)[0]!, splitTaps(site.kernel, carriesOf(site, variant)))
    const shape = { outputChannels: site.outputs, inputChannels: site.inputs, kernelHeight, kernelWidth }
    return amctRankOfMatrix(this.#engine, matrix, shape, options)
  }

  #of(key: string, variant?: FormVariant): Promise<Curve> {
    let curve = this.#curves.get(key)
    if (!curve) {
      curve = this.#compute(key, variant)
      this.#curves.set(key, curve)
    }
    return curve
  }

  async #compute(key: string, variant: FormVariant | undefined): Promise<Curve> {
    const curves: Float64Array[] = []
    for (const [group, kernel] of groupKernels(this.site).entries()) {
      const covariance = this.#moments?.groups[group]
      const gram = covariance
        ? key === 'output'
          ? await outputGram(this.#engine, kernel, covariance)
          : await rowGram(this.#engine, kernel, this.site, carriesOf(this.site, variant), covariance)
        : await this.#plainGram(key, kernel, variant)
      const { values } = await symmetricEigen(this.#engine, gram, { vectors: false })
      curves.push(relative(values))
    }
    return curves
  }

  #plainGram(key: string, kernel: GroupKernel, variant: FormVariant | undefined): ReturnType<MatrixEngine['gram']> {
    const { data, outputs, inputs, taps } = kernel
    if (key === 'output') {
      const matrix = { rows: outputs, cols: inputs * taps, data }
      return this.#engine.gram(matrix, { transpose: matrix.cols < matrix.rows })
    }
    if (key === 'input') {
      if (outputs * taps < inputs && taps === 1) return this.#engine.gram({ rows: outputs, cols: inputs, data })
      return modeGram(this.#engine, data, [outputs, inputs, taps])
    }
    const matrix = splitMatrix(kernel, splitTaps(this.site.kernel, carriesOf(this.site, variant)))
    return this.#engine.gram(matrix, { transpose: matrix.cols < matrix.rows })
  }
}

/** Which kernel axes the first stage of a variant carries; none for the input mode. */
function carriesOf(site: Site, variant: FormVariant | undefined): readonly boolean[] {
  return variant?.form === 'spatial' ? variant.stages(variant.fullRanks)[0]!.carries : site.kernel.map(() => false)
}

function unfoldingShape(kernel: GroupKernel, variant: FormVariant, role: string, site: Site): [number, number] {
  const { outputs, inputs, taps } = kernel
  if (variant.form === 'spatial') {
    const { carriedCount, restCount } = splitTaps(site.kernel, carriesOf(site, variant))
    return [inputs * carriedCount, outputs * restCount]
  }
  return role === 'input' || variant.variant === 'kernel-last' ? [inputs, outputs * taps] : [outputs, inputs * taps]
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
