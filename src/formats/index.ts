/** Configuration and record files of other tools: AMCT's and ONNX Runtime's. */
export type { AmctCalibration, AmctCalibrationConfig, AmctHfmg, AmctIfmr } from './amct/calibration-schema.ts'
export {
  readAmctCalibrationCfg,
  readAmctRetrainCfg,
  writeAmctCalibrationCfg,
  writeAmctRetrainCfg,
} from './amct/cfg.ts'
export { type Expanded, type ExpandOptions, expandAmctCalibration } from './amct/expand-calibration.ts'
export { expandAmctRetrain } from './amct/expand-retrain.ts'
export { LAYER_TYPES, type LayerTypeFacts, TYPE_ALIASES } from './amct/layer-types.ts'
export type { ReadConfig } from './amct/layered-json.ts'
export { type AmctLayer, type AmctLayers, amctLayers, quantizableLayers } from './amct/layers.ts'
export { choicesFromAmctQuantConfig } from './amct/quant-choices.ts'
export { checkAmctQuantConfig, readAmctQuantConfig, writeAmctQuantConfig } from './amct/quant-json.ts'
export type {
  AmctActivationParams,
  AmctQuantConfig,
  AmctQuantLayer,
  AmctWeightParams,
} from './amct/quant-json-fields.ts'
export { checkAmctRecord, readAmctRecord, writeAmctRecord } from './amct/record.ts'
export { choicesFromRecord, planFromRecord, type RecordOptions, recordFromPlan } from './amct/record-plan.ts'
export type { AmctLayerRecord, AmctRecord } from './amct/record-schema.ts'
export { choicesFromAmctRetrainJson } from './amct/retrain-choices.ts'
export { checkAmctRetrainJson, readAmctRetrainJson, writeAmctRetrainJson } from './amct/retrain-json.ts'
export type {
  AmctPruneParams,
  AmctRetrainDataParams,
  AmctRetrainJson,
  AmctRetrainLayer,
  AmctRetrainWeightParams,
} from './amct/retrain-json-fields.ts'
export type { AmctRetrainConfig, AmctRetrainData, AmctRetrainWeights } from './amct/retrain-schema.ts'
export type { AdaRoundChoice, QuantizationChoices, QuantizationConfigFile, RetrainChoice } from './choices.ts'
export {
  checkTensorQuantOverrides,
  type QuantTypeName,
  type ReadOverrides,
  readTensorQuantOverrides,
  type TensorOverride,
  type TensorQuantOverrides,
  writeTensorQuantOverrides,
} from './onnxruntime/overrides.ts'
export { choicesFromOverrides, overridesFromPlan } from './onnxruntime/overrides-plan.ts'
export { detectQuantizationConfig, readQuantizationConfig } from './read-config.ts'
export type { Place, TextSource } from './source.ts'
export type { ParseTextOptions } from './text/parse.ts'
