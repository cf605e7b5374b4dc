/**
 * The three files of AMCT's accuracy-based automatic calibration. AMCT writes its record as objects one after the other,
 * which is no JSON; here it is an array of them.
 */
import type { Json } from '../../../core/index.ts'
import type { RollbackOutcome } from './search.ts'

/** Names of AMCT's files. */
export const AMCT_ROLLBACK_FILES = {
  ranking: 'accuracy_based_auto_calibration_ranking_information.json',
  config: 'accuracy_based_auto_calibration_final_config.json',
  record: 'accuracy_based_auto_calibration_record.json',
} as const

/** Contents of AMCT's files. */
export type AmctRollbackFiles = {
  /** Layers with their similarity, ascending. */
  readonly ranking: readonly (readonly [string, number])[]
  /** The given configuration with `quant_enable` as found. */
  readonly config: { readonly [key: string]: Json }
  /** Every evaluated network: layers (`true`: quantized), and whether it satisfied, with its loss. */
  readonly record: readonly AmctRollbackRecord[]
}

/** One evaluated network in AMCT's words. */
export type AmctRollbackRecord = {
  readonly roll_back_config: { readonly [layer: string]: boolean }
  readonly metric_eval: readonly [boolean, number]
}

/**
 * What AMCT writes of a search.
 *
 * @param layers names of the layers that could be rolled back, in the network's order.
 * @param config AMCT's JSON configuration that the search started from; default: an entry per layer and nothing else.
 */
export function amctRollbackFiles<M>(
  outcome: RollbackOutcome<M>,
  layers: readonly string[],
  config: { readonly [key: string]: Json } = {},
): AmctRollbackFiles {
  const enabled = new Set(layers.filter((name) => !outcome.rolledBack.includes(name)))
  const edited: { [key: string]: Json } = { ...config }
  for (const name of layers) {
    const entry = edited[name]
    const isObject = typeof entry === 'object' && entry !== null && !Array.isArray(entry)
    edited[name] = { ...(isObject ? entry : {}), quant_enable: enabled.has(name) }
  }
  return {
    ranking: outcome.ranking.map(({ layer, score }) => [layer, score] as const),
    config: edited,
    record: outcome.trials.map(({ rolledBack, verdict }) => ({
      roll_back_config: Object.fromEntries(layers.map((name) => [name, !rolledBack.includes(name)])),
      metric_eval: [verdict.satisfied, verdict.loss] as const,
    })),
  }
}
