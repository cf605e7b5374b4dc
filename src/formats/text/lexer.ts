/**
 * Tokens of the protobuf text format (protobuf.dev/reference/protobuf/textformat-spec): identifiers, numbers, strings
 * and punctuation, each with its place. Comments go from `#` to the end of the line.
 */
import { fail } from '../../core/index.ts'
import { describePlace, type Place } from '../source.ts'

/** A token; `text` of strings is their content, with escapes resolved to bytes. */
export interface Token extends Place {
  readonly kind: 'identifier' | 'number' | 'string' | 'symbol' | 'end'
  readonly text: string
  /** Strings only. */
  readonly bytes?: Uint8Array
}

const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  t: 9,
  n: 10,
  v: 11,
  f: 12,
  r: 13,
  '\\': 92,
  "'": 39,
  '"': 34,
  '?': 63,
}

const SPACE = /[ \t\r\n\v\f]/
const IDENTIFIER = /[A-Za-z_][A-Za-z0-9_]*/y
/** A digit and everything that sticks to it: `1e-3f`, `0x1F`, and nonsense such as `12abc`, which is refused later. */
const NUMBER = /\.?[0-9](?:[eE][+-]|[A-Za-z0-9_.])*/y
const SYMBOLS = '{}<>[]:;,-'

/** Reads tokens one by one. */
export class Lexer {
  readonly fileName: string
  readonly #text: string
  #offset = 0
  #line = 1
  #lineStart = 0

  constructor(text: string, fileName: string) {
    this.#text = text
    this.fileName = fileName
    if (text.charCodeAt(0) === 0xfeff) this.#offset = 1
  }

  #place(): Place {
    return { line: this.#line, column: this.#offset - this.#lineStart + 1 }
  }

  #refuse(place: Place, message: string): never {
    return fail('INVALID_FILE', `${describePlace(this.fileName, place)}: ${message}`)
  }

  #skipSpace(): void {
    const text = this.#text
    while (this.#offset < text.length) {
      const character = text[this.#offset]!
      if (character === '#') {
        const end = text.indexOf('\n', this.#offset)
        this.#offset = end < 0 ? text.length : end
      } else if (SPACE.test(character)) {
        this.#offset++
        if (character === '\n') {
          this.#line++
          this.#lineStart = this.#offset
        }
      } else return
    }
  }

  /** The next token; kind `end` after the last. */
  next(): Token {
    this.#skipSpace()
    const place = this.#place()
    const character = this.#text[this.#offset]
    if (character === undefined) return { kind: 'end', text: '', ...place }
    if (character === '"' || character === "'") return this.#string(place, character)
    for (const [kind, pattern] of [
      ['identifier', IDENTIFIER],
      ['number', NUMBER],
    ] as const) {
      pattern.lastIndex = this.#offset
      const found = pattern.exec(this.#text)
      if (found === null) continue
      this.#offset += found[0].length
      return { kind, text: found[0], ...place }
    }
    if (!SYMBOLS.includes(character)) this.#refuse(place, `unexpected character ${JSON.stringify(character)}.`)
    this.#offset++
    return { kind: 'symbol', text: character, ...place }
  }

  #string(place: Place, quote: string): Token {
    const bytes: number[] = []
    const encoder = new TextEncoder()
    const text = this.#text
    let offset = this.#offset + 1
    let plain = offset
    const flush = () => {
      if (offset > plain) for (const byte of encoder.encode(text.slice(plain, offset))) bytes.push(byte)
    }
    for (;;) {
      const character = text[offset]
      if (character === undefined || character === '\n')
        this.#refuse(place, `this string has no closing ${quote} on its line.`)
      if (character === quote) break
      if (character !== '\\') {
        offset++
        continue
      }
      flush()
      this.#offset = offset
      offset = this.#escape(offset + 1, bytes)
      plain = offset
    }
    flush()
    this.#offset = offset + 1
    const content = Uint8Array.from(bytes)
    return { kind: 'string', text: new TextDecoder().decode(content), bytes: content, ...place }
  }

  /** Resolves the escape whose letter is at `offset`; returns the offset behind it. */
  #escape(offset: number, bytes: number[]): number {
    const text = this.#text
    const refuse = (): never => this.#refuse(this.#place(), `invalid escape in a string.`)
    const letter = text[offset] ?? refuse()
    const simple = Object.hasOwn(SIMPLE_ESCAPES, letter) ? SIMPLE_ESCAPES[letter] : undefined
    if (simple !== undefined) {
      bytes.push(simple)
      return offset + 1
    }
    const octal = /^[0-7]{1,3}/.exec(text.slice(offset, offset + 3))
    if (octal) {
      const value = Number.parseInt(octal[0], 8)
      if (value > 255) refuse()
      bytes.push(value)
      return offset + octal[0].length
    }
    const body = text.slice(offset + 1, offset + 9)
    const pattern = { x: /^[0-9a-fA-F]{1,2}/, X: /^[0-9a-fA-F]{1,2}/, u: /^[0-9a-fA-F]{4}/, U: /^[0-9a-fA-F]{8}/ }[
      letter
    ]
    const digits = pattern?.exec(body)?.[0] ?? refuse()
    const value = Number.parseInt(digits, 16)
    if (letter === 'x' || letter === 'X') bytes.push(value)
    else {
      if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) refuse()
      bytes.push(...new TextEncoder().encode(String.fromCodePoint(value)))
    }
    return offset + 1 + digits.length
  }
}
