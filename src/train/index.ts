export type { FeaturePair, LossTerm } from './losses.ts'
export type {
  Clipping,
  Optimizer,
} from './optimizer.ts'
export { type ParameterGroup, unshareBatchNorms } from './parameters.ts'
export { checkSchedule, learningRate, parseSchedule, type Schedule } from './schedule.ts'
export { buildStep, type StepGraph } from './step-graph.ts'
export type { StepOptions } from './step-options.ts'
export {
  createTrainingStep,
  type StepResult,
  type StepSamples,
  type TrainingState,
  type TrainingStep,
  type TrainingStepOptions,
} from './training-step.ts'
export type { Carried } from './update-graph.ts'
