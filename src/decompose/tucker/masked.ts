/** Higher-order orthogonal iteration of a tensor with missing elements, by expectation–maximisation. */
import { checkAborted } from '../../core/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import type { Iteration, IterationOptions } from './iteration.ts'
import { type Dense, expandModes, type ModeFactor, projectModes } from './mode-products.ts'
import { fillMissing } from './observed.ts'
import { improvedSubspace } from './subspaces.ts'
import { type Factors, sweep } from './sweep.ts'

/** A tensor with values in place of missing elements, which are overwritten. */
export interface Observed {
  readonly whole: Dense
  /** 1 where an element is there. */
  readonly observed: Uint8Array
  readonly fixed: readonly ModeFactor[]
}

/**
 * Alternates between improving `factors` and putting the model's values in place of missing elements. Both lower the
 * error of the observed elements.
 *
 * @param modes ascending; none: only the core of the fixed factors is fitted.
 */
export async function iterateObserved(
  engine: MatrixEngine,
  { whole, observed, fixed }: Observed,
  modes: readonly number[],
  factors: Factors,
  { maxIterations, tolerance, signal, onProgress }: IterationOptions,
): Promise<Iteration & { readonly observedError: number }> {
  const errors: number[] = []
  for (;;) {
    checkAborted(signal)
    const tensor = await projectModes(engine, whole, fixed)
    const core =
      modes.length === 0
        ? tensor
        : await sweep(engine, tensor, modes, factors, (projected, mode) =>
            improvedSubspace(engine, projected, mode, factors.get(mode)!, signal),
          )
    const bases = [...fixed, ...modes.map((mode) => ({ mode, matrix: factors.get(mode)! }))]
    const model = await expandModes(engine, core, bases)
    const { residual, energy } = fillMissing(whole.data, observed, model.data)
    const error = energy === 0 ? 0 : Math.sqrt(residual / energy)
    const previous = errors.at(-1)
    errors.push(error)
    onProgress?.({ stage: 'tucker', done: errors.length, total: maxIterations })
    const converged = previous !== undefined && Math.abs(previous - error) < tolerance
    if (converged || errors.length >= maxIterations) return { core, errors, converged, observedError: error }
  }
}
