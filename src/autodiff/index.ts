export { broadcastShape, Emitter, type Typed } from './emitter.ts'
export { GRADIENT_OPSET, type GradientGraph, type GradientOptions, gradient } from './gradient.ts'
export { lowerTrainingBatchNorm } from './lower-batch-norm.ts'
export { findPaths, type Paths } from './paths.ts'
export { GRADIENT_RULES, NON_DIFFERENTIABLE } from './rules/index.ts'
export { type GradientRule, type GradientRules, mergeRules, type RuleContext } from './rules/rule.ts'
export {
  type BatchStatistics,
  type TrainingBatchNorm,
  type TrainingBatchNormOptions,
  toTrainingBatchNorm,
} from './training-batch-norm.ts'
