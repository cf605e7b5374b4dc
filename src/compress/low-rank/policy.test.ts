import { describe, expect, test } from 'vitest'
import { parseBudget, parseRankPolicy, readBudget, readRankPolicy } from './policy.ts'

describe('rank policies', () => {
  test('are read from their short forms', () => {
    expect(parseRankPolicy('evbmf')).toEqual({ kind: 'evbmf' })
    expect(parseRankPolicy('amct')).toEqual({ kind: 'amct' })
    expect(parseRankPolicy('energy=0.9')).toEqual({ kind: 'energy', energy: 0.9 })
    expect(parseRankPolicy('error=0.1')).toEqual({ kind: 'error', error: 0.1 })
    expect(parseRankPolicy('ratio=0.25')).toEqual({ kind: 'ratio', ratio: 0.25 })
    expect(parseRankPolicy('32')).toEqual({ kind: 'fixed', rank: 32 })
  })

  test.each([
    ['0', 'Rank 0: a rank must be at least 1. Give a larger one.'],
    ['-3', 'Rank -3: a rank must be at least 1. Give a larger one.'],
    ['energy=2', "Rank 'energy=2': energy must be above 0 and at most 1; got 2."],
    [
      'error=x',
      "Rank 'error=x' is not understood; use evbmf, amct, energy=0.9, error=0.1, ratio=0.25 or a whole number.",
    ],
    ['best', "Rank 'best' is not understood; use evbmf, amct, energy=0.9, error=0.1, ratio=0.25 or a whole number."],
  ])('refuse %s with the reason', (text, message) => {
    expect(() => parseRankPolicy(text)).toThrow(message)
  })
})

describe('budgets', () => {
  test('are read from their short forms', () => {
    expect(parseBudget('macs=0.5')).toEqual({ metric: 'macs', fraction: 0.5 })
    expect(parseBudget('params=0.3')).toEqual({ metric: 'params', fraction: 0.3 })
  })

  test.each([
    ['macs=1.5', "Budget 'macs=1.5': the share must be above 0 and below 1; got 1.5."],
    ['latency=0.6', "Budget 'latency=0.6': latency budgets are not available yet; use macs=0.6 instead."],
    ['half', "Budget 'half' is not understood; use macs=0.5 or params=0.3."],
  ])('refuse %s with the reason', (text, message) => {
    expect(() => parseBudget(text)).toThrow(message)
  })
})

describe('what callers write', () => {
  test('objects, short forms and numbers mean the same', () => {
    expect(readRankPolicy('energy=0.9')).toEqual(readRankPolicy({ kind: 'energy', energy: 0.9 }))
    expect(readRankPolicy(32)).toEqual(readRankPolicy({ kind: 'fixed', rank: 32 }))
    expect(readBudget('macs=0.5')).toEqual(readBudget({ metric: 'macs', fraction: 0.5 }))
  })

  test('objects keep the same rules as short forms', () => {
    expect(() => readRankPolicy({ kind: 'fixed', rank: 0 })).toThrow('Rank 0: a rank must be at least 1.')
    expect(() => readRankPolicy({ kind: 'energy', energy: 2 })).toThrow('energy must be above 0 and at most 1; got 2.')
    expect(() => readBudget({ metric: 'macs', fraction: 2 })).toThrow('the share must be above 0 and below 1; got 2.')
    // As JavaScript callers may write it.
    expect(() => readBudget(JSON.parse('{"macs":0.5}'))).toThrow('Budget {"macs":0.5} is not understood')
    expect(() => readRankPolicy(JSON.parse('{"kind":"best"}'))).toThrow('Rank {"kind":"best"} is not understood')
  })
})
