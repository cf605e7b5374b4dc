import { describe, expect, it } from 'vitest'
import { randomMatrix } from '../../test/support/matrices.ts'
import { WhittleError } from '../core/index.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { singularValues } from './svd.ts'
import { vbmf } from './vbmf.ts'

/** One component by coordinate descent on twice the free energy, from several beginnings: the least value and its a·b. */
function descend(gamma: number, l: number, m: number, variance: number, scale: number): { value: number; ab: number } {
  const energy = (a: number, b: number, va: number, vb: number): number =>
    m * Math.log(scale / va) +
    l * Math.log(scale / vb) +
    (a * a + m * va + b * b + l * vb) / scale +
    ((a * a + m * va) * (b * b + l * vb) - 2 * a * b * gamma) / variance -
    (l + m)
  let best = { value: Number.POSITIVE_INFINITY, ab: 0 }
  for (const start of [0, 0.1, 1, Math.sqrt(gamma), 10]) {
    let [a, b, va, vb] = [start, start, 1e-3, 1e-3]
    for (let i = 0; i < 4000; i++) {
      va = variance / (b * b + l * vb + variance / scale)
      a = (gamma * b * va) / variance
      vb = variance / (a * a + m * va + variance / scale)
      b = (gamma * a * vb) / variance
    }
    const value = energy(a, b, va, vb)
    if (value < best.value) best = { value, ab: a * b }
  }
  return best
}

/** Singular values of a random matrix of the given rank plus noise of variance σ². */
async function noisyValues(rows: number, cols: number, rank: number, sigma: number): Promise<Float64Array> {
  const plain = createPlainMatrixEngine()
  const signal = await plain.multiply(randomMatrix(rows, rank, 1), randomMatrix(rank, cols, 2))
  const noise = randomMatrix(rows, cols, 3)
  return singularValues(plain, { ...signal, data: signal.data.map((value, i) => value + sigma * noise.data[i]!) })
}

describe('vbmf', () => {
  it('shrinks and drops singular values as descent on the free energy does', () => {
    const [l, m] = [4, 7]
    for (const variance of [0.1, 1])
      for (const priorScale of [0.3, 2, 50]) {
        const s = [9, 4, 2.5, 0.5]
        const found = vbmf(s, l, m, { priorScale, noiseVariance: variance })
        expect(found.noiseVariance).toBe(variance)
        for (const [i, gamma] of s.entries()) {
          const expected = descend(gamma, l, m, variance, priorScale).ab
          // Below 1e-6 descent has not quite reached zero.
          if (expected < 1e-6) expect(found.rank).toBeLessThanOrEqual(i)
          else expect(Math.abs(found.singularValues[i]! / expected - 1)).toBeLessThan(1e-6)
        }
        expect(found.singularValues).toHaveLength(found.rank)
      }
  })

  it('estimates the noise of the least free energy', () => {
    const [l, m] = [5, 8]
    const s = [12, 7, 1.2, 1, 0.8]
    for (const priorScale of [0.5, 5]) {
      const energy = (variance: number): number =>
        s.reduce(
          (sum, gamma) => sum + gamma ** 2 / variance + descend(gamma, l, m, variance, priorScale).value,
          l * m * Math.log(variance),
        )
      const { noiseVariance } = vbmf(s, l, m, { priorScale })
      const least = energy(noiseVariance)
      for (const factor of [0.01, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2, 10, 30])
        expect(energy(noiseVariance * factor)).toBeGreaterThan(least)
    }
  })

  it('finds the rank of a signal that stands out of noise, and shrinks its values', async () => {
    for (const [rows, cols] of [
      [60, 150],
      [150, 60],
    ] as const) {
      const s = await noisyValues(rows, cols, 5, 0.5)
      const { rank, singularValues: shrunk } = vbmf(s, rows, cols, { priorScale: 0.03, noiseVariance: 0.25 })
      expect(rank).toBe(5)
      for (let i = 0; i < 5; i++) expect(shrunk[i]!).toBeLessThan(s[i]!)
    }
  })

  it('takes some noise for signal when the prior is wide: the threshold is then below the largest singular value of noise', async () => {
    const s = await noisyValues(60, 150, 5, 0.5)
    const { rank, threshold } = vbmf(s, 60, 150, { priorScale: 1e3, noiseVariance: 0.25 })
    expect(threshold).toBeCloseTo(0.5 * Math.sqrt(150), 3)
    expect(rank).toBeGreaterThan(5)
  })

  it('keeps the singular values above its threshold, of which there are fewer the louder the noise', () => {
    const s = Float64Array.from({ length: 40 }, (_, i) => 30 * 0.85 ** i)
    let previous = 41
    for (const noiseVariance of [1e-4, 1e-2, 0.1, 1, 10]) {
      const { rank, threshold } = vbmf(s, 40, 60, { priorScale: 5, noiseVariance })
      expect(rank).toBe(s.filter((value) => value > threshold).length)
      expect(rank).toBeLessThan(previous)
      previous = rank
    }
  })

  it('takes zeros, and wants all singular values and positive scales', () => {
    expect(vbmf(new Float64Array(3), 3, 5, { priorScale: 1 })).toEqual({
      rank: 0,
      noiseVariance: 0,
      threshold: 0,
      singularValues: new Float64Array(0),
    })
    expect(() => vbmf([1, 2], 3, 5, { priorScale: 1 })).toThrow(
      new WhittleError('SHAPE_MISMATCH', 'VBMF of a matrix [3, 5]: all 3 singular values are needed; got 2.'),
    )
    expect(() => vbmf([1], 1, 5, { priorScale: 0 })).toThrow(
      new WhittleError('INVALID_ARGUMENT', 'VBMF of a matrix [1, 5]: priorScale must be a positive number; got 0.'),
    )
    expect(() => vbmf([1], 1, 5, { priorScale: 1, noiseVariance: -1 })).toThrow(WhittleError)
    expect(() => vbmf([Number.NaN], 1, 5, { priorScale: 1 })).toThrow(WhittleError)
  })
})
