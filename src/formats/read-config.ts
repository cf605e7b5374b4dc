/** Any of the configuration files that are understood, told apart by their contents. */
import type { Model } from '../graph/index.ts'
import { readAmctCalibrationCfg, readAmctRetrainCfg } from './amct/cfg.ts'
import { expandAmctCalibration } from './amct/expand-calibration.ts'
import { expandAmctRetrain } from './amct/expand-retrain.ts'
import { amctLayers } from './amct/layers.ts'
import { choicesFromAmctQuantConfig } from './amct/quant-choices.ts'
import { readAmctQuantConfig } from './amct/quant-json.ts'
import { readAmctRecord } from './amct/record.ts'
import { choicesFromRecord } from './amct/record-plan.ts'
import { choicesFromAmctRetrainJson } from './amct/retrain-choices.ts'
import { readAmctRetrainJson } from './amct/retrain-json.ts'
import type { QuantizationConfigFile } from './choices.ts'
import { type JsonMap, type JsonValue, readJson } from './json/read-json.ts'
import { readTensorQuantOverrides } from './onnxruntime/overrides.ts'
import { choicesFromOverrides } from './onnxruntime/overrides-plan.ts'

/** Fields that only one kind of text file has at its top level; all may be absent from a file that is almost empty. */
const RECORD_FIELDS = /(?:^|\n)\s*(?:record|prune_record)\s*:?\s*[{<]/
const RETRAIN_FIELDS = /\b(?:retrain_\w+|prune_config|quant_skip_\w+|regular_prune_\w+)\s*:?\s*[{<"'[:]/

const hasKey = (value: JsonValue | undefined, keys: readonly string[]): boolean =>
  value instanceof Map && keys.some((key) => (value as JsonMap).has(key))

/** Which JSON a file holds. */
function jsonFormat(value: JsonValue): 'amct-json' | 'amct-retrain-json' | 'tensor-quant-overrides' {
  if (!(value instanceof Map)) return 'amct-json'
  const entries = [...(value as JsonMap).values()]
  if (
    entries.some((each) =>
      hasKey(each, ['retrain_enable', 'retrain_data_config', 'retrain_weight_config', 'regular_prune_enable']),
    )
  )
    return 'amct-retrain-json'
  const isLists =
    entries.length > 0 && entries.every((each) => Array.isArray(each) && each.every((item) => item instanceof Map))
  return isLists ? 'tensor-quant-overrides' : 'amct-json'
}

function textFormat(text: string): 'amct-cfg' | 'amct-retrain-cfg' | 'amct-record' {
  const plain = text.replace(/#.*/g, '')
  if (RECORD_FIELDS.test(plain)) return 'amct-record'
  return RETRAIN_FIELDS.test(plain) ? 'amct-retrain-cfg' : 'amct-cfg'
}

/** The format of a configuration file, by its contents. @throws WhittleError `INVALID_FILE` when it starts as JSON but is none. */
export function detectQuantizationConfig(text: string, fileName: string): QuantizationConfigFile['format'] {
  return /^\ufeff?\s*[{[]/.test(text) ? jsonFormat(readJson(text, fileName).value) : textFormat(text)
}

/**
 * Reads a configuration of quantization for a model: AMCT's JSON (calibration or retraining), AMCT's simplified `.cfg`
 * (either), AMCT's `record.txt`, or ONNX Runtime's `TensorQuantOverrides`; told apart by contents.
 *
 * @param fileName name for messages.
 * @param model as it will be quantized: prepared, with batch normalisations folded.
 * @returns what the file asks of quantization, its warnings among it.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN`: syntax, unknown keys and fields, repeated keys, layers
 *   that do not exist, values out of range, nothing enabled.
 */
export function readQuantizationConfig(text: string, fileName: string, model: Model): QuantizationConfigFile {
  const format = detectQuantizationConfig(text, fileName)
  const layers = amctLayers(model)
  switch (format) {
    case 'amct-json': {
      const { config, source } = readAmctQuantConfig(text, fileName, layers)
      return { format, source, choices: choicesFromAmctQuantConfig(config, layers) }
    }
    case 'amct-retrain-json': {
      const { config, source } = readAmctRetrainJson(text, fileName, layers)
      return { format, source, choices: choicesFromAmctRetrainJson(config, layers) }
    }
    case 'amct-cfg': {
      const { config, source } = readAmctCalibrationCfg(text, fileName)
      const expanded = expandAmctCalibration(config, layers, { source })
      const choices = choicesFromAmctQuantConfig(expanded.config, layers)
      return { format, source, choices: { ...choices, warnings: [...expanded.warnings, ...choices.warnings] } }
    }
    case 'amct-retrain-cfg': {
      const { config, source } = readAmctRetrainCfg(text, fileName)
      const expanded = expandAmctRetrain(config, layers, { source })
      const choices = choicesFromAmctRetrainJson(expanded.config, layers)
      return { format, source, choices: { ...choices, warnings: [...expanded.warnings, ...choices.warnings] } }
    }
    case 'amct-record': {
      const { config, source } = readAmctRecord(text, fileName)
      return { format, source, choices: choicesFromRecord(config, model, { source }) }
    }
    case 'tensor-quant-overrides': {
      const { config, source } = readTensorQuantOverrides(text, fileName, model)
      return { format, source, choices: choicesFromOverrides(config, model, source) }
    }
  }
}
