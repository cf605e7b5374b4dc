import { describe, expect, it } from 'vitest'
import { oracleBytes } from '../../test/support/onnx-oracle.ts'
import { WhittleError } from '../core/index.ts'
import { createGraph, createModel, createNode, type Graph, GraphBuilder } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { decodeModel, encodeModel } from './index.ts'

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))]
const message = (field: number, content: readonly number[]): number[] => [
  ...varint(field * 8 + 2),
  ...varint(content.length),
  ...content,
]
const ascii = (text: string): number[] => [...text].map((character) => character.charCodeAt(0))
const graphWith = (...content: number[]): number[] => [0x08, 10, ...message(7, content)]

/** A graph inside an If's attribute inside a graph, `depth` times. */
function nested(depth: number): Graph {
  const graph = createGraph(`level ${depth}`)
  if (depth > 1) graph.nodes.push(createNode('If', [], [], { then_branch: nested(depth - 1) }))
  return graph
}

function smallModel(): Uint8Array {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [1, 'N'])
  b.output(
    b.op('Conv', [x, b.constant(Tensor.of(Float32Array.of(1, 2), [2]))], { pads: [1, 1], auto_pad: 'VALID' }),
    'float32',
  )
  return encodeModel(b.model())
}

const attribute = message(5, [...message(1, ascii('k')), 0x18, 1, 0xa0, 1, 2])

const CASES: readonly [string, readonly number[] | Uint8Array, 'INVALID_FILE' | 'INVALID_MODEL', string][] = [
  ['nothing', [], 'INVALID_FILE', "Model file 'a.onnx': the file is empty. Get it again."],
  [
    'no graph',
    [0x08, 10],
    'INVALID_FILE',
    "Model file 'a.onnx': an ONNX model holds a graph; this file has none. Is it another kind of file?",
  ],
  [
    'two graphs',
    [0x08, 10, ...message(7, []), ...message(7, [])],
    'INVALID_MODEL',
    "Model file 'a.onnx': a model has one graph; this one has two.",
  ],
  [
    'a graph that is cut off',
    graphWith(...message(2, ascii('main'))).slice(0, -2),
    'INVALID_FILE',
    "Model file 'a.onnx', byte 4: the file ends too early: 6 more bytes must follow, only 4 do. Get the file again.",
  ],
  [
    'a length of 2⁵⁶',
    [0x08, 10, 0x3a, 255, 255, 255, 255, 255, 255, 255, 127],
    'INVALID_FILE',
    "Model file 'a.onnx', byte 11: the file ends too early: 72057594037927940 more bytes must follow, only 0 do. Get the file again.",
  ],
  [
    'a name longer than its node',
    [...graphWith(...message(1, [0x1a, 9, 65])), 0x28, 1, 0x28, 1],
    'INVALID_FILE',
    "Model file 'a.onnx', byte 8: a value must fit into its message; it needs 9 bytes and has 1. The file is damaged.",
  ],
  [
    'an integer that does not end',
    [0x08, ...new Array<number>(12).fill(255)],
    'INVALID_FILE',
    "Model file 'a.onnx', byte 11: an integer takes at most 10 bytes; this one goes on. The file is damaged or no ONNX model.",
  ],
  [
    'field 0',
    [0x08, 10, 0x00, 1],
    'INVALID_FILE',
    "Model file 'a.onnx', byte 3: field numbers are 1 to 536870911; found 0.",
  ],
  [
    'wire type 7',
    [0x08, 10, 0x1f, 1],
    'INVALID_FILE',
    "Model file 'a.onnx', byte 3: wire types are 0, 1, 2, 3 and 5; found 7. The file is damaged or no ONNX model.",
  ],
  [
    'a group that ends with another number',
    [0x08, 10, 0x4b, 0x54],
    'INVALID_FILE',
    "Model file 'a.onnx', byte 4: group 9 must end with its own number, not 10.",
  ],
  [
    'groups in groups in groups',
    [0x08, 10, ...new Array<number>(100_000).fill(0x4b)],
    'INVALID_FILE',
    "Model file 'a.onnx', byte 104: groups may be nested 100 deep; here is one more.",
  ],
  [
    'graphs in graphs in graphs',
    encodeModel(createModel(nested(35))),
    'INVALID_FILE',
    expect.stringMatching(
      /^Model file 'a\.onnx', byte \d+: messages may be nested 100 deep, as deep as protobuf's own readers go; here is one more\. The file is damaged or made to overflow a reader\.$/,
    ),
  ],
  [
    'a name that is not UTF-8',
    graphWith(...message(2, [0x61, 0xff])),
    'INVALID_FILE',
    "Model file 'a.onnx', byte 6: names must be UTF-8 text; this one is not. The file is damaged or no ONNX model.",
  ],
  [
    'an attribute that comes twice',
    graphWith(...message(1, [...message(3, ascii('n')), ...message(4, ascii('Op')), ...attribute, ...attribute])),
    'INVALID_MODEL',
    "Model file 'a.onnx': Op 'n': attributes must have different names; 'k' is given twice.",
  ],
  [
    'a node without operator',
    graphWith(...message(1, message(2, ascii('y')))),
    'INVALID_MODEL',
    "Model file 'a.onnx': node 'y' does not name its operator.",
  ],
  [
    'control characters in a name',
    graphWith(...message(1, message(3, [0x1b, ...ascii('[2J'), 10]))),
    'INVALID_MODEL',
    "Model file 'a.onnx': node '\\u{1b}[2J\\u{a}' does not name its operator.",
  ],
  [
    'a very long name and a very long shape',
    oracleBytes('ModelProto', {
      graph: { initializer: [{ name: 'w'.repeat(10_000), dataType: 1, dims: new Array(10_000).fill(1n) }] },
    }),
    'INVALID_MODEL',
    `Model file 'a.onnx': initializer '${'w'.repeat(200)}…' float32 [${'1, '.repeat(16)}…]: the shape needs 4 bytes of data; the file holds 0. The file is damaged.`,
  ],
  [
    'two versions of an operator set',
    oracleBytes('ModelProto', { graph: {}, opsetImport: [{ version: 9n }, { domain: 'ai.onnx', version: 10n }] }),
    'INVALID_MODEL',
    "Model file 'a.onnx': an operator set is imported in one version; 'ai.onnx' comes in 9 and 10.",
  ],
  [
    'an initializer with too little data',
    oracleBytes('ModelProto', {
      graph: { initializer: [{ name: 'w', dataType: 1, dims: [4n], rawData: new Uint8Array(9) }] },
    }),
    'INVALID_MODEL',
    "Model file 'a.onnx': initializer 'w' float32 [4]: the shape needs 16 bytes of data; the file holds 9. The file is damaged.",
  ],
  [
    'more values than a model may have',
    Buffer.concat([
      Buffer.from([0x08, 10, 0x3a, ...varint(10_000_002)]),
      Buffer.alloc(10_000_002, Buffer.from([0x6a, 0])),
    ]),
    'INVALID_FILE',
    "Model file 'a.onnx', byte 10000006: a model may have 5000000 nodes, attributes and values in all; here is one more.",
  ],
]

describe('A hostile or damaged file', () => {
  it.each(CASES)('with %s is refused with one clear error', (_, bytes, code, expected) => {
    expect(() => decodeModel(Uint8Array.from(bytes), { name: 'a.onnx' })).toThrow(
      expect.objectContaining({ code, message: expected }),
    )
  })

  it('may nest graphs 33 deep, no deeper', () => {
    expect(decodeModel(encodeModel(createModel(nested(33)))).graph.nodes).toHaveLength(1)
  })

  it('cut off anywhere is refused or leaves a model, and never throws anything else', () => {
    const bytes = smallModel()
    let refused = 0
    for (let length = 0; length < bytes.length; length++)
      try {
        decodeModel(bytes.slice(0, length))
      } catch (error) {
        expect(error).toBeInstanceOf(WhittleError)
        refused++
      }
    // Only cuts between the last fields of the model leave one.
    expect(refused).toBeGreaterThan(bytes.length - 10)
  })

  it('that nests two values per graph is read in linear time', () => {
    // An attribute with both a graph and a number must not be read twice at each level: that would be 2³³ times.
    let content: number[] = []
    for (let depth = 0; depth < 32; depth++)
      content = message(1, [...message(4, ascii('If')), ...message(5, [...message(6, content), 0x18, 1, 0xa0, 1, 5])])
    expect(decodeModel(Uint8Array.from(graphWith(...content))).graph.nodes).toHaveLength(1)
  }, 2_000)
})
