import { describe, expect, it } from 'vitest'
import { createRandom } from '../../../core/index.ts'
import { entropyMagnitude, entropyThreshold } from './entropy.ts'
import { Histogram } from './histogram.ts'

/** KL divergence for every threshold by the definition: build P and Q, normalise, sum. */
function transcribed(bins: readonly number[], levels: number, outliers: number): number {
  let best = { i: bins.length, divergence: Number.POSITIVE_INFINITY }
  for (let i = bins.length; i >= levels; i--) {
    const kept = bins.slice(0, i)
    const p = [...kept]
    p[i - 1]! += bins.slice(i).reduce((a, b) => a + b, 0) + outliers
    const q = new Array<number>(i).fill(0)
    for (let level = 0; level < levels; level++) {
      const members = kept.map((_, bin) => bin).filter((bin) => Math.floor((bin * levels) / i) === level)
      const filled = members.filter((bin) => kept[bin]! > 0)
      const sum = filled.reduce((a, bin) => a + kept[bin]!, 0)
      for (const bin of filled) q[bin] = sum / filled.length
    }
    if (p[i - 1]! > 0 && q[i - 1] === 0) q[i - 1] = 1e-4
    const [sumP, sumQ] = [p, q].map((list) => list.reduce((a, b) => a + b, 0)) as [number, number]
    let divergence = 0
    for (let bin = 0; bin < i; bin++)
      if (p[bin]! > 0) divergence += (p[bin]! / sumP) * Math.log(p[bin]! / sumP / (q[bin]! / sumQ))
    if (divergence < best.divergence - 1e-12) best = { i, divergence }
  }
  return best.i
}

function magnitudes(count: number, seed: number, bins: number, top: number): number[] {
  const { normal } = createRandom(seed)
  const counts = new Array<number>(bins).fill(0)
  for (let i = 0; i < count; i++) counts[Math.min(bins - 1, Math.floor((Math.abs(normal()) / top) * bins))]!++
  return counts
}

describe('entropyThreshold', () => {
  it.each([
    [2000, 1, 256, 16, 4, 0],
    [500, 2, 300, 32, 5, 0],
    [4000, 3, 200, 16, 2, 0],
    [4000, 4, 200, 16, 8, 37],
    [50, 5, 128, 16, 3, 0],
  ])(
    'is the definition: %i numbers, seed %i, %i bins, %i levels, up to %i, %i outliers',
    (count, seed, bins, levels, top, outliers) => {
      const counts = magnitudes(count, seed, bins, top)
      expect(entropyThreshold(Float64Array.from(counts), levels, outliers)).toBe(transcribed(counts, levels, outliers))
    },
  )

  it('has no choice with as many bins as levels, which is what ONNX Runtime does by default', () => {
    expect(entropyThreshold(Float64Array.from(magnitudes(5000, 6, 128, 4)), 128)).toBe(128)
  })

  it('keeps everything where all thresholds are as good', () => {
    expect(entropyThreshold(new Float64Array(64).fill(5), 16)).toBe(64)
  })
})

describe('entropyMagnitude', () => {
  const { normal } = createRandom(7)
  const bulk = Float32Array.from({ length: 200_000 }, () => normal())
  const threshold = (...more: number[]): number => {
    const histogram = new Histogram()
    histogram.add(bulk)
    histogram.add(Float32Array.from(more))
    return entropyMagnitude(histogram, Math.max(5, ...more.map(Math.abs)), 128)
  }

  it('hardly moves for an outlier, be it 10 or 10,000 times as large', () => {
    const plain = threshold()
    expect(plain).toBeGreaterThan(2)
    for (const outlier of [50, -500, 5e4, 1e12]) {
      const clipped = threshold(outlier)
      expect(clipped / plain).toBeGreaterThan(0.5)
      expect(clipped / plain).toBeLessThan(2)
    }
  })

  it('is zero for nothing but zeros', () => {
    const histogram = new Histogram()
    histogram.add(new Float32Array(10))
    expect(entropyMagnitude(histogram, 0, 128)).toBe(0)
  })
})
