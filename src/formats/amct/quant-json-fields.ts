/** Keys of AMCT's JSON configuration of post-training quantization, with their ranges, in AMCT's order. */
import { among, between, type JsonFields, type JsonObjectOf } from '../json/fields.ts'

/** Algorithm-specific keys: a layer has those of one algorithm only. */
export const IFMR_KEYS = ['max_percentile', 'min_percentile', 'search_range', 'search_step'] as const

/** Keys that `hfmg` has and `ifmr` has not. */
export const HFMG_KEYS = ['num_of_bins'] as const

const UNIT = between({ above: 0, below: 1 })
const PERCENTILE = between({ above: 0.5, most: 1 })

/** `activation_quant_params`. */
export const ACTIVATION_FIELDS = {
  num_bits: { kind: 'integer', rule: among([4, 8, 16]) },
  max_percentile: { kind: 'float', rule: PERCENTILE },
  min_percentile: { kind: 'float', rule: PERCENTILE },
  search_range: {
    kind: 'pair',
    rule: { holds: (start, end) => start > 0 && start < end, words: '[start, end] with 0 < start < end' },
  },
  search_step: { kind: 'float', rule: between({ above: 0 }) },
  act_algo: { kind: 'word', words: ['ifmr', 'hfmg'] },
  asymmetric: { kind: 'bool' },
  num_of_bins: { kind: 'integer', rule: among([1024, 2048, 4096, 8192]) },
} as const satisfies JsonFields

/** Keys of weights that each algorithm has, beside `num_bits` and `wts_algo`. */
export const WEIGHT_ALGORITHM_KEYS = {
  arq_quantize: ['channel_wise'],
  ada_quantize: ['num_iteration', 'reg_param', 'warm_start', 'beta_range', 'channel_wise'],
  nuq_quantize: ['num_steps', 'num_of_iteration', 'channel_wise'],
} as const

/** `weight_quant_params`. */
export const WEIGHT_FIELDS = {
  num_bits: { kind: 'integer', rule: among([4, 6, 7, 8]) },
  reg_param: { kind: 'float', rule: UNIT },
  warm_start: { kind: 'float', rule: UNIT },
  num_iteration: { kind: 'integer', rule: between({ least: 0 }) },
  beta_range: {
    kind: 'pair',
    rule: { holds: (start, end) => start > end && end > 0, words: '[start, end] with start > end > 0' },
  },
  channel_wise: { kind: 'bool' },
  wts_algo: { kind: 'word', words: ['arq_quantize', 'ada_quantize', 'nuq_quantize'] },
  num_steps: { kind: 'integer', rule: among([16, 32]) },
  num_of_iteration: { kind: 'integer', rule: between({ least: 0, most: 5 }) },
} as const satisfies JsonFields

/** One layer. */
export const QUANT_LAYER_FIELDS = {
  quant_enable: { kind: 'bool' },
  dmq_balancer_param: { kind: 'float', rule: between({ least: 0.2, most: 0.8 }) },
  activation_quant_params: { kind: 'object', fields: ACTIVATION_FIELDS },
  weight_quant_params: { kind: 'object', fields: WEIGHT_FIELDS },
} as const satisfies JsonFields

/** Everything but the layers. */
export const QUANT_GLOBAL_FIELDS = {
  version: { kind: 'integer', rule: among([1]) },
  batch_num: { kind: 'integer', rule: between({ above: 0 }) },
  activation_offset: { kind: 'bool' },
  joint_quant: { kind: 'bool' },
  weight_offset: { kind: 'bool' },
  do_fusion: { kind: 'bool' },
  fakequant_precision_mode: { kind: 'word', words: ['DEFAULT', 'FORCE_FP16_QUANT'] },
  skip_fusion_layers: { kind: 'texts' },
  skip_approximation_layers: { kind: 'texts' },
  tensor_quantize: {
    kind: 'objects',
    fields: {
      layer_name: { kind: 'text' },
      input_index: { kind: 'integer', rule: between({ least: 0 }) },
      activation_quant_params: { kind: 'object', fields: ACTIVATION_FIELDS },
    },
  },
} as const satisfies JsonFields

/** How activations are quantized. */
export type AmctActivationParams = JsonObjectOf<typeof ACTIVATION_FIELDS>

/** How weights are quantized. */
export type AmctWeightParams = JsonObjectOf<typeof WEIGHT_FIELDS>

/** One layer's settings. */
export type AmctQuantLayer = JsonObjectOf<typeof QUANT_LAYER_FIELDS>

/**
 * AMCT's JSON configuration of post-training quantization: settings for all, and layers by name, which the file has
 * side by side.
 */
export type AmctQuantConfig = JsonObjectOf<typeof QUANT_GLOBAL_FIELDS> & {
  readonly layers: ReadonlyMap<string, AmctQuantLayer>
}
