import { describe, expect, it } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { createPlainMatrixEngine } from '../../decompose/index.ts'
import { descendCoordinates, descendPairs, type QuadraticProblem, quadraticLoss, roundInSequence } from './quadratic.ts'
import { lowerLevels, nearestLevels } from './weight-grid.ts'

const engine = createPlainMatrixEngine()

/** One output with correlated inputs. */
function problem(length: number, seed: number, shifted = 0): QuadraticProblem {
  const random = createRandom(seed)
  const rows = Array.from({ length: 3 * length }, () => {
    const common = random.normal()
    return Float64Array.from({ length }, () => 1.5 * common + random.normal())
  })
  const second = new Float64Array(length * length)
  for (const x of rows)
    for (let i = 0; i < length; i++)
      for (let j = 0; j < length; j++) second[i * length + j]! += (x[i]! * x[j]!) / rows.length
  const filled = (value: number): Float64Array => new Float64Array(length).fill(value)
  return {
    outputs: 1,
    length,
    second,
    shift: Float64Array.from({ length }, () => shifted * random.normal()),
    grid: {
      weight: Float64Array.from({ length }, () => random.normal()),
      step: filled(0.4),
      least: filled(-7),
      most: filled(7),
    },
  }
}

/** The least loss of all choices between the two neighbours. */
async function exhaustive(of: QuadraticProblem): Promise<number> {
  const lower = lowerLevels(of.grid)
  let best = Number.POSITIVE_INFINITY
  for (let mask = 0; mask < 2 ** of.length; mask++)
    best = Math.min(
      best,
      await quadraticLoss(
        engine,
        of,
        lower.map((level, j) => level + ((mask >> j) & 1)),
      ),
    )
  return best
}

describe('rounding as a lattice problem', () => {
  it('has the loss that its definition says', async () => {
    const of = problem(3, 1, 0.2)
    const levels = Float64Array.of(1, -2, 0)
    const e = levels.map((level, j) => level * 0.4 - of.grid.weight[j]!)
    let expected = 0
    for (let i = 0; i < 3; i++) {
      expected += 2 * of.shift[i]! * e[i]!
      for (let j = 0; j < 3; j++) expected += e[i]! * of.second[i * 3 + j]! * e[j]!
    }
    expect(await quadraticLoss(engine, of, levels)).toBeCloseTo(expected, 12)
  })

  it('comes close to the best of all roundings', async () => {
    const ratios: number[] = []
    for (let seed = 1; seed <= 20; seed++) {
      const of = problem(12, seed)
      const best = await exhaustive(of)
      const nearest = await quadraticLoss(engine, of, nearestLevels(of.grid))
      const levels = await roundInSequence(engine, of, 0.01)
      const [near, other] = [nearestLevels(of.grid), levels]
      await descendCoordinates(engine, of, near, 0)
      await descendCoordinates(engine, of, other, 0)
      await descendPairs(engine, of, near, 0)
      await descendPairs(engine, of, other, 0)
      const found = Math.min(await quadraticLoss(engine, of, near), await quadraticLoss(engine, of, other))
      expect(found).toBeLessThanOrEqual(nearest)
      ratios.push(found / best)
    }
    ratios.sort((a, b) => a - b)
    // Half of them are the best; none is far from it.
    expect(ratios[9]).toBeLessThan(1.000001)
    expect(ratios.at(-1)).toBeLessThan(1.2)
  })

  it('makes up for what the input lost', async () => {
    const of = problem(8, 5, 0.3)
    const blind = nearestLevels(of.grid)
    const levels = await roundInSequence(engine, of, 0.001)
    expect(await quadraticLoss(engine, of, levels)).toBeLessThan(await quadraticLoss(engine, of, blind))
    // Better than the unrounded weight: the shift can be undone.
    expect(await quadraticLoss(engine, of, levels)).toBeLessThan(0)
  })

  it('stays within the limits and within reach', async () => {
    const of = problem(10, 3, 5)
    const levels = nearestLevels(of.grid)
    await descendCoordinates(engine, of, levels, 0)
    const lower = lowerLevels(of.grid)
    for (const [j, level] of levels.entries()) expect([0, 1]).toContain(level - lower[j]!)
    const free = nearestLevels(of.grid)
    await descendCoordinates(engine, of, free, 100)
    expect(Math.max(...free.map(Math.abs))).toBeLessThanOrEqual(7)
    expect(await quadraticLoss(engine, of, free)).toBeLessThan(await quadraticLoss(engine, of, levels))
  })

  it('rounds inputs that are always zero to nearest', async () => {
    const of = problem(4, 9)
    of.second.fill(0)
    const levels = await roundInSequence(engine, of, 0.01)
    await descendCoordinates(engine, of, levels, 1)
    expect([...levels]).toEqual([...nearestLevels(of.grid)])
  })
})
