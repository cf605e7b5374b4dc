export { broadcastShape, Emitter, type Typed } from './emitter.ts'
export { GRADIENT_OPSET, type GradientGraph, type GradientOptions, gradient } from './gradient.ts'
export { lowerTrainingBatchNorm } from './lower-batch-norm.ts'
export { findPaths, type Paths } from './paths.ts'
export type { ConvGeometry, Formulation } from './rules/conv-geometry.ts'
export {
  type ChooseFormulation,
  CONVOLUTION_FORMULATIONS,
  type ConvolutionGradient,
  convolutionRules,
} from './rules/convolution.ts'
export { GRADIENT_RULES, NON_DIFFERENTIABLE } from './rules/index.ts'
export { type GradientRule, type GradientRules, mergeRules, type RuleContext } from './rules/rule.ts'
export type { SlidingWindow } from './rules/window.ts'
export {
  type BatchStatistics,
  type TrainingBatchNorm,
  type TrainingBatchNormOptions,
  toTrainingBatchNorm,
} from './training-batch-norm.ts'
