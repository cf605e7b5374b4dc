/** JSON as Python's `json.dump(…, indent=4, separators=(',', ':'))` writes it, the form of AMCT's files. */
import { floatText } from '../text/float32.ts'
import type { JsonField, JsonFields } from './fields.ts'

const INDENT = '    '

function block(open: string, items: readonly string[], close: string, indent: string): string {
  if (items.length === 0) return open + close
  const inner = indent + INDENT
  return `${open}\n${items.map((item) => inner + item).join(',\n')}\n${indent}${close}`
}

function printValue(field: JsonField, value: unknown, indent: string): string {
  switch (field.kind) {
    case 'float':
      return floatText(value as number)
    case 'pair':
      return block('[', (value as readonly number[]).map(floatText), ']', indent)
    case 'texts':
      return block(
        '[',
        (value as readonly string[]).map((each) => JSON.stringify(each)),
        ']',
        indent,
      )
    case 'object':
      return printObject(field.fields, value as object, indent)
    case 'objects': {
      const items = (value as readonly object[]).map((each) => printObject(field.fields, each, indent + INDENT))
      return block('[', items, ']', indent)
    }
    default:
      return JSON.stringify(value)
  }
}

/** The members of an object by its table, in the table's order, each as `"key":value`. */
export function printMembers(fields: JsonFields, object: object, indent: string): string[] {
  const values = object as Readonly<Record<string, unknown>>
  return Object.entries(fields).flatMap(([key, field]) =>
    values[key] === undefined ? [] : [`${JSON.stringify(key)}:${printValue(field, values[key], indent + INDENT)}`],
  )
}

/** An object by its table. @param indent of the line that it starts in; default none. */
export function printObject(fields: JsonFields, object: object, indent = ''): string {
  return block('{', printMembers(fields, object, indent), '}', indent)
}

/** An object from members that are printed already. */
export function printBlock(members: readonly string[], indent = ''): string {
  return block('{', members, '}', indent)
}
