import { readFileSync } from 'node:fs'
import { deflateSync } from 'fflate'
import { describe, expect, it } from 'vitest'
import { toFloat64 } from '../tensor/index.ts'
import { type ByteSource, memorySource } from './byte-source.ts'
import type { Batch, Dataset } from './dataset.ts'
import { crc32 } from './gzip.ts'
import { decodeNpy, openNpy } from './npy.ts'
import { npzDataset } from './npz.ts'
import { openZip } from './zip.ts'

interface Files {
  readonly files: Readonly<Record<string, { base64: string; shape: number[] }>>
}
const { files } = JSON.parse(
  readFileSync(new URL('../../test/fixtures/numpy-files.json', import.meta.url), 'utf8'),
) as Files

const bytesOf = (name: string): Uint8Array => new Uint8Array(Buffer.from(files[name]!.base64, 'base64'))
const counting = Array.from({ length: 24 }, (_, i) => i)

async function all(dataset: Dataset): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches({ batch: 2 })) batches.push(batch)
  return batches
}

describe('decodeNpy', () => {
  const names = Object.keys(files).filter((name) => /^(values [<>]|fortran|version)/.test(name) && !name.includes('c8'))

  it.each(names)('reads what NumPy wrote: %s', async (name) => {
    const tensor = await decodeNpy(bytesOf(name))
    expect(tensor.shape).toEqual([2, 3, 4])
    expect([...toFloat64(tensor)]).toEqual(counting)
  })

  it('reads bool, complex and scalar arrays', async () => {
    const flags = await decodeNpy(bytesOf('values |b1'))
    expect([flags.dtype, ...flags.bytes.subarray(0, 3)]).toEqual(['bool', 0, 1, 1])
    const complex = await decodeNpy(bytesOf('values <c8'))
    expect([complex.dtype, complex.data[2], complex.data[3]]).toEqual(['complex64', 1, 0])
    const scalar = await decodeNpy(bytesOf('scalar'))
    expect([scalar.shape, scalar.data[0]]).toEqual([[], 7])
  })

  it.each(['values >f4', 'fortran f4', 'fortran big-endian i4'])('reads rows in any order: %s', async (name) => {
    const array = await openNpy(memorySource(name, bytesOf(name)))
    const rows = await array.rows([1, 0, 1])
    expect(rows.shape).toEqual([3, 3, 4])
    expect([...toFloat64(rows)]).toEqual([...counting.slice(12), ...counting.slice(0, 12), ...counting.slice(12)])
  })

  it.each(['objects', 'structured', 'text'])('refuses arrays of anything but numbers: %s', async (name) => {
    await expect(decodeNpy(bytesOf(name), name)).rejects.toMatchObject({ code: 'UNSUPPORTED' })
  })

  it('refuses every truncation', async () => {
    const whole = bytesOf('values <f4')
    for (let length = 0; length < whole.length; length++)
      await expect(decodeNpy(whole.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({
        code: 'INVALID_FILE',
      })
  })

  it('says how many bytes a shape needs and does not allocate them', async () => {
    const text = Buffer.from(files['values <f4']!.base64, 'base64').toString('latin1')
    const big = Buffer.from(text.replace('(2, 3, 4), }   ', '(9999999999,),}'), 'latin1')
    await expect(decodeNpy(big, 'big.npy')).rejects.toThrow(
      "npy array 'big.npy': float32 [9999999999] needs 39999999996 bytes after the header; got 96.",
    )
  })
})

describe('npzDataset', () => {
  it.each(['savez', 'savez_compressed'])('reads x and y of an archive: %s', async (name) => {
    const dataset = await npzDataset(memorySource('a.npz', bytesOf(name)))
    expect([dataset.size, dataset.sampleShapes, dataset.hasLabels]).toEqual([5, [[3, 2, 2]], true])
    const batches = await all(dataset)
    expect(batches.map(({ size }) => size)).toEqual([2, 2, 1])
    expect(batches.flatMap(({ labels }) => [...labels!])).toEqual([0, 1, 2, 1, 0])
    expect(batches.flatMap(({ inputs }) => [...toFloat64(inputs[0]!)])).toEqual(Array.from({ length: 60 }, (_, i) => i))
  })

  it('reads stored arrays by ranges, without the rest of the file', async () => {
    const whole = memorySource('a.npz', bytesOf('savez'))
    let bytesRead = 0
    const counted: ByteSource = {
      ...whole,
      read: (ranges) => {
        for (const { length } of ranges) bytesRead += length
        return whole.read(ranges)
      },
    }
    const dataset = await npzDataset(counted)
    bytesRead = 0
    for await (const batch of dataset.batches({ batch: 1, limit: 1 })) expect(batch.size).toBe(1)
    expect(bytesRead).toBe(3 * 2 * 2 * 4 + 8)
  })

  it('takes the split of archives in the manner of Keras', async () => {
    const train = await npzDataset(memorySource('k', bytesOf('keras')), { split: 'train' })
    const test = await npzDataset(memorySource('k', bytesOf('keras')))
    expect([train.size, test.size]).toEqual([5, 2])
    const [first] = await all(test)
    expect(first!.inputs[0]!.data[0]).toBe(100)
  })

  it('takes every array as the model input of its name when there is no x', async () => {
    const dataset = await npzDataset(memorySource('n', bytesOf('named')))
    expect(dataset.inputNames).toEqual(['ids', 'mask'])
    const [first] = await all(dataset)
    expect(first!.inputs.map(({ dtype }) => dtype)).toEqual(['int64', 'float32'])
    expect([...first!.labels!]).toEqual([1, 0])
  })

  it('says what is there when there are no inputs', async () => {
    await expect(npzDataset(memorySource('n.npz', bytesOf('no inputs')))).rejects.toThrow(
      "npz file 'n.npz' must hold an array 'x' (inputs), and 'y' for labels; got 'y'.",
    )
  })

  it('refuses truncated and damaged archives with one clear error', async () => {
    const whole = bytesOf('savez_compressed')
    for (let length = 0; length < whole.length; length += 7)
      await expect(npzDataset(memorySource('a.npz', whole.subarray(0, length)))).rejects.toMatchObject({
        name: 'WhittleError',
      })
    const damaged = whole.slice()
    damaged[80] = damaged[80]! ^ 0x55
    await expect(npzDataset(memorySource('a.npz', damaged))).rejects.toMatchObject({ code: 'INVALID_FILE' })
  })
})

/** A zip of one member whose directory keeps sizes and offsets in Zip64 fields, as writers do beyond 4 GB. */
function zip64(
  name: string,
  content: Uint8Array,
  method: 0 | 8,
  claimed = content.length,
  crc = crc32(content),
): Uint8Array {
  const packed = method === 8 ? deflateSync(content) : content
  const title = new TextEncoder().encode(name)
  const out = new Uint8Array(30 + title.length + packed.length + 46 + title.length + 28 + 56 + 20 + 22)
  const view = new DataView(out.buffer)
  view.setUint32(0, 0x04034b50, true)
  view.setUint16(26, title.length, true)
  out.set(title, 30)
  out.set(packed, 30 + title.length)
  const directory = 30 + title.length + packed.length
  view.setUint32(directory, 0x02014b50, true)
  view.setUint16(directory + 10, method, true)
  view.setUint32(directory + 16, crc, true)
  view.setUint32(directory + 20, 0xffffffff, true)
  view.setUint32(directory + 24, 0xffffffff, true)
  view.setUint16(directory + 28, title.length, true)
  view.setUint16(directory + 30, 28, true)
  view.setUint32(directory + 42, 0xffffffff, true)
  out.set(title, directory + 46)
  const extra = directory + 46 + title.length
  view.setUint16(extra, 1, true)
  view.setUint16(extra + 2, 24, true)
  view.setBigUint64(extra + 4, BigInt(claimed), true)
  view.setBigUint64(extra + 12, BigInt(packed.length), true)
  const end = extra + 28
  view.setUint32(end, 0x06064b50, true)
  view.setBigUint64(end + 40, BigInt(end - directory), true)
  view.setBigUint64(end + 48, BigInt(directory), true)
  view.setUint32(end + 56, 0x07064b50, true)
  view.setBigUint64(end + 64, BigInt(end), true)
  view.setUint32(end + 76, 0x06054b50, true)
  view.setUint32(end + 88, 0xffffffff, true)
  view.setUint32(end + 92, 0xffffffff, true)
  return out
}

describe('openZip', () => {
  const content = Uint8Array.from({ length: 3000 }, (_, i) => i % 7)

  it.each([0, 8] as const)('reads archives of the Zip64 form, method %i', async (method) => {
    const [member] = await openZip(memorySource('z', zip64('x.bin', content, method)))
    expect([member!.name, member!.size]).toEqual(['x.bin', 3000])
    const source = await member!.open()
    expect((await source.read([{ offset: 0, length: 3000 }]))[0]).toEqual(content)
  })

  it('refuses a member that claims more bytes than its data can hold, before allocating them', async () => {
    const [member] = await openZip(memorySource('z.zip', zip64('x.bin', content, 8, 2 ** 40)))
    await expect(member!.open()).rejects.toThrow(
      /^'z\.zip\/x\.bin' is damaged: \d+ compressed bytes cannot hold the 1099511627776 bytes they claim\.$/,
    )
  })

  it.each([2999, 3001])('refuses a member whose size is not as claimed (%i)', async (claimed) => {
    const crc = crc32(content.subarray(0, claimed))
    const [member] = await openZip(memorySource('z', zip64('x.bin', content, 8, claimed, crc)))
    await expect(member!.open()).rejects.toMatchObject({ code: 'INVALID_FILE' })
  })

  it('refuses a member whose checksum does not fit', async () => {
    const [member] = await openZip(memorySource('z', zip64('x.bin', content, 8, 3000, 1)))
    await expect(member!.open()).rejects.toThrow(
      "'z/x.bin' is damaged: its checksum or length does not fit its content.",
    )
  })
})
