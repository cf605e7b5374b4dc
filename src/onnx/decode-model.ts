/** Reads ModelProto, FunctionProto and TensorProto files. */
import { fail, WhittleError } from '../core/index.ts'
import type { FunctionDefinition, Graph, Model } from '../graph/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { decodeAttribute } from './decode-attribute.ts'
import { decodeGraph, decodeNode, standardDomain } from './decode-graph.ts'
import { decodeTensorProto, type Source } from './decode-tensor.ts'
import { decodeEntry, type ExternalDataReader } from './external-data.ts'
import { type ForeignFile, foreignByContent, foreignBySignature } from './foreign-file.ts'
import { printable } from './printable.ts'
import { FunctionProto, ModelProto, OperatorSetIdProto } from './schema.generated.ts'
import { WireReader } from './wire-reader.ts'

/** Options of {@link decodeModel}. */
export interface DecodeOptions {
  /** Reads weights that lie in files beside the model; without it such models are refused. */
  readonly externalData?: ExternalDataReader | undefined
  /** The file's name, for messages. */
  readonly name?: string | undefined
}

function decodeOpset(reader: WireReader, opsets: Map<string, number>): void {
  let domain = ''
  let version = 0
  reader.fields(OperatorSetIdProto, (field) => {
    if (field === 'domain') domain = standardDomain(reader.string())
    else version = reader.int64Number()
    return true
  })
  const known = opsets.get(domain)
  if (known !== undefined && known !== version)
    fail(
      'INVALID_MODEL',
      `${reader.what}: an operator set is imported in one version; '${printable(domain) || 'ai.onnx'}' comes in ${known} and ${version}.`,
    )
  opsets.set(domain, version)
}

function decodeFunction(source: Source): FunctionDefinition {
  const { reader } = source
  const definition: FunctionDefinition = {
    name: '',
    domain: '',
    overload: '',
    inputs: [],
    outputs: [],
    attributes: [],
    attributeDefaults: new Map(),
    nodes: [],
    opsets: new Map(),
  }
  const preserved = reader.fields(FunctionProto, (field) => {
    switch (field) {
      case 'name':
      case 'overload':
        definition[field] = reader.string()
        return true
      case 'domain':
        definition.domain = standardDomain(reader.string())
        return true
      case 'input':
        definition.inputs.push(reader.string())
        return true
      case 'output':
        definition.outputs.push(reader.string())
        return true
      case 'attribute':
        definition.attributes.push(reader.string())
        return true
      case 'attribute_proto': {
        const { name, attribute } = reader.message(() => decodeAttribute(source, decodeGraph))
        definition.attributeDefaults.set(name, attribute)
        return true
      }
      case 'node':
        definition.nodes.push(reader.message(() => decodeNode(source)))
        return true
      case 'opset_import':
        reader.message(() => decodeOpset(reader, definition.opsets))
        return true
      default:
        return false
    }
  })
  if (preserved) definition.preserved = preserved
  return definition
}

/** Everything but the graph, which may be missing. */
type ModelParts = Omit<Model, 'graph'> & { graph: Graph | undefined }

function decodeModelProto(source: Source): ModelParts {
  const { reader } = source
  const model: ModelParts = {
    irVersion: 0,
    opsets: new Map(),
    producerName: '',
    producerVersion: '',
    graph: undefined,
    functions: [],
    metadata: new Map(),
  }
  const preserved = reader.fields(ModelProto, (field) => {
    switch (field) {
      case 'ir_version':
        model.irVersion = reader.int64Number()
        return true
      case 'opset_import':
        reader.message(() => decodeOpset(reader, model.opsets))
        return true
      case 'producer_name':
        model.producerName = reader.string()
        return true
      case 'producer_version':
        model.producerVersion = reader.string()
        return true
      case 'graph':
        if (model.graph) fail('INVALID_MODEL', `${reader.what}: a model has one graph; this one has two.`)
        model.graph = reader.message(() => decodeGraph(source))
        return true
      case 'functions':
        model.functions.push(reader.message(() => decodeFunction(source)))
        return true
      case 'metadata_props': {
        const { key, value, plain } = reader.message(decodeEntry)
        if (!plain || model.metadata.has(key)) return false
        model.metadata.set(key, value)
        return true
      }
      default:
        return false
    }
  })
  if (preserved) model.preserved = preserved
  return model
}

/**
 * Reads an ONNX model. Weights stay views on `bytes` (external ones are read when first asked for), so keep the bytes
 * unchanged while the model is in use. Both names of the standard operator set, `''` and `'ai.onnx'`, become `''`.
 *
 * @throws WhittleError `INVALID_FILE` when the bytes are no ONNX model or are damaged, `INVALID_MODEL` when what they
 * say breaks a rule of ONNX, `INVALID_ARGUMENT` when weights lie in other files and `externalData` is missing.
 */
export function decodeModel(bytes: Uint8Array, options: DecodeOptions = {}): Model {
  const what = options.name === undefined ? 'Model file' : `Model file '${options.name}'`
  if (bytes.length === 0) fail('INVALID_FILE', `${what}: the file is empty. Get it again.`)
  refuseForeign(what, foreignBySignature(bytes))
  const source: Source = { reader: new WireReader(bytes, what), externalData: options.externalData }
  try {
    const { graph, ...rest } = decodeModelProto(source)
    if (!graph)
      fail('INVALID_FILE', `${what}: an ONNX model holds a graph; this file has none. Is it another kind of file?`)
    return { ...rest, graph }
  } catch (error) {
    // Other protobuf files can be read some way before they stop making sense.
    if (error instanceof WhittleError && error.code !== 'INVALID_ARGUMENT') refuseForeign(what, foreignByContent(bytes))
    throw error
  }
}

function refuseForeign(what: string, foreign: ForeignFile | undefined): void {
  if (foreign) fail('INVALID_FILE', `${what}: an ONNX model is expected; this is ${foreign.kind}. ${foreign.advice}`)
}

/** A tensor and the name it is stored under. */
export interface NamedTensor {
  readonly name: string
  readonly tensor: Tensor
}

/**
 * Reads a TensorProto file, such as ONNX's test data.
 *
 * @throws WhittleError `INVALID_FILE`, `INVALID_MODEL`, and `UNSUPPORTED` for an element type of a later version.
 */
export function decodeTensor(bytes: Uint8Array, options: { readonly name?: string } = {}): NamedTensor {
  const what = options.name === undefined ? 'Tensor file' : `Tensor file '${options.name}'`
  if (bytes.length === 0) fail('INVALID_FILE', `${what}: the file is empty. Get it again.`)
  const reader = new WireReader(bytes, what)
  const { name, tensor } = decodeTensorProto({ reader, externalData: undefined }, 'tensor')
  if (!tensor)
    fail(
      'UNSUPPORTED',
      `${what}: the element type must be one of ONNX 1.22; that of tensor '${printable(name)}' is not.`,
    )
  return { name, tensor }
}
