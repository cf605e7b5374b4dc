/** Messages on sparsity that AMCT's configuration of retraining and its records share, and ONNX-like attributes. */
import { enumeration, message, oneOf, optional, repeated, required } from '../text/schema.ts'

const FILTER_PRUNER = message('FilterPruner', {
  balanced_l2_norm_filter_prune: oneOf(
    'filter_pruner_algo',
    message('BalancedL2NormFilterPruner', { prune_ratio: required('float'), ascend_optimized: optional('bool') }),
  ),
})

const N_OUT_OF_M_PRUNER = message('NOutOfMPruner', {
  l1_selective_prune: oneOf(
    'n_out_of_m_pruner_algo',
    message('L1SelectivePruner', {
      n_out_of_m_type: optional(enumeration('NOutOfMType', { M4N2: 0 })),
      update_freq: optional('uint32'),
    }),
  ),
})

/** How layers are made sparse. */
export const PRUNE_CONFIG = message('PruneConfig', {
  filter_pruner: oneOf('regular_prune_strategy', FILTER_PRUNER),
  n_out_of_m_pruner: oneOf('regular_prune_strategy', N_OUT_OF_M_PRUNER),
})

const ATTRIBUTE = message('AttrProto', {
  name: optional('string'),
  type: optional(
    enumeration('AttrType', { UNDEFINED: 0, FLOAT: 1, INT: 2, STRING: 3, FLOATS: 4, INTS: 5, STRINGS: 6 }),
  ),
  f: optional('float'),
  i: optional('int64'),
  s: optional('bytes'),
  floats: repeated('float'),
  ints: repeated('int64'),
  strings: repeated('bytes'),
})

/** A layer that channels are taken from, or one that sees fewer of them. */
export const PRUNE_NODE = message('PruneNode', { name: required('string'), attr: repeated(ATTRIBUTE) })

/** Layers that lose channels together, or one layer that is made 2:4 sparse. */
export const PRUNE_RECORD = message('PruneRecord', {
  producer: repeated(PRUNE_NODE),
  consumer: repeated(PRUNE_NODE),
  selective_prune: optional(PRUNE_NODE),
})
