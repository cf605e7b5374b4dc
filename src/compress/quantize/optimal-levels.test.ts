import { describe, expect, it } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { roundHalfToEven } from './affine.ts'
import { optimalLevels } from './optimal-levels.ts'

/** The least cost over all ways to cut sorted values into at most k runs, one after the other. */
function bruteForce(values: number[], weights: number[], k: number, snap = (mean: number) => mean): number {
  const costOf = (begin: number, end: number): number => {
    let [count, sum] = [0, 0]
    for (let i = begin; i < end; i++) {
      count += weights[i]!
      sum += weights[i]! * values[i]!
    }
    const level = snap(sum / count)
    let cost = 0
    for (let i = begin; i < end; i++) cost += weights[i]! * (values[i]! - level) ** 2
    return cost
  }
  let best = Number.POSITIVE_INFINITY
  const cut = (begin: number, left: number, cost: number): void => {
    if (begin === values.length) {
      best = Math.min(best, cost)
      return
    }
    if (left === 0) return
    for (let end = begin + 1; end <= values.length; end++) cut(end, left - 1, cost + costOf(begin, end))
  }
  cut(0, k, 0)
  return best
}

const costOfLevels = (values: readonly number[], weights: readonly number[], levels: Float64Array): number =>
  values.reduce((sum, x, i) => sum + weights[i]! * Math.min(...Array.from(levels, (level) => (x - level) ** 2)), 0)

describe('optimalLevels', () => {
  it('finds the least cost that trying all cuts finds', () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = createRandom(seed)
      const n = 1 + random.integer(9)
      const values = Array.from({ length: n }, () => random.normal() + 5 * random.integer(3)).sort((a, b) => a - b)
      const weights = Array.from({ length: n }, () => 1 + random.integer(4))
      for (const k of [1, 2, 3, 5]) {
        const found = optimalLevels(Float64Array.from(values), k, { weights: Float64Array.from(weights) })
        const best = bruteForce(values, weights, k)
        expect(Math.abs(found.cost - best)).toBeLessThanOrEqual(1e-9 * (1 + best))
        expect(Math.abs(costOfLevels(values, weights, found.levels) - best)).toBeLessThanOrEqual(1e-9 * (1 + best))
        expect(found.levels.length).toBeLessThanOrEqual(k)
      }
    }
  })

  it('finds the least cost on a grid of integers', () => {
    for (let seed = 0; seed < 60; seed++) {
      const random = createRandom(100 + seed)
      const values = [...new Set(Array.from({ length: 9 }, () => random.integer(40) - 20))].sort((a, b) => a - b)
      const weights = values.map(() => 1 + random.integer(30))
      for (const k of [2, 3, 4]) {
        const found = optimalLevels(Float64Array.from(values), k, {
          weights: Float64Array.from(weights),
          snap: roundHalfToEven,
        })
        expect(found.levels.every(Number.isInteger)).toBe(true)
        expect(found.cost).toBeCloseTo(bruteForce(values, weights, k, roundHalfToEven), 8)
      }
    }
  })

  it('is never worse than Lloyd’s iteration from random starts', () => {
    const random = createRandom(3)
    const values = Float64Array.from({ length: 2000 }, () => random.normal() ** 3).sort()
    const ones = Array.from(values, () => 1)
    const { cost } = optimalLevels(values, 16)
    for (let start = 0; start < 10; start++) {
      let levels = Float64Array.from({ length: 16 }, () => values[random.integer(2000)]!).sort()
      for (let round = 0; round < 50; round++) {
        const sums = new Float64Array(16)
        const counts = new Float64Array(16)
        for (const x of values) {
          let at = 0
          for (let c = 1; c < 16; c++) if (Math.abs(x - levels[c]!) < Math.abs(x - levels[at]!)) at = c
          sums[at]! += x
          counts[at]!++
        }
        levels = levels.map((level, c) => (counts[c]! > 0 ? sums[c]! / counts[c]! : level))
      }
      expect(cost).toBeLessThanOrEqual(costOfLevels(Array.from(values), ones, levels) * (1 + 1e-12))
    }
  })

  it('keeps its accuracy far from zero', () => {
    const { levels, cost } = optimalLevels(Float64Array.of(1e8, 1e8 + 1, 1e8 + 10, 1e8 + 11), 2)
    expect([...levels]).toEqual([1e8 + 0.5, 1e8 + 10.5])
    expect(cost).toBe(1)
  })

  it('refuses values out of order, no values and no levels', () => {
    expect(() => optimalLevels(Float64Array.of(2, 1), 1)).toThrow('ascending; number 1 is 1')
    expect(() => optimalLevels(new Float64Array(), 1)).toThrow('at least one value')
    expect(() => optimalLevels(Float64Array.of(1), 0)).toThrow('got 0')
  })
})
