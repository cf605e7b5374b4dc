/** Writes messages in the protobuf text format, as `google.protobuf.text_format` does with UTF-8 output. */
import { floatText, shortestFloat32 } from './float32.ts'
import type { FieldType, MessageOf, MessageSchema } from './schema.ts'

const ESCAPES: Readonly<Record<number, string>> = { 9: '\\t', 10: '\\n', 13: '\\r', 34: '\\"', 39: "\\'", 92: '\\\\' }

function quote(characters: Iterable<number>, isText: boolean): string {
  let out = '"'
  for (const code of characters) {
    const isPlain = code >= 32 && code < 127
    if (ESCAPES[code] !== undefined) out += ESCAPES[code]
    else if (isPlain || (isText && code > 127)) out += String.fromCodePoint(code)
    else out += `\\${code.toString(8).padStart(3, '0')}`
  }
  return `${out}"`
}

function codePoints(text: string): number[] {
  return Array.from(text, (character) => character.codePointAt(0)!)
}

function scalarText(type: FieldType, value: unknown): string {
  if (value instanceof Uint8Array) return quote(value, false)
  if (type === 'string') return quote(codePoints(value as string), true)
  if (type === 'float') return floatText(shortestFloat32(Math.fround(value as number)))
  return String(value)
}

function printFields(schema: MessageSchema, message: Readonly<Record<string, unknown>>, indent: string): string {
  let out = ''
  for (const [name, field] of Object.entries(schema.fields)) {
    const value = message[name]
    if (value === undefined) continue
    const values = field.label === 'repeated' ? (value as readonly unknown[]) : [value]
    for (const each of values) {
      if (typeof field.type !== 'string' && field.type.kind === 'message')
        out += `${indent}${name} {\n${printFields(field.type, each as Record<string, unknown>, `${indent}  `)}${indent}}\n`
      else out += `${indent}${name}: ${scalarText(field.type, each)}\n`
    }
  }
  return out
}

/**
 * Writes a message in the protobuf text format; reading it back gives equal values.
 *
 * Floats are rounded to float32 and written with the fewest digits that come back as the same float32.
 */
export function printText<M extends MessageSchema>(schema: M, message: MessageOf<M>): string {
  return printFields(schema, message as Readonly<Record<string, unknown>>, '')
}
