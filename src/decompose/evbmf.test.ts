import { describe, expect, it } from 'vitest'
import { WhittleError } from '../core/index.ts'
import { evbmf } from './evbmf.ts'

/** A decaying signal over a slowly falling floor. */
const spectrum = (l: number, scale: number): Float64Array =>
  Float64Array.from({ length: l }, (_, i) => scale * (30 * (i + 1) ** -0.8 + 3 * (1 - (0.6 * i) / l)))

describe('evbmf', () => {
  // rows, cols, scale, rank, noise variance: the same formulas in numpy with scipy's fminbound.
  const cases = [
    [768, 768, 1, 18, 0.009147109018312321],
    [192, 192, 1, 10, 0.06131758447642284],
    [64, 576, 1, 18, 0.024225949853128495],
    [21, 448, 1, 9, 0.06662657083706089],
    [512, 4608, 1, 90, 0.0012764644441357138],
    [512, 4608, 0.01, 82, 1.3490673056116513e-7],
    [100, 3000, 100, 49, 25.23389800967896],
  ] as const
  it.each(cases)('gives scipy’s answer for a matrix [%i, %i] at scale %d', (rows, cols, scale, rank, variance) => {
    const found = evbmf(spectrum(rows, scale), rows, cols)
    expect(found.rank).toBe(rank)
    expect(Math.abs(found.noiseVariance / variance - 1)).toBeLessThan(1e-9)
    expect(evbmf(spectrum(rows, scale), cols, rows)).toEqual(found)
  })

  it('keeps the singular values above its threshold', () => {
    const s = spectrum(192, 1)
    const { rank, threshold } = evbmf(s, 192, 192)
    expect(s[rank - 1]!).toBeGreaterThan(threshold)
    expect(s[rank]!).toBeLessThanOrEqual(threshold)
  })

  it('does not depend on the scale with a relative tolerance', () => {
    const at = (scale: number): number => evbmf(spectrum(512, scale), 512, 4608, { tolerance: 'relative' }).rank
    expect([at(1e-6), at(1e-2), at(1), at(1e6)]).toEqual(Array(4).fill(at(1)))
  })

  it('finds the rank of a signal that stands out of noise, and its variance', () => {
    // Singular values of noise of variance 1: between √M − √L and √M + √L (Marchenko, Pastur).
    const [l, m, rank] = [200, 800, 30]
    const s = Float64Array.from({ length: l }, (_, i) =>
      i < rank ? 300 - i : Math.sqrt(m) + Math.sqrt(l) * (1 - (2 * (i - rank)) / (l - rank)),
    )
    const found = evbmf(s, l, m)
    expect(found.rank).toBe(rank)
    expect(Math.abs(found.noiseVariance - 1)).toBeLessThan(0.2)
  })

  it('takes zeros for what they are: a matrix of rank 12 without noise has rank 12', () => {
    const s = Float64Array.from({ length: 64 }, (_, i) => (i < 12 ? 5 - i / 4 : 0))
    expect(evbmf(s, 64, 100).rank).toBe(12)
    expect(evbmf(new Float64Array(64), 64, 100)).toEqual({ rank: 0, noiseVariance: 0, threshold: 0 })
  })

  it('answers for a matrix of one row', () => {
    expect(evbmf([3], 1, 50).rank).toBeLessThanOrEqual(1)
  })

  it('wants all singular values, and finite ones', () => {
    expect(() => evbmf([1, 2], 3, 5)).toThrow(
      new WhittleError('SHAPE_MISMATCH', 'EVBMF of a matrix [3, 5]: all 3 singular values are needed; got 2.'),
    )
    expect(() => evbmf([1, Number.NaN], 2, 5)).toThrow(
      new WhittleError('NOT_FINITE', 'EVBMF of a matrix [2, 5]: singular values must be finite numbers.'),
    )
  })
})
