import { describe, expect, it } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { CALIBRATION_CONFIG } from '../amct/calibration-schema.ts'
import { RECORD } from '../amct/record-schema.ts'
import { RETRAIN_CONFIG } from '../amct/retrain-schema.ts'
import { shortestFloat32 } from './float32.ts'
import { parseText } from './parse.ts'
import { printText } from './print.ts'
import { enumeration, type FieldType, type MessageSchema, message, oneOf, optional, repeated } from './schema.ts'

const INNER = message('Inner', { x: optional('int32'), list: repeated('int32') })
const TOY = message('Toy', {
  f: optional('float'),
  i: optional('int32'),
  u: optional('uint32'),
  l: optional('int64'),
  b: optional('bool'),
  s: optional('string'),
  y: optional('bytes'),
  e: optional(enumeration('E', { ZERO: 0, FIVE: 5 })),
  inner: optional(INNER),
  inners: repeated(INNER),
  floats: repeated('float'),
  left: oneOf('side', 'int32'),
  right: oneOf('side', INNER),
})
const read = (text: string) => parseText(text, TOY, 'toy.cfg').message
const empty = { inners: [], floats: [] }

describe('the protobuf text format', () => {
  it('reads every way of writing a number', () => {
    const floats = 'floats: [1, -1., .5, 0.5f, 1e-3, 1E+3, 2F, inf, -inf, -infinity, nan, - 7]'
    expect(read(floats).floats).toEqual([
      1,
      -1,
      0.5,
      0.5,
      Math.fround(1e-3),
      1000,
      2,
      Infinity,
      -Infinity,
      -Infinity,
      NaN,
      -7,
    ])
    expect(read('u: 0x1F i: -017 l: -9223372036854775808')).toEqual({ ...empty, u: 31, i: -15, l: -(2n ** 63n) })
  })

  it('reads booleans, enumerations by name and number, and strings in pieces with escapes', () => {
    for (const yes of ['true', 'True', 't', '1']) expect(read(`b: ${yes}`).b).toBe(true)
    for (const no of ['false', 'False', 'f', '0']) expect(read(`b: ${no}`).b).toBe(false)
    expect(read('e: FIVE').e).toBe('FIVE')
    expect(read('e: 0').e).toBe('ZERO')
    expect(read(`s: "a\\tb\\"" 'c\\x41\\101\\u00e9' # no\n "d"`).s).toBe('a\tb"cAAéd')
    expect(read('s: "\\303\\251"').s).toBe('é')
    expect(read('y: "\\377\\000"').y).toEqual(Uint8Array.of(255, 0))
  })

  it('reads messages with and without colon, in braces and angles, and lists of them', () => {
    const inner = { x: 1, list: [2, 3] }
    for (const text of [
      'inner { x: 1 list: [2, 3] }',
      'inner: { x: 1, list: 2; list: 3; }',
      'inner < x: 1 list: [2, 3] >',
      '# comment\r\ninner\r\n{\r\n  x : 1 # one\r\n  list: [2,3]\r\n}',
    ])
      expect(read(text).inner).toEqual(inner)
    expect(read('inners [{ x: 1 }, < x: 2 >] inners { } inners: []').inners).toEqual([
      { x: 1, list: [] },
      { x: 2, list: [] },
      { list: [] },
    ])
  })

  it.each([
    [
      'batch: 1',
      "toy.cfg:1:1: 'batch' is no field of 'Toy'. Its fields are: f, i, u, l, b, s, y, e, inner, inners, floats, left, right.",
    ],
    ['u: 1\n  u: 2', "toy.cfg:2:3: 'u' may be set once in 'Toy'; line 1 sets it already. Keep one."],
    ['inner { x: 1 }\ninner { }', "toy.cfg:2:1: 'inner' may be set once in 'Toy'; line 1 sets it already. Keep one."],
    ['left: 1\nright { }', "toy.cfg:2:1: 'right' excludes 'left', which line 1 sets. Keep one of them."],
    ['u: -1', "toy.cfg:1:4: 'u' must be from 0 to 4294967295 (uint32); got -1."],
    ['u: 4294967296', "toy.cfg:1:4: 'u' must be from 0 to 4294967295 (uint32); got 4294967296."],
    ['i: 2147483648', "toy.cfg:1:4: 'i' must be from -2147483648 to 2147483647 (int32); got 2147483648."],
    ['i: 1.5', "toy.cfg:1:4: 'i' must be an integer; got '1.5'."],
    ['i: "1"', 'toy.cfg:1:4: \'i\' must be an integer (int32); got "1".'],
    ['f: 1e39', "toy.cfg:1:4: 'f' must fit a float32; got 1e39."],
    ['f: 1.2.3', "toy.cfg:1:4: 'f' must be a number; got '1.2.3'."],
    ['f: 0x10', "toy.cfg:1:4: 'f' must be a number; got '0x10'."],
    ['b: yes', "toy.cfg:1:4: 'b' must be true or false; got 'yes'."],
    ['e: SIX', "toy.cfg:1:4: 'e' must be one of ZERO, FIVE; got 'SIX'."],
    ['s: conv1', "toy.cfg:1:4: 's' must be a string in quotes; got 'conv1'."],
    ['s: "conv1', 'toy.cfg:1:4: this string has no closing " on its line.'],
    ['s: "a\\q"', 'toy.cfg:1:6: invalid escape in a string.'],
    ['s: "\\377"', "toy.cfg:1:4: 's' must be UTF-8; its escapes are not."],
    ['s "a"', "toy.cfg:1:3: ':' must stand between 's' and its value; got \"a\"."],
    ['inner: 3', "toy.cfg:1:8: message 'inner' must start with '{'; got '3'."],
    ['inner {\n x: 1', "toy.cfg:2:6: message 'Inner' that starts at line 1 has no closing '}'."],
    ['inner { x: 1 >', "toy.cfg:1:14: a field name must stand here; got '>'."],
    ['floats: [1 2]', "toy.cfg:1:12: list 'floats' goes on with ',' or ends with ']'; got '2'."],
    ['f: @', 'toy.cfg:1:4: unexpected character "@".'],
    ['f:', "toy.cfg:1:3: 'f' must be a number; got the end of the file."],
    ['[type.googleapis.com/x] { }', "toy.cfg:1:1: a field name must stand here; got '['."],
  ])('refuses %j with its place', (text, expected) => {
    expect(() => read(text)).toThrow(expected)
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'INVALID_FILE' }))
  })

  it('names a message that lacks a required field', () => {
    const text = 'batch_num: 2\noverride_layer_configs {\n  layer_name: "a"\n}'
    expect(() => parseText(text, CALIBRATION_CONFIG, 'q.cfg')).toThrow(
      "q.cfg:2:24: message 'OverrideLayer' must have field 'calibration_config'; it is missing.",
    )
  })

  it('takes the last of repeated settings, as text_format.Merge does, when asked to', () => {
    const text = 'u: 1 u: 2 inner { x: 1 list: 5 } inner { x: 3 list: 6 } left: 1 right { } left: 2'
    expect(parseText(text, TOY, 'toy.cfg', { duplicates: 'last' }).message).toEqual({
      ...empty,
      u: 2,
      inner: { x: 3, list: [5, 6] },
      left: 2,
    })
  })

  it('ends on every truncation of a file with an error or a shorter message', () => {
    const text = 'inner { x: -1 } inners [{ list: [1, 2] }] s: "a\\n" floats: 1.5e3 e: FIVE'
    for (let length = 0; length <= text.length; length++) {
      try {
        read(text.slice(0, length))
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_FILE', message: expect.stringMatching(/^toy\.cfg:1:\d+: /) })
      }
    }
  })

  it('reads long lists, given one by one, in time that grows as they do', () => {
    const text = 'floats: 0.5\n'.repeat(40000)
    expect(read(text).floats).toHaveLength(40000)
  }, 5000)

  it('writes what google.protobuf.text_format writes', () => {
    const text = printText(TOY, {
      ...empty,
      f: 0.1,
      i: -3,
      l: 2n ** 60n,
      b: false,
      s: 'a"\n\u0001é',
      y: Uint8Array.of(0, 255, 65),
      e: 'FIVE',
      inner: { x: 1, list: [1, 2] },
      floats: [6, 1e-7, -Infinity],
    })
    expect(text).toBe(
      `f: 0.1\ni: -3\nl: 1152921504606846976\nb: false\ns: "a\\"\\n\\001é"\ny: "\\000\\377A"\ne: FIVE\n` +
        'inner {\n  x: 1\n  list: 1\n  list: 2\n}\nfloats: 6.0\nfloats: 1e-07\nfloats: -inf\n',
    )
  })
})

describe('float32 in text', () => {
  it('has the fewest digits that come back', () => {
    expect(
      [0.7, 0.999999, 0.01, 1 / 3, 16777216, 3.4028234663852886e38].map((x) => shortestFloat32(Math.fround(x))),
    ).toEqual([0.7, 0.999999, 0.01, 0.33333334, 16777216, 3.4028235e38])
    const random = createRandom(1)
    const bits = new DataView(new ArrayBuffer(4))
    for (let i = 0; i < 20000; i++) {
      bits.setUint32(0, Math.floor(random.uniform() * 2 ** 32))
      const x = bits.getFloat32(0)
      if (Number.isFinite(x)) expect(Object.is(Math.fround(shortestFloat32(x)), x)).toBe(true)
    }
  })
})

/** A random value of a type, or a random message. */
function randomValue(type: FieldType, random: { uniform(): number }): unknown {
  const below = (n: number) => Math.floor(random.uniform() * n)
  if (typeof type !== 'string')
    return type.kind === 'enum'
      ? Object.keys(type.values)[below(Object.keys(type.values).length)]
      : randomMessage(type, random)
  if (type === 'float') {
    const bits = new DataView(new ArrayBuffer(4))
    bits.setUint32(0, below(2 ** 32))
    const x = bits.getFloat32(0)
    return Number.isNaN(x) ? Infinity : x
  }
  if (type === 'int32') return below(2 ** 32) - 2 ** 31
  if (type === 'uint32') return below(2 ** 32)
  if (type === 'int64') return BigInt(below(2 ** 32)) * 2n ** 31n - 2n ** 62n
  if (type === 'bool') return random.uniform() < 0.5
  const codes = Array.from({ length: below(12) }, () => below(random.uniform() < 0.5 ? 128 : 0xd800))
  return type === 'string' ? String.fromCodePoint(...codes) : Uint8Array.from(codes.map((code) => code % 256))
}

function randomMessage(schema: MessageSchema, random: { uniform(): number }): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  const taken = new Set<string>()
  for (const [name, field] of Object.entries(schema.fields)) {
    if (field.label === 'repeated')
      out[name] = Array.from({ length: Math.floor(random.uniform() * 4) }, () => randomValue(field.type, random))
    else if (field.label === 'required' || random.uniform() < 0.6) {
      if (field.oneof !== undefined && taken.has(field.oneof)) continue
      if (field.oneof !== undefined) taken.add(field.oneof)
      out[name] = randomValue(field.type, random)
    }
  }
  return out
}

describe('writing and reading again', () => {
  it.each([
    ['a calibration configuration', CALIBRATION_CONFIG],
    ['a retraining configuration', RETRAIN_CONFIG],
    ['a record', RECORD],
    ['every type of field', TOY],
  ])('keeps every value of %s', (_name, schema: MessageSchema) => {
    const random = createRandom(7)
    for (let i = 0; i < 60; i++) {
      const made = randomMessage(schema, random)
      const text = printText(schema, made)
      expect(parseText(text, schema, 'random').message).toEqual(made)
    }
  })
})
