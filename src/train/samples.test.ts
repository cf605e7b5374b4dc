import { describe, expect, it } from 'vitest'
import { relativeError } from '../../test/support/tensors.ts'
import { createRandom } from '../core/index.ts'
import { type Batch, preset, tensorDataset } from '../data/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import { type Augmentation, copyCropped, cutOut, drawFor, drawMix, parseAugmentation } from './augment.ts'
import { mixSeed, sampleOrder } from './sample-order.ts'
import { createSampleLoader, prepareSamples, type SampleSettings } from './samples.ts'

const COUNT = 8
const random = createRandom(5)
const pixels = Float32Array.from({ length: COUNT * 3 * 36 }, () => random.integer(256))
const floats = Tensor.of(pixels, [COUNT, 3, 6, 6])
const bytes = Tensor.of(Uint8Array.from(pixels), [COUNT, 3, 6, 6])
const labels = Int32Array.from({ length: COUNT }, (_, i) => i % 4)

function prepared(input: Tensor, augmentation: Augmentation, more: { epoch?: number; seed?: number } = {}) {
  const settings: SampleSettings = {
    seed: more.seed ?? 0,
    augmentation,
    preprocess: preset('imagenet'),
    inputs: [{ name: 'input', dtype: 'float32', shape: [null, 3, 6, 6] }],
    batch: 4,
    classes: 4,
  }
  const batch: Batch = { inputs: [input], labels, size: COUNT }
  const indices = Int32Array.from({ length: COUNT }, (_, i) => i)
  return prepareSamples(batch, { epoch: more.epoch ?? 0, firstBatch: 0, indices }, settings)
}

describe('prepareSamples', () => {
  it('does the same to bytes, by tables, and to numbers', () => {
    const all: Augmentation = { crop: 2, flip: true, cutout: 3, mixup: 0.4 }
    for (const augmentation of [{}, { flip: true }, all]) {
      const [a, b] = [prepared(bytes, augmentation), prepared(floats, augmentation)]
      expect(relativeError(a.inputs[0]!, b.inputs[0]!)).toBe(0)
      expect(relativeError(a.targets!, b.targets!)).toBe(0)
    }
  })

  it('draws anew in every epoch and for every seed, and the same again', () => {
    const flip = { crop: 2, flip: true }
    const first = prepared(bytes, flip).inputs[0]!
    expect(relativeError(first, prepared(bytes, flip).inputs[0]!)).toBe(0)
    expect(relativeError(first, prepared(bytes, flip, { epoch: 1 }).inputs[0]!)).toBeGreaterThan(0.1)
    expect(relativeError(first, prepared(bytes, flip, { seed: 1 }).inputs[0]!)).toBeGreaterThan(0.1)
  })

  it('mixes pictures and labels within their batch, by one share', () => {
    const plain = prepared(bytes, {})
    const mixed = prepared(bytes, { mixup: 1 })
    const [before, after] = [toFloat32(plain.inputs[0]!), toFloat32(mixed.inputs[0]!)]
    for (const start of [0, 4]) {
      const { share, partners } = drawMix(1, 4, { seed: 0, epoch: 0, batch: start / 4 })
      expect(share > 0 && share < 1).toBe(true)
      for (let n = 0; n < 4; n++) {
        const [own, other] = [(start + n) * 108, (start + partners[n]!) * 108]
        expect(after[own + 50]).toBeCloseTo(share * before[own + 50]! + (1 - share) * before[other + 50]!, 5)
      }
    }
    const sums = Array.from({ length: COUNT }, (_, n) =>
      toFloat32(mixed.targets!)
        .subarray(n * 4, n * 4 + 4)
        .reduce((a, b) => a + b, 0),
    )
    for (const sum of sums) expect(sum).toBeCloseTo(1, 6)
  })

  it('needs pictures to crop', () => {
    const rows = Tensor.of(new Float32Array(COUNT * 12), [COUNT, 12])
    expect(() => prepared(rows, { flip: true })).toThrow(
      'Augmentation: crop, flip and cutout need pictures [N, C, H, W]; the samples are [12] each.',
    )
  })

  it('reads sources that only stream into memory', async () => {
    const full = tensorDataset([floats], labels)
    const { read: _, ...streaming } = full
    const settings: SampleSettings = {
      seed: 0,
      augmentation: {},
      preprocess: preset('none'),
      inputs: [{ name: 'x', dtype: 'float32', shape: undefined }],
      batch: 2,
      classes: 4,
    }
    const run = { epoch: 0, firstBatch: 0, indices: Int32Array.of(6, 1) }
    const [a, b] = await Promise.all([full, streaming].map((data) => createSampleLoader(data, settings).load(run)))
    expect(relativeError(a!.inputs[0]!, b!.inputs[0]!)).toBe(0)
    expect([...toFloat32(b!.targets!)]).toEqual([0, 0, 1, 0, 0, 1, 0, 0])
  })
})

describe('augmentation', () => {
  it('crops with black around, and mirrors', () => {
    const source = { data: Float32Array.of(1, 2, 3, 4, 5, 6), start: 0, channels: 1, height: 2, width: 3 }
    const copy = (top: number, left: number, flip: boolean): number[] => {
      const to = new Float32Array(6)
      copyCropped(source, to, 0, { top, left, flip })
      return [...to]
    }
    expect(copy(0, 0, false)).toEqual([1, 2, 3, 4, 5, 6])
    expect(copy(0, 0, true)).toEqual([3, 2, 1, 6, 5, 4])
    expect(copy(1, 1, false)).toEqual([5, 6, 0, 0, 0, 0])
    expect(copy(-1, -2, false)).toEqual([0, 0, 0, 0, 0, 1])
    expect(copy(-1, -2, true)).toEqual([0, 0, 0, 1, 0, 0])
  })

  it('draws offsets evenly within the padding', () => {
    const tops = Array.from(
      { length: 900 },
      (_, index) => drawFor({ crop: 1 }, { seed: 3, epoch: 0, index }, { height: 6, width: 6 }).top,
    )
    for (const top of [-1, 0, 1]) expect(Math.abs(tops.filter((drawn) => drawn === top).length - 300)).toBeLessThan(60)
    const flips = Array.from(
      { length: 900 },
      (_, index) => drawFor({}, { seed: 3, epoch: 1, index }, { height: 6, width: 6 }).flip,
    )
    expect(Math.abs(flips.filter(Boolean).length - 450)).toBeLessThan(75)
  })

  it('cuts squares out, also at the edge', () => {
    const data = new Float32Array(2 * 16).fill(1)
    const draw = { top: 0, left: 0, flip: false, cutoutRow: 0, cutoutColumn: 3 }
    cutOut({ data, start: 0, channels: 2, height: 4, width: 4 }, 2, draw)
    expect([...data.subarray(0, 8)]).toEqual([1, 1, 0, 0, 1, 1, 1, 1])
    expect([...data.subarray(16, 20)]).toEqual([1, 1, 0, 0])
  })

  it('mixes by shares of the beta distribution', () => {
    const shares = Array.from({ length: 2000 }, (_, batch) => drawMix(0.4, 2, { seed: 1, epoch: 0, batch }).share)
    const mean = shares.reduce((a, b) => a + b, 0) / shares.length
    const variance = shares.reduce((a, b) => a + (b - mean) ** 2, 0) / shares.length
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.03)
    // Beta(α, α) has the variance 1 / (4 (2 α + 1)).
    expect(Math.abs(variance - 1 / (4 * 1.8))).toBeLessThan(0.01)
  })

  it('is read from the command line', () => {
    expect(parseAugmentation('crop=4,flip,cutout=8,mixup=0.2')).toEqual({ crop: 4, flip: true, cutout: 8, mixup: 0.2 })
    for (const text of ['crop', 'flip=1', 'rotate=3', 'crop=x', ''])
      expect(() => parseAugmentation(text)).toThrow(/is not understood/)
    expect(() => parseAugmentation('crop=1.5')).toThrow(
      'Augmentation: crop must be a whole number of pixels of at least 0; got 1.5.',
    )
  })
})

describe('sampleOrder', () => {
  it('passes over every sample once an epoch, in another order each time', () => {
    const order = sampleOrder(10, { batch: 3, seed: 4 })
    expect(order.stepsPerEpoch).toBe(3)
    const epoch = (first: number): number[] => [0, 1, 2].flatMap((step) => [...order.run(first + step, 1).indices])
    expect(new Set(epoch(0)).size).toBe(9)
    expect(epoch(0)).not.toEqual(epoch(3))
    expect([...order.run(3, 3).indices]).toEqual(epoch(3))
    expect(order.run(4, 2)).toMatchObject({ epoch: 1, firstBatch: 1 })
    expect([...sampleOrder(10, { batch: 3, seed: 5 }).run(0, 3).indices]).not.toEqual(epoch(0))
  })

  it('draws the samples of a limit once, from all of them', () => {
    const order = sampleOrder(1000, { batch: 5, seed: 1, limit: 20 })
    const epoch = (first: number): number[] => [...order.run(first, 4).indices].sort((a, b) => a - b)
    expect(order.stepsPerEpoch).toBe(4)
    expect(epoch(0)).toEqual(epoch(4))
    expect(epoch(0).at(-1)).toBeGreaterThan(700)
    expect(() => sampleOrder(1000, { batch: 5, accumulate: 5, seed: 1, limit: 20 })).toThrow(
      'Training: a step needs 5 × 5 samples; the limit leaves 20.',
    )
  })

  it('mixes seeds so that neighbours have nothing in common', () => {
    const seeds = new Set<number>()
    for (let a = 0; a < 50; a++) for (let b = 0; b < 50; b++) seeds.add(mixSeed(a, b))
    expect(seeds.size).toBe(2500)
    expect(mixSeed(1, 2)).not.toBe(mixSeed(2, 1))
  })
})
