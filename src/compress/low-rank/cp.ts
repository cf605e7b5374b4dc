/** CP decompositions of weights: the tensor, the stages' arrays from its factors, and exact ones at full rank. */
import { type MatrixEngine, parafac, stableParafac } from '../../decompose/index.ts'
import { Tensor } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'
import { type GroupKernel, type Reals, swapLeading } from './kernel.ts'
import { type FormVariant, type Ranks, type Stage, volumeOf } from './stage.ts'

/** How CP decompositions of weights are made. */
export interface CpFactorOptions {
  /**
   * Whether terms that grow and cancel each other are kept in bounds, default true; see `stableParafac`. Without, it is
   * alternating least squares alone.
   */
  readonly guard?: boolean | undefined
  readonly seed?: number
  readonly signal?: AbortSignal | undefined
}

/** Sweeps of a layer's decomposition, and the change of its relative error that ends them. */
const SWEEPS = 100
const TOLERANCE = 1e-4
/** Sweeps of the guard: on trained networks five take sensitivities down by factors of 3 to 600, a hundred more by 2. */
const CORRECTIONS = 10

/** A group's weight as the tensor that a CP chain decomposes: `[out, in, taps]`, or with every wide axis by itself. */
export function cpTensor(kernel: GroupKernel, site: Site, variant: FormVariant): Tensor {
  const { data, outputs, inputs, taps } = kernel
  const middle = variant.stages(variant.fullRanks).length - 2
  return Tensor.of(data, [outputs, inputs, ...(middle === 1 ? [taps] : site.kernel.filter((extent) => extent > 1))])
}

/**
 * Factors a group's weight into rank-one terms.
 *
 * At full rank the terms are exact: see {@link exactFactors}.
 */
export async function factorCp(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  options: CpFactorOptions = {},
): Promise<{ stages: Record<string, Reals>; relativeError: number }> {
  const rank = ranks.rank!
  const stages = variant.stages(ranks)
  const tensor = cpTensor(kernel, site, variant)
  if (rank === variant.fullRanks.rank)
    return { stages: stagesOfFactors(exactFactors(tensor), stages, rank), relativeError: 0 }
  const { guard = true, seed = 0, signal } = options
  const sweeps = { maxIterations: SWEEPS, tolerance: TOLERANCE, seed, signal }
  const { factors, relativeError } = guard
    ? await stableParafac(engine, tensor, rank, { ...sweeps, correctionIterations: CORRECTIONS })
    : await parafac(engine, tensor, rank, sweeps)
  const arrays = factors.map((factor) => (factor.data as Reals).slice() as Reals)
  balanceTerms(arrays, rank)
  return { stages: stagesOfFactors(arrays, stages, rank), relativeError }
}

/** Factors are `[extent, r]`, in the order out, in, kernel; the last stage is that of the outputs. */
function stagesOfFactors(factors: readonly Reals[], stages: readonly Stage[], rank: number): Record<string, Reals> {
  const [outputs, ...others] = factors
  const turned = others.map((factor) => swapLeading(factor, factor.length / rank, rank, 1))
  return Object.fromEntries(stages.map(({ role }, k) => [role, turned[k] ?? outputs!]))
}

/**
 * The exact CP of a tensor with as many terms as it has fibres along its longest mode: each fibre times unit vectors.
 *
 * @returns factors `[extent, r]`.
 */
export function exactFactors(tensor: Tensor): Reals[] {
  const { shape } = tensor
  const data = tensor.data as Reals
  const longest = shape.indexOf(Math.max(...shape))
  const rank = data.length / shape[longest]!
  const Numbers = data.constructor as new (length: number) => Reals
  const factors = shape.map((extent) => new Numbers(extent * rank))
  const strides = shape.map((_, mode) => volumeOf(shape.slice(mode + 1)))
  for (let fibre = 0; fibre < rank; fibre++) {
    let rest = fibre
    let start = 0
    for (let mode = shape.length - 1; mode >= 0; mode--) {
      if (mode === longest) continue
      const index = rest % shape[mode]!
      rest = (rest - index) / shape[mode]!
      factors[mode]![index * rank + fibre] = 1
      start += index * strides[mode]!
    }
    for (let i = 0; i < shape[longest]!; i++) factors[longest]![i * rank + fibre] = data[start + i * strides[longest]!]!
  }
  return factors
}

/**
 * Shares the scale of each term among its factors so that lengths are as the roots of the extents, in place: noise on
 * all factors then changes the product least, see `cpSensitivity`.
 */
function balanceTerms(factors: readonly Reals[], rank: number): void {
  const natural = factors.map((factor) => Math.sqrt(factor.length / rank))
  for (let r = 0; r < rank; r++) {
    const lengths = factors.map((factor, mode) => columnLength(factor, rank, r) / natural[mode]!)
    const logarithms = lengths.reduce((sum, length) => sum + Math.log(length), 0)
    const common = Math.exp(logarithms / factors.length)
    for (const [mode, factor] of factors.entries()) {
      const scale = common > 0 ? common / lengths[mode]! : 0
      for (let at = r; at < factor.length; at += rank) factor[at]! *= scale
    }
  }
}

function columnLength(factor: Reals, rank: number, column: number): number {
  let sum = 0
  for (let at = column; at < factor.length; at += rank) sum += factor[at]! * factor[at]!
  return Math.sqrt(sum)
}
