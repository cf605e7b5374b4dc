import { describe, expect, it } from 'vitest'
import { minimizeBounded } from './minimize-bounded.ts'

describe('minimizeBounded', () => {
  // x, evaluations: scipy.optimize.fminbound (SciPy 1.17) with its defaults.
  const cases: [string, (x: number) => number, number, number, number, number][] = [
    ['a parabola', (x) => (x - 2) ** 2, -5, 7, 2, 6],
    ['two valleys', (x) => Math.sin(x) + 0.3 * Math.cos(3 * x), 0, 9, 5.093842101750779, 13],
    ['a corner', (x) => Math.abs(x - 1.2345), 0, 3, 1.2344998700874508, 22],
    ['a minimum at the end', (x) => x, 1, 2, 1.0000059608609866, 25],
  ]
  it.each(cases)('follows the same path as scipy for %s', (_, f, low, high, x, evaluations) => {
    const found = minimizeBounded(f, low, high)
    expect(found.x).toBeCloseTo(x, 12)
    expect(found.evaluations).toBe(evaluations)
    expect(found.converged).toBe(true)
    expect(found.value).toBe(f(found.x))
  })

  it('finds a minimum to the tolerance asked for', () => {
    const found = minimizeBounded((x) => (x - Math.SQRT2) ** 4 + x * 0, 0, 10, { tolerance: 1e-9 })
    expect(Math.abs(found.x - Math.SQRT2)).toBeLessThan(1e-3)
  })

  it('stops after the most evaluations and says so', () => {
    const found = minimizeBounded((x) => Math.abs(x - 1.2345), 0, 3, { maxEvaluations: 5 })
    expect(found).toMatchObject({ evaluations: 5, converged: false })
  })

  it('returns the point of an empty interval', () => {
    expect(minimizeBounded((x) => x * x, 3, 3).x).toBe(3)
  })
})
