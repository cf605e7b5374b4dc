/** AMCT's calls in camelCase, over the same library: configurations, records and models as its files. */
export {
  type AutoCalibrated,
  type AutoCalibrationEvaluator,
  type AutoCalibrationOptions,
  accuracyBasedAutoCalibration,
} from './auto-calibration.ts'
export { createQuantConfig, type QuantConfigOptions, quantizeModel, saveModel } from './quantize.ts'
export {
  type AmctRuntimeOptions,
  createQuantRetrainConfig,
  createQuantRetrainModel,
  type QuantRetrainModel,
  type RetrainConfigOptions,
  type RetrainModelOptions,
  type SavedModels,
  saveQuantRetrainModel,
} from './retrain.ts'
