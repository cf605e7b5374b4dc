import { describe, expect, it } from 'vitest'
import { oracleBytes } from '../../test/support/onnx-oracle.ts'
import { createNode, GraphBuilder } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import {
  decodeModel,
  type EncodedWithExternalData,
  type ExternalDataReader,
  encodeModel,
  encodeModelWithExternalData,
} from './index.ts'

const modelFile = (entries: Record<string, string>, dims: readonly number[] = [2], extra: object = {}): Uint8Array =>
  oracleBytes('ModelProto', {
    irVersion: 10n,
    graph: {
      initializer: [
        {
          name: 'w',
          dataType: 1,
          dims: dims.map(BigInt),
          dataLocation: 1,
          externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
          ...extra,
        },
      ],
    },
  })

const unread: ExternalDataReader = { read: () => expect.unreachable('nothing should be read') }

/** Puts the second file together. */
function assemble({ external }: EncodedWithExternalData): Uint8Array {
  const file = new Uint8Array(external.byteLength)
  for (const { offset, tensor } of external.parts) file.set(tensor.bytes, offset)
  return file
}

describe('Weights in a second file', () => {
  it('are read when they are first asked for, and once', () => {
    const calls: unknown[] = []
    const externalData: ExternalDataReader = {
      read: (...call) => {
        calls.push(call)
        return new Uint8Array(Float32Array.of(1, 2).buffer)
      },
    }
    const { graph } = decodeModel(modelFile({ location: 'dir/w.bin', offset: '4096', length: '8', checksum: 'x' }), {
      externalData,
    })
    const tensor = graph.initializers.get('w')!
    expect(calls).toEqual([])
    expect(tensor.isLazy).toBe(true)
    expect([tensor.data, tensor.data]).toEqual([Float32Array.of(1, 2), Float32Array.of(1, 2)])
    expect(calls).toEqual([['dir/w.bin', 4096, 8]])
  })

  it('begin at 0 and are as long as their shape says when the model does not say', () => {
    const calls: unknown[] = []
    const read = (...call: unknown[]): Uint8Array => {
      calls.push(call)
      return new Uint8Array(8)
    }
    void decodeModel(modelFile({ location: 'w.bin' }), { externalData: { read } }).graph.initializers.get('w')?.bytes
    expect(calls).toEqual([['w.bin', 0, 8]])
  })

  it('claim nothing before they are read, however long they claim to be', () => {
    const { graph } = decodeModel(modelFile({ location: 'w.bin' }, [2 ** 40]), { externalData: unread })
    expect(graph.initializers.get('w')?.byteLength).toBe(2 ** 42)
  })

  it.each([
    ['../w.bin', "it has a '..'"],
    ['a/../../w.bin', "it has a '..'"],
    ['/etc/passwd', 'it is absolute'],
    ['C:w.bin', 'it has a colon (a drive or a URL)'],
    ['\\\\host\\share', 'it has a backslash'],
    ['a\\..\\w.bin', 'it has a backslash'],
    ['file:///etc/passwd', 'it has a colon (a drive or a URL)'],
    ['w.bin\0.txt', 'it has a control character'],
    ['', 'it is empty'],
  ])('at %j are refused', (location, reason) => {
    expect(() => decodeModel(modelFile({ location }), { externalData: unread, name: 'a.onnx' })).toThrow(
      expect.objectContaining({
        code: 'INVALID_MODEL',
        message:
          "Model file 'a.onnx': initializer 'w' float32 [2]: the location of external data must be a file inside the " +
          `model's folder; '${location.replace('\0', '\\u{0}')}' is refused because ${reason}.`,
      }),
    )
  })

  it.each([
    [{ offset: '-1' }, "the offset of external data must be a whole number of bytes; found '-1'."],
    [{ offset: '1e3' }, "the offset of external data must be a whole number of bytes; found '1e3'."],
    [
      { length: '99999999999999999999' },
      "the length of external data must be a whole number of bytes; found '99999999999999999999'.",
    ],
    [{ length: '12' }, 'the shape needs 8 bytes of data; the file holds 12. The file is damaged.'],
  ])('at %j are refused', (entries, message) => {
    expect(() => decodeModel(modelFile({ location: 'w.bin', ...entries }), { externalData: unread })).toThrow(
      expect.objectContaining({
        code: 'INVALID_MODEL',
        message: `Model file: initializer 'w' float32 [2]: ${message}`,
      }),
    )
  })

  it('are refused when nothing can read them', () => {
    expect(() => decodeModel(modelFile({ location: 'w.bin' }))).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message:
          "Model file: initializer 'w' float32 [2]: its data lies in the file 'w.bin' beside the model, which was not " +
          'given. Open the model by its path, or pass `externalData`.',
      }),
    )
  })

  it('are refused where they cannot be carried over: sparse ones and those of unknown elements', () => {
    const entries = { location: 'w.bin' }
    expect(() => decodeModel(modelFile(entries, [2], { dataType: 99 }), { externalData: unread })).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message:
          "Model file: initializer 'w' has element type 99, which this version does not know, and its data lies in " +
          'another file, so it cannot be copied. Save the model with its weights inside.',
      }),
    )
    const values = { name: 's', dataType: 1, dims: [1n], dataLocation: 1 }
    const sparse = oracleBytes('ModelProto', { graph: { sparseInitializer: [{ values, indices: {} }] } })
    expect(() => decodeModel(sparse, { externalData: unread })).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message:
          "Model file: sparse initializer 's' keeps its data in another file, which is read for dense ones only. " +
          'Save the model with its weights inside.',
      }),
    )
  })

  it('are written aligned, in order, those that are shared once, and read back equal', () => {
    const b = new GraphBuilder()
    const tensor = (count: number): Tensor =>
      Tensor.of(
        Float32Array.from({ length: count }, (_, i) => i),
        [count],
      )
    const shared = tensor(300)
    b.constant(tensor(3), 'small')
    b.constant(tensor(301), 'a')
    b.constant(shared, 'b')
    b.constant(shared, 'b again')
    b.constant(tensor(2 ** 18), 'large')
    b.constant(Tensor.ofStrings(['x'.repeat(5000)]), 'text')
    const inner = new GraphBuilder('inner')
    inner.constant(tensor(400), 'c')
    b.graph.nodes.push(createNode('If', [], [], { then_branch: inner.graph, value: tensor(500) }))
    const model = b.model()
    const encoded = encodeModelWithExternalData(model, { location: 'm.data' })
    expect(encoded.external.parts.map(({ offset, tensor: { size } }) => [offset, size])).toEqual([
      [0, 301],
      [1216, 300],
      [65536, 2 ** 18],
      [65536 + 2 ** 20, 400],
    ])
    const file = assemble(encoded)
    const externalData: ExternalDataReader = { read: (_, offset, length) => file.slice(offset, offset + length) }
    const again = decodeModel(Buffer.concat(encoded.chunks), { externalData })
    expect(Buffer.from(encodeModel(again)).equals(encodeModel(model))).toBe(true)
  })

  it('make files beyond 2 GiB possible', () => {
    const b = new GraphBuilder()
    const bytes = new Uint8Array(2 ** 26)
    for (let i = 0; i < 80; i++) b.constant(Tensor.of(bytes, [2 ** 26]))
    const { byteLength, external } = encodeModelWithExternalData(b.model(), { location: 'm.data' })
    expect(byteLength).toBeLessThan(10_000)
    expect(external.byteLength).toBe(80 * 2 ** 26)
    expect(external.parts.at(-1)?.offset).toBe(79 * 2 ** 26)
  })

  it("are not written outside of the model's folder", () => {
    expect(() => encodeModelWithExternalData(new GraphBuilder().model(), { location: '../m.data' })).toThrow(
      expect.objectContaining({
        code: 'INVALID_MODEL',
        message:
          "External weights: the location of external data must be a file inside the model's folder; '../m.data' is " +
          "refused because it has a '..'.",
      }),
    )
  })
})
