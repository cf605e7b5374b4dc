import { describe, expect, it } from 'vitest'
import { createRandom } from '../../../core/index.ts'
import { affineParameters } from '../affine.ts'
import { rangeOfFactors } from './amct-factors.ts'
import { calibrate, statisticNeeds } from './calibrate.ts'
import { ifmr, ifmrOfStatistics, ifmrRank, ifmrRatios } from './ifmr.ts'
import { TensorStatistics } from './statistics.ts'

function statisticsOf(...batches: Float32Array[]): TensorStatistics {
  const statistics = new TensorStatistics(statisticNeeds({ method: 'ifmr' }))
  for (const batch of batches) statistics.add(batch)
  return statistics
}

function normals(count: number, seed: number, relu = false): Float32Array {
  const { normal } = createRandom(seed)
  return Float32Array.from({ length: count }, () => (relu ? Math.max(normal(), 0) : normal()))
}

/** IFMR as its description says, line by line, in float64. */
function transcribed(data: readonly number[], bits: number, symmetric: boolean, p: number, start: number, end: number) {
  const n = data.length
  const k = 1 - p < 1.192092896e-7 ? 1 : n - Math.floor(p * n)
  const sorted = [...data].sort((a, b) => a - b)
  let max0 = Math.max(0, sorted[n - k]!)
  const min0 = Math.min(0, sorted[k - 1]!)
  const negative = Math.abs(max0) < Math.abs(min0)
  if (symmetric) max0 = Math.max(Math.abs(max0), Math.abs(min0))
  const half = 2 ** (bits - 1)
  let best = { loss: Number.POSITIVE_INFINITY, scale: 0 }
  for (let i = 0; i < Math.ceil((end - start) / 0.01); i++) {
    const c = max0 * (start + 0.01 * i)
    const scale = symmetric ? c / (negative ? half : half - 1) : (c - min0) / (2 * half - 1)
    let loss = 0
    for (const x of data) {
      const clamped = Math.min(Math.max(x, symmetric ? -c : min0), c)
      loss += (Math.round(clamped / scale) * scale - x) ** 2
    }
    if (loss < best.loss) best = { loss, scale }
  }
  return { scale: best.scale, offset: symmetric ? 0 : -Math.round(min0 / best.scale) - half }
}

describe('ifmr', () => {
  it('has 61 candidates by default, as torch.arange(0.7, 1.3, 0.01) does', () => {
    const ratios = ifmrRatios([0.7, 1.3], 0.01)
    expect(ratios.length).toBe(61)
    expect([ratios[0], ratios[30], ratios[60]]).toEqual([0.7, 1, 1.3].map(Math.fround))
    expect(ifmrRatios([0.5, 1.5], 0.25)).toEqual(Float32Array.of(0.5, 0.75, 1, 1.25))
  })

  it('counts the place of an end as n − int(p · n), and 1 where p is 1 but for float32', () => {
    expect(ifmrRank(1_000_000, 0.999999)).toBe(1)
    expect(ifmrRank(3_000_000, 0.999999)).toBe(3)
    // int(9.99999): the ten numbers of a small tensor still give the largest.
    expect(ifmrRank(10, 0.999999)).toBe(1)
    expect(ifmrRank(1000, 1)).toBe(1)
    expect(ifmrRank(1000, 1 - 1e-8)).toBe(1)
    expect(ifmrRank(10, 0.75)).toBe(3)
  })

  it('gives what the arithmetic by hand gives', () => {
    // 2-bit asymmetric, one candidate c = 1 · 3: scale (3 − (−1)) / 3, offset −round(−1 / (4/3)) − 2 = 1 − 2.
    const single = { searchRange: [1, 1.5], searchStep: 0.5 } as const
    expect(ifmr(Float32Array.of(-1, 0, 1, 3), { bits: 2, symmetric: false }, single)).toEqual({
      scale: Math.fround(4 / 3),
      offset: -1,
    })
    // Symmetric: the positive end is the larger, so 3 / (2 − 1); with the signs turned 3 / 2.
    expect(ifmr(Float32Array.of(-1, 0, 1, 3), { bits: 2, symmetric: true }, single)).toEqual({ scale: 3, offset: 0 })
    expect(ifmr(Float32Array.of(1, 0, -1, -3), { bits: 2, symmetric: true }, single)).toEqual({ scale: 1.5, offset: 0 })
    // Two candidates for {0, 0, 0, 2}, 1 bit of steps: c = 1 loses (2 − 1)², c = 2 nothing.
    expect(
      ifmr(Float32Array.of(0, 0, 0, 2), { bits: 2, symmetric: false }, { searchRange: [0.5, 1.5], searchStep: 0.5 }),
    ).toEqual({ scale: Math.fround(2 / 3), offset: -2 })
  })

  it('takes 1 for a scale below FLT_EPSILON', () => {
    expect(ifmr(new Float32Array(8), { bits: 8, symmetric: false })).toEqual({ scale: 1, offset: -128 })
    expect(ifmr(Float32Array.of(1e-9, -1e-9), { bits: 8, symmetric: true })).toEqual({ scale: 1, offset: 0 })
    const statistics = statisticsOf(new Float32Array(8))
    const range = calibrate(statistics, { method: 'ifmr' }, { type: 'uint8' })
    expect(affineParameters(range, { type: 'uint8' })).toEqual({ scale: 1, zeroPoint: 0 })
  })

  it.each([
    [8, false, false],
    [8, true, false],
    [4, false, true],
    [4, true, true],
    [6, false, false],
  ])('is what its description says, with %i bits, symmetric %s, after a Relu %s', (bits, symmetric, relu) => {
    const data = normals(3000, bits, relu)
    const options = { maxPercentile: 0.99, minPercentile: 0.99, searchRange: [0.6, 1.4] } as const
    const { scale, offset } = ifmr(data, { bits, symmetric }, options)
    const expected = transcribed([...data], bits, symmetric, 0.99, 0.6, 1.4)
    expect(Math.abs(scale / expected.scale - 1)).toBeLessThan(1e-6)
    expect(offset + 0).toBe(expected.offset + 0)
  })

  it('loses from statistics at most a thousandth more than from the numbers themselves', () => {
    for (const [seed, bits, symmetric, relu] of [
      [1, 8, false, false],
      [2, 8, true, true],
      [3, 8, false, true],
      [4, 4, false, false],
      [5, 4, true, false],
    ] as const) {
      const batches = [normals(40_000, seed, relu), normals(60_000, seed + 10, relu)]
      const data = Float32Array.from(batches.flatMap((batch) => [...batch]))
      const exact = ifmr(data, { bits, symmetric })
      const streamed = ifmrOfStatistics(statisticsOf(...batches), { bits, symmetric })
      const lossOf = ({ scale }: { scale: number }): number => {
        const least = symmetric ? -(2 ** (bits - 1)) : Math.round(Math.min(0, Math.min(...data.slice(0, 1))) / scale)
        let sum = 0
        const [low, high] = symmetric
          ? [least, 2 ** (bits - 1) - 1]
          : [-streamed.offset - 2 ** (bits - 1), 2 ** (bits - 1) - 1 - streamed.offset]
        for (const x of data) sum += (Math.min(Math.max(Math.round(x / scale), low), high) * scale - x) ** 2
        return sum
      }
      expect(lossOf(streamed)).toBeLessThanOrEqual(1.001 * lossOf(exact))
      expect(Math.abs(streamed.scale / exact.scale - 1)).toBeLessThan(0.021)
      if (bits === 8) expect(Math.abs(streamed.offset - exact.offset)).toBeLessThanOrEqual(3)
    }
  })

  it.each([
    ['uint8', false],
    ['int8', false],
    ['int8', true],
    ['uint16', false],
    ['int4', true],
  ] as const)('becomes a range that gives back its scale and offset, to %s, symmetric %s', (type, symmetric) => {
    const factors = { scale: Math.fround(0.037), offset: symmetric ? 0 : -3 }
    const parameters = affineParameters(rangeOfFactors(factors, { type, symmetric }), { type, symmetric })
    expect(parameters.scale).toBe(factors.scale)
    const half = { uint8: 128, int8: 0, uint16: 32768, int4: 0 }[type]
    expect(parameters.zeroPoint + 0).toBe(factors.offset + half)
  })

  it('refuses options out of range', () => {
    const run = (options: object) => () => ifmr(Float32Array.of(1), { bits: 8, symmetric: false }, options)
    expect(run({ maxPercentile: 0.5 })).toThrow(
      "Calibration 'ifmr': maxPercentile must be over 0.5 and up to 1; got 0.5.",
    )
    expect(run({ searchRange: [1, 1] })).toThrow("Calibration 'ifmr': searchRange must be 0 < start < end; got [1, 1].")
    expect(run({ searchRange: [1, 2], searchStep: 1.5 })).toThrow('got 1.5.')
    expect(() => ifmr(new Float32Array(0), { bits: 8, symmetric: false })).toThrow(
      "Calibration 'ifmr': needs at least one number; got none.",
    )
  })
})
