/**
 * Reads GraphProto, NodeProto and AttributeProto.
 *
 * Fields that the IR does not model stay in `preserved` as they are. Where ONNX demands unique names and a file breaks
 * the rule, the later one counts (as in ONNX Runtime) unless that would lose something, which is an error.
 */
import { fail } from '../core/index.ts'
import { type Attribute, createGraph, type Graph, type Node, type Preserved } from '../graph/index.ts'
import { type DecodedTensor, decodeTensorProto, type Source } from './decode-tensor.ts'
import { decodeValueInfo } from './decode-type.ts'
import { AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto } from './schema.generated.ts'
import type { WireReader } from './wire-reader.ts'

type AttributeField = keyof typeof AttributeProto.fields

/** AttributeProto.AttributeType codes by the field that holds the value. */
export const ATTRIBUTE_CODES = {
  f: 1,
  i: 2,
  s: 3,
  t: 4,
  g: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  graphs: 10,
} as const

type ValueField = keyof typeof ATTRIBUTE_CODES

const VALUE_FIELDS = Object.keys(ATTRIBUTE_CODES) as ValueField[]

function isValueField(field: AttributeField): field is ValueField {
  return Object.hasOwn(ATTRIBUTE_CODES, field)
}

/** What the first pass over an attribute finds: enough to know how to read its value. */
interface AttributeHeader {
  name: string
  type: number
  reference: string
  present: Set<ValueField>
  /** Whether a field that protobuf would merge comes twice. */
  merged: boolean
}

function readAttributeHeader(reader: WireReader): AttributeHeader {
  const header: AttributeHeader = { name: '', type: 0, reference: '', present: new Set(), merged: false }
  reader.fields(AttributeProto, (field) => {
    if (field === 'name') header.name = reader.string()
    else if (field === 'type') header.type = reader.int32()
    else if (field === 'ref_attr_name') header.reference = reader.string()
    else {
      if (isValueField(field)) {
        if ((field === 't' || field === 'g') && header.present.has(field)) header.merged = true
        header.present.add(field)
      }
      reader.skipValue()
    }
    return true
  })
  return header
}

/** The field that holds the value; files older than IR version 3 have no type and one field only. */
function valueFieldOf(header: AttributeHeader): ValueField | undefined {
  if (header.merged) return undefined
  if (header.type === 0) return header.present.size === 1 ? [...header.present][0] : undefined
  return VALUE_FIELDS.find((field) => ATTRIBUTE_CODES[field] === header.type)
}

function tensorAttribute(
  decoded: DecodedTensor | undefined,
  rest: { readonly preserved?: Preserved },
): Attribute | undefined {
  if (!decoded?.tensor) return undefined
  const { name, tensor, notes } = decoded
  return { kind: 'tensor', value: tensor, name, ...(notes ? { notes } : {}), ...rest }
}

/** Reads the value of an attribute; `undefined` when it cannot be modelled. */
function readValue(source: Source, wanted: ValueField, name: string): Attribute | undefined {
  const { reader } = source
  const floats: number[] = []
  const ints: bigint[] = []
  const strings: Uint8Array[] = []
  const graphs: Graph[] = []
  const tensors: DecodedTensor[] = []
  const preserved = reader.fields(AttributeProto, (field) => {
    if (field === 'name' || field === 'type') {
      reader.skipValue()
      return true
    }
    if (field !== wanted) return false
    switch (wanted) {
      case 'f':
      case 'floats':
        reader.each(() => floats.push(reader.float()))
        break
      case 'i':
      case 'ints':
        reader.each(() => ints.push(reader.int64()))
        break
      case 's':
      case 'strings':
        strings.push(reader.bytes())
        break
      case 'g':
      case 'graphs':
        graphs.push(reader.message(() => decodeGraph(source)))
        break
      case 't':
        tensors.push(reader.message(() => decodeTensorProto(source, `attribute '${name}', tensor`)))
    }
    return true
  })
  const rest = preserved ? { preserved } : {}
  switch (wanted) {
    case 'f':
      return { kind: 'float', value: floats.at(-1) ?? 0, ...rest }
    case 'i':
      return { kind: 'int', value: ints.at(-1) ?? 0n, ...rest }
    case 's':
      return { kind: 'string', value: strings.at(-1) ?? new Uint8Array(0), ...rest }
    case 't':
      return tensorAttribute(tensors[0], rest)
    case 'g':
      return graphs.length === 1 ? { kind: 'graph', value: graphs[0]!, ...rest } : undefined
    case 'floats':
      return { kind: 'floats', value: floats, ...rest }
    case 'ints':
      return { kind: 'ints', value: ints, ...rest }
    case 'strings':
      return { kind: 'strings', value: strings, ...rest }
    case 'graphs':
      return { kind: 'graphs', value: graphs, ...rest }
  }
}

/** Reads an AttributeProto; the reader stands in it. */
export function decodeAttribute(source: Source): { name: string; attribute: Attribute } {
  const { reader } = source
  const start = reader.position
  const header = readAttributeHeader(reader)
  const end = reader.position
  const { name, type } = header
  let attribute: Attribute | undefined
  if (header.reference !== '') {
    reader.seek(start)
    const preserved = reader.fields(AttributeProto, (field) => {
      if (field !== 'name' && field !== 'type' && field !== 'ref_attr_name') return false
      reader.skipValue()
      return true
    })
    attribute = { kind: 'ref', value: header.reference, type, ...(preserved ? { preserved } : {}) }
  } else {
    const field = valueFieldOf(header)
    if (field !== undefined) {
      reader.seek(start)
      attribute = readValue(source, field, name)
    }
  }
  reader.seek(end)
  return { name, attribute: attribute ?? { kind: 'other', encoded: reader.slice(start, end) } }
}

/** Reads a NodeProto; the reader stands in it. */
export function decodeNode(source: Source): Node {
  const { reader } = source
  const node: Node = {
    name: '',
    opType: '',
    domain: '',
    overload: '',
    inputs: [],
    outputs: [],
    attributes: new Map(),
  }
  const preserved = reader.fields(NodeProto, (field) => {
    switch (field) {
      case 'input':
        node.inputs.push(reader.string())
        return true
      case 'output':
        node.outputs.push(reader.string())
        return true
      case 'name':
        node.name = reader.string()
        return true
      case 'op_type':
        node.opType = reader.string()
        return true
      case 'domain':
        node.domain = standardDomain(reader.string())
        return true
      case 'overload':
        node.overload = reader.string()
        return true
      case 'attribute': {
        const { name, attribute } = reader.message(() => decodeAttribute(source))
        if (node.attributes.has(name))
          fail(
            'INVALID_MODEL',
            `${reader.what}: ${node.opType || 'node'} '${node.name}': attributes must have different names; ` +
              `'${name}' is given twice.`,
          )
        node.attributes.set(name, attribute)
        return true
      }
      default:
        return false
    }
  })
  if (preserved) node.preserved = preserved
  if (node.opType === '')
    fail('INVALID_MODEL', `${reader.what}: node '${node.name || node.outputs.join(', ')}' does not name its operator.`)
  return node
}

/** The standard operator set has two names; one suffices. */
export function standardDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain
}

function sparseName(reader: WireReader): string {
  let name = ''
  reader.fields(SparseTensorProto, (field) => {
    if (field === 'values')
      reader.message(() =>
        reader.fields(TensorProto, (inner) => {
          if (inner === 'name') name = reader.string()
          else reader.skipValue()
          return true
        }),
      )
    else reader.skipValue()
    return true
  })
  return name
}

/** Reads a GraphProto; the reader stands in it. */
export function decodeGraph(source: Source): Graph {
  const { reader } = source
  const graph = createGraph('')
  const preserved = reader.fields(GraphProto, (field) => {
    switch (field) {
      case 'name':
        graph.name = reader.string()
        return true
      case 'node':
        graph.nodes.push(reader.message(() => decodeNode(source)))
        return true
      case 'initializer': {
        const { name, tensor, notes } = reader.message(() => decodeTensorProto(source, 'initializer'))
        if (!tensor) return false
        graph.initializers.set(name, tensor)
        if (notes) graph.initializerNotes.set(name, notes)
        else graph.initializerNotes.delete(name)
        return true
      }
      case 'sparse_initializer': {
        const { name, encoded } = reader.message(() => {
          const start = reader.position
          return { name: sparseName(reader), encoded: reader.slice(start, reader.position) }
        })
        if (name === '') return false
        graph.sparseInitializers.set(name, encoded)
        return true
      }
      case 'input':
        graph.inputs.push(reader.message(decodeValueInfo))
        return true
      case 'output':
        graph.outputs.push(reader.message(decodeValueInfo))
        return true
      case 'value_info': {
        const info = reader.message(decodeValueInfo)
        graph.valueInfos.set(info.name, info)
        return true
      }
      default:
        return false
    }
  })
  if (preserved) graph.preserved = preserved
  return graph
}
