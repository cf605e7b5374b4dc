/**
 * AMCT's simplified configuration of retraining (quantization-aware training, sparsity, or both), message
 * `AMCTRetrainConfig` of amct_pytorch's retrain_config_pytorch.proto, fields in the order of their numbers.
 */
import { enumeration, type MessageOf, message, oneOf, optional, repeated, required } from '../text/schema.ts'
import { PRECISION_MODE } from './calibration-schema.ts'
import { PRUNE_CONFIG } from './prune-schema.ts'

const DATA_TYPE = enumeration('DataType', { INT4: 0, INT8: 1, INT16: 2 })

const DATA = message('RetrainDataQuantConfig', {
  ulq_quantize: oneOf(
    'data_retrain_algo',
    message('ActULQquantize', {
      clip_max_min: optional(message('ClipMaxMin', { clip_max: required('float'), clip_min: required('float') })),
      fixed_min: optional('bool'),
      dst_type: optional(DATA_TYPE),
    }),
  ),
})

const WEIGHTS = message('RetrainWeightQuantConfig', {
  arq_retrain: oneOf(
    'weights_retrain_algo',
    message('ARQRetrain', { dst_type: optional(DATA_TYPE), channel_wise: optional('bool') }),
  ),
  ulq_retrain: oneOf(
    'weights_retrain_algo',
    message('WtsULQRetrain', { dst_type: optional(DATA_TYPE), channel_wise: optional('bool') }),
  ),
})

const SETTINGS = {
  retrain_data_quant_config: optional(DATA),
  retrain_weight_quant_config: optional(WEIGHTS),
  prune_config: optional(PRUNE_CONFIG),
} as const

/** The table of `AMCTRetrainConfig`. */
export const RETRAIN_CONFIG = message('AMCTRetrainConfig', {
  batch_num: optional('uint32'),
  retrain_data_quant_config: optional(DATA),
  retrain_weight_quant_config: optional(WEIGHTS),
  skip_layers: repeated('string'),
  override_layer_configs: repeated(message('RetrainOverrideLayer', { layer_name: required('string'), ...SETTINGS })),
  skip_layer_types: repeated('string'),
  override_layer_types: repeated(message('RetrainOverrideLayerType', { layer_type: required('string'), ...SETTINGS })),
  prune_config: optional(PRUNE_CONFIG),
  regular_prune_skip_layers: repeated('string'),
  regular_prune_skip_types: repeated('string'),
  quant_skip_layers: repeated('string'),
  quant_skip_types: repeated('string'),
  fakequant_precision_mode: optional(PRECISION_MODE),
})

/** AMCT's simplified configuration of retraining; `.cfg` files hold one. */
export type AmctRetrainConfig = MessageOf<typeof RETRAIN_CONFIG>

/** The settings of activations. */
export type AmctRetrainData = MessageOf<typeof DATA>

/** The settings of weights. */
export type AmctRetrainWeights = MessageOf<typeof WEIGHTS>
