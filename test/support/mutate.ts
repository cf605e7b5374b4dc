/**
 * Damages protobuf files in the ways that find mistakes in readers; seeded, so every file can be made again.
 *
 * Half of the mutations change bytes, which mostly breaks the framing; the other half change fields and write a file
 * that is well-formed again, which gets deeper.
 */
import type { Random } from '../../src/core/index.ts'

/** A field: the varint or bytes of its value, or the fields inside when its bytes look like a message. */
interface Field {
  number: number
  wire: number
  value: number
  bytes: Uint8Array
  children: Field[] | undefined
  /** Where the varint of its length lies. */
  lengthStart: number
  lengthEnd: number
}

function varintAt(bytes: Uint8Array, at: number): { value: number; end: number } | undefined {
  let value = 0
  for (let i = 0; i < 10 && at + i < bytes.length; i++) {
    value += (bytes[at + i]! & 0x7f) * 2 ** (7 * i)
    if (bytes[at + i]! < 0x80) return { value, end: at + i + 1 }
  }
  return undefined
}

function parse(bytes: Uint8Array, start = 0, end = bytes.length, depth = 0): Field[] | undefined {
  const fields: Field[] = []
  for (let at = start; at < end; ) {
    const tag = varintAt(bytes, at)
    if (!tag || tag.value < 8) return undefined
    const field: Field = {
      number: Math.floor(tag.value / 8),
      wire: tag.value % 8,
      value: 0,
      bytes: bytes.subarray(0, 0),
      children: undefined,
      lengthStart: tag.end,
      lengthEnd: tag.end,
    }
    if (field.wire === 0 || field.wire === 2) {
      const varint = varintAt(bytes, tag.end)
      if (!varint) return undefined
      field.value = varint.value
      field.lengthEnd = at = varint.end
    } else at = tag.end
    const length = [0, 8, field.value, Number.NaN, Number.NaN, 4][field.wire] ?? Number.NaN
    if (!(at + length <= end)) return undefined
    field.bytes = bytes.subarray(at, at + length)
    if (field.wire === 2 && depth < 20 && length > 0) field.children = parse(bytes, at, at + length, depth + 1)
    at += length
    fields.push(field)
  }
  return fields
}

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))]

function write(fields: readonly Field[]): Uint8Array {
  const parts = fields.flatMap(({ number, wire, value, bytes, children }) => {
    const content = children ? write(children) : bytes
    const head = [
      ...varint(number * 8 + wire),
      ...(wire === 0 ? varint(value) : wire === 2 ? varint(content.length) : []),
    ]
    return [Uint8Array.from(head), content]
  })
  return Buffer.concat(parts)
}

/** All lists of fields of a tree, the outermost first. */
function listsOf(fields: Field[]): Field[][] {
  return [fields, ...fields.flatMap(({ children }) => (children ? listsOf(children) : []))]
}

/** A copy, so that no message ever contains itself. */
function copyOf(field: Field): Field {
  return { ...field, children: field.children?.map(copyOf) }
}

function pick<T>(items: readonly T[], random: Random): T {
  return items[random.integer(items.length)]!
}

function replace(bytes: Uint8Array, start: number, end: number, by: ArrayLike<number>): Uint8Array {
  const result = new Uint8Array(bytes.length - (end - start) + by.length)
  result.set(bytes.subarray(0, start))
  result.set(by, start)
  result.set(bytes.subarray(end), start + by.length)
  return result
}

type ByteMutation = (bytes: Uint8Array, random: Random, other: Uint8Array) => Uint8Array

const BYTE_MUTATIONS: readonly ByteMutation[] = [
  function flipBits(bytes, random) {
    const result = bytes.slice()
    for (let i = 1 + random.integer(3); i > 0; i--) result[random.integer(result.length)]! ^= 1 << random.integer(8)
    return result
  },
  function setByte(bytes, random) {
    const result = bytes.slice()
    result[random.integer(result.length)] = pick([0, 0x7f, 0x80, 0xff], random)
    return result
  },
  function truncate(bytes, random) {
    return bytes.slice(0, random.integer(bytes.length))
  },
  function splice(bytes, random, other) {
    const from = random.integer(other.length)
    const at = random.integer(bytes.length)
    return replace(
      bytes,
      at,
      Math.min(bytes.length, at + random.integer(16)),
      other.subarray(from, from + 1 + random.integer(256)),
    )
  },
  function inflateLength(bytes, random) {
    const lengths = listsOf(parse(bytes) ?? [])
      .flat()
      .filter(({ wire }) => wire === 2)
    if (lengths.length === 0) return bytes.slice(1)
    const { lengthStart, lengthEnd, value } = pick(lengths, random)
    const inflated = pick([value + 1 + random.integer(4), 2 ** (7 + random.integer(45)), random.integer(64)], random)
    return replace(bytes, lengthStart, lengthEnd, varint(inflated))
  },
]

/** Changes `list`, one of the messages of a model; `strangers` are the messages of another. */
type FieldMutation = (list: Field[], random: Random, strangers: readonly Field[][]) => void

const FIELD_MUTATIONS: readonly FieldMutation[] = [
  function remove(list, random) {
    list.splice(random.integer(list.length), 1)
  },
  function double(list, random) {
    list.splice(random.integer(list.length), 0, copyOf(pick(list, random)))
  },
  function shuffle(list, random) {
    list.sort(() => random.uniform() - 0.5)
  },
  function adopt(list, random, strangers) {
    const fields = strangers.flat()
    if (fields.length > 0) list.splice(random.integer(list.length), random.integer(2), copyOf(pick(fields, random)))
  },
  function renumber(list, random) {
    pick(list, random).number = 1 + random.integer(random.integer(4) === 0 ? 2 ** 29 - 1 : 27)
  },
  function revalue(list, random) {
    const field = pick(list, random)
    field.value = pick(
      [0, 1, field.value + 1, random.integer(128), 2 ** 31, 2 ** 32 - 1, 2 ** 53 - 1, 2 ** 63, 2 ** 64 - 2048],
      random,
    )
  },
  function rewrite(list, random) {
    const field = pick(list, random)
    if (field.wire !== 2 && field.wire !== 0) field.bytes = field.bytes.map(() => random.integer(256))
    else if (field.wire === 2) {
      field.children = undefined
      const length = pick([0, field.bytes.length, field.bytes.length + 1, random.integer(40)], random)
      field.bytes = Uint8Array.from({ length }, (_, i) => field.bytes[i] ?? 97 + random.integer(26))
    }
  },
  function nest(list, random) {
    const field = pick(list, random)
    if (field.children) field.children = [...field.children, copyOf(field)]
  },
]

/** A file with one to three mutations, some of which take parts of `other`. */
export function mutate(bytes: Uint8Array, random: Random, other: Uint8Array): Uint8Array {
  if (random.integer(2) === 0) return pick(BYTE_MUTATIONS, random)(bytes, random, other)
  const fields = parse(bytes) ?? []
  const strangers = listsOf(parse(other) ?? [])
  for (let i = 1 + random.integer(3); i > 0; i--) {
    const lists = listsOf(fields).filter((list) => list.length > 0)
    if (lists.length > 0) pick(FIELD_MUTATIONS, random)(pick(lists, random), random, strangers)
  }
  return write(fields)
}
