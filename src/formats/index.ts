/** Configuration and record files of other tools: AMCT's and ONNX Runtime's. */
export type { AmctCalibration, AmctCalibrationConfig, AmctHfmg, AmctIfmr } from './amct/calibration-schema.ts'
export type { AmctLayerRecord, AmctRecord } from './amct/record-schema.ts'
export type { AmctRetrainConfig, AmctRetrainData, AmctRetrainWeights } from './amct/retrain-schema.ts'
export type { Place, TextSource } from './source.ts'
export type { ParseTextOptions } from './text/parse.ts'
