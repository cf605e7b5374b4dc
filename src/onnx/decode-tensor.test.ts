import { describe, expect, it } from 'vitest'
import { oracleBytes, oracleTensor } from '../../test/support/onnx-oracle.ts'
import { DTYPES, type DType, Tensor } from '../tensor/index.ts'
import { decodeModel, decodeTensor, encodeTensor } from './index.ts'

const bytesOf = (array: { readonly buffer: ArrayBuffer }): Uint8Array => new Uint8Array(array.buffer)

/** Element types, how onnx.proto3 spells some elements in a typed list, and the same as little-endian bytes. */
const SPELLINGS: readonly { dtype: DType; dims: number[]; fields: object; bytes: Uint8Array }[] = [
  { dtype: 'float32', dims: [2], fields: { floatData: [1.5, -2] }, bytes: bytesOf(Float32Array.of(1.5, -2)) },
  { dtype: 'float64', dims: [2], fields: { doubleData: [1.5, -2] }, bytes: bytesOf(Float64Array.of(1.5, -2)) },
  { dtype: 'complex64', dims: [1], fields: { floatData: [1.5, -2] }, bytes: bytesOf(Float32Array.of(1.5, -2)) },
  { dtype: 'complex128', dims: [1], fields: { doubleData: [1.5, -2] }, bytes: bytesOf(Float64Array.of(1.5, -2)) },
  {
    dtype: 'int64',
    dims: [3],
    fields: { int64Data: [-1n, 2n ** 62n, 300n] },
    bytes: bytesOf(BigInt64Array.of(-1n, 2n ** 62n, 300n)),
  },
  {
    dtype: 'uint64',
    dims: [2],
    fields: { uint64Data: [2n ** 64n - 1n, 5n] },
    bytes: bytesOf(BigUint64Array.of(2n ** 64n - 1n, 5n)),
  },
  {
    dtype: 'uint32',
    dims: [2],
    fields: { uint64Data: [2n ** 32n - 1n, 5n] },
    bytes: bytesOf(Uint32Array.of(2 ** 32 - 1, 5)),
  },
  {
    dtype: 'int32',
    dims: [2],
    fields: { int32Data: [-7, 2 ** 31 - 1] },
    bytes: bytesOf(Int32Array.of(-7, 2 ** 31 - 1)),
  },
  { dtype: 'int16', dims: [2], fields: { int32Data: [-7, 32767] }, bytes: bytesOf(Int16Array.of(-7, 32767)) },
  { dtype: 'uint16', dims: [2], fields: { int32Data: [7, 65535] }, bytes: bytesOf(Uint16Array.of(7, 65535)) },
  {
    dtype: 'float16',
    dims: [2],
    fields: { int32Data: [0x3c00, 0xc000] },
    bytes: bytesOf(Uint16Array.of(0x3c00, 0xc000)),
  },
  {
    dtype: 'bfloat16',
    dims: [2],
    fields: { int32Data: [0x3f80, 0xc000] },
    bytes: bytesOf(Uint16Array.of(0x3f80, 0xc000)),
  },
  { dtype: 'int8', dims: [2], fields: { int32Data: [-7, 127] }, bytes: Uint8Array.of(249, 127) },
  { dtype: 'uint8', dims: [2], fields: { int32Data: [7, 255] }, bytes: Uint8Array.of(7, 255) },
  { dtype: 'bool', dims: [2], fields: { int32Data: [1, 0] }, bytes: Uint8Array.of(1, 0) },
  { dtype: 'float8e4m3fn', dims: [1], fields: { int32Data: [0xb8] }, bytes: Uint8Array.of(0xb8) },
  { dtype: 'float8e4m3fnuz', dims: [1], fields: { int32Data: [0xb8] }, bytes: Uint8Array.of(0xb8) },
  { dtype: 'float8e5m2', dims: [1], fields: { int32Data: [0xb8] }, bytes: Uint8Array.of(0xb8) },
  { dtype: 'float8e5m2fnuz', dims: [1], fields: { int32Data: [0xb8] }, bytes: Uint8Array.of(0xb8) },
  { dtype: 'float8e8m0', dims: [1], fields: { int32Data: [0x7f] }, bytes: Uint8Array.of(0x7f) },
  { dtype: 'int4', dims: [3], fields: { int32Data: [0x2f, 0x08] }, bytes: Uint8Array.of(0x2f, 0x08) },
  { dtype: 'uint4', dims: [3], fields: { int32Data: [0x2f, 0x08] }, bytes: Uint8Array.of(0x2f, 0x08) },
  { dtype: 'float4e2m1', dims: [3], fields: { int32Data: [0x2f, 0x08] }, bytes: Uint8Array.of(0x2f, 0x08) },
  { dtype: 'int2', dims: [5], fields: { int32Data: [0xe4, 0x01] }, bytes: Uint8Array.of(0xe4, 0x01) },
  { dtype: 'uint2', dims: [5], fields: { int32Data: [0xe4, 0x01] }, bytes: Uint8Array.of(0xe4, 0x01) },
]

const tensorFile = (dtype: DType, dims: readonly number[], fields: object): Uint8Array =>
  oracleBytes('TensorProto', { name: 't', dataType: DTYPES[dtype].code, dims: dims.map(BigInt), ...fields })

describe('Tensors', () => {
  it('are tested in every element type', () => {
    expect([...SPELLINGS.map(({ dtype }) => dtype), 'string'].sort()).toEqual(Object.keys(DTYPES).sort())
  })

  it.each(SPELLINGS)(
    'of type $dtype are read from typed lists and raw data alike',
    ({ dtype, dims, fields, bytes }) => {
      for (const spelling of [fields, { rawData: bytes }]) {
        const { name, tensor } = decodeTensor(tensorFile(dtype, dims, spelling))
        expect({ name, dtype: tensor.dtype, shape: tensor.shape, bytes: tensor.bytes }).toEqual({
          name: 't',
          dtype,
          shape: dims,
          bytes,
        })
      }
    },
  )

  it.each(SPELLINGS)('of type $dtype are written as raw data', ({ dtype, dims, bytes }) => {
    const written = encodeTensor(Tensor.fromBytes(dtype, dims, bytes), 't')
    expect(oracleTensor(written)).toEqual(oracleTensor(tensorFile(dtype, dims, { rawData: bytes })))
  })

  it('of strings keep their bytes, UTF-8 or not', () => {
    const stringData = [Uint8Array.of(0xff, 0), new TextEncoder().encode('größe'), new Uint8Array(0), new Uint8Array(0)]
    const { tensor } = decodeTensor(tensorFile('string', [2, 2], { stringData }))
    expect(tensor.strings).toEqual(stringData)
    expect(tensor.shape).toEqual([2, 2])
    expect(decodeTensor(encodeTensor(tensor)).tensor.strings).toEqual(stringData)
  })

  it.each(['rawData', 'floatData', 'doubleData'])('are views on the file for %s', (field) => {
    const dtype = field === 'doubleData' ? 'float64' : 'float32'
    const data = field === 'rawData' ? new Uint8Array(16) : new Array<number>(dtype === 'float64' ? 2 : 4).fill(1)
    const file = tensorFile(dtype, [dtype === 'float64' ? 2 : 4], { [field]: data })
    expect(decodeTensor(file).tensor.bytes.buffer).toBe(file.buffer)
  })

  it('are read from lists whose values come one by one, in runs, or mixed', () => {
    // dims [4], type float32; float_data: 1 alone, then 2 and 3 packed, then 4 alone.
    const float = (value: number): number[] => [...bytesOf(Float32Array.of(value))]
    const file = [0x08, 4, 0x10, 1, 0x25, ...float(1), 0x22, 8, ...float(2), ...float(3), 0x25, ...float(4)]
    expect(decodeTensor(Uint8Array.from(file)).tensor.data).toEqual(Float32Array.of(1, 2, 3, 4))
    // The same with int64_data, and dims packed.
    const longs = [0x0a, 1, 4, 0x10, 7, 0x38, 1, 0x3a, 2, 2, 3, 0x38, 4]
    expect(decodeTensor(Uint8Array.from(longs)).tensor.data).toEqual(BigInt64Array.of(1n, 2n, 3n, 4n))
  })

  it('without elements or without axes are read', () => {
    expect(decodeTensor(tensorFile('float32', [0, 5], {})).tensor.size).toBe(0)
    expect(decodeTensor(tensorFile('int64', [], { int64Data: [9n] })).tensor).toMatchObject({ shape: [], size: 1 })
    expect(decodeTensor(tensorFile('string', [0], {})).tensor.strings).toEqual([])
  })

  it.each([
    [
      'float32',
      [3],
      { rawData: new Uint8Array(8) },
      'float32 [3]: the shape needs 12 bytes of data; the file holds 8. The file is damaged.',
    ],
    ['float32', [3], {}, 'float32 [3]: the shape needs 12 bytes of data; the file holds 0. The file is damaged.'],
    [
      'float32',
      [3],
      { floatData: [1, 2] },
      'float32 [3]: the shape needs 12 bytes of data; the file holds 8. The file is damaged.',
    ],
    [
      'int32',
      [3],
      { int32Data: [1, 2] },
      'int32 [3]: the shape needs 12 bytes of data; the file holds 8. The file is damaged.',
    ],
    [
      'int32',
      [1],
      { int32Data: [1, 2] },
      'int32 [1]: the shape needs 4 bytes of data; the file holds 8. The file is damaged.',
    ],
    ['string', [3], { stringData: [new Uint8Array(1)] }, 'string [3]: the shape needs 3 strings; the file holds 1.'],
    ['int8', [-1], {}, 'int8 [-1]: extents must be 0 or more; the shape is [-1].'],
    [
      'int8',
      [2 ** 40, 2 ** 40],
      {},
      'int8 [1099511627776, 1099511627776]: the shape [1099511627776, 1099511627776] has more elements than any file can hold.',
    ],
    [
      'int64',
      [2 ** 40],
      { int64Data: [1n] },
      'int64 [1099511627776]: the shape needs 8796093022208 bytes of data; the file holds 8. The file is damaged.',
    ],
  ] as const)('of type %s %j with wrong data are refused', (dtype, dims, fields, message) => {
    expect(() => decodeTensor(tensorFile(dtype, dims, fields), { name: 'input_0.pb' })).toThrow(
      expect.objectContaining({ code: 'INVALID_MODEL', message: `Tensor file 'input_0.pb': tensor 't' ${message}` }),
    )
  })

  it('of an element type of a later version are refused as files and kept in models', () => {
    const fields = { name: 'w', dataType: 99, dims: [1n], rawData: Uint8Array.of(1, 2, 3) }
    expect(() => decodeTensor(oracleBytes('TensorProto', fields))).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: "Tensor file: the element type must be one of ONNX 1.22; that of tensor 'w' is not.",
      }),
    )
    const { graph } = decodeModel(oracleBytes('ModelProto', { irVersion: 9n, graph: { initializer: [fields] } }))
    expect(graph.initializers.size).toBe(0)
    expect(graph.preserved).toBeDefined()
  })

  it('do not claim memory that their file cannot fill', () => {
    const before = process.memoryUsage().arrayBuffers
    // 2⁴⁰ bytes claimed with a run of five varints.
    expect(() => decodeTensor(tensorFile('int8', [2 ** 40], { int32Data: [1, 2, 3, 4, 5] }))).toThrow(
      /the file holds 5/,
    )
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10e6)
  })
})
