/** Scalar values of the protobuf text format: which tokens they are and which ranges they have. */
import { MAX_FLOAT32 } from './float32.ts'
import type { EnumSchema, ScalarType } from './schema.ts'

const DECIMAL = /^(?:0|[1-9][0-9]*)$/
const OCTAL = /^0[0-7]+$/
const HEXADECIMAL = /^0[xX][0-9a-fA-F]+$/
const REAL = /^(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?$/
const TRUE = ['true', 'True', 't', '1']
const FALSE = ['false', 'False', 'f', '0']

/** Least and greatest value of each integer type. */
const LIMITS = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
} as const

/** A value, or a sentence that says why there is none. */
export type Scalar<T> = { readonly value: T } | { readonly problem: string }

function integer(text: string): bigint | undefined {
  if (DECIMAL.test(text) || HEXADECIMAL.test(text)) return BigInt(text)
  return OCTAL.test(text) ? BigInt(`0o${text.slice(1)}`) : undefined
}

/** An integer of a type, from a token without its sign. */
export function readInteger(
  type: 'int32' | 'uint32' | 'int64',
  text: string,
  isNegative: boolean,
): Scalar<number | bigint> {
  const shown = `${isNegative ? '-' : ''}${text}`
  const magnitude = integer(text)
  if (magnitude === undefined) return { problem: `must be an integer; got '${shown}'` }
  const value = isNegative ? -magnitude : magnitude
  const [least, most] = LIMITS[type]
  if (value < least || value > most) return { problem: `must be from ${least} to ${most} (${type}); got ${shown}` }
  return { value: type === 'int64' ? value : Number(value) }
}

/** A float, exact in float32, from a token without its sign. */
export function readFloat(text: string, isNegative: boolean): Scalar<number> {
  const shown = `${isNegative ? '-' : ''}${text}`
  const sign = isNegative ? -1 : 1
  if (/^inf(inity)?f?$/i.test(text)) return { value: sign * Infinity }
  if (/^nanf?$/i.test(text)) return { value: NaN }
  if (!REAL.test(text) || /^0[0-9]+[fF]?$/.test(text)) return { problem: `must be a number; got '${shown}'` }
  const value = Math.fround(sign * Number(text.replace(/[fF]$/, '')))
  if (Math.abs(value) > MAX_FLOAT32) return { problem: `must fit a float32; got ${shown}` }
  return { value }
}

/** A boolean: `true`, `True`, `t`, `1` and their opposites. */
export function readBool(text: string): Scalar<boolean> {
  if (TRUE.includes(text)) return { value: true }
  if (FALSE.includes(text)) return { value: false }
  return { problem: `must be true or false; got '${text}'` }
}

/** The name of an enumeration's value, given by name or number. */
export function readEnum(schema: EnumSchema, text: string): Scalar<string> {
  const names = Object.keys(schema.values)
  const number = integer(text)
  const name = names.find((each) => each === text || (number !== undefined && BigInt(schema.values[each]!) === number))
  if (name !== undefined) return { value: name }
  return { problem: `must be one of ${names.join(', ')}; got '${text}'` }
}

/** What a field of a type holds, in words. */
export function describeType(type: ScalarType | EnumSchema): string {
  if (typeof type !== 'string') return `one of ${Object.keys(type.values).join(', ')}`
  if (type === 'string' || type === 'bytes') return 'a string in quotes'
  if (type === 'bool') return 'true or false'
  return type === 'float' ? 'a number' : `an integer (${type})`
}
