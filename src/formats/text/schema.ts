/**
 * Tables that describe protobuf messages, and the types of the plain objects that carry them.
 *
 * Numbers of fields are of no use in text, so tables have names only; fields stand in the order they are written in.
 */

/** Scalar types of the messages that are read here. */
export type ScalarType = 'float' | 'int32' | 'uint32' | 'int64' | 'bool' | 'string' | 'bytes'

/** An enumeration: numbers by name. */
export interface EnumSchema {
  readonly kind: 'enum'
  readonly name: string
  readonly values: Readonly<Record<string, number>>
}

/** A message: fields by name. */
export interface MessageSchema {
  readonly kind: 'message'
  readonly name: string
  readonly fields: Readonly<Record<string, FieldSchema>>
}

/** What a field holds. */
export type FieldType = ScalarType | EnumSchema | MessageSchema

/** One field. */
export interface FieldSchema {
  readonly label: 'optional' | 'required' | 'repeated'
  readonly type: FieldType
  /** Name of the `oneof` that the field belongs to: at most one of its fields is set. */
  readonly oneof?: string
}

type Scalars = {
  float: number
  int32: number
  uint32: number
  int64: bigint
  bool: boolean
  string: string
  bytes: Uint8Array
}

/** The JavaScript value of a field type; enumerations are strings. */
export type ValueOf<T extends FieldType> = T extends ScalarType
  ? Scalars[T]
  : T extends EnumSchema
    ? keyof T['values'] & string
    : T extends MessageSchema
      ? MessageOf<T>
      : never

type KeysWith<M extends MessageSchema, Label> = {
  [K in keyof M['fields']]: M['fields'][K]['label'] extends Label ? K : never
}[keyof M['fields']]

/**
 * The plain object of a message. Optional fields are absent when not set, repeated ones are empty lists; floats are
 * exact in float32.
 */
export type MessageOf<M extends MessageSchema> = {
  readonly [K in KeysWith<M, 'required'>]: ValueOf<M['fields'][K]['type']>
} & {
  readonly [K in KeysWith<M, 'optional'>]?: ValueOf<M['fields'][K]['type']>
} & {
  readonly [K in KeysWith<M, 'repeated'>]: readonly ValueOf<M['fields'][K]['type']>[]
}

/** An optional field. */
export function optional<const T extends FieldType>(type: T): { label: 'optional'; type: T } {
  return { label: 'optional', type }
}

/** A field that must be there. */
export function required<const T extends FieldType>(type: T): { label: 'required'; type: T } {
  return { label: 'required', type }
}

/** A list. */
export function repeated<const T extends FieldType>(type: T): { label: 'repeated'; type: T } {
  return { label: 'repeated', type }
}

/** An optional field that excludes the others of its `oneof`. */
export function oneOf<const T extends FieldType>(
  oneof: string,
  type: T,
): { label: 'optional'; type: T; oneof: string } {
  return { label: 'optional', type, oneof }
}

/** A message's table. */
export function message<const F extends Record<string, FieldSchema>>(
  name: string,
  fields: F,
): { kind: 'message'; name: string; fields: F } {
  return { kind: 'message', name, fields }
}

/** An enumeration's table. */
export function enumeration<const V extends Record<string, number>>(
  name: string,
  values: V,
): { kind: 'enum'; name: string; values: V } {
  return { kind: 'enum', name, values }
}
