/**
 * Roll-back by measured gain per bit operation.
 *
 * What quantizing a layer does to the network's outputs is measured once per layer on a few samples, without labels.
 * Layers are then taken in the order of gain per cost, cheap and harmful ones first, until the accuracy holds: how many
 * is estimated from the gains (as if losses added up) and corrected by each evaluation, so that few are needed. At the
 * end, layers that turn out not to be needed are quantized again, the most expensive first.
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
  /**
   * What a layer's gain is: `alone`, the damage of quantizing it and nothing else; `rest`, what leaving only it in
   * floating point repairs. Default `alone`.
   */
  readonly sensitivity?: 'alone' | 'rest' | undefined
}

const MAX_EVALUATIONS = 16
/** Stops looking between a choice that fails and one that holds when the layers between cost less than this share. */
const WORTHWHILE_COST = 0.01

/** A layer with its gain. */
interface Candidate extends RollbackLayer {
  readonly gain: number
}

/**
 * Finds layers to roll back, few and cheap ones, so that the judge is satisfied.
 *
 * Costs one `damage` per layer and one for all (none when everything may stay quantized), and evaluations about as the
 * logarithm of the number of layers.
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
  const { candidates, probes } = await measureGains(problem.layers, options)
  const ranking = candidates.map(({ name, gain, cost }) => ({ layer: name, score: (gain / cost) * 1e9 }))
  const search = new GreedySearch(problem, candidates, log, options)
  const found = await search.run(first.verdict.loss)
  if (!found) log.giveUp()
  return {
    ...common,
    status: found ? 'partly-rolled-back' : 'original',
    rolledBack: found ? log.inOrder(found.rolledBack) : problem.layers.map((layer) => layer.name),
    final: found?.metric ?? problem.original,
    evaluations: log.evaluations,
    probes,
    ranking,
  }
}

/** Layers with their gains, most gain per cost first. */
async function measureGains(
  layers: readonly RollbackLayer[],
  { damage, sensitivity = 'alone' }: GreedySearchOptions,
): Promise<{ candidates: Candidate[]; probes: number }> {
  const names = layers.map((layer) => layer.name)
  const alone = sensitivity === 'alone'
  const worst = alone ? undefined : await damage(new Set())
  const candidates: Candidate[] = []
  for (const layer of layers) {
    const rolledBack = new Set(alone ? names.filter((name) => name !== layer.name) : [layer.name])
    const measured = await damage(rolledBack)
    candidates.push({ ...layer, gain: worst === undefined ? measured : worst - measured })
  }
  const value = ({ gain, cost }: Candidate): number => gain / Math.max(cost, 1)
  candidates.sort((a, b) => value(b) - value(a) || b.gain - a.gain)
  return { candidates, probes: layers.length + (alone ? 0 : 1) }
}

interface Found<M> {
  readonly rolledBack: ReadonlySet<string>
  readonly metric: M
  readonly loss: number
}

class GreedySearch<M> {
  readonly #problem: RollbackProblem<M>
  readonly #candidates: readonly Candidate[]
  readonly #log: TrialLog<M>
  readonly #limit: number | undefined
  readonly #maxEvaluations: number
  /** Share of all gain that the first k layers bring, for k = 0 … n. */
  readonly #share: readonly number[]

  constructor(
    problem: RollbackProblem<M>,
    candidates: readonly Candidate[],
    log: TrialLog<M>,
    { limit, maxEvaluations }: GreedySearchOptions,
  ) {
    this.#problem = problem
    this.#candidates = candidates
    this.#log = log
    this.#limit = limit
    this.#maxEvaluations = maxEvaluations ?? MAX_EVALUATIONS
    const gains = candidates.map(({ gain }) => Math.max(gain, 0))
    const total = gains.reduce((sum, gain) => sum + gain, 0)
    const share = [0]
    for (const [k, gain] of gains.entries()) share.push(share[k]! + (total > 0 ? gain / total : 1 / gains.length))
    this.#share = share
  }

  get #left(): number {
    return this.#maxEvaluations - this.#log.evaluations
  }

  /** @returns the choice to take; `undefined` when only the original satisfies. */
  async run(firstLoss: number): Promise<Found<M> | undefined> {
    const n = this.#candidates.length
    let failing = { k: 0, loss: firstLoss }
    let holding: { k: number; found: Found<M> } | undefined
    let leap = 1
    while (this.#left > 0) {
      const upper = holding?.k ?? n
      if (upper - failing.k <= 1 || (holding && this.#costBetween(failing.k, upper) < WORTHWHILE_COST)) break
      const k = Math.min(Math.max(this.#estimate(failing, holding), failing.k + (holding ? 1 : leap)), upper - 1)
      const tried = await this.#try(new Set(this.#candidates.slice(0, k).map(({ name }) => name)))
      if (tried.satisfied) holding = { k, found: tried.found }
      else {
        failing = { k, loss: tried.found.loss }
        leap *= 2
      }
    }
    return holding && this.#giveBack(holding.found)
  }

  async #try(rolledBack: ReadonlySet<string>): Promise<{ found: Found<M>; satisfied: boolean }> {
    const { metric, verdict } = await this.#log.evaluate(rolledBack)
    return { found: { rolledBack, metric, loss: verdict.loss }, satisfied: verdict.satisfied }
  }

  /** How many layers it takes: a straight line through what is known, loss against share of gain; loss 0 at the end. */
  #estimate(failing: { k: number; loss: number }, holding: { k: number; found: Found<M> } | undefined): number {
    const from = this.#share[failing.k]!
    const to = holding ? this.#share[holding.k]! : 1
    const endLoss = holding?.found.loss ?? 0
    const limit = this.#limit ?? (holding ? (failing.loss + endLoss) / 2 : failing.loss / 2)
    const way = failing.loss > endLoss ? (failing.loss - limit) / (failing.loss - endLoss) : 0.5
    const wanted = from + Math.min(Math.max(way, 0), 1) * (to - from)
    // Between a failing and a holding choice the line may hug one of them for many steps; halving bounds that.
    const k = this.#share.findIndex((share) => share >= wanted - 1e-12)
    const estimate = k < 0 ? this.#candidates.length : k
    if (!holding) return estimate
    const [low, high] = [failing.k, holding.k]
    const quarter = Math.floor((high - low) / 4)
    return Math.min(Math.max(estimate, low + quarter), high - Math.max(quarter, 1))
  }

  /** Share of the cost of all layers that layers number `from` … `to` − 1 have. */
  #costBetween(from: number, to: number): number {
    const sum = (list: readonly Candidate[]): number => list.reduce((total, { cost }) => total + cost, 0)
    return sum(this.#candidates.slice(from, to)) / Math.max(sum(this.#candidates), 1)
  }

  /** Quantizes again what the limit does not need, the most expensive first, while the estimates allow it. */
  async #giveBack(start: Found<M>): Promise<Found<M>> {
    let best = start
    const worst = this.#log.trials[0]!.verdict.loss
    const chosen = this.#candidates.filter(({ name }) => best.rolledBack.has(name))
    const total = this.#candidates.reduce((sum, { gain }) => sum + Math.max(gain, 0), 0)
    for (const { name, gain, cost } of chosen.toSorted((a, b) => b.cost - a.cost)) {
      if (this.#left <= 0 || best.rolledBack.size <= 1) break
      const expected = total > 0 ? best.loss + (worst * Math.max(gain, 0)) / total : 0
      const isHopeless = this.#limit !== undefined && expected > this.#limit
      if (isHopeless || cost < WORTHWHILE_COST * this.#problem.layers.reduce((sum, layer) => sum + layer.cost, 0))
        continue
      const tried = await this.#try(new Set([...best.rolledBack].filter((other) => other !== name)))
      if (tried.satisfied) best = tried.found
      else if (this.#limit === undefined) break
    }
    return best
  }
}
