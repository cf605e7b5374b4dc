import { describe, expect, it } from 'vitest'
import { createRandom } from '../../../core/index.ts'
import { formatStatisticsCache, parseStatisticsCache, type StatisticsCache, satisfiesNeeds } from './cache.ts'
import { type StatisticNeeds, TensorStatistics } from './statistics.ts'

const key = { model: 'abc', data: 'cifar10, batch 8' }
const ALL: StatisticNeeds = { histogram: true, extremes: true, hfmgBins: 1024, averagingConstant: 0.5 }

function batch(seed: number): Float32Array {
  const { normal } = createRandom(seed)
  return Float32Array.from({ length: 2000 }, () => Math.max(0, normal()) * seed)
}

function cacheOf(...batches: Float32Array[]): StatisticsCache {
  const statistics = new TensorStatistics(ALL)
  for (const data of batches) statistics.add(data)
  const ranges = new TensorStatistics()
  return {
    key,
    batches: batches.length,
    tensors: new Map([
      ['a', statistics],
      ['b/c', ranges],
    ]),
  }
}

describe('a statistics cache', () => {
  it('is continued as if there had been no pause', () => {
    const read = parseStatisticsCache(formatStatisticsCache(cacheOf(batch(1), batch(2))), key)!
    expect(read.batches).toBe(2)
    read.tensors.get('a')!.add(batch(3))
    expect(formatStatisticsCache({ ...read, batches: 3 })).toBe(
      formatStatisticsCache(cacheOf(batch(1), batch(2), batch(3))),
    )
    expect(read.tensors.get('b/c')!.count).toBe(0)
  })

  it('is not taken for another model, other data or another version', () => {
    const text = formatStatisticsCache(cacheOf(batch(1)))
    expect(parseStatisticsCache(text, key)).toBeDefined()
    expect(parseStatisticsCache(text, { ...key, model: 'abd' })).toBeUndefined()
    expect(parseStatisticsCache(text, { ...key, data: 'cifar10, batch 16' })).toBeUndefined()
    expect(parseStatisticsCache(text.replace('"version":1', '"version":2'), key)).toBeUndefined()
  })

  it('says whether it holds what is needed', () => {
    const statistics = cacheOf(batch(1)).tensors.get('a')!
    expect(satisfiesNeeds(statistics, ALL)).toBe(true)
    expect(satisfiesNeeds(statistics, { histogram: true, averagingConstant: 0.5 })).toBe(true)
    expect(satisfiesNeeds(statistics, { histogram: true })).toBe(false)
    expect(satisfiesNeeds(statistics, { ...ALL, hfmgBins: 2048 })).toBe(false)
    expect(satisfiesNeeds(new TensorStatistics(), { extremes: true })).toBe(false)
  })

  it('is refused with the place when it was damaged, whatever the damage', () => {
    const text = formatStatisticsCache(cacheOf(batch(1)))
    const damaged = (from: RegExp, to: string) => () => parseStatisticsCache(text.replace(from, to), key)
    expect(() => parseStatisticsCache(text.slice(0, -20), key)).toThrow('Statistics cache: must be JSON; ')
    expect(() => parseStatisticsCache('[]', key)).toThrow('Statistics cache: the file must be an object; got [].')
    expect(damaged(/"batches":1,"tensors"/, '"batches":-1,"tensors"')).toThrow(
      'Statistics cache: batches must be a whole number of at least 0; got -1.',
    )
    expect(damaged(/"zeros":\d+/, '"zeros":1')).toThrow(
      "Statistics cache, tensor 'a': Statistics: kinds, counts and ranges contradict each other.",
    )
    expect(damaged(/"exponent":-?\d+/, '"exponent":1e300')).toThrow("tensor 'a': Histogram: its exponent must be")
    expect(damaged(/"from":\d+/, '"from":1e15')).toThrow('must lie within its 8192 bins')
    expect(damaged(/"largest":\[/, '"largest":["x",')).toThrow('extremes.largest must be a list of numbers')
    expect(damaged(/"hfmgBins":1024/, '"hfmgBins":1e12')).toThrow("tensor 'a': ")
    expect(damaged(/"ranges":\[/, '"ranges":[7,')).toThrow('ranges must be four numbers or null')
    expect(damaged(/"averagingConstant":0.5/, '"averagingConstant":2')).toThrow('must be 0 … 1; got 2.')
  })
})
