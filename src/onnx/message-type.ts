/**
 * Message types of protobuf as tables: what `schema.generated.ts` consists of and what reader and writer go by.
 * Source: protobuf encoding, https://protobuf.dev/programming-guides/encoding.
 */

/** Types of fields in onnx.proto3. */
export type FieldType = 'double' | 'float' | 'int32' | 'int64' | 'uint64' | 'enum' | 'string' | 'bytes' | 'message'

/** How a value is laid out: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. */
export type WireType = 0 | 1 | 2 | 5

/** One field of a message. */
export interface Field<K extends string = string> {
  readonly name: K
  readonly number: number
  /** The wire type of one value. */
  readonly wire: WireType
  /** Whether a list of values may also come as one run of bytes without tags. */
  readonly packable: boolean
}

/** A message: its fields by name and by number. */
export interface MessageType<K extends string = string> {
  readonly name: string
  readonly fields: { readonly [P in K]: Field<P> }
  readonly byNumber: readonly (Field<K> | undefined)[]
}

const WIRE_TYPES: Readonly<Record<FieldType, WireType>> = {
  double: 1,
  float: 5,
  int32: 0,
  int64: 0,
  uint64: 0,
  enum: 0,
  string: 2,
  bytes: 2,
  message: 2,
}

/** A message type from the rows of the generated table. */
export function messageType<K extends string>(
  name: string,
  rows: { readonly [P in K]: { readonly number: number; readonly type: FieldType; readonly repeated?: boolean } },
): MessageType<K> {
  const fields: Record<string, Field<K>> = {}
  const byNumber: (Field<K> | undefined)[] = []
  for (const key of Object.keys(rows) as K[]) {
    const { number, type, repeated = false } = rows[key]
    const wire = WIRE_TYPES[type]
    const field: Field<K> = { name: key, number, wire, packable: repeated && wire !== 2 }
    fields[key] = field
    while (byNumber.length < number) byNumber.push(undefined)
    byNumber[number] = field
  }
  return { name, fields: fields as { readonly [P in K]: Field<P> }, byNumber }
}
