/**
 * Higher-order orthogonal iteration: alternating improvements of the factors of a (partial) Tucker decomposition.
 *
 * Source: De Lathauwer, De Moor, Vandewalle, "On the best rank-1 and rank-(R1, R2, …, RN) approximation of higher-order
 * tensors", SIAM J. Matrix Anal. Appl. 21(4), 2000, section 4. Factors move towards the singular vectors of the projected
 * tensor instead of being computed anew, which costs a fraction and ends in the same place.
 */
import { checkAborted, type TaskOptions } from '../../core/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { sumOfSquares } from '../matrix-layout.ts'
import type { Dense } from './mode-products.ts'
import { improvedSubspace } from './subspaces.ts'
import { type Factors, sweep } from './sweep.ts'

/** When {@link iterate} stops. */
export interface IterationOptions extends TaskOptions {
  readonly maxIterations: number
  /** Of the change of the relative error from one sweep to the next. */
  readonly tolerance: number
  /** ‖X‖², which errors are relative to. */
  readonly energy: number
}

/** What {@link iterate} did. */
export interface Iteration {
  readonly core: Dense
  /** Relative error after every sweep. */
  readonly errors: number[]
  readonly converged: boolean
}

/** Improves `factors` until the error stays. @param modes ascending, at least one. @param start error before, if known. */
export async function iterate(
  engine: MatrixEngine,
  tensor: Dense,
  modes: readonly number[],
  factors: Factors,
  start: number | undefined,
  { maxIterations, tolerance, energy, signal, onProgress }: IterationOptions,
): Promise<Iteration> {
  const errors: number[] = []
  let previous = start
  let core: Dense | undefined
  for (let iteration = 0; iteration < maxIterations; iteration++) {
    checkAborted(signal)
    core = await sweep(engine, tensor, modes, factors, (projected, mode) =>
      improvedSubspace(engine, projected, mode, factors.get(mode)!, signal),
    )
    const error = errorOf(energy, core)
    errors.push(error)
    onProgress?.({ stage: 'tucker', done: iteration + 1, total: maxIterations })
    if (previous !== undefined && hasSettled(previous, error, tolerance, tensor.data instanceof Float32Array))
      return { core, errors, converged: true }
    previous = error
  }
  return { core: core!, errors, converged: false }
}

/** ‖X − X̂‖ / ‖X‖ of orthonormal factors, from ‖X‖² − ‖core‖²; 0 where rounding leaves less than nothing. */
export function errorOf(energy: number, core: Dense): number {
  return energy === 0 ? 0 : Math.sqrt(Math.max(0, energy - sumOfSquares(core.data)) / energy)
}

/** Near an exact fit errors cannot be told apart: their squares are differences of numbers near 1. */
function hasSettled(previous: number, error: number, tolerance: number, single: boolean): boolean {
  return previous - error < tolerance || previous ** 2 - error ** 2 < (single ? 3e-7 : 1e-15)
}
