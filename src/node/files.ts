/** Models as files: read whole, with their external weights read when needed; written so that nothing is half there. */
import { type FileHandle, open } from 'node:fs/promises'
import { basename } from 'node:path'
import { checkAborted, fail } from '../core/index.ts'
import { ensureUniqueNames, forEachGraph, type Model } from '../graph/index.ts'
import {
  decodeModel,
  type ExternalPart,
  encodeModelChunks,
  encodeModelWithExternalData,
  maybeWeightOffset,
} from '../onnx/index.ts'
import { externalDataBeside } from './external-data.ts'
import { fileError } from './file-error.ts'
import { StagedFiles } from './staged-files.ts'

// One read call moves less than 2 GiB, and Ctrl-C should not wait for all of it.
const BYTES_PER_READ = 64 * 2 ** 20
/** Protobuf's limit; larger models keep their weights in other files. */
const MAX_MODEL_BYTES = 2 ** 31 - 1

/** Options of {@link loadModel}. */
export interface FileOptions {
  /** Cancels reading or writing. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Reads an ONNX model. Weights stay views on the file's bytes; weights in other files, which must lie in the model's
 * folder, are read when they are first asked for.
 *
 * @throws WhittleError `NOT_FOUND`, `INVALID_ARGUMENT` when it cannot be read, `INVALID_FILE` when it is no ONNX model,
 *   `INVALID_MODEL` when it breaks a rule of the format.
 */
export async function loadModel(path: string, options: FileOptions = {}): Promise<Model> {
  const bytes = await readWhole(path, options.signal)
  const model = decodeModel(bytes, { name: path, externalData: externalDataBeside(path) })
  ensureUniqueNames(model)
  return model
}

async function readWhole(path: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  try {
    const handle = await open(path, 'r')
    try {
      const stats = await handle.stat()
      if (!stats.isFile()) fail('INVALID_ARGUMENT', `Model '${path}': must be a file.`)
      if (stats.size === 0) fail('INVALID_FILE', `Model '${path}': the file is empty.`)
      if (stats.size > MAX_MODEL_BYTES)
        fail(
          'INVALID_FILE',
          `Model '${path}': an ONNX file is smaller than 2 GiB; this one has ${stats.size} bytes. Is it another kind of file?`,
        )
      const bytes = await alignedSpace(handle, stats.size)
      for (let at = 0; at < bytes.length; ) {
        checkAborted(signal)
        const { bytesRead } = await handle.read(bytes, at, Math.min(BYTES_PER_READ, bytes.length - at), at)
        if (bytesRead === 0) fail('INVALID_FILE', `Model '${path}': became shorter while it was read.`)
        at += bytesRead
      }
      return bytes
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw fileError(error, 'read', path)
  }
}

/** Bytes of a file that are looked at to find where its first large weight begins. */
const HEAD_BYTES = 65536
const ALIGNMENT = 16

/** Memory for a file, so placed that its first large weight is aligned and need not be copied to be used. */
async function alignedSpace(handle: FileHandle, size: number): Promise<Uint8Array> {
  const head = new Uint8Array(Math.min(size, HEAD_BYTES))
  const { bytesRead } = await handle.read(head, 0, head.length, 0)
  const offset = maybeWeightOffset(head.subarray(0, bytesRead)) ?? 0
  const shift = (ALIGNMENT - (offset % ALIGNMENT)) % ALIGNMENT
  return new Uint8Array(new ArrayBuffer(size + shift), shift)
}

/** Options of {@link saveModel}. */
export interface SaveOptions extends FileOptions {
  /** Whether weights go to a second file, `path` + `.data`; default: only when one file would reach 2 GB. */
  readonly externalData?: boolean | undefined
}

/**
 * Writes an ONNX model, replacing a file of that name only when all of it was written.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the file cannot be written, `ABORTED`.
 */
export async function saveModel(model: Model, path: string, options: SaveOptions = {}): Promise<void> {
  const files = new StagedFiles()
  try {
    await stageModel(files, model, path, options)
    files.commit()
  } finally {
    files.discard()
  }
}

/** Writes a model into a set of files that appear together; its weights, when they are apart, before it. */
export async function stageModel(
  files: StagedFiles,
  model: Model,
  path: string,
  options: SaveOptions = {},
): Promise<void> {
  const { externalData = weightBytes(model) > MAX_MODEL_BYTES - STRUCTURE_BYTES } = options
  if (!externalData) return files.write(path, encodeModelChunks(model).chunks, options)
  const { chunks, external } = encodeModelWithExternalData(model, { location: `${basename(path)}.data` })
  await files.write(`${path}.data`, contentsOf(external.parts), options)
  await files.write(path, chunks, options)
}

/** Room for everything in a model file that is no weight. */
const STRUCTURE_BYTES = 64 * 2 ** 20

function weightBytes(model: Model): number {
  let bytes = 0
  forEachGraph(model.graph, ({ initializers }) => {
    for (const tensor of initializers.values()) bytes += tensor.byteLength
  })
  return bytes
}

/** The contents of a file of external weights, with zeros in the gaps. */
function* contentsOf(parts: readonly ExternalPart[]): Iterable<Uint8Array> {
  let at = 0
  for (const { offset, tensor } of parts) {
    if (offset > at) yield new Uint8Array(offset - at)
    yield tensor.bytes
    at = offset + tensor.byteLength
  }
}

/** The name of a model's record: `model.onnx` → `model.onnx.record.json`. */
export function recordPath(modelPath: string): string {
  return `${modelPath}.record.json`
}

/** What a file is called in records: its name without folders, so that records say nothing about a machine. */
export function fileLabel(path: string): string {
  return basename(path)
}
