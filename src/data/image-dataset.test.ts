import { describe, expect, it } from 'vitest'
import { toFloat32 } from '../tensor/index.ts'
import type { Batch } from './dataset.ts'
import { type ImageDecoder, type ImageFile, imageDataset } from './image-dataset.ts'

/** "Files" are [width, height, value]; every pixel is (value, value + 1, value + 2). */
const file = (width: number, height: number, value: number, label?: number): ImageFile => ({
  name: `${value}.png`,
  label,
  read: async () => Uint8Array.of(width, height, value),
})

const decoder: ImageDecoder = {
  async decode([width = 0, height = 0, value = 0]) {
    if (value === 255) throw new Error('bad magic')
    return { width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => value + (i % 3)) }
  },
}

async function collect(batches: AsyncIterable<Batch>): Promise<Batch[]> {
  const out: Batch[] = []
  for await (const batch of batches) out.push(batch)
  return out
}

describe('imageDataset', () => {
  it('gives planes R, G, B in the order of the files', async () => {
    const dataset = imageDataset([file(2, 1, 10, 3), file(2, 1, 20, 5)], { decoder })
    const [batch] = await collect(dataset.batches())
    expect([dataset.sampleShapes, dataset.hasLabels]).toEqual([[undefined], true])
    expect(batch!.inputs[0]!.shape).toEqual([2, 3, 1, 2])
    expect([...toFloat32(batch!.inputs[0]!)]).toEqual([10, 10, 11, 11, 12, 12, 20, 20, 21, 21, 22, 22])
    expect([...batch!.labels!]).toEqual([3, 5])
  })

  it('brings pictures of different sizes to one size', async () => {
    const plain = imageDataset([file(4, 2, 10), file(3, 5, 20)], { decoder })
    await expect(collect(plain.batches())).rejects.toThrow(
      "Picture '20.png' is 3×5, others are 4×2: pictures of different sizes need a preprocessing that resizes them " +
        '(--preprocess).',
    )
    const fitted = plain.withGeometry!({ resize: { width: 2, height: 2 } })
    expect([fitted.sampleShapes, fitted.hasLabels]).toEqual([[[3, 2, 2]], false])
    const [batch] = await collect(fitted.batches())
    expect(batch!.inputs[0]!.shape).toEqual([2, 3, 2, 2])
    expect(batch!.labels).toBeUndefined()
  })

  it('decodes no more files at a time than it may, and none before they are needed', async () => {
    let open = 0
    let most = 0
    let decoded = 0
    const slow: ImageDecoder = {
      async decode(bytes) {
        most = Math.max(most, ++open)
        await new Promise((resolve) => setTimeout(resolve, 2))
        open--
        decoded++
        return decoder.decode(bytes)
      },
    }
    const files = Array.from({ length: 40 }, (_, i) => file(1, 1, i))
    for await (const batch of imageDataset(files, { decoder: slow, concurrency: 3 }).batches({ batch: 8 })) {
      expect(batch.size).toBe(8)
      break
    }
    expect(decoded).toBe(16)
    // Two batches at most are being read, and the second begins when the first is done.
    expect(most).toBe(3)
  })

  it('names the file that cannot be decoded', async () => {
    const dataset = imageDataset([file(1, 1, 1), file(1, 1, 255)], { decoder })
    await expect(collect(dataset.batches())).rejects.toThrow("Picture '255.png' cannot be decoded: bad magic.")
    expect(() => imageDataset([], { decoder, name: 'images:none' })).toThrow("Dataset 'images:none' has no samples.")
  })
})
