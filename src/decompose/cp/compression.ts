/**
 * CP sweeps on the core of a tensor instead of on the tensor.
 *
 * A tensor that is nearly of low multilinear rank is projected on the leading singular subspaces of its modes; sweeps on
 * the small core go where those on the tensor would, and the last ones are done on the tensor itself, so that nothing of
 * it is left out in the end.
 *
 * Source: Bro, Andersson, "Improving the speed of multiway algorithms. Part II: Compression", Chemometrics and
 * Intelligent Laboratory Systems 42(1–2), 1998.
 */
import { sizeOf } from '../../tensor/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { sumOfSquares } from '../matrix-layout.ts'
import { sequentialHosvd } from '../tucker/start.ts'
import type { Factors } from '../tucker/sweep.ts'
import type { SweepResult } from './alternating.ts'
import type { CheckedCp, CpOptions, Reals } from './cp-options.ts'

/** A problem on the core, and the way back. */
export interface CompressedCp<T extends Reals> {
  readonly problem: CheckedCp & { readonly data: T }
  /** Sweeps that are left for the tensor itself. */
  readonly finalSweeps: number
  /** Factors `[rank, i_k]` of the tensor from those of the core. */
  expand(factors: readonly T[]): Promise<T[]>
  /** The relative error of the whole tensor, given that of the core. */
  errorOf(relativeError: number): number
}

/** Extents of the core beyond the rank: the subspace of so many more directions holds what the components need. */
const MARGIN = 0.2
const LEAST_MARGIN = 8
/** The core must be smaller by this factor, and the tensor of this size, for the detour to pay. */
const LEAST_GAIN = 6
const LEAST_SIZE = 2 ** 18
/** Of ‖X‖²: beyond this the core is not the tensor, and sweeps on it lead elsewhere. */
const MOST_DISCARDED = 0.02
const FINAL_SHARE = 0.03
const LEAST_FINAL = 3
/** Modes that would keep more than this share of their extent are left as they are: sweeps would gain less than it costs. */
const MOST_KEPT = 0.8

/** Projects a problem on a small core; `undefined` where that would not pay or would leave out too much. */
export async function maybeCompress<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  { compression = 'auto', init = 'svd', maxIterations = 100, seed = 0, signal }: CpOptions,
): Promise<CompressedCp<T> | undefined> {
  const { shape, data, rank, mask, modes, squaredNorm } = problem
  const finalSweeps = Math.max(LEAST_FINAL, Math.ceil(maxIterations * FINAL_SHARE))
  if (compression === 'none' || typeof init === 'object' || mask || modes.length < shape.length) return undefined
  if (maxIterations < 4 * finalSweeps || data.length < LEAST_SIZE) return undefined
  const most = rank + Math.max(LEAST_MARGIN, Math.ceil(rank * MARGIN))
  const isCut = (extent: number): boolean => most <= extent * MOST_KEPT
  const extents = shape.map((extent) => (isCut(extent) ? most : extent))
  if (sizeOf(extents) * LEAST_GAIN > data.length) return undefined

  const truncations = shape.flatMap((extent, mode) => (isCut(extent) ? [{ mode, rank: most }] : []))
  const bases: Factors = new Map()
  const core = await sequentialHosvd(engine, { shape, data }, truncations, bases, { seed, signal, approximate: true })
  const kept = sumOfSquares(core.data)
  const discarded = Math.max(0, squaredNorm - kept)
  if (!(discarded <= MOST_DISCARDED * squaredNorm)) return undefined
  return {
    problem: { ...problem, shape: core.shape, data: core.data as T, squaredNorm: kept },
    finalSweeps,
    expand: (factors) =>
      Promise.all(
        factors.map(async (factor, mode) => {
          const basis = bases.get(mode)
          if (!basis) return factor
          const small = { rows: rank, cols: most, data: factor }
          return (await engine.multiply<Reals>(small, basis, { transposeB: true })).data as T
        }),
      ),
    errorOf: (relativeError) => Math.sqrt((discarded + relativeError ** 2 * kept) / squaredNorm),
  }
}

/** Sweeps on the core followed by those on the tensor, as one. */
export function joinSweeps<T extends Reals>(
  core: SweepResult<T>,
  final: SweepResult<T>,
  errorOf: (relativeError: number) => number,
): SweepResult<T> {
  return { ...final, errors: [...core.errors.map(errorOf), ...final.errors] }
}
