/** Models as files of the browser: read from a `File` or a download, written as a `Blob`. */
import { fail } from '../core/index.ts'
import { ensureUniqueNames, type Model } from '../graph/index.ts'
import { decodeModel, encodeModelChunks } from '../onnx/index.ts'

/**
 * Reads an ONNX model. Weights stay views on the bytes.
 *
 * @param source a `File`, a `Blob`, a `Response` of `fetch`, or bytes.
 * @throws WhittleError `NOT_FOUND` for a response without success, `INVALID_FILE` when it is no ONNX model, `INVALID_MODEL` when it breaks a rule of the format, and
 * as its weights lie in other files, which a page cannot read.
 */
export async function readModel(source: Blob | Response | ArrayBuffer | Uint8Array): Promise<Model> {
  if ('status' in source && !source.ok)
    fail('NOT_FOUND', `Model '${source.url}': the server answered with status ${source.status}.`)
  const bytes =
    source instanceof Uint8Array
      ? source
      : new Uint8Array(source instanceof ArrayBuffer ? source : await source.arrayBuffer())
  const model = decodeModel(bytes, {
    name: 'name' in source && typeof source.name === 'string' ? source.name : undefined,
  })
  ensureUniqueNames(model)
  return model
}

/**
 * A model as a file to download or store; weights are not copied.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the file would reach 2 GiB.
 */
export function modelBlob(model: Model): Blob {
  return new Blob(encodeModelChunks(model).chunks as Uint8Array<ArrayBuffer>[], { type: 'application/octet-stream' })
}
