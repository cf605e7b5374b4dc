/** Reads TypeProto: tensor types become plain objects, everything else stays encoded. */
import type { Dimension, ValueInfo, ValueType } from '../graph/index.ts'
import { type DType, maybeDType } from '../tensor/index.ts'
import {
  TensorShapeProto,
  TensorShapeProtoDimension,
  TypeProto,
  TypeProtoTensor,
  ValueInfoProto,
} from './schema.generated.ts'
import type { WireReader } from './wire-reader.ts'

/** What a tensor type says, and whether that is all that was written. */
interface TensorFacts {
  dtype: DType | undefined
  shape: Dimension[] | undefined
  plain: boolean
}

function decodeDimension(reader: WireReader, facts: TensorFacts): Dimension {
  let dimension: Dimension = null
  const kept = reader.fields(TensorShapeProtoDimension, (field) => {
    switch (field) {
      case 'dim_value': {
        const value = reader.int64Number()
        // Some exporters write −1 for "unknown".
        dimension = value >= 0 && Number.isSafeInteger(value) ? value : null
        if (dimension === null) facts.plain = false
        return true
      }
      case 'dim_param': {
        const name = reader.string()
        dimension = name === '' ? null : name
        if (dimension === null) facts.plain = false
        return true
      }
      default:
        return false
    }
  })
  if (kept) facts.plain = false
  return dimension
}

function decodeTensorType(reader: WireReader, facts: TensorFacts): void {
  const kept = reader.fields(TypeProtoTensor, (field) => {
    if (field === 'elem_type') {
      const code = reader.int32()
      facts.dtype = maybeDType(code)
      if (facts.dtype === undefined && code !== 0) facts.plain = false
      return true
    }
    // Two shapes would have to be merged: nobody writes that, so it stays as it is.
    if (facts.shape) facts.plain = false
    const shape: Dimension[] = []
    facts.shape = shape
    const rest = reader.message(() =>
      reader.fields(TensorShapeProto, () => {
        shape.push(reader.message(() => decodeDimension(reader, facts)))
        return true
      }),
    )
    if (rest) facts.plain = false
    return true
  })
  if (kept) facts.plain = false
}

const KINDS = {
  sequence_type: 'sequence',
  map_type: 'map',
  optional_type: 'optional',
  sparse_tensor_type: 'sparse',
} as const

/** Reads a TypeProto; the reader stands in it. */
export function decodeType(reader: WireReader): ValueType {
  const start = reader.position
  const facts: TensorFacts = { dtype: undefined, shape: undefined, plain: true }
  const state: { kind: ValueType['kind'] } = { kind: 'opaque' }
  const kept = reader.fields(TypeProto, (field) => {
    if (field === 'tensor_type') {
      if (state.kind === 'tensor') facts.plain = false
      state.kind = 'tensor'
      reader.message(() => decodeTensorType(reader, facts))
      return true
    }
    if (field !== 'denotation') state.kind = KINDS[field]
    return false
  })
  const encoded = reader.slice(start, reader.position)
  if (state.kind !== 'tensor') return { kind: state.kind, encoded }
  const { dtype, shape, plain } = facts
  return kept === undefined && plain ? { kind: 'tensor', dtype, shape } : { kind: 'tensor', dtype, shape, encoded }
}

/** Reads a ValueInfoProto; the reader stands in it. */
export function decodeValueInfo(reader: WireReader): ValueInfo {
  let name = ''
  let type: ValueType | undefined
  const preserved = reader.fields(ValueInfoProto, (field) => {
    switch (field) {
      case 'name':
        name = reader.string()
        return true
      case 'type':
        // A second type would have to be merged into the first; nobody writes that.
        if (type) return false
        type = reader.message(decodeType)
        return true
      default:
        return false
    }
  })
  return preserved ? { name, type, preserved } : { name, type }
}
