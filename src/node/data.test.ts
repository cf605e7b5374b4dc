import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Batch, Dataset } from '../data/index.ts'
import { preprocessDataset, preset } from '../data/index.ts'
import { toFloat32 } from '../tensor/index.ts'
import { datasets, openDataset } from './data.ts'
import { imageDecoder } from './images.ts'

let folder = ''
const at = (...parts: string[]): string => join(folder, ...parts)

async function put(path: string, bytes: Uint8Array | string): Promise<void> {
  await mkdir(at(path, '..'), { recursive: true })
  await writeFile(at(path), bytes)
}

const solid = (width: number, height: number, red: number): Promise<Buffer> =>
  sharp({ create: { width, height, channels: 3, background: { r: red, g: 0, b: 0 } } })
    .png()
    .toBuffer()

async function collect(dataset: Dataset): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of dataset.batches()) batches.push(batch)
  return batches
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whittle-data-'))
  await put('cifar/test_batch.bin', new Uint8Array(2 * 3073).fill(3))
  for (const [i, label] of [1, 2, 5].entries())
    await put(`cifar/data_batch_${i + 1}.bin`, new Uint8Array(3073).fill(label))
  await put('tar/cifar-10-batches-bin/test_batch.bin', new Uint8Array(3073).fill(4))
  for (const [name, red] of [
    ['b/1.png', 20],
    ['a/2.png', 10],
    ['a/deep/3.PNG', 11],
  ] as const)
    await put(`named/${name}`, await solid(3, 2, red))
  await put('named/labels.txt', 'not a picture')
  for (const name of ['0007', '0010', '0100']) await put(`numbered/${name}/x.png`, await solid(2, 2, Number(name)))
  await put('flat/1.png', await solid(2, 2, 1))
  await put('split/train/dog/1.png', await solid(2, 2, 1))
  await put('split/val/cat/1.png', await solid(2, 2, 2))
  await put('split/val/dog/1.png', await solid(2, 2, 3))
  await put('mixed/1.png', await solid(2, 2, 1))
  await put('mixed/cat/1.png', await solid(2, 2, 1))
  await put('bmp/1.bmp', 'BM')
  await put('broken/1.png', (await solid(9, 9, 200)).subarray(0, 50))
  await put('raw/b.bin', new Uint8Array(new Float32Array([3, 4]).buffer))
  await put('raw/a.bin', new Uint8Array(new Float32Array([1, 2]).buffer))
  await put('raw/notes.txt', 'ignored')
  await mkdir(at('empty'))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

describe('openDataset', () => {
  it('opens CIFAR-10 by split, also inside the folder of the original archive', async () => {
    const test = await openDataset(`cifar10:${at('cifar')}`)
    expect([test.name, test.size]).toEqual(['cifar10:test', 2])
    const train = await openDataset(`cifar10:${at('cifar')}`, { split: 'train' })
    expect([...(await collect(train))[0]!.labels!]).toEqual([1, 2, 5])
    expect((await datasets.cifar10(at('tar'))).size).toBe(1)
    await expect(datasets.cifar10(at('tar'), { split: 'train' })).rejects.toThrow("for split 'train'")
  })

  it('takes folders as classes in the order of their names', async () => {
    const dataset = await openDataset(`images:${at('named')}`)
    const [batch] = await collect(dataset)
    expect([dataset.name, dataset.size]).toEqual(['images:named', 3])
    expect([...batch!.labels!]).toEqual([0, 0, 1])
    expect(batch!.inputs[0]!.shape).toEqual([3, 3, 2, 3])
    expect([0, 1, 2].map((i) => toFloat32(batch!.inputs[0]!)[i * 18])).toEqual([10, 11, 20])
  })

  it('takes folder names that are all numbers as class indices', async () => {
    const [batch] = await collect(await openDataset(`images:${at('numbered')}`))
    expect([...batch!.labels!]).toEqual([7, 10, 100])
  })

  it('takes train and val folders as splits, and flat folders as unlabelled', async () => {
    const train = await openDataset(`images:${at('split')}`, { split: 'train' })
    const test = await openDataset(`images:${at('split')}`)
    expect([train.size, test.size]).toEqual([1, 2])
    expect((await openDataset(`images:${at('flat')}`)).hasLabels).toBe(false)
  })

  it('resizes pictures while reading', async () => {
    const dataset = preprocessDataset(await openDataset(`images:${at('named')}`), preset('cifar10'))
    expect((await collect(dataset))[0]!.inputs[0]!.shape).toEqual([3, 3, 32, 32])
  })

  it('reads raw tensors in the order of their names', async () => {
    const dataset = await openDataset(`bin:${at('raw')}`, { inputShape: 'x:1,2' })
    const [batch] = await collect(dataset)
    expect([dataset.name, [...toFloat32(batch!.inputs[0]!)]]).toEqual(['bin:raw', [1, 2, 3, 4]])
    const two = await openDataset(`bin:${at('raw')};${at('raw')}`, {
      inputShape: 'x:1,2;y:1,8',
      dataType: 'float32;uint8',
    })
    expect(two.sampleShapes).toEqual([[2], [8]])
  })

  it.each([
    [
      'nothing:DIR',
      "Data 'nothing:DIR' must have one of the forms cifar10:DIR, mnist:DIR, images:DIR, npz:FILE, bin:DIR.",
    ],
    ['cifar10', "Data 'cifar10' must have one of the forms"],
    ['images:', "Data 'images:' must have one of the forms"],
    ['images:@none', 'There is no folder'],
    ['npz:@none.npz', 'There is no file'],
    ['npz:@flat/1.png', "'1.png' is no whole zip file: it has no end-of-directory record."],
    ['images:@empty', 'holds no pictures. Pictures are files named .jpg'],
    ['images:@bmp', 'holds no pictures'],
    ['images:@mixed', 'it holds 1 pictures beside class folders'],
    ['mnist:@empty', "has no file 't10k-images-idx3-ubyte' or 't10k-images-idx3-ubyte.gz' for split 'test'"],
    ['bin:@empty', 'needs the input\'s name and shape with the batch axis: --input-shape "input:1,3,224,224".'],
  ])('refuses %s with one clear error', async (spec, message) => {
    await expect(openDataset(spec.replace('@', `${folder}/`))).rejects.toThrow(message)
  })

  it('names a picture that is cut off', async () => {
    await expect(collect(await openDataset(`images:${at('broken')}`))).rejects.toThrow(
      /^Picture '1\.png' cannot be decoded: .+\.$/,
    )
  })
})

describe('imageDecoder', () => {
  const pixel = { create: { width: 2, height: 1, channels: 4, background: { r: 9, g: 8, b: 7, alpha: 0.5 } } } as const

  it('drops alpha, repeats gray and turns pictures upright', async () => {
    const withAlpha = await imageDecoder.decode(await sharp(pixel).png().toBuffer())
    expect([...withAlpha.data]).toEqual([9, 8, 7, 9, 8, 7])
    const gray = sharp(Buffer.from([5, 6]), { raw: { width: 2, height: 1, channels: 1 } }).png()
    expect([...(await imageDecoder.decode(await gray.toBuffer())).data]).toEqual([5, 5, 5, 6, 6, 6])
    const turned = await sharp(pixel).removeAlpha().withMetadata({ orientation: 6 }).jpeg().toBuffer()
    expect(await imageDecoder.decode(turned)).toMatchObject({ width: 1, height: 2 })
  })

  it('scales 16 bits to 8', async () => {
    const deep = sharp(Buffer.from([50, 100, 150]), { raw: { width: 1, height: 1, channels: 3 } })
      .toColourspace('rgb16')
      .png()
    const decoded = await imageDecoder.decode(await deep.toBuffer())
    expect([...decoded.data]).toEqual([50, 100, 150])
  })
})
