import { describe, expect, it } from 'vitest'
import {
  amctRollbackFiles,
  binarySearchStrategy,
  quantizationSimilarity,
  type RollbackProblem,
  rankLayers,
  searchByRanking,
} from './index.ts'

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
/** Layer h suffers most, a least. */
const RANKING = new Map(NAMES.map((name, i) => [name, 1 - i / 100]))

/** A problem whose loss is a function of the layers rolled back; at most 0.5 satisfies. */
function problem(lossOf: (rolledBack: ReadonlySet<string>) => number, names = NAMES): RollbackProblem<number> {
  return {
    layers: names.map((name) => ({ name, cost: 1 })),
    original: 90,
    evaluate: async (rolledBack) => 90 - lossOf(rolledBack),
    judge: (original, found) => ({ satisfied: original - found <= 0.5, loss: original - found }),
  }
}

const ranking = async () => RANKING
const sizes = (trials: readonly { rolledBack: readonly string[] }[]) =>
  trials.map(({ rolledBack }) => rolledBack.length)

describe('quantizationSimilarity', () => {
  it('is half of one plus the cosine', () => {
    // (1, 2, 2) against (2, 1, 2): cosine 8 / 9.
    expect(quantizationSimilarity({ reference: 9, other: 9, product: 8 })).toBeCloseTo(0.5 + 4 / 9, 12)
    expect(quantizationSimilarity({ reference: 9, other: 4, product: -6 })).toBe(0)
  })

  it('is 1 between two zeros and 0 between zero and something', () => {
    expect(quantizationSimilarity({ reference: 0, other: 0, product: 0 })).toBe(1)
    expect(quantizationSimilarity({ reference: 0, other: 3, product: 0 })).toBe(0)
    expect(quantizationSimilarity({ reference: 3, other: 0, product: 0 })).toBe(0)
  })
})

describe('searchByRanking', () => {
  it('evaluates once when nothing has to be rolled back', async () => {
    const found = await searchByRanking(
      problem(() => 0.5),
      { ranking },
    )
    expect(found).toMatchObject({ status: 'quantized', rolledBack: [], final: 89.5, evaluations: 1, probes: 1 })
    expect(found.ranking.map(({ layer }) => layer)).toEqual([...NAMES].reverse())
  })

  it('halves the number of worst layers as AMCT does and keeps the last that satisfied', async () => {
    // Holds from three layers on. AMCT by hand, 8 layers: 0 … 7, middle 3 (4 layers) holds, 1 (2) fails, 2 (3) holds.
    const found = await searchByRanking(
      problem((rolledBack) => (rolledBack.size >= 3 ? 0.2 : 3)),
      { ranking },
    )
    expect(sizes(found.trials)).toEqual([0, 4, 2, 3])
    expect(found).toMatchObject({
      status: 'partly-rolled-back',
      rolledBack: ['f', 'g', 'h'],
      final: 89.8,
      evaluations: 4,
    })
  })

  it('goes back to the last that satisfied when the final attempt failed, without evaluating it again', async () => {
    // Holds from four: 4 holds, 2 fails, 3 fails; AMCT then calibrates and evaluates 4 once more.
    const found = await searchByRanking(
      problem((rolledBack) => (rolledBack.size >= 4 ? 0.2 : 3)),
      { ranking },
    )
    expect(sizes(found.trials)).toEqual([0, 4, 2, 3, 4])
    expect(found).toMatchObject({ status: 'partly-rolled-back', rolledBack: ['e', 'f', 'g', 'h'], evaluations: 4 })
  })

  it('ends with the original when every layer has to go', async () => {
    const found = await searchByRanking(
      problem((rolledBack) => (rolledBack.size === 8 ? 0 : 3)),
      { ranking },
    )
    expect(sizes(found.trials)).toEqual([0, 4, 6, 7, 8])
    expect(found.trials.at(-1)).toMatchObject({ metric: null, verdict: { satisfied: true, loss: 0 } })
    expect(found).toMatchObject({ status: 'original', final: 90, evaluations: 4 })
  })

  it('misses a small choice where more layers do not mean less loss', async () => {
    const found = await searchByRanking(
      problem((rolledBack) => (rolledBack.size === 2 || rolledBack.size >= 7 ? 0 : 3)),
      { ranking },
    )
    expect(found.rolledBack).toHaveLength(7)
  })

  it('takes a strategy of the caller and refuses one that names other layers or goes on for ever', async () => {
    const fails = problem((rolledBack) => (rolledBack.has('a') ? 0 : 1))
    const only = (name: string, stop: boolean) => ({
      initialize: () => {},
      update: () => ({ quantized: new Map([[name, false]]), stop }),
    })
    expect(await searchByRanking(fails, { ranking, strategy: only('a', true) })).toMatchObject({ rolledBack: ['a'] })
    await expect(searchByRanking(fails, { ranking, strategy: only('z', true) })).rejects.toThrow(
      "Roll-back: the strategy names layer 'z', which is not one of the quantized ones.",
    )
    await expect(searchByRanking(fails, { ranking, strategy: only('a', false) })).rejects.toThrow(
      'Roll-back: the strategy must stop; it went on for 32 steps over 8 layers.',
    )
  })

  it('refuses a judge that the original does not satisfy, and one that answers something else', async () => {
    const base = problem(() => 0)
    await expect(
      searchByRanking({ ...base, judge: () => ({ satisfied: false, loss: 0 }) }, { ranking }),
    ).rejects.toThrow(
      'Roll-back: the accuracy of the original, judged against itself, must satisfy; it does not. Check the judge (metricEval).',
    )
    await expect(searchByRanking({ ...base, judge: () => JSON.parse('"yes"') }, { ranking })).rejects.toThrow(
      'Roll-back: the judge of accuracies must answer with { satisfied: boolean, loss: number }; it did not.',
    )
  })

  it('has a strategy that can be used step by step', () => {
    const strategy = binarySearchStrategy()
    strategy.initialize(
      new Map([
        ['x', 0.9],
        ['y', 0.5],
      ]),
    )
    expect(strategy.update({ satisfied: false, loss: 1 })).toEqual({
      quantized: new Map([
        ['y', false],
        ['x', true],
      ]),
      stop: false,
    })
    expect(strategy.update({ satisfied: true, loss: 0 })).toEqual({
      quantized: new Map([
        ['y', false],
        ['x', true],
      ]),
      stop: true,
    })
  })

  it('ranks equal layers in their order', () => {
    expect(
      rankLayers(
        new Map([
          ['p', 0.9],
          ['q', 0.5],
          ['r', 0.9],
        ]),
      ).map(({ layer }) => layer),
    ).toEqual(['q', 'p', 'r'])
  })
})

describe("AMCT's files", () => {
  it('are valid JSON, with the ranking ascending, the configuration edited and every network in the record', async () => {
    const found = await searchByRanking(
      problem((rolledBack) => (rolledBack.size >= 4 ? 0.25 : 3)),
      { ranking },
    )
    const files = amctRollbackFiles(found, NAMES, { version: 1, a: { quant_enable: true, dmq: 0.5 } })
    const { ranking: order, config, record } = JSON.parse(JSON.stringify(files)) as typeof files
    expect(order[0]).toEqual(['h', RANKING.get('h')])
    expect(order.map(([, score]) => score)).toEqual([...order.map(([, score]) => score)].sort((x, y) => x - y))
    expect(config).toMatchObject({ version: 1, a: { quant_enable: true, dmq: 0.5 }, h: { quant_enable: false } })
    expect(record).toHaveLength(5)
    expect(record[0]).toEqual({
      roll_back_config: { a: true, b: true, c: true, d: true, e: true, f: true, g: true, h: true },
      metric_eval: [false, 3],
    })
    expect(record.at(-1)!.roll_back_config).toMatchObject({ d: true, e: false, h: false })
  })
})
