/**
 * AMCT's simplified configuration of post-training quantization, message `AMCTConfig`.
 *
 * Fields of amct_pytorch's calibration_config_pytorch.proto in the order of their numbers, then those that only the
 * TensorFlow, ONNX and Caffe editions have. `conv_calibration_config` and `fc_calibration_config` are deprecated there.
 */
import { enumeration, type MessageOf, message, oneOf, optional, repeated, required } from '../text/schema.ts'

const CALIBRATION_DATA_TYPE = enumeration('CalibrationDataType', { INT8: 1, INT16: 2 })

/** How precise the scales of the simulated network are. */
export const PRECISION_MODE = enumeration('FakequantPrecisionMode', { FORCE_FP16_QUANT: 1 })

const ARQ = message('ARQuantize', { channel_wise: optional('bool'), quant_bits: optional('uint32') })

const ADA = message('ADAquantize', {
  num_iteration: optional('uint32'),
  reg_param: optional('float'),
  beta_range_start: optional('float'),
  beta_range_end: optional('float'),
  warm_start: optional('float'),
  channel_wise: optional('bool'),
})

const NUQ_STEPS = message('NUQuantize', { num_steps: optional('uint32'), num_of_iteration: optional('uint32') })

const FMR = message('FMRQuantize', {
  search_range_start: optional('float'),
  search_range_end: optional('float'),
  search_step: optional('float'),
  max_percentile: optional('float'),
  min_percentile: optional('float'),
  asymmetric: optional('bool'),
  dst_type: optional(CALIBRATION_DATA_TYPE),
})

const HFMG = message('HFMGQuantize', {
  num_of_bins: optional('uint32'),
  asymmetric: optional('bool'),
  dst_type: optional(CALIBRATION_DATA_TYPE),
})

const CALIBRATION = message('CalibrationConfig', {
  arq_quantize: oneOf('wts_quant_algo', ARQ),
  nuq_quantize: oneOf('wts_quant_algo', NUQ_STEPS),
  ada_quantize: oneOf('wts_quant_algo', ADA),
  ifmr_quantize: oneOf('acts_quant_algo', FMR),
  hfmg_quantize: oneOf('acts_quant_algo', HFMG),
  dmq_balancer: oneOf('tensor_balancer', message('DMQBalancer', { migration_strength: optional('float') })),
})

/** The table of `AMCTConfig`. */
export const CALIBRATION_CONFIG = message('AMCTConfig', {
  batch_num: optional('uint32'),
  activation_offset: optional('bool'),
  joint_quant: optional('bool'),
  skip_layers: repeated('string'),
  skip_layer_types: repeated('string'),
  skip_approximation_layers: repeated('string'),
  nuq_config: optional(message('NuqConfig', { mapping_file: optional('string'), nuq_quantize: optional(NUQ_STEPS) })),
  tensor_quantize: repeated(
    message('TensorQuantize', {
      layer_name: required('string'),
      input_index: required('uint32'),
      ifmr_quantize: oneOf('acts_quant_algo', FMR),
      hfmg_quantize: oneOf('acts_quant_algo', HFMG),
    }),
  ),
  fakequant_precision_mode: optional(PRECISION_MODE),
  conv_calibration_config: optional(CALIBRATION),
  fc_calibration_config: optional(CALIBRATION),
  common_config: optional(CALIBRATION),
  override_layer_types: repeated(
    message('OverrideLayerType', { layer_type: required('string'), calibration_config: required(CALIBRATION) }),
  ),
  override_layer_configs: repeated(
    message('OverrideLayer', { layer_name: required('string'), calibration_config: required(CALIBRATION) }),
  ),
  do_fusion: optional('bool'),
  skip_fusion_layers: repeated('string'),
})

/** AMCT's simplified configuration of post-training quantization; `.cfg` files hold one. */
export type AmctCalibrationConfig = MessageOf<typeof CALIBRATION_CONFIG>

/** The settings of a layer, a type of layers, or all. */
export type AmctCalibration = MessageOf<typeof CALIBRATION>

/** The settings of IFMR. */
export type AmctIfmr = MessageOf<typeof FMR>

/** The settings of HFMG. */
export type AmctHfmg = MessageOf<typeof HFMG>
