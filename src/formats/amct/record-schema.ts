/**
 * AMCT's record of quantization factors, message `ScaleOffsetRecord`.
 *
 * Fields of amct_pytorch's scale_offset_record_pytorch.proto in the order of their numbers, then those of the
 * TensorFlow, ONNX and Caffe editions.
 */
import { type MessageOf, message, optional, repeated } from '../text/schema.ts'
import { PRUNE_RECORD } from './prune-schema.ts'

const LAYER = message('SingleLayerRecord', {
  scale_d: optional('float'),
  offset_d: optional('int32'),
  scale_w: repeated('float'),
  offset_w: repeated('int32'),
  shift_bit: repeated('uint32'),
  tensor_balance_factor: repeated('float'),
  skip_fusion: optional('bool'),
  dst_type: optional('string'),
  act_type: optional('string'),
  wts_type: optional('string'),
  fakequant_precision_mode: optional('string'),
  scale_h: optional('float'),
  offset_h: optional('int32'),
  scale_r: repeated('float'),
  offset_r: repeated('int32'),
  channels: optional('uint32'),
  height: optional('uint32'),
  width: optional('uint32'),
  is_tensor_quantize: optional('bool'),
  op_data_type: optional('string'),
  cluster: repeated('int32'),
  prune_producer: repeated('string'),
  prune_consumer: repeated('string'),
})

const KEY_VALUE_CACHE = message('SingleLayerKVCacheRecord', { scale: repeated('float'), offset: repeated('int32') })

/** The table of `ScaleOffsetRecord`. */
export const RECORD = message('ScaleOffsetRecord', {
  record: repeated(
    message('MapFiledEntry', {
      key: optional('string'),
      value: optional(LAYER),
      kv_cache_value: optional(KEY_VALUE_CACHE),
    }),
  ),
  prune_record: repeated(PRUNE_RECORD),
})

/** AMCT's record of quantization factors; `record.txt` holds one. */
export type AmctRecord = MessageOf<typeof RECORD>

/** The factors of one layer. */
export type AmctLayerRecord = MessageOf<typeof LAYER>
