/** The passes in the order that makes the most of them. */
import type { Model } from '../model.ts'
import { canonical } from './canonical.ts'
import { constantsToInitializers } from './constants-to-initializers.ts'
import { foldBatchNorm } from './fold-batch-norm.ts'
import { foldConstants } from './fold-constants.ts'
import { freezeInitializers } from './freeze-initializers.ts'
import { type Pass, type PassContext, type PassResult, runPasses } from './pass.ts'
import { removeIdentity } from './remove-identity.ts'
import { removeUnused } from './remove-unused.ts'

/** All passes, each where the ones before it have prepared its work. */
export const SIMPLIFY_PASSES: readonly Pass[] = [
  constantsToInitializers,
  freezeInitializers,
  canonical,
  removeIdentity,
  foldConstants,
  foldBatchNorm,
  removeIdentity,
  removeUnused,
]

/**
 * A smaller network with the same function, inputs and outputs: constants are computed in advance, batch
 * normalisation goes into the layers before it, and what has no effect goes away.
 *
 * @param context.evaluator without one, nothing is computed in advance.
 */
export function simplify(model: Model, context: PassContext = {}): Promise<PassResult> {
  return runPasses(model, SIMPLIFY_PASSES, context)
}
