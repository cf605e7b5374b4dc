import { describe, expect, it } from 'vitest'
import { type AmctKernel, amctMatrixShape, amctRank, clampAmctRank } from './amct-rank.ts'

const kernel = (outputChannels: number, inputChannels: number, side: number): AmctKernel => ({
  outputChannels,
  inputChannels,
  kernelHeight: side,
  kernelWidth: side,
})

describe('AMCT’s rank', () => {
  // Output and input channels, kernel, rows of the matrix, least and greatest final rank: computed with AMCT's own code.
  const table = [
    [64, 64, 3, 192, 32, 32],
    [128, 64, 3, 192, 32, 32],
    [96, 96, 3, 288, 48, 48],
    [128, 128, 3, 384, 64, 64],
    [192, 192, 3, 576, 80, 96],
    [256, 256, 3, 768, 160, 192],
    [512, 256, 3, 768, 160, 192],
    [512, 512, 3, 1536, 304, 384],
    [1024, 1024, 3, 3072, 608, 768],
    [2048, 2048, 3, 6144, 1232, 1536],
    [64, 64, 5, 320, 48, 48],
    [128, 128, 5, 640, 96, 112],
    [512, 512, 5, 2560, 512, 640],
    [64, 3, 7, 21, 16, 16],
  ] as const
  it.each(table)('of a weight [%i, %i] with side %i lies in its window', (co, ci, side, rows, least, greatest) => {
    const layer = kernel(co, ci, side)
    expect(amctMatrixShape(layer)).toEqual([rows, Math.max(co, ci) * side])
    expect(clampAmctRank(0, layer).rank).toBe(least)
    expect(clampAmctRank(rows, layer).rank).toBe(greatest)
    for (let raw = 0; raw <= rows; raw += 13) {
      const { rank } = clampAmctRank(raw, layer)
      expect(rank % 16).toBe(0)
      expect(rank).toBeGreaterThanOrEqual(least)
      expect(rank).toBeLessThanOrEqual(greatest)
    }
  })

  it('is 176 for the reference spectrum, whose raw rank is 170', () => {
    const line = (from: number, to: number, n: number): number[] =>
      Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1))
    const s = [...line(10, 3, 170), ...line(0.3, 0.05, 598)]
    expect(amctRank(s, kernel(256, 256, 3))).toEqual({ rank: 176, raw: 170, low: 153, high: 192 })
  })

  it('pairs the smaller channel count with the smaller kernel side', () => {
    const layer = { outputChannels: 64, inputChannels: 128, kernelHeight: 5, kernelWidth: 3 }
    expect(amctMatrixShape(layer)).toEqual([192, 640])
  })

  it('never exceeds the full rank', () => {
    expect(clampAmctRank(7, kernel(4, 4, 3)).rank).toBe(12)
  })
})
