/**
 * What Tucker decompositions begin with, or consist of: truncated higher-order singular value decompositions.
 *
 * Sources: De Lathauwer, De Moor, Vandewalle, "A multilinear singular value decomposition", SIAM J. Matrix Anal. Appl.
 * 21(4), 2000 (HOSVD); Vannieuwenhoven, Vandebril, Meerbergen, "A new truncation strategy for the higher-order singular
 * value decomposition", SIAM J. Sci. Comput. 34(2), 2012 (ST-HOSVD).
 */
import { checkAborted } from '../../core/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { aroundMode, type Dense, projectMode, projectModes } from './mode-products.ts'
import { canContract, contractedSubspace, leadingSubspace, type SubspaceOptions } from './subspaces.ts'
import type { Factors } from './sweep.ts'

/** A mode and the rank, below its extent, that it is truncated to. */
export interface Truncation {
  readonly mode: number
  readonly rank: number
}

/**
 * Truncates one mode after the other, each after projecting on those before: at most √N times the least error. The mode
 * that is cheapest to work on the whole tensor for comes first.
 *
 * @returns the core; factors are added to `factors`.
 */
export async function sequentialHosvd(
  engine: MatrixEngine,
  tensor: Dense,
  truncations: readonly Truncation[],
  factors: Factors,
  options: SubspaceOptions,
): Promise<Dense> {
  let core = tensor
  const left = [...truncations]
  const take = (): Truncation => {
    checkAborted(options.signal)
    const next = left.reduce((best, one) => (costOf(core.shape, one) < costOf(core.shape, best) ? one : best))
    left.splice(left.indexOf(next), 1)
    return next
  }
  while (left.length > 0) {
    const { mode, rank } = take()
    const matrix = await leadingSubspace(engine, core, mode, rank, options)
    factors.set(mode, matrix)
    const second = core === tensor && mode === 0 ? left.find((one) => one.mode === 1) : undefined
    if (second && canContract(engine, core, second.rank, options)) {
      // The projection, and what the next mode's subspace comes from, in one call.
      left.splice(left.indexOf(second), 1)
      const next = await contractedSubspace(engine, core, matrix, second.rank, options)
      factors.set(1, next.subspace)
      core = await projectMode(engine, next.projected, { mode: 1, matrix: next.subspace })
    } else core = await projectMode(engine, core, { mode, matrix })
  }
  return core
}

/** Relative cost of finding a mode's subspace and of what is left to do: middle modes have to be gathered first. */
function costOf(shape: readonly number[], { mode, rank }: Truncation): number {
  const [before, extent, after] = aroundMode(shape, mode)
  return extent * (before === 1 ? 1 : after === 1 ? 2 : 3) * (0.2 + rank / extent)
}

/** Truncates every mode by the tensor itself: at most √N times the least error. @returns the core. */
export async function plainHosvd(
  engine: MatrixEngine,
  tensor: Dense,
  truncations: readonly Truncation[],
  factors: Factors,
  options: SubspaceOptions,
): Promise<Dense> {
  for (const { mode, rank } of truncations) {
    checkAborted(options.signal)
    factors.set(mode, await leadingSubspace(engine, tensor, mode, rank, options))
  }
  return projectModes(
    engine,
    tensor,
    truncations.map(({ mode }) => ({ mode, matrix: factors.get(mode)! })),
  )
}
