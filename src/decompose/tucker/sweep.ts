/**
 * One pass over the modes of a tensor in which every mode sees the tensor projected on the factors of all others.
 *
 * Projections are shared in a tree: the tensor is projected on the second half of the modes for the sake of the first
 * half, and on the updated first half for the sake of the second, and so on within the halves. The whole tensor is read
 * twice per sweep, whatever the number of modes.
 *
 * Source of the tree: Kaya, Robert, "Computing dense tensor decompositions with optimal dimension trees", Algorithmica
 * 81, 2019, section 4.
 */
import type { Matrix, MatrixEngine } from '../matrix.ts'
import type { Reals } from '../real-tensor.ts'
import { type Dense, projectMode, projectModes } from './mode-products.ts'

/** Factors by mode; those of a sweep's modes are replaced as it goes along. */
export type Factors = Map<number, Matrix<Reals>>

/** The new factor of a mode from the tensor projected along all other modes of the sweep. */
export type UpdateFactor = (projected: Dense, mode: number) => Promise<Matrix<Reals>>

/**
 * Updates the factors of the given modes in turn.
 *
 * @param modes ascending, at least one.
 * @returns the tensor projected on all of the new factors: the core.
 */
export async function sweep(
  engine: MatrixEngine,
  tensor: Dense,
  modes: readonly number[],
  factors: Factors,
  update: UpdateFactor,
): Promise<Dense> {
  const factorOf = (mode: number) => ({ mode, matrix: factors.get(mode)! })
  const visit = async (projected: Dense, group: readonly number[]): Promise<Dense> => {
    const [mode] = group
    if (group.length === 1) {
      factors.set(mode!, await update(projected, mode!))
      return projected
    }
    const middle = Math.ceil(group.length / 2)
    const [first, second] = [group.slice(0, middle), group.slice(middle)]
    await visit(await projectModes(engine, projected, second.map(factorOf)), first)
    return visit(await projectModes(engine, projected, first.map(factorOf)), second)
  }
  const last = await visit(tensor, modes)
  return projectMode(engine, last, factorOf(modes.at(-1)!))
}
