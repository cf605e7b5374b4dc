/**
 * ONNX files as read by @bufbuild/protobuf, brought into one form: typed tensor data as raw bytes, the standard
 * operator set under one name, attribute types made explicit. Independent of our codec on purpose.
 */
import { readFileSync } from 'node:fs'
import { create, createFileRegistry, type DescMessage, fromBinary, ScalarType, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'

const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(new URL('../fixtures/onnx.descriptors.binpb', import.meta.url))),
)

const schemaOf = (name: string): DescMessage => registry.getMessage(`onnx.${name}`)!

type Value = Record<string, unknown>

/** Bits per element of the types whose data may come in `int32_data`. */
const INT32_WIDTHS: Readonly<Record<number, number>> = { 6: 4, 4: 2, 5: 2, 10: 2, 16: 2 }

function rawBytes(tensor: Value): Uint8Array {
  const raw = tensor.rawData as Uint8Array
  if (raw.length > 0) return Uint8Array.from(raw)
  const type = tensor.dataType as number
  const floats = tensor.floatData as number[]
  if (floats.length > 0) return new Uint8Array(Float32Array.from(floats).buffer)
  const doubles = tensor.doubleData as number[]
  if (doubles.length > 0) return new Uint8Array(Float64Array.from(doubles).buffer)
  const longs = tensor.int64Data as bigint[]
  if (longs.length > 0) return new Uint8Array(BigInt64Array.from(longs).buffer)
  const unsigned = tensor.uint64Data as bigint[]
  if (unsigned.length > 0)
    return type === 12
      ? new Uint8Array(Uint32Array.from(unsigned, Number).buffer)
      : new Uint8Array(BigUint64Array.from(unsigned).buffer)
  const ints = tensor.int32Data as number[]
  const width = INT32_WIDTHS[type] ?? 1
  if (width === 4) return new Uint8Array(Int32Array.from(ints).buffer)
  return width === 2 ? new Uint8Array(Uint16Array.from(ints).buffer) : Uint8Array.from(ints)
}

const ATTRIBUTE_FIELDS: readonly [number, string][] = [
  [4, 't'],
  [5, 'g'],
  [6, 'floats'],
  [7, 'ints'],
  [8, 'strings'],
]

const isPresent = (value: unknown): boolean => (Array.isArray(value) ? value.length > 0 : value !== undefined)

/** A decoded message in the common form: comparable with `toEqual`. */
function normalise(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (Array.isArray(value)) return value.map(normalise)
  if (typeof value !== 'object' || value === null) return value
  const message = { ...(value as Value) }
  switch (message.$typeName) {
    case 'onnx.TensorProto': {
      if (message.dataType !== 0) {
        message.rawData = rawBytes(message)
        for (const field of ['floatData', 'doubleData', 'int64Data', 'uint64Data', 'int32Data']) delete message[field]
      }
      break
    }
    case 'onnx.AttributeProto':
      if (message.type === 0 && message.refAttrName === '')
        message.type = ATTRIBUTE_FIELDS.find(([, field]) => isPresent(message[field]))?.[0] ?? 0
      break
    case 'onnx.NodeProto':
    case 'onnx.OperatorSetIdProto':
    case 'onnx.FunctionProto':
      if (message.domain === 'ai.onnx') message.domain = ''
      break
  }
  if (Array.isArray(message.$unknown))
    message.$unknown = (message.$unknown as { no: number; wireType: number; data: Uint8Array }[])
      .toSorted((a, b) => a.no - b.no)
      .map((field) => [field.no, field.wireType, normalise(field.data)])
  return Object.fromEntries(Object.entries(message).map(([key, inner]) => [key, normalise(inner)]))
}

/** What the oracle reads from a ModelProto. */
export function oracleModel(bytes: Uint8Array): unknown {
  return normalise(fromBinary(schemaOf('ModelProto'), bytes))
}

/** What the oracle reads from a TensorProto. */
export function oracleTensor(bytes: Uint8Array): unknown {
  return normalise(fromBinary(schemaOf('TensorProto'), bytes))
}

/** A message of onnx.proto3 as bytes, written by the oracle from plain fields (in camel case). */
export function oracleBytes(name: string, fields: object): Uint8Array {
  const schema = schemaOf(name)
  return toBinary(schema, create(schema, fields as never))
}

/** Every message of onnx.proto3 with its fields, as protoc understood them. */
export function oracleSchema(): {
  name: string
  fields: { name: string; number: number; list: boolean; scalar: boolean }[]
}[] {
  return [...registry]
    .filter((type) => type.kind === 'message')
    .map(({ typeName, fields }) => ({
      name: typeName.replace(/^onnx\./, ''),
      fields: fields.map((field) => ({
        name: field.name,
        number: field.number,
        list: field.fieldKind === 'list',
        scalar: field.scalar !== undefined && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES,
      })),
    }))
}
