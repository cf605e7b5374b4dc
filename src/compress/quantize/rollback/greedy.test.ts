import { describe, expect, it } from 'vitest'
import { createRandom } from '../../../core/index.ts'
import { type RollbackProblem, searchByRanking, searchGreedily } from './index.ts'

interface Layer {
  readonly name: string
  readonly cost: number
  /** What quantizing it costs in points. */
  readonly harm: number
}

const LIMIT = 1

/** Losses add up over the layers that are quantized, unless `lossOf` says otherwise. */
function landscape(layers: readonly Layer[], lossOf?: (rolledBack: ReadonlySet<string>) => number) {
  const additive = (rolledBack: ReadonlySet<string>): number =>
    layers.reduce((sum, { name, harm }) => sum + (rolledBack.has(name) ? 0 : harm), 0)
  const loss = lossOf ?? additive
  const problem: RollbackProblem<number> = {
    layers,
    original: 100,
    evaluate: async (rolledBack) => 100 - loss(rolledBack),
    judge: (original, found) => ({ satisfied: original - found <= LIMIT + 1e-9, loss: original - found }),
  }
  const costOf = (names: readonly string[]): number =>
    layers.filter(({ name }) => names.includes(name)).reduce((sum, { cost }) => sum + cost, 0)
  return { problem, loss, costOf, damage: async (rolledBack: ReadonlySet<string>) => additive(rolledBack) }
}

/** Costs and harms of a network of n layers, a few of them bad. */
function network(n: number, seed: number): Layer[] {
  const random = createRandom(seed)
  return Array.from({ length: n }, (_, i) => ({
    name: `conv${i}`,
    cost: 1e6 * (1 + random.integer(8)),
    harm: (random.uniform() < 0.2 ? 2 : 0.02) * random.uniform(),
  }))
}

describe('searchGreedily', () => {
  it('evaluates once and measures nothing when all may stay quantized', async () => {
    const { problem, damage } = landscape([{ name: 'a', cost: 1, harm: 0.5 }])
    expect(await searchGreedily(problem, { damage, limit: LIMIT })).toMatchObject({
      status: 'quantized',
      evaluations: 1,
      probes: 0,
      ranking: [],
    })
  })

  it('rolls back the two layers that matter, and ranks by gain per cost', async () => {
    const layers = [
      { name: 'first', cost: 10, harm: 3 },
      { name: 'big', cost: 1000, harm: 4 },
      { name: 'fine', cost: 100, harm: 0.2 },
      { name: 'last', cost: 1, harm: 0.5 },
    ]
    const { problem, damage } = landscape(layers)
    const found = await searchGreedily(problem, { damage, limit: LIMIT })
    expect(found.ranking.map(({ layer }) => layer)).toEqual(['last', 'first', 'big', 'fine'])
    // Without 'last': 0.5 + 0.2 points remain, which is within the limit, so it is quantized again only if it is dear.
    expect(found.status).toBe('partly-rolled-back')
    expect(found.rolledBack).toEqual(['first', 'big', 'last'])
    // Everything, each layer, and again those that were about to be taken.
    expect(found.probes).toBeGreaterThanOrEqual(5)
    expect(found.probes).toBeLessThanOrEqual(12)
  })

  it.each([8, 20, 57, 150])(
    'holds the limit on %i layers with few evaluations and no more cost than going through the ranking',
    async (n) => {
      for (let seed = 0; seed < 20; seed++) {
        const layers = network(n, seed)
        const { problem, damage, loss, costOf } = landscape(layers)
        const found = await searchGreedily(problem, { damage, limit: LIMIT })
        if (found.status === 'quantized') continue
        expect(loss(new Set(found.rolledBack))).toBeLessThanOrEqual(LIMIT + 1e-9)
        expect(found.evaluations).toBeLessThanOrEqual(16)
        let [shortest, rolledBack] = [0, new Set<string>()]
        for (const { layer } of found.ranking) {
          if (loss(rolledBack) <= LIMIT) break
          rolledBack = new Set([...rolledBack, layer])
          shortest++
        }
        expect(costOf(found.rolledBack), `${shortest} layers would do`).toBeLessThanOrEqual(
          costOf([...rolledBack]) + 0.011 * costOf(layers.map(({ name }) => name)),
        )
      }
    },
  )

  it('costs little more than the cheapest choice there is, found by trying every subset', async () => {
    const layers = network(10, 3).map((layer) => ({ ...layer, harm: layer.harm + 0.2 }))
    const { problem, damage, loss, costOf } = landscape(layers)
    let least = Number.POSITIVE_INFINITY
    for (let bits = 0; bits < 2 ** layers.length; bits++) {
      const names = layers.filter((_, i) => Math.floor(bits / 2 ** i) % 2 === 1).map(({ name }) => name)
      if (loss(new Set(names)) <= LIMIT) least = Math.min(least, costOf(names))
    }
    const found = await searchGreedily(problem, { damage, limit: LIMIT })
    expect(costOf(found.rolledBack)).toBeLessThanOrEqual(1.35 * least)
  })

  it('finds the small choice where more layers do not mean less loss and halving misses it', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
    const layers = names.map((name, i) => ({ name, cost: 1e6, harm: i < 2 ? 3 : 0.01 }))
    const bumpy = (rolledBack: ReadonlySet<string>): number =>
      (rolledBack.has('a') && rolledBack.has('b') && rolledBack.size <= 2) || rolledBack.size >= 7 ? 0.5 : 3
    const { problem, damage } = landscape(layers, bumpy)
    const ranking = async () => new Map(layers.map(({ name, harm }) => [name, 1 - harm / 100]))
    expect((await searchByRanking(problem, { ranking })).rolledBack).toHaveLength(7)
    const found = await searchGreedily(problem, { damage, limit: LIMIT })
    expect(found.rolledBack).toEqual(['a', 'b'])
  })

  it('never answers with a choice that fails, however misleading the measured damage is', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = createRandom(seed)
      const layers = network(12, seed).map((layer) => ({ ...layer, harm: layer.harm + 0.3 }))
      const { problem, loss } = landscape(layers)
      const found = await searchGreedily(problem, { damage: async () => random.normal(), limit: LIMIT })
      if (found.status !== 'original') expect(loss(new Set(found.rolledBack))).toBeLessThanOrEqual(LIMIT + 1e-9)
      expect(found.final).toBe(100 - loss(new Set(found.rolledBack)))
    }
  })

  it('gives up with the original when nothing else holds', async () => {
    const layers = network(9, 1)
    const { problem, damage } = landscape(layers, (rolledBack) => (rolledBack.size === 9 ? 0 : 5))
    const found = await searchGreedily(problem, { damage, limit: LIMIT })
    expect(found).toMatchObject({ status: 'original', final: 100 })
    expect(found.rolledBack).toHaveLength(9)
    expect(found.trials.at(-1)).toMatchObject({ metric: null })
  })

  it('evaluates a network of one layer once, which is quantized or not', async () => {
    const { problem, damage } = landscape([{ name: 'only', cost: 1e6, harm: 2 }])
    const found = await searchGreedily(problem, { damage, limit: LIMIT })
    expect(found).toMatchObject({ status: 'original', rolledBack: ['only'], final: 100, evaluations: 1 })
  })

  it('works without knowing the limit', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const layers = network(20, seed)
      const { problem, damage, loss } = landscape(layers)
      const found = await searchGreedily(problem, { damage })
      expect(loss(new Set(found.rolledBack))).toBeLessThanOrEqual(LIMIT + 1e-9)
    }
  })

  it('quantizes layers again that the limit does not need once others are rolled back', async () => {
    const layers = [
      { name: 'early', cost: 300, harm: 0.9 },
      { name: 'needed', cost: 1000, harm: 1.6 },
      { name: 'fine', cost: 5000, harm: 0.1 },
    ]
    const { problem, damage } = landscape(layers)
    const found = await searchGreedily(problem, { damage, limit: LIMIT })
    // By gain per cost 'early' comes first, which leaves 1.7 points; with 'needed' 0.1 are left; 'needed' alone leaves 1.
    expect(found.trials.map(({ rolledBack }) => rolledBack)).toEqual([[], ['early', 'needed'], ['early'], ['needed']])
    expect(found.rolledBack).toEqual(['needed'])
  })
})
