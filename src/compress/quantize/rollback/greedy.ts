/**
 * Roll-back by measured gain per bit operation.
 *
 * What a choice of layers does to the network's outputs is measured on a few samples, without labels, which is cheap
 * beside an evaluation. Layers are taken one after the other, each time the one with the most gain per cost. Gains are
 * measured once for every layer, and again only for those that are about to be taken: what others repaired is no longer
 * theirs (lazy greedy selection: Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978).
 * How far to go is estimated as if loss were proportional to damage, and corrected by each evaluation. At the end,
 * layers that turn out not to be needed are quantized again.
 *
 * Only evaluated choices are answers, so an accuracy that does not follow the estimates costs evaluations or layers,
 * never the limit.
 */
import { assertSatisfiable } from './binary-search.ts'
import { type RollbackLayer, type RollbackOutcome, type RollbackProblem, TrialLog } from './search.ts'

/** Options of {@link searchGreedily}. */
export interface GreedySearchOptions {
  /**
   * Distance of the network's outputs from the original's with these layers in floating point and all others
   * quantized; less is better.
   */
  readonly damage: (rolledBack: ReadonlySet<string>) => Promise<number>
  /** The largest loss that satisfies the judge, if it is known; makes the estimates sharper. */
  readonly limit?: number | undefined
  /** Evaluations at most, the first included; default 16. Then the best choice so far is taken. */
  readonly maxEvaluations?: number | undefined
}

const MAX_EVALUATIONS = 16
/** Evaluations at most that quantize single layers again at the end. */
const MAX_RETURNS = 4
/** Layers whose gain is measured again at most before one is taken. */
const MAX_REMEASURED = 4
/** Layers that cost less than this share of all are not worth an evaluation. */
const WORTHWHILE_COST = 0.01
/** The best that is still to be hoped for without a known limit: half of the loss. */
const UNKNOWN_LIMIT = 0.5

/**
 * Finds layers to roll back, few and cheap ones, so that the judge is satisfied.
 *
 * Costs a `damage` per layer and a few for each layer that is rolled back (none when everything may stay quantized), and
 * evaluations about as the logarithm of the number of layers.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the original does not satisfy the judge.
 */
export async function searchGreedily<M>(
  problem: RollbackProblem<M>,
  options: GreedySearchOptions,
): Promise<RollbackOutcome<M>> {
  assertSatisfiable(problem)
  const log = new TrialLog(problem)
  const first = await log.evaluate(new Set())
  const common = { original: problem.original, quantized: first.metric, trials: log.trials }
  if (first.verdict.satisfied)
    return {
      ...common,
      status: 'quantized',
      rolledBack: [],
      final: first.metric,
      evaluations: 1,
      probes: 0,
      ranking: [],
    }
  const path = new GreedyPath(problem.layers, options.damage)
  await path.begin()
  const found = await new GreedySearch(problem, path, log, options).run(first.verdict.loss)
  if (!found) log.giveUp()
  return {
    ...common,
    status: found ? 'partly-rolled-back' : 'original',
    rolledBack: found ? log.inOrder(found.rolledBack) : problem.layers.map((layer) => layer.name),
    final: found?.metric ?? problem.original,
    evaluations: log.evaluations,
    probes: path.probes,
    ranking: path.ranking,
  }
}

/** Layers in the order in which they are rolled back, with the damage that is left after each. */
class GreedyPath {
  readonly #layers: ReadonlyMap<string, RollbackLayer>
  readonly #measure: GreedySearchOptions['damage']
  /** What rolling a layer back repaired when it was last measured. */
  readonly #gains = new Map<string, number>()
  readonly #known = new Map<string, number>()
  readonly #taken: string[] = []
  /** Damage with the first k layers rolled back, for k = 0 … */
  readonly damages: number[] = []
  ranking: { readonly layer: string; readonly score: number }[] = []
  probes = 0

  constructor(layers: readonly RollbackLayer[], measure: GreedySearchOptions['damage']) {
    this.#layers = new Map(layers.map((layer) => [layer.name, layer]))
    this.#measure = measure
  }

  /** Measures every layer once. */
  async begin(): Promise<void> {
    const worst = await this.damage(new Set())
    this.damages.push(worst)
    for (const name of this.#layers.keys()) this.#gains.set(name, worst - (await this.damage(new Set([name]))))
    this.ranking = this.#byValue().map((layer) => ({ layer, score: this.#value(layer) * 1e9 }))
  }

  /** Damage of a choice of layers. */
  async damage(rolledBack: ReadonlySet<string>): Promise<number> {
    const key = JSON.stringify([...this.#layers.keys()].filter((name) => rolledBack.has(name)))
    let found = this.#known.get(key)
    if (found === undefined) {
      found = await this.#measure(rolledBack)
      this.probes++
      this.#known.set(key, found)
    }
    return found
  }

  /** The first k layers. */
  async first(k: number): Promise<ReadonlySet<string>> {
    while (this.#taken.length < k) await this.#extend()
    return new Set(this.#taken.slice(0, k))
  }

  /** The least k above `above` whose damage is at most `target`; `most` when none is. */
  async reaching(target: number, above: number, most: number): Promise<number> {
    for (let k = above; k < most; k++) {
      await this.first(k)
      if (this.damages[k]! <= target) return k
    }
    return most
  }

  /** Takes the layer with the most gain per cost, given those taken already. */
  async #extend(): Promise<void> {
    const base = this.damages.at(-1)!
    const fresh = new Set<string>()
    const free = (): string[] => this.#byValue().filter((name) => !this.#taken.includes(name))
    let best = free()[0]!
    while (!fresh.has(best) && fresh.size < MAX_REMEASURED) {
      this.#gains.set(best, base - (await this.damage(new Set([...this.#taken, best]))))
      fresh.add(best)
      best = free()[0]!
    }
    const taken = fresh.has(best) ? best : [...fresh].sort((a, b) => this.#value(b) - this.#value(a))[0]!
    this.#taken.push(taken)
    this.damages.push(base - this.#gains.get(taken)!)
  }

  /** Gain per bit operation. */
  #value(name: string): number {
    return this.#gains.get(name)! / Math.max(this.#layers.get(name)!.cost, 1)
  }

  #byValue(): string[] {
    return [...this.#gains.keys()].sort((a, b) => this.#value(b) - this.#value(a))
  }
}

interface Found<M> {
  readonly rolledBack: ReadonlySet<string>
  readonly metric: M
  readonly loss: number
}

/** A number of layers of the path that was evaluated. */
interface Point {
  readonly k: number
  readonly loss: number
}

class GreedySearch<M> {
  readonly #problem: RollbackProblem<M>
  readonly #path: GreedyPath
  readonly #log: TrialLog<M>
  readonly #limit: number | undefined
  readonly #maxEvaluations: number

  constructor(
    problem: RollbackProblem<M>,
    path: GreedyPath,
    log: TrialLog<M>,
    { limit, maxEvaluations }: GreedySearchOptions,
  ) {
    this.#problem = problem
    this.#path = path
    this.#log = log
    this.#limit = limit
    this.#maxEvaluations = maxEvaluations ?? MAX_EVALUATIONS
  }

  get #left(): number {
    return this.#maxEvaluations - this.#log.evaluations
  }

  /** @returns the choice to take; `undefined` when only the original satisfies. */
  async run(firstLoss: number): Promise<Found<M> | undefined> {
    const most = this.#problem.layers.length - 1
    let failing: Point = { k: 0, loss: firstLoss }
    let holding: { k: number; found: Found<M> } | undefined
    for (let leap = 1; !holding && failing.k < most && this.#left > 0; leap *= 2) {
      const target = this.#path.damages[failing.k]! * this.#share(failing.loss)
      const k = await this.#path.reaching(target, Math.min(failing.k + leap, most), most)
      const tried = await this.#try(await this.#path.first(k))
      if (tried.satisfied) holding = { k, found: tried.found }
      else failing = { k, loss: tried.found.loss }
    }
    if (!holding) return undefined
    while (holding.k - failing.k > 1 && this.#left > 0 && (await this.#isWorthwhile(failing.k, holding.k))) {
      const k = this.#between(failing, { k: holding.k, loss: holding.found.loss })
      const tried = await this.#try(await this.#path.first(k))
      if (tried.satisfied) holding = { k, found: tried.found }
      else failing = { k, loss: tried.found.loss }
    }
    return this.#giveBack(holding.found)
  }

  async #try(rolledBack: ReadonlySet<string>): Promise<{ found: Found<M>; satisfied: boolean }> {
    const { metric, verdict } = await this.#log.evaluate(rolledBack)
    return { found: { rolledBack, metric, loss: verdict.loss }, satisfied: verdict.satisfied }
  }

  /** Share of a loss that may stay. */
  #share(loss: number): number {
    if (this.#limit === undefined) return UNKNOWN_LIMIT
    return loss > 0 ? Math.min(this.#limit / loss, 1) : 1
  }

  /** Where the limit lies on a straight line between two points, loss against damage; not too close to either. */
  #between(failing: Point, holding: Point): number {
    const { damages } = this.#path
    const limit = this.#limit ?? (failing.loss + holding.loss) / 2
    const way = (failing.loss - limit) / Math.max(failing.loss - holding.loss, Number.MIN_VALUE)
    const target = damages[failing.k]! + Math.min(Math.max(way, 0), 1) * (damages[holding.k]! - damages[failing.k]!)
    let k = failing.k + 1
    while (k < holding.k && damages[k]! > target) k++
    // The line may hug one of the points for many steps; a quarter each way bounds that.
    const quarter = Math.max(Math.floor((holding.k - failing.k) / 4), 1)
    return Math.min(Math.max(k, failing.k + quarter), holding.k - quarter)
  }

  async #isWorthwhile(from: number, to: number): Promise<boolean> {
    const before = await this.#path.first(from)
    const after = await this.#path.first(to)
    const added = this.#problem.layers.filter(({ name }) => after.has(name) && !before.has(name))
    return added.some((layer) => this.#isDear(layer))
  }

  #isDear({ cost }: RollbackLayer): boolean {
    return cost >= WORTHWHILE_COST * this.#problem.layers.reduce((sum, layer) => sum + layer.cost, 0)
  }

  /** Quantizes again what the limit does not need: first what saves most for the damage it does. */
  async #giveBack(start: Found<M>): Promise<Found<M>> {
    let best = start
    const layers = this.#problem.layers.filter((layer) => best.rolledBack.has(layer.name) && this.#isDear(layer))
    if (best.rolledBack.size < 2 || this.#left <= 0) return best
    const without = (name: string): Set<string> => new Set([...best.rolledBack].filter((other) => other !== name))
    const base = await this.#path.damage(best.rolledBack)
    const harms: { name: string; harm: number; cost: number }[] = []
    for (const { name, cost } of layers)
      harms.push({ name, cost, harm: (await this.#path.damage(without(name))) - base })
    harms.sort((a, b) => a.harm / a.cost - b.harm / b.cost)
    let tries = Math.min(this.#left, MAX_RETURNS)
    for (const { name, harm } of harms) {
      if (tries <= 0 || best.rolledBack.size < 2) break
      const expected = best.loss * (base > 0 ? 1 + Math.max(harm, 0) / base : 1)
      if (this.#limit !== undefined && expected > this.#limit) continue
      const tried = await this.#try(without(name))
      tries--
      if (tried.satisfied) best = tried.found
    }
    return best
  }
}
