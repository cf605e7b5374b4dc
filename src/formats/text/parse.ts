/**
 * Reads messages in the protobuf text format, by table.
 *
 * Unlike `text_format.Merge`, which AMCT calls and which takes the last of repeated settings silently, a second value
 * of a field that has one, or a second member of a `oneof`, is an error here unless asked otherwise.
 */
import { fail } from '../../core/index.ts'
import { createSource, describePlace, type Place, SELF, type TextSource } from '../source.ts'
import { Lexer, type Token } from './lexer.ts'
import { describeType, readBool, readEnum, readFloat, readInteger, type Scalar } from './scalars.ts'
import type { FieldSchema, FieldType, MessageOf, MessageSchema } from './schema.ts'

/** How {@link parseText} reads. */
export interface ParseTextOptions {
  /**
   * What a second value of a single field means: `refuse` (default), or `last` as AMCT and `text_format.Merge` have it
   * (the last value wins; messages are merged).
   */
  readonly duplicates?: 'refuse' | 'last' | undefined
}

/** A message that was read, and the places of its fields. */
export interface ParsedText<M extends MessageSchema> {
  readonly message: MessageOf<M>
  readonly source: TextSource
}

type Fields = Record<string, unknown>

/** A message that is being read. */
interface Scope {
  readonly schema: MessageSchema
  readonly into: Fields
  readonly places: Map<string | number, Place>
}

class Parser {
  readonly #lexer: Lexer
  readonly #source: TextSource
  readonly #takesLast: boolean
  /** Places of the elements of lists, which may be given one by one. */
  readonly #lists = new WeakMap<object, Map<string | number, Place>>()
  #token: Token

  constructor(text: string, source: TextSource, takesLast: boolean) {
    this.#lexer = new Lexer(text, source.fileName)
    this.#source = source
    this.#takesLast = takesLast
    this.#token = this.#lexer.next()
  }

  #refuse(place: Place, message: string): never {
    return fail('INVALID_FILE', `${describePlace(this.#source.fileName, place)}: ${message}`)
  }

  #take(): Token {
    const token = this.#token
    this.#token = this.#lexer.next()
    return token
  }

  #accept(symbol: string): boolean {
    if (this.#token.kind !== 'symbol' || this.#token.text !== symbol) return false
    this.#take()
    return true
  }

  #shown(token: Token): string {
    if (token.kind === 'end') return 'the end of the file'
    return token.kind === 'string' ? JSON.stringify(token.text) : `'${token.text}'`
  }

  /** The fields up to `end`, added to `into`. @param end closing symbol; empty for the end of the file. */
  message(schema: MessageSchema, start: Place, end: string, into: Fields): void {
    const places = new Map(this.#source.places.get(into))
    this.#source.places.set(into, places)
    if (end !== '') places.set(SELF, start)
    for (const [name, field] of Object.entries(schema.fields)) if (field.label === 'repeated') into[name] ??= []
    for (;;) {
      if (this.#token.kind === 'end') {
        if (end === '') break
        this.#refuse(this.#token, `message '${schema.name}' that starts at line ${start.line} has no closing '${end}'.`)
      }
      if (end !== '' && this.#accept(end)) break
      this.#field({ schema, into, places })
    }
    for (const [name, field] of Object.entries(schema.fields))
      if (field.label === 'required' && into[name] === undefined)
        this.#refuse(start, `message '${schema.name}' must have field '${name}'; it is missing.`)
  }

  #field(scope: Scope): void {
    const { schema, into, places } = scope
    const token = this.#take()
    if (token.kind !== 'identifier') this.#refuse(token, `a field name must stand here; got ${this.#shown(token)}.`)
    const name = token.text
    const field = Object.hasOwn(schema.fields, name) ? schema.fields[name]! : undefined
    if (field === undefined) {
      const known = Object.keys(schema.fields).join(', ')
      this.#refuse(token, `'${name}' is no field of '${schema.name}'. Its fields are: ${known}.`)
    }
    const isMessage = typeof field.type !== 'string' && field.type.kind === 'message'
    if (!this.#accept(':') && !isMessage)
      this.#refuse(this.#token, `':' must stand between '${name}' and its value; got ${this.#shown(this.#token)}.`)
    if (field.label === 'repeated') this.#list(name, field.type, token, into[name] as unknown[])
    else {
      this.#checkOnce(scope, field, name, token)
      into[name] = this.#value(name, field.type, into[name])
    }
    places.set(name, token)
    if (!this.#accept(',')) this.#accept(';')
  }

  /** Refuses a second value of a field and a second member of a `oneof`, or makes way for it. */
  #checkOnce({ schema, into, places }: Scope, field: FieldSchema, name: string, token: Token): void {
    const rival =
      field.oneof === undefined
        ? undefined
        : Object.keys(schema.fields).find(
            (other) => other !== name && schema.fields[other]!.oneof === field.oneof && into[other] !== undefined,
          )
    if (this.#takesLast) {
      if (rival !== undefined) delete into[rival]
      return
    }
    const first = places.get(rival ?? name)?.line
    if (rival !== undefined)
      this.#refuse(token, `'${name}' excludes '${rival}', which line ${first} sets. Keep one of them.`)
    if (into[name] !== undefined)
      this.#refuse(token, `'${name}' may be set once in '${schema.name}'; line ${first} sets it already. Keep one.`)
  }

  #list(name: string, type: FieldType, token: Token, list: unknown[]): void {
    const places = this.#lists.get(list) ?? new Map<string | number, Place>()
    this.#lists.set(list, places)
    this.#source.places.set(list, places)
    const push = (place: Place) => {
      places.set(list.length, place)
      list.push(this.#value(name, type, undefined))
    }
    if (!this.#accept('[')) {
      push(token)
      return
    }
    if (this.#accept(']')) return
    do push(this.#token)
    while (this.#accept(','))
    if (!this.#accept(']'))
      this.#refuse(this.#token, `list '${name}' goes on with ',' or ends with ']'; got ${this.#shown(this.#token)}.`)
  }

  /** One value. @param old the message to add to, if the field has one already. */
  #value(name: string, type: FieldType, old: unknown): unknown {
    const start = this.#token
    if (typeof type !== 'string' && type.kind === 'message') {
      const end = this.#accept('{') ? '}' : this.#accept('<') ? '>' : undefined
      if (end === undefined)
        this.#refuse(start, `message '${name}' must start with '{'; got ${this.#shown(this.#token)}.`)
      const into = (old ?? {}) as Fields
      this.message(type, start, end, into)
      return into
    }
    if (type === 'string' || type === 'bytes') return this.#string(name, type)
    const isNegative = this.#accept('-')
    const token = this.#take()
    const isWord = token.kind === 'identifier' || token.kind === 'number'
    const result: Scalar<unknown> = isWord
      ? this.#scalar(type, token.text, isNegative)
      : { problem: `must be ${describeType(type)}; got ${this.#shown(token)}` }
    if ('problem' in result) this.#refuse(start, `'${name}' ${result.problem}.`)
    return result.value
  }

  #scalar(
    type: Exclude<FieldType, MessageSchema | 'string' | 'bytes'>,
    text: string,
    isNegative: boolean,
  ): Scalar<unknown> {
    if (type === 'float') return readFloat(text, isNegative)
    if (type === 'int32' || type === 'uint32' || type === 'int64') return readInteger(type, text, isNegative)
    if (isNegative) return { problem: `must be ${describeType(type)}; got '-${text}'` }
    return type === 'bool' ? readBool(text) : readEnum(type, text)
  }

  /** Adjacent strings are one. */
  #string(name: string, type: 'string' | 'bytes'): string | Uint8Array {
    const start = this.#token
    if (start.kind !== 'string') this.#refuse(start, `'${name}' must be a string in quotes; got ${this.#shown(start)}.`)
    const parts: Uint8Array[] = []
    while (this.#token.kind === 'string') parts.push(this.#take().bytes!)
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
    let offset = 0
    for (const part of parts) {
      bytes.set(part, offset)
      offset += part.length
    }
    if (type === 'bytes') return bytes
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      this.#refuse(start, `'${name}' must be UTF-8; its escapes are not.`)
    }
  }
}

/**
 * Reads a message in the protobuf text format.
 *
 * @param fileName name for messages.
 * @returns the message as a plain object, and the places of its fields.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN` on the first thing that is wrong: syntax, unknown fields,
 *   wrong types, numbers out of range, repeated settings, required fields that are missing.
 */
export function parseText<M extends MessageSchema>(
  text: string,
  schema: M,
  fileName: string,
  options: ParseTextOptions = {},
): ParsedText<M> {
  const source = createSource(text, fileName)
  const fields: Fields = {}
  new Parser(text, source, options.duplicates === 'last').message(schema, { line: 1, column: 1 }, '', fields)
  const message: unknown = fields
  return { message: message as MessageOf<M>, source }
}
