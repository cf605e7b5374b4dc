/** The record of a low-rank decomposition: counts and compares, modifies nothing. */
import type { CompressionRecord, Cost, LayerRecord } from '../method.ts'
import type { Applied } from './apply.ts'
import type { LowRankPlan } from './step.ts'

/** Builds the record of an applied plan. */
export function recordLowRank(
  version: string,
  plan: LowRankPlan,
  applied: Applied,
  before: Cost,
  after: Cost,
): CompressionRecord {
  return {
    whittle: version,
    method: plan.method,
    seed: plan.seed,
    plan,
    before: totals(before),
    after: totals(after),
    layers: applied.outcomes.map(
      ({ step, relativeError, outputError }): LayerRecord => ({
        name: step.site,
        op: step.op,
        method: step.variant === '' ? step.form : `${step.form} ${step.variant}`,
        ranks: step.ranks,
        parameters: step.parameters,
        macs: step.macs,
        relativeError,
        ...(outputError === undefined ? {} : { outputError }),
      }),
    ),
    skips: plan.skips,
    measured: [],
    warnings: plan.warnings,
  }
}

/** The three numbers alone: callers may hand over costs with more in them, and records are JSON. */
function totals({ parameters, bytes, macs }: Cost): Cost {
  return { parameters, bytes, macs }
}
