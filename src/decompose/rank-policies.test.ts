import { describe, expect, it } from 'vitest'
import { WhittleError } from '../core/index.ts'
import {
  alignRank,
  fixedRank,
  rankFromEnergy,
  rankFromError,
  rankFromRatio,
  relativeErrorCurve,
} from './rank-policies.ts'

/** Energies 16, 9, 4, 1, 0 of 30. */
const S = [4, 3, 2, 1, 0]

describe('rank policies', () => {
  it('give the error of every rank', () => {
    const expected = [1, Math.sqrt(14 / 30), Math.sqrt(5 / 30), Math.sqrt(1 / 30), 0, 0]
    relativeErrorCurve(S).forEach((error, r) => {
      expect(error).toBeCloseTo(expected[r]!, 15)
    })
    expect([...relativeErrorCurve([0, 0])]).toEqual([0, 0, 0])
    expect(relativeErrorCurve([])).toHaveLength(1)
  })

  it('keep the digits of small errors and survive extreme scales', () => {
    expect(relativeErrorCurve([1, 1e-9])[1]! / 1e-9).toBeCloseTo(1, 12)
    expect(relativeErrorCurve([4e200, 3e200])[1]).toBeCloseTo(0.6, 12)
    expect(relativeErrorCurve([4e-200, 3e-200])[1]).toBeCloseTo(0.6, 12)
  })

  it('take the smallest rank with enough energy', () => {
    expect(rankFromEnergy(S, 16 / 30)).toBe(1)
    expect(rankFromEnergy(S, 16.1 / 30)).toBe(2)
    expect(rankFromEnergy(S, 0.9)).toBe(3)
    expect(rankFromEnergy(S, 1)).toBe(4)
    expect(rankFromEnergy([0, 0, 0], 0.9)).toBe(1)
  })

  it('take the smallest rank within an error', () => {
    const curve = relativeErrorCurve(S)
    for (let r = 1; r <= 4; r++) expect(rankFromError(S, curve[r]!)).toBe(r)
    expect(rankFromError(S, curve[2]! * 0.999)).toBe(3)
    expect(rankFromError(S, 0)).toBe(4)
  })

  it('take a share of the full rank', () => {
    expect([rankFromRatio(64, 0.25), rankFromRatio(10, 0.01), rankFromRatio(10, 1)]).toEqual([16, 1, 10])
  })

  it('align up by default, so that what was asked for still holds, and never beyond the limit', () => {
    expect([1, 16, 17, 100].map((rank) => alignRank(rank, 16, 64))).toEqual([16, 16, 32, 64])
    expect(alignRank(40, 16, 48, 'nearest')).toBe(48)
    expect(alignRank(39, 16, 48, 'nearest')).toBe(32)
    expect(alignRank(39, 16, 48, 'down')).toBe(32)
    expect(alignRank(3, 16, 48, 'down')).toBe(16)
    expect(alignRank(3, 16, 5)).toBe(5)
    expect(alignRank(7, 1, 9)).toBe(7)
  })

  it('refuse what makes no sense', () => {
    const message = (f: () => unknown): string => {
      try {
        f()
      } catch (error) {
        return error instanceof WhittleError ? `${error.code}: ${error.message}` : String(error)
      }
      return ''
    }
    expect(message(() => rankFromEnergy(S, 0))).toBe(
      'INVALID_ARGUMENT: Rank from energy: the share must be in (0, 1]; got 0. Use a number such as 0.9.',
    )
    expect(message(() => rankFromError(S, 1))).toBe(
      'INVALID_ARGUMENT: Rank from an error bound: the bound must be in [0, 1); got 1. Use a number such as 0.1.',
    )
    expect(message(() => rankFromRatio(4, 2))).toBe(
      'INVALID_ARGUMENT: Rank from a ratio: the ratio must be in (0, 1]; got 2. Use a number such as 0.25.',
    )
    expect(message(() => fixedRank(5, 4))).toBe(
      'RANK_OUT_OF_RANGE: Rank must be an integer between 1 and the full rank 4; got 5.',
    )
    expect(message(() => alignRank(5, 0, 4))).toBe(
      'INVALID_ARGUMENT: Rank alignment must be a positive integer; got 0. Use 16, or 1 for none.',
    )
  })
})
