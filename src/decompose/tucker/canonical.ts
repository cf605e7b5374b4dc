/** The one of all equal Tucker decompositions with orthonormal factors that does not depend on how it was found. */

import { signOfLargest } from '../economy-svd.ts'
import { modeGram } from '../gram.ts'
import type { MatrixEngine } from '../matrix.ts'
import { toTypeOf } from '../matrix-layout.ts'
import { symmetricEigen } from '../symmetric-eigen.ts'
import { aroundMode, type Dense, projectMode } from './mode-products.ts'
import type { Factors } from './sweep.ts'

/**
 * Rotates factors and core such that slices of the core along a mode are orthogonal to each other and come in the order
 * of their norms (the n-mode singular values), and that the largest element of every factor's column is positive.
 *
 * @param modes that may be rotated; their factors are replaced.
 * @returns the rotated core.
 * @see De Lathauwer, De Moor, Vandewalle, "A multilinear singular value decomposition", 2000, theorem 2.
 */
export async function canonicalCore(
  engine: MatrixEngine,
  core: Dense,
  modes: readonly number[],
  factors: Factors,
): Promise<Dense> {
  let result = core
  for (const mode of modes) {
    const gram = await modeGram(engine, result.data, aroundMode(result.shape, mode))
    const { vectors } = await symmetricEigen(engine, gram)
    const rotation = toTypeOf(vectors!, result.data)
    const factor = await engine.multiply(factors.get(mode)!, rotation)
    const rank = factor.cols
    for (let j = 0; j < rank; j++) {
      if (signOfLargest(factor.data, j, rank, factor.rows) > 0) continue
      for (let i = 0; i < factor.rows; i++) factor.data[i * rank + j] = -factor.data[i * rank + j]!
      for (let i = 0; i < rank; i++) rotation.data[i * rank + j] = -rotation.data[i * rank + j]!
    }
    factors.set(mode, factor)
    result = await projectMode(engine, result, { mode, matrix: rotation })
  }
  return result
}
