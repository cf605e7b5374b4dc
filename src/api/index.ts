export { type AnalyseOptions, analyseQuantization, type QuantizationAnalysis } from './analyse.ts'
export { improveRanges, type RangeContext, type RangeOptions, type RangeRecord } from './better-ranges.ts'
export { type BiasCorrectionOptions, correctBiasesOnData } from './bias-correction.ts'
export { type Calibrated, type CalibrateOptions, calibrateModel } from './calibrate.ts'
export { CALIBRATION_SAMPLES, type CalibrationOptions, calibrationFeeds, QUANTIZATION_SAMPLES } from './calibration.ts'
export {
  type ChannelRequest,
  type ChannelStatisticsOptions,
  collectChannelStatistics,
  type MeasuredChannels,
} from './channel-statistics.ts'
export {
  type CollectedMoments,
  collectSiteMoments,
  type Decomposed,
  type DecomposeOptions,
  decompose,
} from './decompose.ts'
export {
  type DiagnoseOptions,
  type Diagnosis,
  diagnose,
  type Finding,
  type FindingCode,
  findingText,
} from './doctor/index.ts'
export { type FinetuneRecord, finetune, type TrainingRuntime, type Tuned, type TuneOptions } from './finetune.ts'
export { type InspectedLayer, type InspectedValue, type Inspection, type InspectOptions, inspect } from './inspect.ts'
export { prepareModel } from './prepare.ts'
export { type QatBits, type QatOptions, startQat, type TrainedQuantized, trainQuantized } from './qat.ts'
export { type ConfiguredQat, configureQat } from './qat-config.ts'
export {
  chooseIntegers,
  finishQuantization,
  planFrom,
  type QuantizationBasis,
  type Quantized,
  type QuantizeOptions,
  quantizationBasis,
  quantize,
} from './quantize.ts'
export { type ConfiguredQuantization, configureQuantization } from './quantize-config.ts'
export {
  type PreparedForQuantization,
  type PreparedForTraining,
  prepareForQuantization,
  prepareForTraining,
  type QuantizePrepareOptions,
} from './quantize-prepare.ts'
export { type ReplayOptions, replay } from './replay.ts'
export { type ReplayQuantizationOptions, replayQuantization } from './replay-quantization.ts'
export { MAX_DROP, type QuantizedWithin, quantizeWithin, type RollbackOptions } from './rollback.ts'
export { type Evaluation as RollbackEvaluation, top1Evaluation } from './rollback-evaluation.ts'
export {
  DEFAULT_ROUNDING,
  PlanRounding,
  ROUNDING_METHODS,
  type RoundedWeights,
  type RoundingChoice,
  type RoundingInputs,
  roundWeights,
  type WeightRounding,
} from './rounding.ts'
export type { Runtime } from './runtime.ts'
export {
  compareSpeed,
  guardSpeed,
  type QuantizedGuarded,
  quantizeGuarded,
  type SpeedComparison,
  type SpeedGuardRecord,
  type SpeedOptions,
  type SpeedTrial,
} from './speed-guard.ts'
export { optionsForTarget, type TargetedOptions, type TargetOptions } from './target.ts'
export { type QuantizeWeightsOptions, quantizeWeights, type WeightsQuantized } from './weight-only.ts'
