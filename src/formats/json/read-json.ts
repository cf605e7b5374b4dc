/** JSON with the place of every key and element, so that errors name their line, and with repeated keys refused. */
import { type DocumentNode, parse, type ValueNode } from '@humanwhocodes/momoa'
import { fail, messageOf } from '../../core/index.ts'
import { createSource, describePlace, type Place, SELF, type TextSource } from '../source.ts'

/** A JSON value; objects are maps, for keys come from foreign files. */
export type JsonValue = null | boolean | number | string | JsonList | JsonMap

/** A JSON array. */
export type JsonList = readonly JsonValue[]

/** A JSON object. */
export type JsonMap = ReadonlyMap<string, JsonValue>

/** Deepest nesting that is read; the formats here need four levels. */
const MAX_DEPTH = 64

/** Fails before the parser, which is recursive, meets nesting that it could not come back from. */
function checkDepth(text: string, fileName: string): void {
  let depth = 0
  let line = 1
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!
    if (character === '\n') line++
    else if (character === '"') {
      for (i++; i < text.length && text[i] !== '"' && text[i] !== '\n'; i++) if (text[i] === '\\') i++
    } else if (character === '[' || character === '{') {
      if (++depth > MAX_DEPTH)
        fail('INVALID_FILE', `${fileName}:${line}: JSON here nests at most ${MAX_DEPTH} levels deep; this goes deeper.`)
    } else if (character === ']' || character === '}') depth--
  }
}

/** Messages of the parser end with `(line:column)`, which stands in front here. */
const PLACE_AT_END = / ?\((\d+):(\d+)\)$/

function parseDocument(text: string, fileName: string): DocumentNode {
  try {
    return parse(text, { mode: 'json' })
  } catch (error) {
    const message = messageOf(error)
    const found = PLACE_AT_END.exec(message)
    const place = found ? { line: Number(found[1]), column: Number(found[2]) } : undefined
    return fail(
      'INVALID_FILE',
      `${describePlace(fileName, place)}: the file must be JSON: ${message.replace(PLACE_AT_END, '').replace(/\.$/, '')}.`,
    )
  }
}

function convert(node: ValueNode, source: TextSource): JsonValue {
  switch (node.type) {
    case 'Null':
      return null
    case 'Boolean':
    case 'String':
      return node.value
    case 'Number':
      if (!Number.isFinite(node.value))
        fail(
          'INVALID_FILE',
          `${describePlace(source.fileName, node.loc.start)}: the number is too large for a float64.`,
        )
      return node.value
    case 'Array': {
      const places = new Map<string | number, Place>()
      const list = node.elements.map((element, index) => {
        places.set(index, element.value.loc.start)
        return convert(element.value, source)
      })
      source.places.set(list, places)
      return list
    }
    case 'Object': {
      const places = new Map<string | number, Place>([[SELF, node.loc.start]])
      const map = new Map<string, JsonValue>()
      for (const { name, value } of node.members) {
        const key = name.type === 'String' ? name.value : name.name
        const first = places.get(key)
        if (first !== undefined)
          fail(
            'INVALID_FILE',
            `${describePlace(source.fileName, name.loc.start)}: key '${key}' stands twice, first in line ${first.line}. Keep one.`,
          )
        places.set(key, name.loc.start)
        map.set(key, convert(value, source))
      }
      source.places.set(map, places)
      return map
    }
    default:
      return fail('INVALID_FILE', `${describePlace(source.fileName, node.loc.start)}: JSON has no ${node.type}.`)
  }
}

/**
 * Reads JSON.
 *
 * @param fileName name for messages.
 * @returns the value, and the places of keys (where the key stands) and of elements.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN` when the text is not JSON, repeats a key or nests too
 *   deep.
 */
export function readJson(text: string, fileName: string): { value: JsonValue; source: TextSource } {
  const plain = text.startsWith('\ufeff') ? text.slice(1) : text
  const source = createSource(plain, fileName)
  checkDepth(plain, fileName)
  return { value: convert(parseDocument(plain, fileName).body, source), source }
}

/** A value as messages show it, at most 40 characters long. */
export function showJson(value: JsonValue): string {
  const text = value instanceof Map ? 'an object' : Array.isArray(value) ? 'a list' : JSON.stringify(value)
  return text.length > 40 ? `${text.slice(0, 39)}…` : text
}
