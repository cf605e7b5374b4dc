/** Rank policies: how the rank of a layer follows from its spectrum, its shape or the user's word. */
import { fail } from '../../core/index.ts'

/** How ranks are chosen. */
export type RankPolicy =
  /** This rank (both ranks, for Tucker-2), as given. */
  | { readonly kind: 'fixed'; readonly rank: number }
  /** This share of the output channels, the convention of rank search: 0.25 of 128 outputs is rank 32. */
  | { readonly kind: 'ratio'; readonly ratio: number }
  /** The smallest rank that keeps this share of each unfolding's energy (squared singular values). */
  | { readonly kind: 'energy'; readonly energy: number }
  /** The cheapest ranks whose relative error ‖W − Ŵ‖ / ‖W‖ stays within this bound. */
  | { readonly kind: 'error'; readonly error: number }
  /** The analytic empirical variational Bayes estimate. */
  | { readonly kind: 'evbmf' }
  /** AMCT's: EVBMF, then its clamp and rounding, on the layers it accepts; spatial only. */
  | { readonly kind: 'amct' }

/** A cost target for the whole network: this share of its MACs or parameters. */
export interface Budget {
  readonly metric: 'macs' | 'params'
  /** In (0, 1). */
  readonly fraction: number
}

const FORMS = 'evbmf, amct, energy=0.9, error=0.1, ratio=0.25 or a whole number'

/**
 * Reads a rank policy: `evbmf`, `amct`, `energy=E`, `error=E`, `ratio=R` or a whole number.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for anything else, `RANK_OUT_OF_RANGE` for a rank below 1.
 */
export function parseRankPolicy(text: string): RankPolicy {
  if (text === 'evbmf' || text === 'amct') return { kind: text }
  if (/^-?\d+$/.test(text)) {
    const rank = Number(text)
    if (rank < 1) fail('RANK_OUT_OF_RANGE', `Rank ${text}: a rank must be at least 1. Give a larger one.`)
    return { kind: 'fixed', rank }
  }
  const match = /^(energy|error|ratio)=(.+)$/.exec(text)
  const value = match ? Number(match[2]) : Number.NaN
  if (!match || Number.isNaN(value)) fail('INVALID_ARGUMENT', `Rank '${text}' is not understood; use ${FORMS}.`)
  const kind = match[1] as 'energy' | 'error' | 'ratio'
  if (!(value > 0 && value <= 1))
    fail('INVALID_ARGUMENT', `Rank '${text}': ${kind} must be above 0 and at most 1; got ${match[2]}.`)
  if (kind === 'energy') return { kind, energy: value }
  if (kind === 'error') return { kind, error: value }
  return { kind, ratio: value }
}

/**
 * Reads a budget: `macs=F` or `params=F`.
 *
 * @throws WhittleError `INVALID_ARGUMENT` unless 0 < F < 1; `UNSUPPORTED` for `latency=F`.
 */
export function parseBudget(text: string): Budget {
  const match = /^(macs|params|latency)=(.+)$/.exec(text)
  if (!match) fail('INVALID_ARGUMENT', `Budget '${text}' is not understood; use macs=0.5 or params=0.3.`)
  if (match[1] === 'latency')
    fail('UNSUPPORTED', `Budget '${text}': latency budgets are not available yet; use macs=${match[2]} instead.`)
  const fraction = Number(match[2])
  if (!(fraction > 0 && fraction < 1))
    fail('INVALID_ARGUMENT', `Budget '${text}': the share must be above 0 and below 1; got ${match[2]}.`)
  return { metric: match[1] as Budget['metric'], fraction }
}

/**
 * A rank policy as a caller wrote it: an object, its short form, or a number.
 *
 * @throws WhittleError `INVALID_ARGUMENT`, `RANK_OUT_OF_RANGE` as {@link parseRankPolicy}.
 */
export function readRankPolicy(rank: RankPolicy | string | number): RankPolicy {
  if (typeof rank === 'string') return parseRankPolicy(rank)
  if (typeof rank === 'number') return parseRankPolicy(String(rank))
  const { kind } = rank
  if (kind === 'evbmf' || kind === 'amct') return rank
  // Through the short form, so that the same rules hold.
  if (kind === 'fixed') return parseRankPolicy(String(rank.rank))
  if (kind === 'energy') return parseRankPolicy(`energy=${rank.energy}`)
  if (kind === 'error') return parseRankPolicy(`error=${rank.error}`)
  if (kind === 'ratio') return parseRankPolicy(`ratio=${rank.ratio}`)
  return fail('INVALID_ARGUMENT', `Rank ${JSON.stringify(rank)} is not understood; use ${FORMS}.`)
}

/**
 * A budget as a caller wrote it: an object or its short form.
 *
 * @throws WhittleError `INVALID_ARGUMENT` as {@link parseBudget}.
 */
export function readBudget(budget: Budget | string): Budget {
  if (typeof budget === 'string') return parseBudget(budget)
  if (budget.metric === undefined || budget.fraction === undefined)
    fail(
      'INVALID_ARGUMENT',
      `Budget ${JSON.stringify(budget)} is not understood; use { metric: 'macs', fraction: 0.5 }.`,
    )
  return parseBudget(`${budget.metric}=${budget.fraction}`)
}
