/** Models and tensors as bytes: in one piece, as a list of pieces, or with the weights in a second file. */
import { fail } from '../core/index.ts'
import { forEachGraph, forEachModelNode, type Model } from '../graph/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { type ExternalPlacement, writeModel, writeTensor } from './encode.ts'
import { assertSafeLocation } from './external-data.ts'
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

/** Options of {@link encodeModelWithExternalData}. */
export interface ExternalDataOptions {
  /** The second file, relative to the model's folder, e.g. `'model.onnx.data'`. */
  readonly location: string
  /** Weights of at least this many bytes go to the second file; default 1024, as in ONNX's own tools. */
  readonly thresholdBytes?: number | undefined
}

/** A weight and where its bytes belong in the second file. */
export interface ExternalPart {
  readonly offset: number
  readonly tensor: Tensor
}

/** A model file and the file with its weights. */
export interface EncodedWithExternalData extends EncodedChunks {
  readonly external: {
    readonly location: string
    /** In order of their offsets; the gaps between them are zeros. */
    readonly parts: readonly ExternalPart[]
    readonly byteLength: number
  }
}

/** Weights from this size on begin on a page of their own. */
const PAGED_BYTES = 1024 * 1024
/** Windows maps files at multiples of 64 KiB only (elsewhere 4 KiB would do): what ONNX's own tools use. */
const PAGE_BYTES = 64 * 1024
/** Smaller ones begin on a cache line: padding each to a page would cost more than mapping them saves. */
const LINE_BYTES = 64

/** Gives each large weight of the graph and its subgraphs a place in the second file; equal tensors share one. */
function placeTensors(model: Model, location: string, thresholdBytes: number) {
  const placement = new Map<Tensor, { location: string; offset: number }>()
  const parts: ExternalPart[] = []
  let byteLength = 0
  forEachGraph(model.graph, (graph) => {
    for (const tensor of graph.initializers.values()) {
      if (tensor.dtype === 'string' || tensor.byteLength < thresholdBytes || placement.has(tensor)) continue
      const alignment = tensor.byteLength >= PAGED_BYTES ? PAGE_BYTES : LINE_BYTES
      const offset = Math.ceil(byteLength / alignment) * alignment
      placement.set(tensor, { location, offset })
      parts.push({ offset, tensor })
      byteLength = offset + tensor.byteLength
    }
  })
  return { placement, external: { location, parts, byteLength } }
}

/**
 * A model with its large weights in a second file: the only form for models of 2 GiB and more. Write each part's
 * `tensor.bytes` at its offset; bytes are not read before that.
 *
 * @throws WhittleError `INVALID_MODEL` for a location outside the model's folder, `INVALID_ARGUMENT` when the model
 * file itself would still reach 2 GiB.
 */
export function encodeModelWithExternalData(model: Model, options: ExternalDataOptions): EncodedWithExternalData {
  const { location, thresholdBytes = 1024 } = options
  assertSafeLocation(location, 'External weights')
  const { placement, external } = placeTensors(model, location, Math.max(1, thresholdBytes))
  return { ...chunksOf(model, placement), external }
}

/** A model file without its large weights, and these as files of their own. */
export interface EncodedWithDetachedWeights {
  readonly bytes: Uint8Array
  readonly weights: readonly { readonly location: string; readonly tensor: Tensor }[]
}

/**
 * A model with each large weight in an external file of its own, for runtimes that take such files from memory: weights
 * are neither copied nor limited by protobuf's 2 GiB.
 *
 * Weights of subgraphs and attributes stay in the model file; ONNX Runtime does not look for them elsewhere in memory.
 *
 * @param thresholdBytes smaller weights stay in the model file.
 * @throws WhittleError `INVALID_ARGUMENT` when the model file itself would still reach 2 GiB.
 */
export function encodeModelWithDetachedWeights(model: Model, thresholdBytes: number): EncodedWithDetachedWeights {
  const inner = new Set<Tensor>()
  forEachGraph(model.graph, (graph) => {
    if (graph !== model.graph) for (const tensor of graph.initializers.values()) inner.add(tensor)
  })
  forEachModelNode(model, (node) => {
    for (const attribute of node.attributes.values()) if (attribute.kind === 'tensor') inner.add(attribute.value)
  })
  const placement = new Map<Tensor, { location: string; offset: number }>()
  for (const tensor of model.graph.initializers.values())
    if (
      tensor.dtype !== 'string' &&
      tensor.byteLength >= thresholdBytes &&
      !inner.has(tensor) &&
      !placement.has(tensor)
    )
      placement.set(tensor, { location: `weight-${placement.size}`, offset: 0 })
  const { chunks, byteLength } = chunksOf(model, placement)
  return {
    bytes: joinChunks(chunks, byteLength),
    weights: [...placement].map(([tensor, { location }]) => ({ location, tensor })),
  }
}

/** A tensor as the bytes of a TensorProto file. */
export function encodeTensor(tensor: Tensor, name = ''): Uint8Array {
  const writer = new WireWriter()
  writeTensor(writer, name, tensor, undefined, new Map())
  const { byteLength } = writer
  return joinChunks(writer.finish(), byteLength)
}
