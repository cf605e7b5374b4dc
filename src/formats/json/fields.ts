/**
 * Tables that describe JSON objects: which keys there are, what they hold and in which range.
 *
 * From a table come the type of the object, its reader with places in errors, and its writer.
 */
import { fail } from '../../core/index.ts'
import { codeSource, type Place, refuseAt, type TextSource } from '../source.ts'
import { type JsonMap, type JsonValue, showJson } from './read-json.ts'

/** A rule on numbers, and its words for messages. */
export interface NumberRule {
  readonly holds: (x: number) => boolean
  readonly words: string
}

/** What a key holds. `float`s are always written with a point, because Python's AMCT insists on its type. */
export type JsonField =
  | { readonly kind: 'bool' }
  | { readonly kind: 'integer' | 'float'; readonly rule?: NumberRule }
  | { readonly kind: 'word'; readonly words: readonly string[] }
  | { readonly kind: 'text' }
  | { readonly kind: 'texts' }
  | {
      readonly kind: 'pair'
      readonly rule?: { readonly holds: (a: number, b: number) => boolean; readonly words: string }
    }
  | { readonly kind: 'object'; readonly fields: JsonFields }
  | { readonly kind: 'objects'; readonly fields: JsonFields }

/** Keys of an object, in the order they are written in. */
export type JsonFields = Readonly<Record<string, JsonField>>

type JsonFieldValue<F extends JsonField> = F extends { kind: 'bool' }
  ? boolean
  : F extends { kind: 'integer' | 'float' }
    ? number
    : F extends { kind: 'word'; words: readonly (infer W extends string)[] }
      ? W
      : F extends { kind: 'text' }
        ? string
        : F extends { kind: 'texts' }
          ? readonly string[]
          : F extends { kind: 'pair' }
            ? readonly [number, number]
            : F extends { kind: 'object'; fields: infer I extends JsonFields }
              ? JsonObjectOf<I>
              : F extends { kind: 'objects'; fields: infer I extends JsonFields }
                ? readonly JsonObjectOf<I>[]
                : never

/** The object that a table describes; every key may be absent. */
export type JsonObjectOf<F extends JsonFields> = { readonly [K in keyof F]?: JsonFieldValue<F[K]> }

/** Numbers above `above`, from `least`, to `most` and below `below`. */
export function between(bounds: { above?: number; least?: number; most?: number; below?: number }): NumberRule {
  const words: string[] = []
  if (bounds.above !== undefined) words.push(`above ${bounds.above}`)
  if (bounds.least !== undefined) words.push(`at least ${bounds.least}`)
  if (bounds.most !== undefined) words.push(`at most ${bounds.most}`)
  if (bounds.below !== undefined) words.push(`below ${bounds.below}`)
  const { above = -Infinity, least = -Infinity, most = Infinity, below = Infinity } = bounds
  return { holds: (x) => x > above && x >= least && x <= most && x < below, words: words.join(' and ') }
}

/** One of a few numbers. */
export function among(values: readonly number[]): NumberRule {
  return { holds: (x) => values.includes(x), words: `one of ${values.join(', ')}` }
}

/** Throws for a key of an object, with its place. */
type Refuse = (rule: string) => never

function readNumber(field: { kind: 'integer' | 'float'; rule?: NumberRule }, value: JsonValue, refuse: Refuse): number {
  if (typeof value !== 'number') return refuse(field.kind === 'integer' ? 'an integer' : 'a number')
  if (field.kind === 'integer' && !Number.isSafeInteger(value)) return refuse('an integer')
  if (field.rule && !field.rule.holds(value)) return refuse(field.rule.words)
  return value
}

function readField(field: JsonField, value: JsonValue, refuse: Refuse, context: Context): unknown {
  switch (field.kind) {
    case 'bool':
      return typeof value === 'boolean' ? value : refuse('true or false')
    case 'integer':
    case 'float':
      return readNumber(field, value, refuse)
    case 'word':
      return typeof value === 'string' && field.words.includes(value)
        ? value
        : refuse(`one of ${field.words.map((word) => `"${word}"`).join(', ')}`)
    case 'text':
      return typeof value === 'string' ? value : refuse('a string')
    case 'texts':
      return Array.isArray(value) && value.every((each) => typeof each === 'string')
        ? value
        : refuse('a list of strings')
    case 'pair': {
      const [a, b] = Array.isArray(value) ? (value as readonly JsonValue[]) : []
      if (!Array.isArray(value) || value.length !== 2 || typeof a !== 'number' || typeof b !== 'number')
        return refuse('a list of two numbers')
      return field.rule && !field.rule.holds(a, b) ? refuse(field.rule.words) : value
    }
    case 'object':
      return value instanceof Map ? readFields(field.fields, value, context) : refuse('an object')
    case 'objects': {
      if (!Array.isArray(value)) return refuse('a list of objects')
      const list = value.map((each) =>
        each instanceof Map ? readFields(field.fields, each, context) : refuse('a list of objects'),
      )
      context.source.places.set(list, context.source.places.get(value) ?? new Map())
      return list
    }
  }
}

interface Context {
  readonly source: TextSource
  /** What the object is, for messages: `layer 'conv1'`. */
  readonly what: string
}

function readFields(fields: JsonFields, map: JsonMap, context: Context): Record<string, unknown> {
  const object: Record<string, unknown> = {}
  const { source, what } = context
  source.places.set(object, source.places.get(map) ?? new Map<string, Place>())
  for (const [key, value] of map) {
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined
    if (field === undefined) {
      const known = Object.keys(fields).join(', ')
      refuseAt(source, map, key, `'${key}' is an unknown parameter in ${what}. Known are: ${known}.`)
    }
    const refuse = (rule: string): never =>
      refuseAt(source, map, key, `'${key}' in ${what} must be ${rule}; got ${showJson(value)}.`)
    object[key] = readField(field, value, refuse, context)
  }
  return object
}

/**
 * Reads an object by its table.
 *
 * @param what what the object is, for messages.
 * @returns the object; its places are noted in `source`.
 * @throws WhittleError `INVALID_FILE` with the place of the key that is unknown, of another type or out of range.
 */
export function readObject<const F extends JsonFields>(
  fields: F,
  map: JsonMap,
  source: TextSource,
  what: string,
): JsonObjectOf<F> {
  const object: unknown = readFields(fields, map, { source, what })
  return object as JsonObjectOf<F>
}

/** The JSON of plain objects as {@link readObject} takes it; keys that are `undefined` are absent. */
export function toJsonValue(value: unknown): JsonValue {
  if (value === null || typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string')
    return value
  if (Array.isArray(value)) return value.map(toJsonValue)
  if (typeof value !== 'object') return fail('INVALID_ARGUMENT', `A configuration cannot hold a ${typeof value}.`)
  const entries = value instanceof Map ? [...value] : Object.entries(value)
  const map = new Map<string, JsonValue>()
  for (const [key, each] of entries) if (each !== undefined) map.set(String(key), toJsonValue(each))
  return map
}

/** Checks an object that code made, as {@link readObject} checks one from a file. */
export function checkObject(fields: JsonFields, object: object, what: string): void {
  const map = toJsonValue(object)
  if (map instanceof Map) readFields(fields, map, { source: codeSource(what), what })
}
