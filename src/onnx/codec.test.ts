import { describe, expect, it } from 'vitest'
import { oracleBytes, oracleModel } from '../../test/support/onnx-oracle.ts'
import { createNode, float, GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { decodeModel, encodeModel, encodeModelChunks } from './index.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const oneof = (name: string, value: object): object => ({ value: { case: name, value } })
const tensorOf = (fields: object): object => oneof('tensorType', fields)
const dimension = (name?: string, value?: unknown, denotation = ''): object =>
  name === undefined ? { denotation } : { denotation, value: { case: name, value } }

/** Bytes of a model with the given GraphProto, and of another field of the model if need be. */
const modelFile = (graph: object, fields: object = {}): Uint8Array =>
  oracleBytes('ModelProto', { irVersion: 10n, opsetImport: [{ version: 21n }], graph, ...fields })

/** Reads, writes, and shows that the oracle sees the same model in both. */
function roundTrip(bytes: Uint8Array): Model {
  const model = decodeModel(bytes)
  expect(oracleModel(encodeModel(model))).toEqual(oracleModel(bytes))
  return model
}

describe('The codec', () => {
  it('keeps what the IR models', () => {
    const model = roundTrip(
      modelFile(
        {
          name: 'g',
          node: [
            { opType: 'Clip', name: 'n', input: ['x', '', 'max'], output: ['y', ''], overload: 'o', domain: 'org.d' },
          ],
          initializer: [{ name: 'max', dataType: 1, dims: [1n], floatData: [6] }],
          input: [{ name: 'x', type: { value: tensorOf({ elemType: 1 }) } }],
        },
        { producerName: 'p', producerVersion: '1', metadataProps: [{ key: 'k', value: 'größe' }] },
      ),
    )
    expect(model).toMatchObject({ irVersion: 10, producerName: 'p', producerVersion: '1' })
    expect(model.opsets).toEqual(new Map([['', 21]]))
    expect(model.metadata).toEqual(new Map([['k', 'größe']]))
    expect(model.graph.nodes).toEqual([
      {
        name: 'n',
        opType: 'Clip',
        domain: 'org.d',
        overload: 'o',
        inputs: ['x', '', 'max'],
        outputs: ['y', ''],
        attributes: new Map(),
      },
    ])
    expect(model.graph.initializers.get('max')?.data).toEqual(Float32Array.of(6))
  })

  it('keeps what the IR does not model: notes, training, devices, annotations', () => {
    const entry = { key: 'k', value: 'v' }
    const model = roundTrip(
      modelFile(
        {
          docString: 'about the graph',
          metadataProps: [entry],
          quantizationAnnotation: [{ tensorName: 'w', quantParameterTensorNames: [entry] }],
          node: [
            {
              opType: 'Relu',
              docString: 'about the node',
              metadataProps: [entry],
              deviceConfigurations: [{ configurationId: 'c' }],
            },
          ],
          initializer: [
            {
              name: 'w',
              dataType: 1,
              floatData: [1],
              docString: 'about w',
              metadataProps: [entry],
              segment: { end: 1n },
            },
          ],
          input: [{ name: 'x', docString: 'about x', metadataProps: [entry] }],
        },
        {
          domain: 'org.example',
          modelVersion: 7n,
          docString: 'about the model',
          trainingInfo: [{ algorithm: { name: 'a' } }],
          configuration: [{ name: 'c', numDevices: 2 }],
        },
      ),
    )
    for (const part of [model, model.graph, model.graph.nodes[0], model.graph.inputs[0]])
      expect(part?.preserved).toBeDefined()
    expect(model.graph.initializerNotes.get('w')).toBeDefined()
  })

  it('keeps fields of later versions, in every kind of message', () => {
    // Field 1000: text, field 1001: a number, field 1002: four bytes, field 1003: eight bytes, field 1004: a group.
    const later = [
      ...[0xc2, 0x3e, 2, 0x68, 0x69],
      ...[0xc8, 0x3e, 0x96, 1],
      ...[0xd5, 0x3e, 1, 2, 3, 4],
      ...[0xd9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
      ...[0xe3, 0x3e, 0x08, 1, 0xe4, 0x3e],
    ]
    const message = (field: number, ...content: (number | number[])[]): number[] => {
      const bytes = content.flat()
      return [field * 8 + 2, (bytes.length & 0x7f) | 0x80, bytes.length >> 7, ...bytes]
    }
    const string = (field: number, value: string): number[] => message(field, [...text(value)])
    const type = message(2, message(1, [0x08, 1], later), later)
    const tensor = [0x10, 1, 0x25, 0, 0, 0x80, 0x3f, ...later]
    const attribute = message(5, string(1, 'a'), [0x18, 3, 0xa0, 1, 2], later)
    const tensorAttribute = message(5, string(1, 't'), message(5, tensor), [0xa0, 1, 4], later)
    const graph = message(
      7,
      message(1, string(4, 'Relu'), attribute, tensorAttribute, later),
      message(5, string(8, 'w'), tensor),
      message(11, string(1, 'x'), type, later),
      message(13, string(1, 'y'), type),
      later,
    )
    const definition = message(25, string(1, 'f'), message(7, string(4, 'Relu'), later), later).flat()
    // Field 25 has a tag of two bytes.
    const functions = [0xca, 1, ...definition.slice(1)]
    const bytes = Uint8Array.from([0x08, 10, ...graph, ...functions, ...message(14, string(1, 'k'), later), ...later])
    const model = roundTrip(bytes)
    expect(model.graph.nodes[0]?.attributes.get('a')).toMatchObject({ kind: 'int', value: 3n })
    expect(model.graph.nodes[0]?.attributes.get('t')).toMatchObject({ kind: 'tensor' })
    expect(model.graph.initializers.get('w')?.data).toEqual(Float32Array.of(1))
    expect(model.graph.valueInfos.get('y')?.type).toMatchObject({ kind: 'tensor', dtype: 'float32' })
    expect(model.functions[0]?.nodes[0]?.preserved).toEqual(Uint8Array.from(later))
  })

  it('tells shapes apart: none, of a scalar, unknown, named and numbered extents', () => {
    const infos: [object, unknown][] = [
      [{}, undefined],
      [{ shape: {} }, []],
      [
        {
          shape: {
            dim: [dimension(), dimension('dimParam', 'N'), dimension('dimValue', 3n), dimension('dimValue', 0n)],
          },
        },
        [null, 'N', 3, 0],
      ],
      // Not modelled, so kept encoded as well: −1, an empty name, a denotation.
      [
        {
          shape: {
            dim: [dimension('dimValue', -1n), dimension('dimParam', ''), dimension('dimValue', 5n, 'DATA_BATCH')],
          },
        },
        [null, null, 5],
      ],
    ]
    const { graph } = roundTrip(
      modelFile({
        input: infos.map(([fields], i) => ({
          name: `x${i}`,
          type: { value: { case: 'tensorType', value: { elemType: 1, ...fields } } },
        })),
      }),
    )
    expect(graph.inputs.map(({ type }) => type?.kind === 'tensor' && type.shape)).toEqual(
      infos.map(([, shape]) => shape),
    )
    expect(graph.inputs.map(({ type }) => type?.encoded !== undefined)).toEqual([false, false, false, true])
  })

  it('keeps types that are no tensors, of unknown elements, empty or missing', () => {
    const inner = { value: { case: 'tensorType', value: { elemType: 1 } } }
    const types = [
      { value: { case: 'sequenceType', value: { elemType: inner } } },
      { value: { case: 'mapType', value: { keyType: 7, valueType: inner } } },
      { value: { case: 'optionalType', value: { elemType: inner } } },
      { value: { case: 'sparseTensorType', value: { elemType: 1 } } },
      { denotation: 'IMAGE' },
      { value: { case: 'tensorType', value: { elemType: 99 } } },
      { value: { case: 'tensorType', value: { elemType: 1 } }, denotation: 'IMAGE' },
    ]
    const { graph } = roundTrip(
      modelFile({ input: [...types.map((type, i) => ({ name: `x${i}`, type })), { name: 'none' }] }),
    )
    expect(graph.inputs.map(({ type }) => type?.kind)).toEqual([
      ...['sequence', 'map', 'optional', 'sparse', 'opaque', 'tensor', 'tensor', undefined],
    ])
    expect(graph.inputs[5]?.type).toMatchObject({ dtype: undefined })
  })

  it('keeps what protobuf would merge: types and shapes that come twice', () => {
    // Graph { input { name "x" type { tensor { elem_type 1 shape { dim 3 } } } … } }
    const shape = [0x12, 4, 0x0a, 2, 0x08, 3]
    const tensor = (...content: number[]): number[] => [0x0a, content.length, ...content]
    const type = (...content: number[]): number[] => [0x12, content.length, ...content]
    const [one, two] = [tensor(0x08, 1, ...shape), tensor(0x08, 1, ...shape, ...shape)]
    for (const types of [type(...two), type(...one, ...one), [...type(...one), ...type(...one)]]) {
      const info = [0x0a, 1, 0x78, ...types]
      const { graph } = roundTrip(Uint8Array.from([0x3a, info.length + 2, 0x5a, info.length, ...info]))
      expect(graph.inputs[0]?.type).toMatchObject({ dtype: 'float32', shape: [3] })
    }
  })

  it('keeps attributes of every kind', () => {
    const tensor = { dataType: 1, dims: [1n], floatData: [2], docString: 'note', name: 'inner' }
    const attribute = [
      { name: 'float', type: 1, f: 0.5 },
      { name: 'zero', type: 1, f: 0 },
      { name: 'int', type: 2, i: -3n },
      { name: 'string', type: 3, s: Uint8Array.of(0xff) },
      { name: 'tensor', type: 4, t: tensor },
      { name: 'graph', type: 5, g: { name: 'sub', node: [{ opType: 'Add' }] } },
      { name: 'floats', type: 6, floats: [1, 2] },
      { name: 'ints', type: 7, ints: [1n, -(2n ** 63n), 2n ** 63n - 1n] },
      { name: 'strings', type: 8, strings: [text('a'), text('')] },
      { name: 'tensors', type: 9, tensors: [tensor] },
      { name: 'graphs', type: 10, graphs: [{ name: 'a' }, { name: 'b' }] },
      { name: 'sparse', type: 11, sparseTensor: { dims: [3n] } },
      { name: 'type', type: 13, tp: { denotation: 'd' } },
      { name: 'empty', type: 7 },
      { name: 'ref', type: 2, refAttrName: 'formal', docString: 'note' },
      { name: 'noted', type: 2, i: 1n, docString: 'note' },
      { name: 'two values', type: 2, i: 1n, f: 3 },
      { name: 'unknown', type: 77, i: 1n },
      { name: 'unknown elements', type: 4, t: { dataType: 99, rawData: Uint8Array.of(1) } },
    ]
    const { graph } = roundTrip(modelFile({ node: [{ opType: 'Op', attribute }] }))
    const { attributes } = graph.nodes[0]!
    expect([...attributes].map(([name, { kind }]) => `${name}: ${kind}`)).toEqual([
      'float: float',
      'zero: float',
      'int: int',
      'string: string',
      'tensor: tensor',
      'graph: graph',
      'floats: floats',
      'ints: ints',
      'strings: strings',
      'tensors: other',
      'graphs: graphs',
      'sparse: other',
      'type: other',
      'empty: ints',
      'ref: ref',
      'noted: int',
      'two values: int',
      'unknown: other',
      'unknown elements: other',
    ])
    expect(attributes.get('ints')).toEqual({ kind: 'ints', value: [1n, -(2n ** 63n), 2n ** 63n - 1n] })
    expect(attributes.get('two values')).toMatchObject({ value: 1n })
    expect(attributes.get('tensor')).toMatchObject({ name: 'inner' })
  })

  it('reads attributes without a type, as files before IR version 3 have them', () => {
    const attribute = [
      { name: 'ints', ints: [1n, 2n] },
      { name: 'tensor', t: { dataType: 6, int32Data: [4] } },
    ]
    const { attributes } = roundTrip(modelFile({ node: [{ opType: 'Op', attribute }] })).graph.nodes[0]!
    expect(attributes.get('ints')).toEqual({ kind: 'ints', value: [1n, 2n] })
    expect(attributes.get('tensor')).toMatchObject({ kind: 'tensor' })
  })

  it('writes values of 0, which readers of the proto2 form want to see', () => {
    const b = new GraphBuilder()
    b.op('Op', [], { f: float(0), i: 0, s: '' })
    // name "f" · f (fixed32) 0 · type 1
    const bytes = Buffer.from(encodeModel(b.model()))
    expect(bytes.includes(Buffer.from([0x0a, 1, 0x66, 0x15, 0, 0, 0, 0, 0xa0, 1, 1]))).toBe(true)
    expect(bytes.includes(Buffer.from([0x0a, 1, 0x69, 0x18, 0, 0xa0, 1, 2]))).toBe(true)
    expect(bytes.includes(Buffer.from([0x0a, 1, 0x73, 0x22, 0, 0xa0, 1, 3]))).toBe(true)
  })

  it('keeps functions, sparse initializers and operator sets of any domain', () => {
    const model = roundTrip(
      modelFile(
        {
          sparseInitializer: [
            {
              dims: [5n],
              values: { name: 's', dataType: 1, dims: [1n], floatData: [1] },
              indices: { dataType: 7, dims: [1n], int64Data: [2n] },
            },
          ],
        },
        {
          opsetImport: [
            { domain: 'ai.onnx', version: 21n },
            { domain: 'com.example', version: 3n },
          ],
          functions: [
            {
              name: 'f',
              domain: 'com.example',
              overload: 'v2',
              input: ['a'],
              output: ['b'],
              attribute: ['k'],
              attributeProto: [{ name: 'd', type: 2, i: 4n }],
              node: [{ opType: 'Op', attribute: [{ name: 'x', type: 2, refAttrName: 'k' }] }],
              opsetImport: [{ version: 21n }],
              docString: 'about f',
              valueInfo: [{ name: 'a' }],
            },
          ],
        },
      ),
    )
    expect([...model.graph.sparseInitializers.keys()]).toEqual(['s'])
    expect(model.opsets).toEqual(
      new Map([
        ['', 21],
        ['com.example', 3],
      ]),
    )
    expect(model.functions[0]).toMatchObject({
      name: 'f',
      overload: 'v2',
      inputs: ['a'],
      outputs: ['b'],
      attributes: ['k'],
      attributeDefaults: new Map([['d', { kind: 'int', value: 4n }]]),
      opsets: new Map([['', 21]]),
    })
  })

  it('takes the later of two initializers of one name, as ONNX Runtime does', () => {
    const initializer = [1, 2].map((value) => ({ name: 'w', dataType: 1, floatData: [value] }))
    expect(decodeModel(modelFile({ initializer })).graph.initializers.get('w')?.data).toEqual(Float32Array.of(2))
  })

  it('keeps the order of nodes, sorted or not, and names that come twice', () => {
    const node = [
      { opType: 'B', name: 'n', input: ['a'] },
      { opType: 'A', name: 'n', output: ['a'] },
    ]
    expect(roundTrip(modelFile({ node })).graph.nodes.map(({ opType }) => opType)).toEqual(['B', 'A'])
  })

  it('keeps metadata that comes twice', () => {
    const metadataProps = ['a', 'b'].map((value) => ({ key: 'k', value }))
    expect(roundTrip(modelFile({}, { metadataProps })).metadata.get('k')).toBe('a')
  })

  it('passes large weights on as they are and copies small ones', () => {
    const b = new GraphBuilder()
    const large = new Float32Array(100_000).fill(1)
    b.constant(Tensor.of(large, [100_000]), 'large')
    b.constant(Tensor.of(new Float32Array(10), [10]), 'small')
    const { chunks, byteLength } = encodeModelChunks(b.model())
    expect(chunks.filter((chunk) => chunk.buffer === large.buffer)).toHaveLength(1)
    expect(chunks.length).toBeLessThanOrEqual(3)
    expect(byteLength).toBe(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
    expect(Buffer.concat(chunks).equals(encodeModel(b.model()))).toBe(true)
  })

  it('writes long names, and names that are not ASCII', () => {
    const b = new GraphBuilder()
    const names = ['é'.repeat(40), 'x'.repeat(5_000), '模'.repeat(2_000), '\ufeffmark', `${'a'.repeat(63)}ß`]
    for (const name of names) b.graph.nodes.push(createNode('Op', names, [], {}, name))
    expect(decodeModel(encodeModel(b.model())).graph.nodes.map(({ name, inputs }) => [name, inputs])).toEqual(
      names.map((name) => [name, names]),
    )
  })

  it('writes 20,000 nodes and reads them again', () => {
    const b = new GraphBuilder()
    let x = b.input('x', 'float32', [1, 64, 56, 56])
    for (let i = 0; i < 20_000; i++)
      x = b.op('Conv', [x, `w${i}`], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [1, 1], group: 1 })
    const bytes = encodeModel(b.model())
    expect(decodeModel(bytes).graph.nodes).toEqual(b.graph.nodes)
  })

  it('refuses to write a file of 2 GiB or more', () => {
    const b = new GraphBuilder()
    const shared = new Uint8Array(2 ** 26)
    for (let i = 0; i < 33; i++) b.constant(Tensor.of(shared, [2 ** 26]))
    expect(() => encodeModelChunks(b.model())).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(
          /^A model file must be smaller than 2 GiB, protobuf's limit; this one would have 22145\d+ bytes\. Write its weights to an external file\.$/,
        ),
      }),
    )
  })
})
