/** AMCT's simplified configurations as `.cfg` files: text protobuf. */
import type { ParseTextOptions } from '../text/parse.ts'
import { parseText } from '../text/parse.ts'
import { printText } from '../text/print.ts'
import { type AmctCalibrationConfig, CALIBRATION_CONFIG } from './calibration-schema.ts'
import type { ReadConfig } from './layered-json.ts'
import { type AmctRetrainConfig, RETRAIN_CONFIG } from './retrain-schema.ts'

/**
 * Reads a simplified configuration of post-training quantization (`AMCTConfig`).
 *
 * @param fileName name for messages.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`.
 */
export function readAmctCalibrationCfg(
  text: string,
  fileName: string,
  options?: ParseTextOptions,
): ReadConfig<AmctCalibrationConfig> {
  const { message, source } = parseText(text, CALIBRATION_CONFIG, fileName, options)
  return { config: message, source }
}

/** Writes a simplified configuration of post-training quantization; reading it back gives equal values. */
export function writeAmctCalibrationCfg(config: AmctCalibrationConfig): string {
  return printText(CALIBRATION_CONFIG, config)
}

/**
 * Reads a simplified configuration of retraining (`AMCTRetrainConfig`): quantization-aware training, sparsity or both.
 *
 * @param fileName name for messages.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`.
 */
export function readAmctRetrainCfg(
  text: string,
  fileName: string,
  options?: ParseTextOptions,
): ReadConfig<AmctRetrainConfig> {
  const { message, source } = parseText(text, RETRAIN_CONFIG, fileName, options)
  return { config: message, source }
}

/** Writes a simplified configuration of retraining; reading it back gives equal values. */
export function writeAmctRetrainCfg(config: AmctRetrainConfig): string {
  return printText(RETRAIN_CONFIG, config)
}
