export { type AmctMode, amctMode, amctRefusal } from './amct.ts'
export { type Applied, type ApplyContext, applyLowRank, type StepOutcome } from './apply.ts'
export { type ChainCost, siteCost } from './chain-cost.ts'
export type { PatchAverages } from './covariance.ts'
export { AUTO_FORMS, FORM_NAMES, variantsOf } from './forms.ts'
export {
  type DecomposeInfo,
  type DecomposeInfoEntry,
  decomposeInfo,
  formatDecomposeInfo,
  parseDecomposeInfo,
} from './info.ts'
export { momentRequest, type SiteMomentRequest, siteMoments } from './moment-requests.ts'
export type { GroupMoments, SiteMoments } from './moments.ts'
export { type LowRankOptions, type PlanContext, planLowRank } from './plan.ts'
export { type Budget, parseBudget, parseRankPolicy, type RankPolicy } from './policy.ts'
export { recordLowRank } from './record.ts'
export { canShiftBias } from './replace.ts'
export { loadWeights, planFromInfo } from './replay.ts'
export { canFitSequentially, sequentialMoments } from './sequential.ts'
export type { FactorisedChannels, FormName, FormVariant, Ranks, Stage, StageRole, Unfolding } from './stage.ts'
export type { LowRankPlan, LowRankStep } from './step.ts'
