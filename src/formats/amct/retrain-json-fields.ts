/** Keys of AMCT's JSON configuration of retraining, with their ranges, in AMCT's order. */
import { among, between, type JsonFields, type JsonObjectOf } from '../json/fields.ts'

const TYPES = ['INT4', 'INT8', 'INT16'] as const

/** `retrain_data_config`. */
export const RETRAIN_DATA_FIELDS = {
  algo: { kind: 'word', words: ['ulq_quantize'] },
  clip_max: { kind: 'float', rule: between({ above: 0 }) },
  clip_min: { kind: 'float', rule: between({ below: 0 }) },
  fixed_min: { kind: 'bool' },
  dst_type: { kind: 'word', words: TYPES },
} as const satisfies JsonFields

/** `retrain_weight_config`. */
export const RETRAIN_WEIGHT_FIELDS = {
  algo: { kind: 'word', words: ['arq_retrain', 'ulq_retrain'] },
  channel_wise: { kind: 'bool' },
  dst_type: { kind: 'word', words: TYPES },
} as const satisfies JsonFields

/** `regular_prune_config`. */
export const PRUNE_FIELDS = {
  prune_type: { kind: 'word', words: ['filter_prune', 'selective_prune', 'no_prune_enable'] },
  algo: { kind: 'word', words: ['balanced_l2_norm_filter_prune', 'l1_selective_prune'] },
  prune_ratio: { kind: 'float', rule: between({ above: 0, below: 1 }) },
  ascend_optimized: { kind: 'bool' },
  n_out_of_m_type: { kind: 'word', words: ['M4N2'] },
  update_freq: { kind: 'integer', rule: between({ least: 0 }) },
} as const satisfies JsonFields

/** One layer. */
export const RETRAIN_LAYER_FIELDS = {
  retrain_enable: { kind: 'bool' },
  retrain_data_config: { kind: 'object', fields: RETRAIN_DATA_FIELDS },
  retrain_weight_config: { kind: 'object', fields: RETRAIN_WEIGHT_FIELDS },
  regular_prune_enable: { kind: 'bool' },
  regular_prune_config: { kind: 'object', fields: PRUNE_FIELDS },
} as const satisfies JsonFields

/** Everything but the layers. */
export const RETRAIN_GLOBAL_FIELDS = {
  version: { kind: 'integer', rule: among([1]) },
  fakequant_precision_mode: { kind: 'word', words: ['DEFAULT', 'FORCE_FP16_QUANT'] },
  batch_num: { kind: 'integer', rule: between({ above: 0 }) },
} as const satisfies JsonFields

/** One layer's settings. */
export type AmctRetrainLayer = JsonObjectOf<typeof RETRAIN_LAYER_FIELDS>

/** How a layer's activations are retrained. */
export type AmctRetrainDataParams = JsonObjectOf<typeof RETRAIN_DATA_FIELDS>

/** How a layer's weights are retrained. */
export type AmctRetrainWeightParams = JsonObjectOf<typeof RETRAIN_WEIGHT_FIELDS>

/** How a layer is made sparse. */
export type AmctPruneParams = JsonObjectOf<typeof PRUNE_FIELDS>

/** AMCT's JSON configuration of retraining: settings for all, and layers by name. */
export type AmctRetrainJson = JsonObjectOf<typeof RETRAIN_GLOBAL_FIELDS> & {
  readonly layers: ReadonlyMap<string, AmctRetrainLayer>
}
