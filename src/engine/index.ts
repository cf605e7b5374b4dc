export {
  collectMoments,
  type FeedSource,
  type MomentOptions,
  type MomentRequest,
} from './accumulate.ts'
export { type BenchmarkOptions, type BenchmarkResult, type BenchmarkSubject, benchmark } from './benchmark.ts'
export {
  type CompareOptions,
  compareModels,
  DifferenceSums,
  type ModelComparison,
  type ValueDifference,
} from './compare.ts'
export { createEvaluator, type EvaluatorOptions } from './evaluator.ts'
export { type InputShapeOptions, inputShapesOf, type RandomFeedOptions, randomFeeds, requiredInputs } from './feeds.ts'
export {
  INTEGER_FLAVOURS,
  type IntegerFlavour,
  type IntegerSupport,
  type IntegerSupportOptions,
  integerSupport,
  sumsSaturate,
} from './integer-support.ts'
export {
  type BatchSums,
  type CompareLayersOptions,
  compareLayers,
  type LayerDifference,
  type LayerDifferences,
} from './layer-differences.ts'
export { collectMagnitudes } from './magnitudes.ts'
export { createMatrixEngine, type MatrixEngineOptions } from './matrix-engine.ts'
export type { Moments } from './moment-sums.ts'
export { type ObservedValue, type ObserveOptions, observeShapes } from './observe.ts'
export type { OrtElementType, OrtRuntime, OrtSession, OrtSessionOptions, OrtTensor, OrtValueMetadata } from './ort.ts'
export { cutToOutputs, valueNames, withOutputs } from './outputs.ts'
export { hasQuantization, isQuantization, type PairOptions } from './quantized-layers.ts'
export { collectStatistics, type StatisticsOptions, type StatisticsRequest } from './statistics.ts'
export { type ChannelSurvey, type SurveyOptions, SurveySums, surveyValues, type ValueSurvey } from './survey.ts'
