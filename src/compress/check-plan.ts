/** What every method asks of a plan before it applies it. */
import { fail } from '../core/index.ts'
import { type Model, modelHash } from '../graph/index.ts'

/** What there is to know of a plan of any method. */
interface AnyPlan {
  readonly method: string
  readonly version: number
  readonly model: string
}

/**
 * Throws unless a plan is of a method and a version, was made for this model, and names each layer once.
 *
 * @param names of the layers, in the order of the plan's steps.
 * @throws WhittleError `PLAN_MISMATCH`.
 */
export function assertPlanFits(
  model: Model,
  plan: AnyPlan,
  { method, version }: Pick<AnyPlan, 'method' | 'version'>,
  names: readonly string[],
): void {
  if (plan.method !== method || plan.version !== version)
    fail(
      'PLAN_MISMATCH',
      `A plan of method '${method}', version ${version}, is needed; got '${plan.method}', version ${plan.version}. Plan again.`,
    )
  const hash = modelHash(model)
  if (plan.model !== hash)
    fail(
      'PLAN_MISMATCH',
      `The plan was made for another model: it is for ${plan.model}, this one is ${hash}. Plan again.`,
    )
  const seen = new Set<string>()
  for (const name of names) {
    if (seen.has(name))
      fail('PLAN_MISMATCH', `The plan names layer '${name}' twice; a layer is replaced once. Remove one of the steps.`)
    seen.add(name)
  }
}
