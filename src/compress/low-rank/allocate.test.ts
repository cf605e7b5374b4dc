import { describe, expect, test } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { allocate, type Option, paretoFront } from './allocate.ts'

const total = (options: readonly Option[]): number => options.reduce((sum, option) => sum + option.cost, 0)
const errors = (options: readonly Option[]): number => options.reduce((sum, option) => sum + option.error, 0)

/** The best choice by trying all. */
function bruteForce(layers: readonly (readonly Option[])[], budget: number): number {
  let best = Number.POSITIVE_INFINITY
  const visit = (layer: number, cost: number, error: number): void => {
    if (cost > budget) return
    if (layer === layers.length) best = Math.min(best, error)
    else for (const option of layers[layer]!) visit(layer + 1, cost + option.cost, error + option.error)
  }
  visit(0, 0, 0)
  return best
}

describe('allocate', () => {
  test('finds the optimum, which trying everything confirms, and keeps within the budget', () => {
    const random = createRandom(7)
    for (let round = 0; round < 40; round++) {
      const layers = Array.from({ length: 5 }, () =>
        Array.from({ length: 6 }, () => ({ cost: 1 + random.integer(1000), error: random.uniform() })),
      )
      const least = layers.reduce((sum, options) => sum + Math.min(...options.map((option) => option.cost)), 0)
      const budget = least + random.integer(1500)
      const chosen = allocate(layers, budget)!
      expect(total(chosen)).toBeLessThanOrEqual(budget)
      // Costs are rounded to 1/4096 of the budget; what that can lose is bounded by a slightly smaller budget.
      expect(errors(chosen)).toBeGreaterThanOrEqual(bruteForce(layers, budget) - 1e-12)
      expect(errors(chosen)).toBeLessThanOrEqual(bruteForce(layers, budget * (1 - 5 / 4096)) + 1e-12)
    }
  })

  test('takes the free optimum when the budget allows it', () => {
    const layers = [
      [
        { cost: 5, error: 0 },
        { cost: 1, error: 1 },
      ],
      [
        { cost: 7, error: 0 },
        { cost: 2, error: 3 },
      ],
    ]
    expect(errors(allocate(layers, 12)!)).toBe(0)
  })

  test('answers undefined when even the cheapest options exceed the budget', () => {
    expect(allocate([[{ cost: 5, error: 0 }], [{ cost: 7, error: 0 }]], 11)).toBeUndefined()
  })

  test('finds solutions off the convex hull, which a Lagrangian alone misses', () => {
    const layers = [
      [
        { cost: 10, error: 0 },
        { cost: 6, error: 0.6 },
        { cost: 0, error: 1 },
      ],
      [{ cost: 4, error: 0 }],
    ]
    expect(errors(allocate(layers, 10)!)).toBeCloseTo(0.6, 12)
  })

  test('drops options that another beats', () => {
    const options = [
      { cost: 3, error: 1 },
      { cost: 2, error: 1 },
      { cost: 5, error: 0.5 },
      { cost: 6, error: 0.7 },
    ]
    expect(paretoFront(options)).toEqual([
      { cost: 2, error: 1 },
      { cost: 5, error: 0.5 },
    ])
  })
})
