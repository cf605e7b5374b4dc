export { type Augmentation, parseAugmentation } from './augment.ts'
export type { CheckpointStore } from './checkpoint.ts'
export { finetuneNetwork } from './finetune.ts'
export type { FinetuneOptions, FinetuneRuntime, ResolvedOptions } from './finetune-options.ts'
export type { EvaluationEntry, Finetuned, HistoryEntry } from './finetuned.ts'
export { type LoopPlan, loopNames, loopOver } from './loop.ts'
export type { FeaturePair, LossTerm } from './losses.ts'
export { memoryCheckpoints } from './memory-checkpoints.ts'
export {
  type Clipping,
  emitUpdate,
  type Optimizer,
  type ScalarName,
  scalarsAt,
  stateNames,
  type UpdateInputs,
} from './optimizer.ts'
export { type ParameterGroup, type Selection, unshareBatchNorms } from './parameters.ts'
export { type ObserveTypes, type PreparedNetwork, type PrepareOptions, prepareNetwork, withWeights } from './prepare.ts'
export type { SampleRun } from './sample-order.ts'
export {
  createSampleLoader,
  type PreparedSamples,
  prepareSamples,
  type SampleLoader,
  type SampleSettings,
  sampleReader,
  sizedFor,
} from './samples.ts'
export { learningRate, parseSchedule, type Schedule } from './schedule.ts'
export { buildStep, type StepGraph } from './step-graph.ts'
export type { StepOptions } from './step-options.ts'
export type { TeacherValues } from './teacher.ts'
export {
  createTrainingStep,
  type StepResult,
  type StepSamples,
  type TrainingState,
  type TrainingStep,
  type TrainingStepOptions,
} from './training-step.ts'
export type { Carried } from './update-graph.ts'
