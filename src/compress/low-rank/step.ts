/** The JSON of a low-rank plan. */
import type { Plan } from '../method.ts'
import type { FormName } from './stage.ts'

/** One layer's replacement. */
export type LowRankStep = {
  /** Name of the node. */
  readonly site: string
  readonly op: string
  readonly form: FormName
  readonly variant: string
  /** Ranks of each group, by role. */
  readonly ranks: { readonly [role: string]: number }
  /** What EVBMF answered before alignment and clamping, by role, when it was asked. */
  readonly rawRanks?: { readonly [role: string]: number }
  /** Present when the raw ranks are within a few percent only, because the exact spectrum would change nothing. */
  readonly rawIsEstimate?: true
  /** Weights only, without the bias. */
  readonly parameters: { readonly before: number; readonly after: number }
  /** For the observed shapes: batch 1 where the model leaves it open. `null` when shapes were not observed. */
  readonly macs: { readonly before: number | null; readonly after: number | null }
  /** Expected relative error of the weight, or of the output when data were given; `null` when not computed. */
  readonly estimatedError: number | null
  /** Whether factors are fitted to the layer's output on data. */
  readonly dataAware: boolean
  /** Why the factors are fitted to the weight although data were given, where the form is the reason. */
  readonly weightOnly?: string
  /** Present where CP is alternating least squares alone, without the guard against terms that grow and cancel. */
  readonly unguarded?: true
  /** Whether a mean that the factors lose goes into the bias, which gets a name of its own, or is added. */
  readonly shiftsBias?: boolean
  /** Whether the fit is to the input that the compressed layers before deliver. */
  readonly sequential?: boolean
}

/** A plan of low-rank decomposition. */
export type LowRankPlan = Plan<LowRankStep>

/** Version of the plan format. */
export const LOW_RANK_PLAN_VERSION = 1
