/**
 * The words of automatic roll-back: which layers to leave in floating point so that accuracy holds.
 *
 * The searches know neither graphs nor engines: they are told the layers and given functions that evaluate a choice of
 * them. What a search returns was evaluated, never predicted.
 */

/** Whether an accuracy will do, and how much worse than the original's it is. */
export type Verdict = {
  readonly satisfied: boolean
  /** How much was lost, in whatever unit the judge chooses; less is better. */
  readonly loss: number
}

/** A layer that can be left in floating point. */
export type RollbackLayer = {
  /** Name of the node. */
  readonly name: string
  /** Bit operations (MACs × weight bits × activation bits) that leaving it in floating point adds to a run. */
  readonly cost: number
}

/** What a search is about. `M` is whatever an evaluation measures. */
export interface RollbackProblem<M> {
  /** Layers in the network's order. With all of them rolled back the network must be the original. */
  readonly layers: readonly RollbackLayer[]
  /** The original's accuracy. */
  readonly original: M
  /** Measures the network with these layers in floating point and all others quantized. */
  evaluate(rolledBack: ReadonlySet<string>): Promise<M>
  /** Judges an accuracy against the original's. */
  judge(original: M, found: M): Verdict
}

/** One network that a search evaluated. */
export type RollbackTrial<M> = {
  /** Layers in floating point, in the network's order. */
  readonly rolledBack: readonly string[]
  /** `null` where nothing was evaluated because everything is rolled back: that is the original. */
  readonly metric: M | null
  readonly verdict: Verdict
}

/** How much a layer suffers from being quantized, by the measure of the search. */
export type LayerRank = {
  readonly layer: string
  /**
   * Of the binary search: similarity of the layer's outputs before and after, 0 … 1. Of the greedy search: gain of
   * leaving it in floating point per 10⁹ bit operations.
   */
  readonly score: number
}

/** What a search found. */
export type RollbackOutcome<M> = {
  /** `original`: the limit holds only with every layer rolled back, so that nothing is quantized. */
  readonly status: 'quantized' | 'partly-rolled-back' | 'original'
  /** Layers to leave in floating point, in the network's order. */
  readonly rolledBack: readonly string[]
  readonly original: M
  /** With every layer quantized. */
  readonly quantized: M
  /** Of the network with `rolledBack` in floating point; the original's when that is all. */
  readonly final: M
  /** Every evaluated network in order; the first has every layer quantized. */
  readonly trials: readonly RollbackTrial<M>[]
  /** Evaluations of a whole network on all evaluation data, the original's not counted. */
  readonly evaluations: number
  /** Runs over the calibration samples that ranked the layers. */
  readonly probes: number
  /** Most suffering layer first; empty when nothing had to be ranked. */
  readonly ranking: readonly LayerRank[]
}

/** What a roll-back did, for records; JSON. */
export type RollbackRecord = {
  /** `greedy`, `binary-search` or `custom`. */
  readonly strategy: string
  /** Percentage points of the metric that may be lost; `null` with a judge of the caller's. */
  readonly maxDrop: number | null
  /** Name of the metric, a share of 1. */
  readonly metric: string
  /** Layers that could be rolled back, in the network's order. */
  readonly layers: readonly string[]
} & RollbackOutcome<number>

/** Evaluates choices of layers, each once, and keeps the list of them. */
export class TrialLog<M> {
  readonly #problem: RollbackProblem<M>
  readonly #known = new Map<string, { metric: M; verdict: Verdict }>()
  readonly trials: RollbackTrial<M>[] = []
  evaluations = 0

  constructor(problem: RollbackProblem<M>) {
    this.#problem = problem
  }

  /** Layers of a choice in the network's order. */
  inOrder(rolledBack: ReadonlySet<string>): string[] {
    return this.#problem.layers.map((layer) => layer.name).filter((name) => rolledBack.has(name))
  }

  /** Evaluates a choice, or remembers it; either way it is one more trial. */
  async evaluate(rolledBack: ReadonlySet<string>): Promise<{ metric: M; verdict: Verdict }> {
    const names = this.inOrder(rolledBack)
    const key = JSON.stringify(names)
    let found = this.#known.get(key)
    if (!found) {
      const metric = await this.#problem.evaluate(new Set(names))
      this.evaluations++
      found = { metric, verdict: this.#problem.judge(this.#problem.original, metric) }
      this.#known.set(key, found)
    }
    this.trials.push({ rolledBack: names, ...found })
    return found
  }

  /** Notes that everything is rolled back, which needs no evaluation. */
  giveUp(): void {
    const { layers, original, judge } = this.#problem
    const rolledBack = layers.map((layer) => layer.name)
    this.trials.push({ rolledBack, metric: null, verdict: judge(original, original) })
  }
}
