/** Tucker decompositions: a core times a matrix with orthonormal columns along every mode. */

import { type RankRule, type Tensor, type TuckerTensor, validateTuckerRank } from '../../tensor/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { type PartialTuckerOptions, partialTucker, type TuckerReport } from './partial-tucker.ts'

/** Options of {@link tucker}. */
export type TuckerOptions = PartialTuckerOptions

/** A Tucker tensor and how it was found. */
export interface TuckerDecomposition extends TuckerTensor, TuckerReport {}

/**
 * Tucker decomposition of a tensor by higher-order orthogonal iteration, or by one of the truncated higher-order singular
 * value decompositions that it begins with.
 *
 * Everything of {@link partialTucker} over all modes.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64; results have its type. Not written to.
 * @param ranks as `validateTuckerRank` takes them: one integer for all modes, one per mode, `'same'`, or a fraction of the
 *   parameters; lowered to the extents.
 * @returns core `[r_0, …, r_{N−1}]` and factors `[i_k, r_k]`.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`, `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see De Lathauwer, De Moor, Vandewalle, "On the best rank-1 and rank-(R1, R2, …, RN) approximation of higher-order
 *   tensors", SIAM J. Matrix Anal. Appl. 21(4), 2000.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = tuckerToTensor(randomTucker([10, 9, 8], [2, 3, 2], { seed: 1 }))
 * const { core, factors, relativeError } = await tucker(engine, x, [2, 3, 2])
 * console.log(core.shape, factors.map(({ shape }) => shape), relativeError < 1e-12)
 */
export async function tucker(
  engine: MatrixEngine,
  tensor: Tensor,
  ranks: RankRule | readonly number[],
  options: TuckerOptions = {},
): Promise<TuckerDecomposition> {
  const { shape } = tensor
  const list = validateTuckerRank(shape, ranks, { fixedModes: options.fixedFactors ?? [] })
  const { core, factors, relativeError, errors, iterations, converged } = await partialTucker(
    engine,
    tensor,
    shape.map((_, mode) => mode),
    list,
    options,
  )
  return { core, factors, relativeError, errors, iterations, converged }
}
