/**
 * AMCT's accuracy-based automatic calibration: layers are ranked by the similarity of their outputs before and after,
 * and a binary search finds how many of the worst are to be rolled back; the last choice that satisfied is kept.
 *
 * Source: AMCT, accuracy-based automatic calibration (strategy BinarySearch, sensitivity CosineSimilarity). The search
 * supposes that rolling back more layers never makes accuracy worse.
 */
import { fail } from '../../../core/index.ts'
import {
  type LayerRank,
  type RollbackOutcome,
  type RollbackProblem,
  type RollbackTrial,
  TrialLog,
  type Verdict,
} from './search.ts'

/** What a strategy wants next. */
export type StrategyStep = {
  /** Layers by name: `true` quantized, `false` rolled back. */
  readonly quantized: ReadonlyMap<string, boolean>
  /** Whether `quantized` is the answer. */
  readonly stop: boolean
}

/** Decides which layers to roll back next, as AMCT's strategies do; stateful, good for one search. */
export interface RollbackStrategy {
  /** Called once, with the layers' similarities, before the first {@link RollbackStrategy.update}. */
  initialize(ranking: ReadonlyMap<string, number>): void
  /**
   * @param verdict of the choice returned last; of the fully quantized network at the first call, which did not satisfy.
   */
  update(verdict: Verdict): StrategyStep
}

/** Layers by similarity, the most suffering one first; equal ones in the given order. */
export function rankLayers(similarities: ReadonlyMap<string, number>): LayerRank[] {
  return [...similarities].map(([layer, score]) => ({ layer, score })).sort((a, b) => a.score - b.score)
}

/** AMCT's strategy: binary search over the number of worst layers; the last choice that satisfied is the answer. */
export function binarySearchStrategy(): RollbackStrategy {
  let ranked: readonly string[] = []
  let left = 0
  let middle = 0
  let right = -1
  let started = false
  let best: ReadonlyMap<string, boolean> | undefined
  // Layers 0 … `middle` of the ranking are rolled back.
  const choice = (): Map<string, boolean> => new Map(ranked.map((name, position) => [name, position > middle]))
  return {
    initialize(ranking) {
      ranked = rankLayers(ranking).map(({ layer }) => layer)
      left = 0
      right = ranked.length - 1
      started = false
      best = undefined
    },
    update({ satisfied }) {
      if (started) {
        if (satisfied) {
          best = choice()
          right = middle - 1
        } else left = middle + 1
      }
      started = true
      if (left > right) return { quantized: best ?? new Map(ranked.map((name) => [name, false])), stop: true }
      middle = Math.floor((left + right) / 2)
      return { quantized: choice(), stop: false }
    },
  }
}

/** Options of {@link searchByRanking}. */
export interface RankingSearchOptions {
  /** Measures every layer's similarity before and after, 0 … 1; called once. */
  readonly ranking: () => Promise<ReadonlyMap<string, number>>
  /** Default: {@link binarySearchStrategy}. */
  readonly strategy?: RollbackStrategy | undefined
}

/** Steps after which a strategy is taken to be going round in circles, per layer. */
const STEPS_PER_LAYER = 4

/**
 * AMCT's search: evaluate everything quantized, rank the layers, and, unless that satisfied, ask the strategy which
 * layers to roll back until it stops. A choice that comes again is not evaluated again, which AMCT does once at the end.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the original does not satisfy the judge, or the strategy names other
 *   layers or does not come to an end.
 */
export async function searchByRanking<M>(
  problem: RollbackProblem<M>,
  options: RankingSearchOptions,
): Promise<RollbackOutcome<M>> {
  const { original, judge, layers } = problem
  assertSatisfiable(problem)
  const log = new TrialLog(problem)
  const first = await log.evaluate(new Set())
  const similarities = await options.ranking()
  const common = {
    original,
    quantized: first.metric,
    trials: log.trials,
    probes: 1,
    ranking: rankLayers(similarities),
  }
  const ended = (
    status: RollbackOutcome<M>['status'],
    rolledBack: readonly string[],
    final: M,
  ): RollbackOutcome<M> => ({
    status,
    rolledBack,
    final,
    ...common,
    evaluations: log.evaluations,
  })
  if (first.verdict.satisfied) return ended('quantized', [], first.metric)
  const all = layers.map((layer) => layer.name)
  const strategy = options.strategy ?? binarySearchStrategy()
  strategy.initialize(similarities)
  let verdict = first.verdict
  for (let step = 0; step <= STEPS_PER_LAYER * layers.length; step++) {
    const next = strategy.update(verdict)
    const rolledBack = rolledBackOf(next, all)
    if (rolledBack.size === all.length) {
      log.giveUp()
      return ended('original', all, original)
    }
    if (next.stop && isLast(log.trials, log.inOrder(rolledBack)))
      return ended(
        rolledBack.size === 0 ? 'quantized' : 'partly-rolled-back',
        log.inOrder(rolledBack),
        log.trials.at(-1)!.metric!,
      )
    const found = await log.evaluate(rolledBack)
    if (next.stop) return ended('partly-rolled-back', log.inOrder(rolledBack), found.metric)
    verdict = judge(original, found.metric)
  }
  return fail(
    'INVALID_ARGUMENT',
    `Roll-back: the strategy must stop; it went on for ${STEPS_PER_LAYER * layers.length} steps over ${layers.length} layers.`,
  )
}

/** Refuses a judge that even the original does not satisfy. @throws WhittleError `INVALID_ARGUMENT`. */
export function assertSatisfiable<M>({ original, judge }: Pick<RollbackProblem<M>, 'original' | 'judge'>): void {
  const verdict: unknown = judge(original, original)
  const isVerdict =
    typeof verdict === 'object' &&
    verdict !== null &&
    'satisfied' in verdict &&
    typeof verdict.satisfied === 'boolean' &&
    'loss' in verdict &&
    typeof verdict.loss === 'number'
  if (!isVerdict)
    fail(
      'INVALID_ARGUMENT',
      'Roll-back: the judge of accuracies must answer with { satisfied: boolean, loss: number }; it did not.',
    )
  if (!verdict.satisfied)
    fail(
      'INVALID_ARGUMENT',
      'Roll-back: the accuracy of the original, judged against itself, must satisfy; it does not. Check the judge (metricEval).',
    )
}

function rolledBackOf({ quantized }: StrategyStep, all: readonly string[]): Set<string> {
  const known = new Set(all)
  const stranger = [...quantized.keys()].find((name) => !known.has(name))
  if (stranger !== undefined)
    fail(
      'INVALID_ARGUMENT',
      `Roll-back: the strategy names layer '${stranger}', which is not one of the quantized ones.`,
    )
  return new Set([...quantized].filter(([, isQuantized]) => !isQuantized).map(([name]) => name))
}

function isLast<M>(trials: readonly RollbackTrial<M>[], rolledBack: readonly string[]): boolean {
  return JSON.stringify(trials.at(-1)?.rolledBack) === JSON.stringify(rolledBack)
}
