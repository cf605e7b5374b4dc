/** Models and tensors as bytes: in one piece, as a list of pieces, or with the weights in a second file. */
import { fail } from '../core/index.ts'
import type { Model } from '../graph/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { type ExternalPlacement, writeModel, writeTensor } from './encode.ts'
import { MAX_FILE_BYTES } from './wire-reader.ts'
import { joinChunks, WireWriter } from './wire-writer.ts'

/** A file as pieces to be written one after the other; large pieces are the model's own weights, not copies. */
export interface EncodedChunks {
  readonly chunks: Uint8Array[]
  readonly byteLength: number
}

function chunksOf(model: Model, external?: ExternalPlacement): EncodedChunks {
  const writer = new WireWriter()
  writeModel(writer, model, external)
  const { byteLength } = writer
  if (byteLength > MAX_FILE_BYTES)
    fail(
      'INVALID_ARGUMENT',
      `A model file must be smaller than 2 GiB, protobuf's limit; this one would have ${byteLength} bytes. ` +
        'Write its weights to an external file.',
    )
  return { chunks: writer.finish(), byteLength }
}

/**
 * A model as the pieces of an ONNX file, for `writev` or a `Blob`; weights are not copied.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the file would reach 2 GiB.
 */
export function encodeModelChunks(model: Model): EncodedChunks {
  return chunksOf(model)
}

/**
 * A model as the bytes of an ONNX file. Weights are copied; see {@link encodeModelChunks} for large models.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the file would reach 2 GiB.
 */
export function encodeModel(model: Model): Uint8Array {
  const { chunks, byteLength } = chunksOf(model)
  return joinChunks(chunks, byteLength)
}

/** A tensor as the bytes of a TensorProto file. */
export function encodeTensor(tensor: Tensor, name = ''): Uint8Array {
  const writer = new WireWriter()
  writeTensor(writer, name, tensor, undefined, new Map())
  const { byteLength } = writer
  return joinChunks(writer.finish(), byteLength)
}
