import { gzipSync } from 'fflate'
import { describe, expect, it } from 'vitest'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import { binDataset, parseDataTypes, parseInputShapes } from './bin.ts'
import { type ByteSource, memorySource } from './byte-source.ts'
import { cifar10Dataset } from './cifar10.ts'
import type { Batch, BatchOptions, Dataset } from './dataset.ts'
import { mnistDataset } from './mnist.ts'
import { rowsDataset, tensorDataset, tensorRows } from './rows-dataset.ts'

async function collect(dataset: Dataset, options?: BatchOptions): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches(options)) batches.push(batch)
  return batches
}

/** Records whose label is their number mod 10 and whose pixels are their number. */
function cifarFile(name: string, first: number, count: number): ByteSource {
  const bytes = new Uint8Array(count * 3073)
  for (let i = 0; i < count; i++) bytes.fill(first + i, i * 3073, (i + 1) * 3073)
  for (let i = 0; i < count; i++) bytes[i * 3073] = (first + i) % 10
  return memorySource(name, bytes)
}

describe('cifar10Dataset', () => {
  const files = [cifarFile('data_batch_1.bin', 0, 7), cifarFile('data_batch_2.bin', 7, 5)]

  it('reads images and labels across files, in order', async () => {
    const dataset = cifar10Dataset(files)
    const batches = await collect(dataset, { batch: 5 })
    expect(dataset.size).toBe(12)
    expect(batches.map(({ inputs }) => inputs[0]!.shape)).toEqual([5, 5, 2].map((n) => [n, 3, 32, 32]))
    expect(batches.flatMap(({ labels }) => [...labels!])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    const pixels = batches.flatMap(({ inputs, size }) =>
      Array.from({ length: size }, (_, i) => toFloat32(inputs[0]!)[(i + 1) * 3072 - 1]),
    )
    expect(pixels).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  })

  it('keeps images and labels together when shuffled, and shuffles the same way for the same seed', async () => {
    const pass = async (shuffle: number): Promise<number[]> => {
      const batches = await collect(cifar10Dataset(files), { batch: 5, shuffle })
      for (const { inputs, labels, size } of batches)
        for (let i = 0; i < size; i++) expect(labels![i]).toBe(toFloat32(inputs[0]!)[i * 3072]! % 10)
      return batches.flatMap(({ inputs, size }) =>
        Array.from({ length: size }, (_, i) => toFloat32(inputs[0]!)[i * 3072]!),
      )
    }
    const once = await pass(3)
    expect(await pass(3)).toEqual(once)
    expect(await pass(4)).not.toEqual(once)
    expect(once.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  })

  it('refuses files of another size, wrong labels and no files', async () => {
    expect(() => cifar10Dataset([memorySource('cut.bin', new Uint8Array(3072))])).toThrow(
      "CIFAR-10 file 'cut.bin': its size must be a multiple of 3073 bytes; got 3072 bytes. Use the binary version of " +
        'CIFAR-10 (data_batch_1.bin … test_batch.bin).',
    )
    const wrong = memorySource('wrong.bin', new Uint8Array(3073).fill(12))
    await expect(collect(cifar10Dataset([wrong]))).rejects.toThrow(
      "CIFAR-10 file 'wrong.bin', image 0: the label must be 0 … 9; got 12.",
    )
    expect(() => cifar10Dataset([])).toThrow("Dataset 'cifar10' has no samples.")
  })
})

function idx(shape: readonly number[], fill: (i: number) => number): Uint8Array {
  const count = shape.reduce((a, b) => a * b, 1)
  const bytes = new Uint8Array(4 + 4 * shape.length + count)
  bytes.set([0, 0, 8, shape.length])
  const view = new DataView(bytes.buffer)
  for (const [axis, extent] of shape.entries()) view.setUint32(4 + 4 * axis, extent)
  for (let i = 0; i < count; i++) bytes[4 + 4 * shape.length + i] = fill(i)
  return bytes
}

describe('mnistDataset', () => {
  const images = idx([6, 2, 3], (i) => i)
  const labels = idx([6], (i) => i + 1)

  it.each([
    ['plain', (bytes: Uint8Array) => bytes],
    ['gzipped', (bytes: Uint8Array) => gzipSync(bytes)],
  ])('reads %s files', async (_, pack) => {
    const dataset = await mnistDataset(memorySource('images', pack(images)), memorySource('labels', pack(labels)))
    const [batch] = await collect(dataset, { limit: 4 })
    expect(batch!.inputs[0]!.shape).toEqual([4, 1, 2, 3])
    expect([...toFloat32(batch!.inputs[0]!)]).toEqual(Array.from({ length: 24 }, (_, i) => i))
    expect([...batch!.labels!]).toEqual([1, 2, 3, 4])
  })

  it('refuses swapped files, cut-off files, and counts that differ', async () => {
    const open = (a: Uint8Array, b: Uint8Array): Promise<Dataset> =>
      mnistDataset(memorySource('images', a), memorySource('labels', b))
    await expect(open(labels, images)).rejects.toThrow(
      "idx file 'images': must begin with 00 00 08 03 (unsigned bytes, 3 axes); got 00 00 08 01.",
    )
    await expect(open(images.subarray(0, 30), labels)).rejects.toThrow(
      "idx file 'images': shape [6, 2, 3] needs 36 bytes after the header; got 14. The file is cut off or damaged.",
    )
    await expect(open(images.subarray(0, 9), labels)).rejects.toThrow("'images' is cut off")
    await expect(
      open(
        images,
        idx([5], () => 0),
      ),
    ).rejects.toThrow('got 6 images and 5 labels')
    await expect(
      open(
        idx([0, 2, 3], () => 0),
        idx([0], () => 0),
      ),
    ).rejects.toThrow('has no pixels')
  })

  it('refuses gzip files that are cut off, damaged or claim too much', async () => {
    const packed = gzipSync(images)
    const open = (bytes: Uint8Array): Promise<Dataset> =>
      mnistDataset(memorySource('images', bytes), memorySource('labels', labels))
    for (let length = 0; length < packed.length; length++)
      await expect(open(packed.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({ code: 'INVALID_FILE' })
    const huge = packed.slice()
    new DataView(huge.buffer).setUint32(huge.length - 4, 0xfffffff0, true)
    await expect(open(huge)).rejects.toThrow('compressed bytes cannot hold the 4294967280 bytes they claim')
    const damaged = packed.slice()
    damaged[20] = damaged[20]! ^ 1
    await expect(open(damaged)).rejects.toMatchObject({ code: 'INVALID_FILE' })
  })
})

describe('binDataset', () => {
  const raw = (name: string, values: Float32Array | Int32Array): ByteSource =>
    memorySource(name, new Uint8Array(values.buffer))
  const floats = (first: number): ByteSource =>
    raw(
      `${first}.bin`,
      Float32Array.from({ length: 6 }, (_, i) => first + i),
    )

  it('takes each file as one batch and serves samples in any batch size', async () => {
    const dataset = binDataset([[floats(0), floats(6), floats(12)]], parseInputShapes('in:2,3'), ['float32'])
    expect([dataset.size, dataset.sampleShapes, dataset.inputNames, dataset.hasLabels]).toEqual([
      6,
      [[3]],
      ['in'],
      false,
    ])
    const batches = await collect(dataset, { batch: 4 })
    expect(batches.map(({ size }) => size)).toEqual([4, 2])
    expect(batches.flatMap(({ inputs }) => [...toFloat32(inputs[0]!)])).toEqual(Array.from({ length: 18 }, (_, i) => i))
  })

  it('reads several inputs of different types', async () => {
    const ids = raw('ids.bin', Int32Array.of(7, 8))
    const dataset = binDataset(
      [[floats(0)], [ids]],
      parseInputShapes('a:2,3;ns:b:2'),
      parseDataTypes('float32;int32', 2),
    )
    const [batch] = await collect(dataset)
    expect(dataset.inputNames).toEqual(['a', 'ns:b'])
    expect([...batch!.inputs[1]!.data]).toEqual([7, 8])
  })

  it('refuses files of another size, naming what to check', () => {
    expect(() => binDataset([[floats(0)]], parseInputShapes('in:2,4'), ['float32'])).toThrow(
      "Raw file '0.bin': float32 [2, 4] of input 'in' needs 32 bytes; got 24. Check --input-shape and --data-type.",
    )
    expect(() =>
      binDataset([[floats(0)], [floats(0), floats(6)]], parseInputShapes('a:2,3;b:2,3'), ['float32', 'float32']),
    ).toThrow('all arrays must have the same number of samples')
    expect(() => binDataset([[]], parseInputShapes('a:2,3'), ['float32'])).toThrow("Dataset 'bin' has no samples.")
  })

  it.each(['', 'input', ':1,2', 'input:', 'input:1,x', 'input:0,3', 'input:-1,3', 'input:1.5'])(
    'refuses the input shape "%s"',
    (text) => {
      expect(() => parseInputShapes(text)).toThrow('Input shape')
    },
  )

  it('refuses unknown types and wrong numbers of types', () => {
    expect(() => parseDataTypes('float', 1)).toThrow("Data type 'float' is not known; use one of float32, uint8")
    expect(() => parseDataTypes('float32;int8', 3)).toThrow('give one, or one for each of the 3 inputs')
    expect(parseDataTypes('uint8', 2)).toEqual(['uint8', 'uint8'])
  })
})

describe('tensorDataset', () => {
  const inputs = [Tensor.of(Float32Array.of(1, 2, 3, 4), [2, 2])]

  it('serves rows of tensors in memory', async () => {
    const [batch] = await collect(tensorDataset(inputs, Int32Array.of(5, 6)), { shuffle: 1 })
    const order = [...batch!.labels!]
    expect([...toFloat32(batch!.inputs[0]!)]).toEqual(order[0] === 5 ? [1, 2, 3, 4] : [3, 4, 1, 2])
  })

  it('refuses labels that are no class indices, and counts that differ', async () => {
    const labelled = (labels: Tensor): Dataset =>
      rowsDataset({ name: 'rows', inputs: [tensorRows('x', inputs[0]!)], labels: tensorRows('y', labels) })
    await expect(collect(labelled(Tensor.of(Float32Array.of(0, 1.5), [2])))).rejects.toThrow(
      "Dataset 'rows': labels must be whole numbers of 0 or more; got 1.5.",
    )
    await expect(collect(labelled(Tensor.of(Int32Array.of(0, -1), [2, 1])))).rejects.toThrow('got -1.')
    expect(() => labelled(Tensor.of(new Float32Array(6), [2, 3]))).toThrow(
      "Dataset 'rows': labels must be one class index per sample, [2]; got [2, 3].",
    )
    expect(() => labelled(Tensor.of(Int32Array.of(1), [1]))).toThrow("'x' has 2, 'y' has shape [1].")
    expect(() => tensorDataset([Tensor.of(new Float32Array(0), [2, 0])])).toThrow("samples of 'input 0' are empty")
  })
})
