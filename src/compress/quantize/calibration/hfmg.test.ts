import { describe, expect, it } from 'vitest'
import { createRandom } from '../../../core/index.ts'
import { hfmg, hfmgSearchRanges } from './hfmg.ts'
import { HfmgHistogram } from './hfmg-histogram.ts'

function normals(count: number, seed: number, scale = 1, shift = 0): Float32Array {
  const { normal } = createRandom(seed)
  return Float32Array.from({ length: count }, () => normal() * scale + shift)
}

function added(histogram: HfmgHistogram, data: Float32Array): HfmgHistogram {
  const sorted = data.slice().sort()
  histogram.add(data, sorted[0]!, sorted[sorted.length - 1]!)
  return histogram
}

/** HFMG's error of one range, bin by bin, each cut where the steps end, as its description says. */
function transcribedLoss(counts: Float64Array, width: number, left: number, right: number, steps: number): number {
  const step = (width * (right - left + 1)) / steps
  let loss = 0
  for (const [i, count] of counts.entries()) {
    const begin = (i - left) * width
    const end = begin + width
    const density = count / width
    const stepOf = (x: number): number => Math.min(steps - 1, Math.max(0, Math.floor(x / step)))
    for (let k = stepOf(begin); k <= stepOf(end); k++) {
      const from = k === stepOf(begin) ? begin : k * step
      const to = k === stepOf(end) ? end : (k + 1) * step
      const centre = (k + 0.5) * step
      loss += (density * ((to - centre) ** 3 - (from - centre) ** 3)) / 3
    }
  }
  return loss
}

describe('hfmg', () => {
  it('walks to the side that passes more bins, of equals the right one', () => {
    // Step 1: from both sides one bin each holds a number, so the right side moves; then empty bins on the left decide.
    const counts = Float64Array.of(1, 1, 1, 1, 1, 1, 1, 1)
    expect(hfmgSearchRanges(counts).slice(0, 2)).toEqual([
      [0, 6],
      [0, 5],
    ])
    const gap = Float64Array.of(0, 0, 0, 1, 1, 1, 1, 1)
    expect(hfmgSearchRanges(gap)[0]).toEqual([4, 7])
    // Until a quarter of the bins is left.
    expect(hfmgSearchRanges(counts).at(-1)).toEqual([0, 2])
  })

  it('takes the range with the least error, which is that of its description', () => {
    for (const [seed, bits, symmetric] of [
      [1, 8, false],
      [2, 4, false],
      [3, 8, true],
    ] as const) {
      const histogram = added(new HfmgHistogram(1024), normals(20_000, seed, 1, 0.3))
      const { counts, min, max } = histogram
      const width = Math.fround(Math.fround(max - min) / 1024)
      let best = { loss: Number.POSITIVE_INFINITY, left: 0, right: 0 }
      for (const [left, right] of hfmgSearchRanges(counts)) {
        const loss = transcribedLoss(counts, width, left, right, 2 ** bits)
        if (loss < best.loss) best = { loss, left, right }
      }
      const [low, high] = [min + best.left * width, min + (best.right + 1) * width]
      const { scale, offset } = hfmg(histogram, bits, symmetric)
      const half = 2 ** (bits - 1)
      const expected = symmetric
        ? Math.max(-low, high) / (high < -low ? half : half - 1)
        : (Math.max(high, 0) - Math.min(low, 0)) / (2 * half - 1)
      expect(Math.abs(scale / expected - 1)).toBeLessThan(1e-6)
      expect(offset + 0).toBe(symmetric ? 0 : Math.round(-half - low / expected))
    }
  })

  it('clips an outlier', () => {
    const data = Float32Array.of(...normals(100_000, 4), 12)
    const { scale } = hfmg(added(new HfmgHistogram(), data), 8, false)
    expect(scale * 255).toBeLessThan(13)
  })

  it('counts as torch.histc does', () => {
    const histogram = added(new HfmgHistogram(1024), Float32Array.of(0, 1, 2, 1024, 1023.5, 512))
    expect([0, 1, 2, 511, 512, 1023].map((bin) => histogram.counts[bin])).toEqual([1, 1, 1, 0, 1, 2])
    // One value alone: torch widens the range by 1 on either side, the middle bin holds all.
    const constant = added(new HfmgHistogram(1024), new Float32Array(7).fill(3))
    expect(constant.counts[512]).toBe(7)
    expect([constant.min, constant.max]).toEqual([3, 3])
  })

  it('spreads old counts evenly over the bins of a wider range, whole numbers each', () => {
    const histogram = added(
      new HfmgHistogram(1024),
      Float32Array.from({ length: 1025 }, (_, i) => i),
    )
    // Range 0 … 1024 becomes 0 … 1536: new bins are 1.5 wide; of old bin 1 (1 … 2) half goes to new bin 0, rounded down to 0.
    added(histogram, Float32Array.of(1536))
    const { counts } = histogram
    expect([counts[0], counts[1]]).toEqual([1, 2])
    expect(counts.reduce((a, b) => a + b)).toBe(1026)
    // The last old bin holds 1023 and 1024; 1022.5 … 1024 is new bin 682 from 1023 on.
    expect(counts[682]).toBe(2)
    expect(counts[1023]).toBe(1)
  })

  it('survives JSON, and refuses what is none of its own', () => {
    const histogram = added(new HfmgHistogram(1024), normals(100, 5))
    expect(HfmgHistogram.fromJson(JSON.parse(JSON.stringify(histogram.toJson()))).toJson()).toEqual(histogram.toJson())
    expect(() => HfmgHistogram.fromJson({ bins: 1024, range: [0, 1], counts: [1] })).toThrow(
      'as many whole counts as bins',
    )
    expect(() => new HfmgHistogram(1000)).toThrow('HFMG: the number of bins must be 1024, 2048, 4096, 8192; got 1000.')
  })
})
