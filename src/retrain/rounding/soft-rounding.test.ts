import { describe, expect, it } from 'vitest'
import { alphaOf, regularizerAt, roundedShare } from './soft-rounding.ts'

describe('soft rounding', () => {
  it('follows the formula, computed by hand', () => {
    expect(roundedShare(0)).toBeCloseTo(0.5, 15)
    // σ(1) = 0.7310585786; 0.7310585786 · 1.2 − 0.1
    expect(roundedShare(1)).toBeCloseTo(0.7772702943, 9)
    expect(roundedShare(3)).toBe(1)
    expect(roundedShare(-3)).toBe(0)
    // −ln(1.2 / 0.35 − 1) = −ln(2.428571…)
    expect(alphaOf(0.25)).toBeCloseTo(-0.8873031950009028, 12)
    expect(alphaOf(0.5)).toBeCloseTo(0, 12)
  })

  it('starts at the weight itself', () => {
    for (const fraction of [0, 0.01, 0.3, 0.99, 1]) expect(roundedShare(alphaOf(fraction))).toBeCloseTo(fraction, 12)
  })

  it('lets β fall by half a cosine after the warm-up', () => {
    const schedule = { steps: 1000, strength: 0.01, betas: [20, 2], warmUp: 0.2 } as const
    expect(regularizerAt(schedule, 199)).toEqual({ strength: 0, beta: 20 })
    expect(regularizerAt(schedule, 200)).toEqual({ strength: 0.01, beta: 20 })
    expect(regularizerAt(schedule, 600).beta).toBeCloseTo(11, 12)
    // 2 + 9 (1 + cos(3π/4))
    expect(regularizerAt(schedule, 800).beta).toBeCloseTo(4.636038969321, 9)
    expect(regularizerAt(schedule, 1000).beta).toBeCloseTo(2, 12)
  })
})
