/**
 * Reads TensorProto. Whatever field the data came in, a tensor has little-endian bytes afterwards: a view on the file
 * for `raw_data` and packed float and double data, a converted copy for the lists of integers.
 *
 * A tensor's claimed shape is compared with the bytes that are there before anything is allocated.
 * Source: onnx.proto3 `TensorProto` (onnx v1.22.0).
 */
import { fail, invariant } from '../core/index.ts'
import type { Preserved } from '../graph/index.ts'
import { byteLengthOf, DTYPES, type DType, maybeDType, Tensor } from '../tensor/index.ts'
import { decodeEntry, type ExternalDataReader, parseExternalData } from './external-data.ts'
import { printable } from './printable.ts'
import { TensorProto } from './schema.generated.ts'
import type { WireReader } from './wire-reader.ts'

/** The bytes being read and what they refer to. */
export interface Source {
  readonly reader: WireReader
  readonly externalData: ExternalDataReader | undefined
}

/** A tensor as it stood in the file. */
export interface DecodedTensor {
  readonly name: string
  /** `undefined` for an element type that this version does not know: keep the encoded tensor then. */
  readonly tensor: Tensor | undefined
  /** Doc string, metadata and unknown fields, in wire form. */
  readonly notes: Preserved | undefined
}

type TypedField = 'float_data' | 'int32_data' | 'int64_data' | 'double_data' | 'uint64_data'

/** The list that holds elements of a type when `raw_data` does not, and the bytes that one value stands for. */
function typedField(dtype: DType): { field: TypedField; width: number } {
  switch (dtype) {
    case 'float32':
    case 'complex64':
      return { field: 'float_data', width: 4 }
    case 'float64':
    case 'complex128':
      return { field: 'double_data', width: 8 }
    case 'int64':
      return { field: 'int64_data', width: 8 }
    case 'uint32':
    case 'uint64':
      return { field: 'uint64_data', width: DTYPES[dtype].bits / 8 }
    default:
      return { field: 'int32_data', width: Math.max(1, DTYPES[dtype].bits / 8) }
  }
}

/** What the first pass over a TensorProto finds. */
interface Header {
  name: string
  code: number
  dims: number[]
  raw: Uint8Array | undefined
  strings: Uint8Array[]
  /** Values in each typed list. */
  counts: Partial<Record<TypedField, number>>
  external: Map<string, string>
  isExternal: boolean
}

function readHeader(reader: WireReader, header: Header): Preserved | undefined {
  return reader.fields(TensorProto, (field) => {
    switch (field) {
      case 'name':
        header.name = reader.string()
        return true
      case 'data_type':
        header.code = reader.int32()
        return true
      case 'dims':
        reader.each(() => header.dims.push(reader.int64Number()))
        return true
      case 'raw_data':
        header.raw = reader.bytes()
        return true
      case 'string_data':
        header.strings.push(reader.bytes())
        return true
      case 'float_data':
        header.counts[field] = (header.counts[field] ?? 0) + reader.skipValue() / 4
        return true
      case 'double_data':
        header.counts[field] = (header.counts[field] ?? 0) + reader.skipValue() / 8
        return true
      case 'int32_data':
      case 'int64_data':
      case 'uint64_data':
        header.counts[field] = (header.counts[field] ?? 0) + reader.countVarints()
        return true
      case 'data_location':
        header.isExternal = reader.int32() === 1
        return true
      case 'external_data': {
        const { key, value } = reader.message(decodeEntry)
        header.external.set(key, value)
        return true
      }
      default:
        return false
    }
  })
}

/** A shape for messages; files may claim any number of axes. */
function shapeText(dims: readonly number[]): string {
  return `[${dims.slice(0, 16).join(', ')}${dims.length > 16 ? ', …' : ''}]`
}

/** The number of elements; dimensions come from the file and may be anything. */
function countElements(dims: readonly number[], what: () => string): number {
  let count = 1
  for (const extent of dims) {
    if (!(extent >= 0 && Number.isSafeInteger(extent)))
      fail('INVALID_MODEL', `${what()}: extents must be 0 or more; the shape is ${shapeText(dims)}.`)
    count *= extent
  }
  if (dims.includes(0)) return 0
  if (count > Number.MAX_SAFE_INTEGER / 16)
    fail('INVALID_MODEL', `${what()}: the shape ${shapeText(dims)} has more elements than any file can hold.`)
  return count
}

/** Reads the list that holds the elements; the reader stands at the beginning of the TensorProto. */
function readTyped(reader: WireReader, dtype: DType, byteLength: number, what: () => string): Uint8Array {
  const { field: wanted, width } = typedField(dtype)
  const isFixed = wanted === 'float_data' || wanted === 'double_data'
  let bytes: Uint8Array | undefined
  let filled = 0
  const allocate = (): Uint8Array => (bytes ??= new Uint8Array(byteLength))
  reader.fields(TensorProto, (field) => {
    if (field !== wanted) {
      reader.skipValue()
      return true
    }
    if (isFixed) {
      const run = reader.fixed(width)
      if (filled === 0 && run.length === byteLength) bytes = run
      else if (filled + run.length <= byteLength) allocate().set(run, filled)
      filled += run.length
    } else {
      const target = allocate()
      filled = reader.varintsInto(new DataView(target.buffer), filled, width)
    }
    return true
  })
  invariant(filled === byteLength, `${what()}: ${filled} of ${byteLength} bytes read`)
  return allocate()
}

function wrongLength(what: () => string, expected: number, found: number): never {
  return fail(
    'INVALID_MODEL',
    `${what()}: the shape needs ${expected} bytes of data; the file holds ${found}. The file is damaged.`,
  )
}

function externalTensor(source: Source, header: Header, dtype: DType, byteLength: number, what: () => string): Tensor {
  const { location, offset, length } = parseExternalData(header.external, what())
  if (length !== undefined && length !== byteLength) wrongLength(what, byteLength, length)
  const { externalData } = source
  if (!externalData)
    fail(
      'INVALID_ARGUMENT',
      `${what()}: its data lies in the file '${printable(location)}' beside the model, which was not given. ` +
        'Open the model by its path, or pass `externalData`.',
    )
  return Tensor.lazy(dtype, header.dims, () => externalData.read(location, offset, byteLength))
}

/**
 * Reads a TensorProto; the reader stands in it.
 *
 * @param role what the tensor is, for messages, e.g. `initializer`; its name follows when it has one.
 * @throws WhittleError `INVALID_MODEL` when shape and data do not fit.
 */
export function decodeTensorProto(source: Source, role: string): DecodedTensor {
  const { reader } = source
  const start = reader.position
  const header: Header = {
    name: '',
    code: 0,
    dims: [],
    raw: undefined,
    strings: [],
    counts: {},
    external: new Map(),
    isExternal: false,
  }
  const notes = readHeader(reader, header)
  const end = reader.position
  const { name, dims, raw, counts } = header
  const dtype = maybeDType(header.code)
  if (dtype === undefined) {
    if (header.isExternal)
      fail(
        'UNSUPPORTED',
        `${reader.what}: ${role} '${printable(name)}' has element type ${header.code}, which this version does not know, and its ` +
          'data lies in another file, so it cannot be copied. Save the model with its weights inside.',
      )
    return { name, tensor: undefined, notes }
  }
  const what = (): string =>
    `${reader.what}: ${role}${name === '' ? '' : ` '${printable(name)}'`} ${dtype} ${shapeText(dims)}`
  const count = countElements(dims, what)
  if (dtype === 'string') {
    if (header.strings.length !== count)
      fail('INVALID_MODEL', `${what()}: the shape needs ${count} strings; the file holds ${header.strings.length}.`)
    return { name, tensor: Tensor.ofStrings(header.strings, dims), notes }
  }
  const byteLength = byteLengthOf(dtype, count)
  if (header.isExternal) return { name, tensor: externalTensor(source, header, dtype, byteLength, what), notes }
  if (raw !== undefined && raw.length > 0) {
    if (raw.length !== byteLength) wrongLength(what, byteLength, raw.length)
    return { name, tensor: Tensor.fromBytes(dtype, dims, raw), notes }
  }
  const { field, width } = typedField(dtype)
  // Before allocating.
  const found = (counts[field] ?? 0) * width
  if (found !== byteLength) wrongLength(what, byteLength, found)
  reader.seek(start)
  const bytes = readTyped(reader, dtype, byteLength, what)
  reader.seek(end)
  return { name, tensor: Tensor.fromBytes(dtype, dims, bytes), notes }
}
