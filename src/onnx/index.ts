export { type DecodeOptions, decodeModel, decodeTensor } from './decode-model.ts'
export { type EncodedChunks, encodeModel, encodeModelChunks, encodeTensor } from './encode-model.ts'
export { assertSafeLocation, type ExternalDataReader } from './external-data.ts'
