/** Factors of one group's weight, fitted to the weight: the arrays of each stage, `[out, in, taps]`. */
import { type MatrixEngine, matrixFactorRows, matrixFactors, tucker2 } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { type CpFactorOptions, factorCp } from './cp.ts'
import { type GroupKernel, type Reals, splitMatrix, splitTaps, swapLeading } from './kernel.ts'
import type { FormVariant, Ranks } from './stage.ts'
import { factorTrain } from './trains.ts'

/** Stage weights by role, and the error of the weight they stand for. */
export interface GroupFactors {
  /** `[out, in, taps]` of each stage, by role. */
  readonly stages: Readonly<Record<string, Reals>>
  /** ‖W − Ŵ‖² and ‖W‖² of this group, up to a common factor where there is only one group. */
  readonly squaredError: number
  readonly squaredNorm: number
}

/** Seed of randomised starts (default 0), what stops the work, and how CP is kept stable. */
export interface FactorOptions extends CpFactorOptions {
  /** ‖W‖² of the group, where it is known already: its elements are then taken to be finite. */
  readonly energy?: number | undefined
}

/**
 * Factors one group; the error is least for the given ranks, or nearly: for Tucker-2 and CP to alternating iterations,
 * for trains within the root of the number of their ranks.
 */
export async function factorGroup(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  options: FactorOptions = {},
): Promise<GroupFactors> {
  const { stages, relativeError } = await factorStages(engine, kernel, site, variant, ranks, options)
  // Norms only weigh groups against each other; a pass over a large weight takes tens of milliseconds.
  const norm = site.group === 1 ? 1 : (options.energy ?? squaredNorm(kernel.data))
  return { stages, squaredError: relativeError ** 2 * norm, squaredNorm: norm }
}

/** Sum of squares in float64. */
export function squaredNorm(values: Reals): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  return sum
}

type Factored = { readonly stages: Readonly<Record<string, Reals>>; readonly relativeError: number }

function factorStages(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  options: FactorOptions,
): Promise<Factored> {
  const { form } = variant
  if (form === 'tucker') return factorTucker(engine, kernel, ranks, options)
  if (form === 'cp') return factorCp(engine, kernel, site, variant, ranks, options)
  if (form === 'tt') return factorTrain(engine, kernel, site, variant, ranks, options)
  if (form === 'spatial') return factorSpatial(engine, kernel, site, variant, ranks, options)
  return variant.variant === 'kernel-last'
    ? factorKernelLast(engine, kernel, ranks, options)
    : factorKernelFirst(engine, kernel, ranks, options)
}

async function factorTucker(
  engine: MatrixEngine,
  kernel: GroupKernel,
  ranks: Ranks,
  options: FactorOptions,
): Promise<Factored> {
  const { data, outputs, inputs, taps } = kernel
  const factors = await tucker2(engine, { data, dims: [outputs, inputs, taps] }, [ranks.output!, ranks.input!], options)
  return {
    stages: {
      // Factors are [channels, rank]: the first stage projects inputs on them, the last expands outputs.
      first: swapLeading(factors.input.data, inputs, ranks.input!, 1),
      core: factors.core,
      last: factors.output.data,
    },
    relativeError: factors.relativeError,
  }
}

async function factorKernelFirst(
  engine: MatrixEngine,
  kernel: GroupKernel,
  ranks: Ranks,
  options: FactorOptions,
): Promise<Factored> {
  const { outputs, inputs, taps, data } = kernel
  const matrix = { rows: outputs, cols: inputs * taps, data }
  const { left, right, relativeError } = await matrixFactors(engine, matrix, ranks.rank!, options)
  return { stages: { first: right.data, last: left.data }, relativeError }
}

async function factorKernelLast(
  engine: MatrixEngine,
  kernel: GroupKernel,
  ranks: Ranks,
  options: FactorOptions,
): Promise<Factored> {
  const { outputs, inputs, taps, data } = kernel
  const rank = ranks.rank!
  const matrix = { rows: inputs, cols: outputs * taps, data: swapLeading(data, outputs, inputs, taps) }
  const { left, right, relativeError } = await matrixFactorRows(engine, matrix, rank, options)
  return {
    stages: {
      first: left.data,
      // [r, (o, t)] → [o, r, t]
      last: swapLeading(right.data, rank, outputs, taps),
    },
    relativeError,
  }
}

async function factorSpatial(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  options: FactorOptions,
): Promise<Factored> {
  const rank = ranks.rank!
  const split = splitTaps(site.kernel, variant.stages(ranks)[0]!.carries)
  const matrix = splitMatrix(kernel, split)
  const { left, right, relativeError } = await matrixFactorRows(engine, matrix, rank, options)
  return {
    stages: {
      // [r, (i, a)]
      first: left.data,
      // [r, (o, b)] → [o, r, b]
      last: swapLeading(right.data, rank, kernel.outputs, split.restCount),
    },
    relativeError,
  }
}
