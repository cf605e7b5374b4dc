/**
 * Recognises files that are often mistaken for ONNX models, by their content, so that the error can say what they are.
 * Sources: the formats' own magic numbers; for TensorFlow, graph.proto, meta_graph.proto and saved_model.proto.
 */
import { messageType } from './message-type.ts'
import { TensorProto } from './schema.generated.ts'
import { WireReader } from './wire-reader.ts'

const EXPORT_TORCH = 'Export the network with torch.onnx.export.'
const EXPORT_TF = 'Convert it with tf2onnx.'

/** `this is …` and what to do about it. */
export interface ForeignFile {
  readonly kind: string
  readonly advice: string
}

const SIGNATURES: readonly (ForeignFile & { readonly offset?: number; readonly bytes: string })[] = [
  { bytes: '\x89HDF\r\n\x1a\n', kind: 'an HDF5 file (Keras weights)', advice: EXPORT_TF },
  // Flatbuffers: a small 32-bit offset, then the mark. The zeros tell them from a producer's name in an ONNX file.
  { offset: 2, bytes: '\0\0TFL3', kind: 'a TensorFlow Lite model', advice: EXPORT_TF },
  {
    offset: 2,
    bytes: '\0\0ORTM',
    kind: "a model in ONNX Runtime's own format",
    advice: 'Use the ONNX file it was made of.',
  },
  { bytes: 'GGUF', kind: 'a GGUF file', advice: 'Use the ONNX export of the network.' },
  { bytes: '\x93NUMPY', kind: 'a NumPy array', advice: 'Give the model file.' },
  { bytes: '\x1f\x8b', kind: 'a gzip archive', advice: 'Unpack it first.' },
  { bytes: '7z\xbc\xaf\x27\x1c', kind: 'a 7-Zip archive', advice: 'Unpack it first.' },
  { bytes: '\xfd7zXZ\0', kind: 'an xz archive', advice: 'Unpack it first.' },
  { bytes: '\x28\xb5\x2f\xfd', kind: 'a Zstandard archive', advice: 'Unpack it first.' },
  { offset: 257, bytes: 'ustar', kind: 'a tar archive', advice: 'Unpack it first.' },
  { bytes: '\x7fELF', kind: 'a program', advice: 'Give the model file.' },
  { bytes: '\x89PNG', kind: 'a PNG image', advice: 'Give the model file.' },
  { bytes: '\xff\xd8\xff', kind: 'a JPEG image', advice: 'Give the model file.' },
]

function matches(bytes: Uint8Array, signature: string, offset = 0): boolean {
  if (bytes.length < offset + signature.length) return false
  for (let i = 0; i < signature.length; i++) if (bytes[offset + i] !== signature.charCodeAt(i)) return false
  return true
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  let text = ''
  for (let i = start; i < Math.min(end, bytes.length); i++) text += String.fromCharCode(bytes[i]!)
  return text
}

function zipKind(bytes: Uint8Array): ForeignFile {
  // The name of the first entry stands behind its 30-byte header.
  const name = latin1(bytes, 30, 30 + (bytes[26] ?? 0) + 256 * (bytes[27] ?? 0)).slice(0, 200)
  if (name.endsWith('.npy')) return { kind: 'a NumPy archive (.npz)', advice: 'Give the model file.' }
  if (name.endsWith('.onnx')) return { kind: 'a zip archive with an ONNX file', advice: 'Unpack it first.' }
  if (/(^|\/)(data\.pkl|version|byteorder|\.format_version|constants\.pkl)$/.test(name))
    return { kind: 'a PyTorch checkpoint', advice: EXPORT_TORCH }
  if (name === 'metadata.json' || name === 'config.json') return { kind: 'a Keras model', advice: EXPORT_TF }
  return {
    kind: 'a zip archive',
    advice: 'Unpack it first; if it is a PyTorch checkpoint, export it with torch.onnx.export.',
  }
}

/** Files that begin with readable text, tested on the first characters. */
const TEXTS: readonly (ForeignFile & { readonly pattern: RegExp })[] = [
  {
    pattern: /^version https:\/\/git-lfs/,
    kind: 'a Git LFS pointer, not the file itself',
    advice: "Run 'git lfs pull'.",
  },
  {
    pattern: /^\s*<(!doctype\s+html|html|head|body)/i,
    kind: 'a web page',
    advice: 'The download probably failed; get the file again.',
  },
  { pattern: /^\s*<\?xml/, kind: 'an XML file', advice: 'Give the ONNX file.' },
  { pattern: /^\s*[{[]/, kind: 'a JSON file', advice: 'Give the ONNX file.' },
  {
    pattern: /^\s*ir_version\s*:/,
    kind: "an ONNX model in protobuf's text form",
    advice: 'Convert it to the binary form with onnx.save.',
  },
  { pattern: /^/, kind: 'a text file', advice: 'Give the ONNX file.' },
]

/** Whether the beginning is text: control characters other than white space give binary files away. */
function isText(bytes: Uint8Array): boolean {
  const end = Math.min(bytes.length, 1024)
  for (let i = 0; i < end; i++) {
    const byte = bytes[i]!
    if ((byte < 0x20 && byte !== 9 && byte !== 10 && byte !== 13) || byte === 0x7f) return false
  }
  try {
    // A character may be cut off at the end: leave the last bytes out.
    new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, bytes.length > 1024 ? end - 4 : end))
    return true
  } catch {
    return bytes.length > 1024
  }
}

/** What the file is when its first bytes say that it is no ONNX model; `undefined` when they do not. */
export function foreignBySignature(bytes: Uint8Array): ForeignFile | undefined {
  for (const signature of SIGNATURES) if (matches(bytes, signature.bytes, signature.offset)) return signature
  if (matches(bytes, 'PK\x03\x04')) return zipKind(bytes)
  // Pickle protocol 2 to 5, which old PyTorch checkpoints are.
  if (bytes[0] === 0x80 && bytes[1]! >= 2 && bytes[1]! <= 5)
    return matches(bytes, '\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19', 2)
      ? { kind: 'a PyTorch checkpoint', advice: EXPORT_TORCH }
      : { kind: 'a Python pickle', advice: `If it is a PyTorch network: ${EXPORT_TORCH}` }
  // A 64-bit length, then a JSON header.
  if (matches(bytes, '\0\0{"', 6) || matches(bytes, '\0\0{ ', 6))
    return { kind: 'a safetensors file', advice: 'It holds weights only; export the network as ONNX.' }
  if (bytes.length > 0 && isText(bytes)) {
    const beginning = latin1(bytes, 0, 256)
    return TEXTS.find(({ pattern }) => pattern.test(beginning))
  }
  return undefined
}

const GraphDef = /* @__PURE__ */ messageType('GraphDef', { node: { number: 1, type: 'message', repeated: true } })
const NodeDef = /* @__PURE__ */ messageType('NodeDef', {
  name: { number: 1, type: 'string' },
  op: { number: 2, type: 'string' },
})
const SavedModel = /* @__PURE__ */ messageType('SavedModel', { meta_graphs: { number: 2, type: 'message' } })
const MetaGraphDef = /* @__PURE__ */ messageType('MetaGraphDef', { graph_def: { number: 2, type: 'message' } })

/** Whether a message has the field and `test` holds for its first value. */
function firstHolds<K extends string>(
  reader: WireReader,
  type: ReturnType<typeof messageType<K>>,
  wanted: K,
  test: (reader: WireReader) => boolean,
): boolean {
  let result: boolean | undefined
  reader.fields(type, (field) => {
    if (field === wanted && result === undefined) {
      result = reader.message(test)
      return true
    }
    reader.skipValue()
    return true
  })
  return result === true
}

function isNodeDef(reader: WireReader): boolean {
  let name = ''
  let op = ''
  reader.fields(NodeDef, (field) => {
    if (field === 'name') name = reader.string()
    else op = reader.string()
    return true
  })
  return name !== '' && /^[A-Za-z_]\w*$/.test(op)
}

const isGraphDef = (reader: WireReader): boolean => firstHolds(reader, GraphDef, 'node', isNodeDef)

const isSavedModel = (reader: WireReader): boolean =>
  firstHolds(reader, SavedModel, 'meta_graphs', (meta) => firstHolds(meta, MetaGraphDef, 'graph_def', isGraphDef))

function isTensorProto(reader: WireReader): boolean {
  let type = 0
  let hasData = false
  const rest = reader.fields(TensorProto, (field) => {
    if (field === 'data_type') type = reader.int32()
    else {
      if (field.endsWith('_data')) hasData = true
      reader.skipValue()
    }
    return true
  })
  return rest === undefined && type > 0 && hasData
}

const PROTOBUFS: readonly (ForeignFile & { readonly test: (reader: WireReader) => boolean })[] = [
  { test: isSavedModel, kind: 'a TensorFlow SavedModel', advice: EXPORT_TF },
  { test: isGraphDef, kind: 'a TensorFlow graph (GraphDef)', advice: EXPORT_TF },
  { test: isTensorProto, kind: 'a single ONNX tensor', advice: 'Give the model file.' },
]

/** What a file is that could not be read as a model, if it is another protobuf that is known. */
export function foreignByContent(bytes: Uint8Array): ForeignFile | undefined {
  return PROTOBUFS.find(({ test }) => {
    try {
      return test(new WireReader(bytes, ''))
    } catch {
      return false
    }
  })
}
