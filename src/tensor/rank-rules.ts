/**
 * What the ranks of all factor formats are asked for in: `'same'`, a fraction of the parameters, or integers.
 *
 * JavaScript has one kind of number, so the integer 1 is rank 1; all parameters, TensorLy's 1.0, is `'same'`.
 */
import { fail } from '../core/index.ts'
import { shapeText } from './reals.ts'

/**
 * A rank: `'same'` for (about) as many parameters as the full tensor has, a number that is not an integer for that
 * fraction of them (0.25, 1.5), an integer for that rank.
 */
export type RankRule = 'same' | number

/** How a rank that a fraction asks for becomes an integer; `'round'` takes halves to even. */
export type RankRounding = 'round' | 'floor' | 'ceil'

/** Options of functions that choose ranks. */
export interface RankOptions {
  /** Default `'round'`: the parameters may slightly exceed the fraction; with `'floor'` they do not. */
  readonly rounding?: RankRounding
}

/**
 * The fraction of the parameters that a rule asks for; `undefined` when it is a rank.
 *
 * @throws WhittleError `RANK_OUT_OF_RANGE` for numbers that are neither.
 */
export function maybeFraction(rule: RankRule, shape: readonly number[], what: string): number | undefined {
  if (rule === 'same') return 1
  if (typeof rule === 'number' && rule > 0 && rule < Number.POSITIVE_INFINITY)
    return Number.isInteger(rule) ? undefined : rule
  return fail(
    'RANK_OUT_OF_RANGE',
    `${what} of ${shapeText(shape)}: rank must be 'same', a positive integer, or a positive fraction of the parameters; ` +
      `got ${typeof rule === 'string' ? `'${rule}'` : rule}.`,
  )
}

/**
 * A rank from the number that a fraction gives: an integer of at least 1.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for an unknown rounding.
 */
export function roundRank(value: number, rounding: RankRounding = 'round'): number {
  return Math.max(1, rounded(value, rounding))
}

function rounded(value: number, rounding: RankRounding): number {
  switch (rounding) {
    case 'floor':
      return Math.floor(value)
    case 'ceil':
      return Math.ceil(value)
    case 'round': {
      const floor = Math.floor(value)
      if (value - floor !== 0.5) return Math.round(value)
      return floor % 2 === 0 ? floor : floor + 1
    }
    default:
      return fail('INVALID_ARGUMENT', `Rank: rounding must be 'round', 'floor' or 'ceil'; got '${String(rounding)}'.`)
  }
}

/**
 * Throws unless all ranks are integers from 1 and there are `count` of them.
 *
 * @throws WhittleError `RANK_OUT_OF_RANGE`.
 */
export function checkRanks(ranks: readonly number[], count: number, shape: readonly number[], what: string): void {
  if (ranks.length !== count)
    fail('RANK_OUT_OF_RANGE', `${what} of ${shapeText(shape)}: needs ${count} ranks; got ${shapeText(ranks)}.`)
  const wrong = ranks.find((rank) => !(Number.isSafeInteger(rank) && rank >= 1))
  if (wrong !== undefined)
    fail('RANK_OUT_OF_RANGE', `${what} of ${shapeText(shape)}: ranks must be integers from 1; got ${shapeText(ranks)}.`)
}

/** The positive x with a x² + b x = c, for a ≥ 0, b > 0, c ≥ 0. */
export function positiveRoot(a: number, b: number, c: number): number {
  return (2 * c) / (b + Math.sqrt(b * b + 4 * a * c))
}
