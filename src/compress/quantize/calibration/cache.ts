/**
 * Statistics on disk: JSON that says what they belong to, so that a later run continues where this one stopped.
 *
 * The text may come from anywhere: every number is checked before anything is made of it.
 */
import { fail, messageOf, WhittleError } from '../../../core/index.ts'
import type { StatisticNeeds, TensorStatisticsJson } from './statistics.ts'
import { TensorStatistics } from './statistics.ts'

/** Version of the cache's form. */
export const STATISTICS_CACHE_VERSION = 1

/** What statistics belong to; all of it must agree for them to be continued. */
export type StatisticsKey = {
  /** `modelHash` of the network they were collected on. */
  readonly model: string
  /** What else decides the numbers: data set, preprocessing, batch, order of the samples. */
  readonly data: string
}

/** Statistics with what they belong to. */
export type StatisticsCache = {
  readonly key: StatisticsKey
  /** Batches that have been added to all of them. */
  readonly batches: number
  readonly tensors: ReadonlyMap<string, TensorStatistics>
}

/** The text of a cache. */
export function formatStatisticsCache({ key, batches, tensors }: StatisticsCache): string {
  const entries = [...tensors].map(([name, statistics]) => [name, statistics.toJson()] as const)
  return JSON.stringify({ version: STATISTICS_CACHE_VERSION, ...key, batches, tensors: Object.fromEntries(entries) })
}

/**
 * Statistics from a cache's text.
 *
 * @param key what they must belong to.
 * @returns the statistics; `undefined` when the text is a cache of another model, other data or another version.
 * @throws WhittleError `INVALID_FILE` when it is no cache, or its numbers cannot be.
 */
export function parseStatisticsCache(text: string, key: StatisticsKey): StatisticsCache | undefined {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    fail('INVALID_FILE', `Statistics cache: must be JSON; ${messageOf(error)}.`, { cause: error })
  }
  const fields = objectOf(json, 'the file')
  if (fields.version !== STATISTICS_CACHE_VERSION) return undefined
  if (fields.model !== key.model || fields.data !== key.data) return undefined
  const batches = wholeOf(fields.batches, 'batches')
  const tensors = new Map<string, TensorStatistics>()
  for (const [name, entry] of Object.entries(objectOf(fields.tensors, 'tensors'))) {
    try {
      tensors.set(name, TensorStatistics.fromJson(statisticsOf(entry)))
    } catch (error) {
      if (!(error instanceof WhittleError)) throw error
      fail('INVALID_FILE', `Statistics cache, tensor '${name}': ${error.message}`, { cause: error })
    }
  }
  return { key, batches, tensors }
}

/** Whether cached statistics of a tensor hold what is needed now. */
export function satisfiesNeeds(statistics: TensorStatistics, needs: StatisticNeeds): boolean {
  const { histogram, extremes, hfmg } = statistics
  return (
    (!needs.histogram || histogram !== undefined) &&
    (!needs.extremes || extremes !== undefined) &&
    (needs.hfmgBins === undefined || hfmg?.bins === needs.hfmgBins) &&
    (needs.averagingConstant ?? 0.01) === (statistics.needs.averagingConstant ?? 0.01)
  )
}

type Fields = Readonly<Record<string, unknown>>

function refuse(what: string, rule: string, found: unknown): never {
  return fail(
    'INVALID_FILE',
    `Statistics cache: ${what} must be ${rule}; got ${JSON.stringify(found)?.slice(0, 40) ?? 'nothing'}.`,
  )
}

function objectOf(value: unknown, what: string): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Fields)
    : refuse(what, 'an object', value)
}

function numberOf(value: unknown, what: string): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : refuse(what, 'a number', value)
}

function wholeOf(value: unknown, what: string): number {
  return Number.isSafeInteger(value) && (value as number) >= 0
    ? (value as number)
    : refuse(what, 'a whole number of at least 0', value)
}

function numbersOf(value: unknown, what: string): readonly number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number')
    ? (value as number[])
    : refuse(what, 'a list of numbers', value)
}

function runOf(value: unknown, what: string): { from: number; counts: readonly number[] } {
  const { from, counts } = objectOf(value, what)
  return { from: numberOf(from, `${what}.from`), counts: numbersOf(counts, `${what}.counts`) }
}

function statisticsOf(value: unknown): TensorStatisticsJson {
  const { needs, batches, count, ranges, histogram, extremes, hfmg } = objectOf(value, 'a tensor')
  const list = ranges === null ? null : numbersOf(ranges, 'ranges')
  if (list !== null && list.length !== 4) refuse('ranges', 'four numbers or null', ranges)
  return {
    needs: needsOf(needs),
    batches: wholeOf(batches, 'batches'),
    count: wholeOf(count, 'count'),
    ranges: list as TensorStatisticsJson['ranges'],
    ...(histogram !== undefined && { histogram: histogramOf(histogram) }),
    ...(extremes !== undefined && { extremes: extremesOf(extremes) }),
    ...(hfmg !== undefined && { hfmg: hfmgOf(hfmg) }),
  }
}

function needsOf(value: unknown): StatisticNeeds {
  const { histogram, extremes, hfmgBins, averagingConstant } = objectOf(value, 'needs')
  const flag = (found: unknown, what: string): boolean =>
    typeof found === 'boolean' ? found : refuse(`needs.${what}`, 'true or false', found)
  return {
    ...(histogram !== undefined && { histogram: flag(histogram, 'histogram') }),
    ...(extremes !== undefined && { extremes: flag(extremes, 'extremes') }),
    ...(hfmgBins !== undefined && { hfmgBins: wholeOf(hfmgBins, 'needs.hfmgBins') }),
    ...(averagingConstant !== undefined && {
      averagingConstant: numberOf(averagingConstant, 'needs.averagingConstant'),
    }),
  }
}

function histogramOf(value: unknown): NonNullable<TensorStatisticsJson['histogram']> {
  const { exponent, zeros, core, tail } = objectOf(value, 'histogram')
  if (!Array.isArray(tail)) refuse('histogram.tail', 'a list', tail)
  return {
    exponent: exponent === null ? null : numberOf(exponent, 'histogram.exponent'),
    zeros: wholeOf(zeros, 'histogram.zeros'),
    core: runOf(core, 'histogram.core'),
    tail: (tail as unknown[]).map((item) => {
      const octave = objectOf(item, 'an octave')
      return {
        negative: octave.negative === true,
        exponent: numberOf(octave.exponent, 'exponent of an octave'),
        run: runOf(octave.run, 'counts of an octave'),
      }
    }),
  }
}

function extremesOf(value: unknown): NonNullable<TensorStatisticsJson['extremes']> {
  const { largest, smallest } = objectOf(value, 'extremes')
  return { largest: numbersOf(largest, 'extremes.largest'), smallest: numbersOf(smallest, 'extremes.smallest') }
}

function hfmgOf(value: unknown): NonNullable<TensorStatisticsJson['hfmg']> {
  const { bins, range, counts } = objectOf(value, 'hfmg')
  const ends = range === null ? null : numbersOf(range, 'hfmg.range')
  if (ends !== null && ends.length !== 2) refuse('hfmg.range', 'two numbers or null', range)
  return {
    bins: wholeOf(bins, 'hfmg.bins'),
    range: ends as readonly [number, number] | null,
    counts: numbersOf(counts, 'hfmg.counts'),
  }
}
