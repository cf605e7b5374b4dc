/**
 * Reads AttributeProto. Its type comes after its value in most files, so small values are read as they come and
 * kept if the type agrees; tensors, graphs and unusual combinations are read in a second pass.
 * Source: onnx.proto3 `AttributeProto` (onnx v1.22.0).
 */
import type { Attribute, Graph, Preserved } from '../graph/index.ts'
import { type DecodedTensor, decodeTensorProto, type Source } from './decode-tensor.ts'
import { printable } from './printable.ts'
import { AttributeProto } from './schema.generated.ts'

/** AttributeProto.AttributeType codes of the kinds that are modelled, by the field that holds the value. */
const TYPE_CODES = { f: 1, i: 2, s: 3, t: 4, g: 5, floats: 6, ints: 7, strings: 8, graphs: 10 } as const

type ValueField = keyof typeof TYPE_CODES

const FIELD_OF_TYPE = new Map<number, ValueField>(
  (Object.keys(TYPE_CODES) as ValueField[]).map((field) => [TYPE_CODES[field], field]),
)

/** Fields that hold one value. */
const SINGLE: ReadonlySet<ValueField> = new Set(['f', 'i', 's', 't', 'g'])

const NO_BYTES = new Uint8Array(0)

/** What a pass over an attribute found. */
interface Parts {
  name: string
  type: number
  reference: string
  /** The field that held a value, the last one if there were several. */
  field: ValueField | undefined
  /** Whether there were values in several fields, or several where one is allowed. */
  several: boolean
  float: number
  int: bigint
  bytes: Uint8Array
  floats: number[] | undefined
  ints: bigint[] | undefined
  strings: Uint8Array[] | undefined
  tensor: DecodedTensor | undefined
  graphs: Graph[]
  preserved: Preserved | undefined
}

/** Reads the graph of an attribute; handed in because graphs and attributes contain each other. */
export type GraphReader = (source: Source) => Graph

/**
 * A pass over an attribute. Without `wanted`, all values but tensors and graphs are read; with it, only that field is
 * and all others are preserved.
 */
function readParts(source: Source, wanted: ValueField | undefined, readGraph: GraphReader): Parts {
  const { reader } = source
  const parts: Parts = {
    name: '',
    type: 0,
    reference: '',
    field: undefined,
    several: false,
    float: 0,
    int: 0n,
    bytes: NO_BYTES,
    floats: undefined,
    ints: undefined,
    strings: undefined,
    tensor: undefined,
    graphs: [],
    preserved: undefined,
  }
  parts.preserved = reader.fields(AttributeProto, (field) => {
    switch (field) {
      case 'name':
        parts.name = reader.string()
        return true
      case 'type':
        parts.type = reader.int32()
        return true
      case 'ref_attr_name':
        parts.reference = reader.string()
        return true
      case 'f':
      case 'i':
      case 's':
      case 't':
      case 'g':
      case 'floats':
      case 'ints':
      case 'strings':
      case 'graphs':
        if (wanted !== undefined && wanted !== field) return false
        if (parts.field !== undefined && (parts.field !== field || SINGLE.has(field))) parts.several = true
        parts.field = field
        readValue(source, field, parts, wanted === undefined ? undefined : readGraph)
        return true
      default:
        return false
    }
  })
  return parts
}

function readValue(source: Source, field: ValueField, parts: Parts, readGraph: GraphReader | undefined): void {
  const { reader } = source
  switch (field) {
    case 'f':
      parts.float = reader.float()
      break
    case 'i':
      parts.int = reader.int64()
      break
    case 's':
      parts.bytes = reader.bytes()
      break
    case 'floats':
      reader.floatsInto((parts.floats ??= []))
      break
    case 'ints':
      reader.int64sInto((parts.ints ??= []))
      break
    case 'strings':
      ;(parts.strings ??= []).push(reader.bytes())
      break
    case 't':
      if (!readGraph) reader.skipValue()
      else
        parts.tensor = reader.message(() => decodeTensorProto(source, `attribute '${printable(parts.name)}', tensor`))
      break
    case 'g':
    case 'graphs':
      if (!readGraph) reader.skipValue()
      else parts.graphs.push(reader.message(() => readGraph(source)))
  }
}

/** The attribute of a field's value; `undefined` when a tensor's element type is unknown or a graph is missing. */
function attributeOf(field: ValueField, parts: Parts): Attribute | undefined {
  const rest = parts.preserved ? { preserved: parts.preserved } : undefined
  switch (field) {
    case 'f':
      return { kind: 'float', value: parts.float, ...rest }
    case 'i':
      return { kind: 'int', value: parts.int, ...rest }
    case 's':
      return { kind: 'string', value: parts.bytes, ...rest }
    case 'floats':
      return { kind: 'floats', value: parts.floats ?? [], ...rest }
    case 'ints':
      return { kind: 'ints', value: parts.ints ?? [], ...rest }
    case 'strings':
      return { kind: 'strings', value: parts.strings ?? [], ...rest }
    case 't': {
      const { name = '', tensor, notes } = parts.tensor ?? {}
      return tensor && { kind: 'tensor', value: tensor, name, ...(notes && { notes }), ...rest }
    }
    case 'g':
      return parts.graphs[0] && { kind: 'graph', value: parts.graphs[0], ...rest }
    case 'graphs':
      return { kind: 'graphs', value: parts.graphs, ...rest }
  }
}

/** Reads an AttributeProto; the reader stands in it. What cannot be modelled becomes an attribute of kind `other`. */
export function decodeAttribute(source: Source, readGraph: GraphReader): { name: string; attribute: Attribute } {
  const { reader } = source
  const start = reader.position
  const parts = readParts(source, undefined, readGraph)
  const end = reader.position
  const { name, type, field, several, reference } = parts
  // Files older than IR version 3 give no type.
  const wanted = type === 0 && !several ? field : FIELD_OF_TYPE.get(type)
  let attribute: Attribute | undefined
  if (reference !== '') {
    if (field === undefined)
      attribute = { kind: 'ref', value: reference, type, ...(parts.preserved && { preserved: parts.preserved }) }
  } else if (wanted !== undefined) {
    const isSmall = wanted !== 't' && wanted !== 'g' && wanted !== 'graphs'
    if (isSmall && !several && (field === undefined || field === wanted)) attribute = attributeOf(wanted, parts)
    else {
      reader.seek(start)
      const again = readParts(source, wanted, readGraph)
      // Two tensors or graphs in one field would have to be merged: nobody writes that, so it stays as it is.
      if (isSmall || !again.several) attribute = attributeOf(wanted, again)
      reader.seek(end)
    }
  }
  return { name, attribute: attribute ?? { kind: 'other', encoded: reader.slice(start, end) } }
}
