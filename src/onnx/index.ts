export { type DecodeOptions, decodeModel, decodeTensor, type NamedTensor } from './decode-model.ts'
export {
  type EncodedChunks,
  type EncodedWithDetachedWeights,
  type EncodedWithExternalData,
  type ExternalDataOptions,
  type ExternalPart,
  encodeModel,
  encodeModelChunks,
  encodeModelWithDetachedWeights,
  encodeModelWithExternalData,
  encodeTensor,
} from './encode-model.ts'
export { assertSafeLocation, type ExternalDataReader } from './external-data.ts'
export { maybeWeightOffset } from './weight-offset.ts'
