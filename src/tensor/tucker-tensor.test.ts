import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  contract,
  kronecker,
  norm,
  type TuckerTensor,
  tensorToVec,
  toFloat64,
  transposeTensor,
  tuckerNorm,
  tuckerNormalize,
  tuckerParameterCount,
  tuckerToTensor,
  tuckerToUnfolded,
  tuckerToVec,
  unfold,
  validateTuckerRank,
  validateTuckerTensor,
} from './index.ts'

function randomTucker(shape: readonly number[], rank: readonly number[]): TuckerTensor {
  const factors = shape.map((extent, mode) => randomTensor64([extent, rank[mode]!], mode))
  return { core: randomTensor64(rank, 9), factors }
}

test('full tensors, unfoldings, vectors and norms are TensorLy’s', () => {
  for (const one of tensorly.tucker)
    for (const read of [stored, stored32]) {
      const tucker = { core: read(one.core), factors: one.factors.map(read) }
      const full = tuckerToTensor(tucker)
      expect(relativeError(read(one.tensor), full)).toBe(0)
      expect(relativeError(read(one.vec), tuckerToVec(tucker))).toBe(0)
      for (const [mode, expected] of one.unfolded.entries())
        expect(relativeError(read(expected), tuckerToUnfolded(tucker, mode))).toBe(0)
      expect(relativeError(read(one.skipped), tuckerToTensor(tucker, { skipFactor: 1 }))).toBe(0)
      const projected = tuckerToTensor({ ...tucker, core: full }, { transposeFactors: true })
      expect(relativeError(read(one.projected), projected)).toBe(0)
      expect(Math.abs(tuckerNorm(tucker) - one.norm)).toBeLessThanOrEqual(1e-14 * one.norm)
    }
})

test('normalised factors are TensorLy’s', () => {
  for (const one of tensorly.tucker) {
    const result = tuckerNormalize({ core: stored(one.core), factors: one.factors.map(stored) })
    expect(relativeError(stored(one.normalized.core), result.core)).toBeLessThan(1e-14)
    for (const [mode, expected] of one.normalized.factors.entries())
      expect(relativeError(stored(expected), result.factors[mode]!)).toBeLessThan(1e-15)
  }
})

test('a Tucker tensor unfolds by the Kronecker product, in both orders', () => {
  const tucker = randomTucker([5, 4, 1, 3], [2, 3, 1, 4])
  for (const order of ['c', 'kolda-bader'] as const) {
    const reverse = order === 'kolda-bader'
    for (const mode of [0, 1, 2, 3]) {
      const others = transposeTensor(kronecker(tucker.factors, { skipMatrix: mode, reverse }))
      const core = contract(tucker.factors[mode]!, unfold(tucker.core, mode, { order }), [1, 0])
      const expected = contract(core, others, [1, 0])
      expect(relativeError(expected, tuckerToUnfolded(tucker, mode, { order }))).toBeLessThan(1e-14)
    }
    const expected = contract(kronecker(tucker.factors, { reverse }), tensorToVec(tucker.core, { order }), [1, 0])
    expect(relativeError(expected, tuckerToVec(tucker, { order }))).toBeLessThan(1e-14)
  }
})

test('normalising keeps the tensor; the norm needs no full tensor', () => {
  const tucker = randomTucker([6, 5, 4], [3, 2, 4])
  const full = tuckerToTensor(tucker)
  const normal = tuckerNormalize(tucker)
  expect(relativeError(full, tuckerToTensor(normal))).toBeLessThan(1e-14)
  for (const factor of normal.factors) {
    const rank = factor.shape[1]!
    const gram = toFloat64(contract(factor, factor, [0, 0]))
    for (let r = 0; r < rank; r++) expect(gram[r * (rank + 1)]).toBeCloseTo(1, 14)
  }
  expect(Math.abs(tuckerNorm(tucker) - norm(full))).toBeLessThan(1e-13 * norm(full))
})

test('ranks and parameter counts are TensorLy’s', () => {
  for (const { shape, rule, rounding, tucker, tuckerParameters } of tensorly.ranks) {
    expect(validateTuckerRank(shape, rule, { rounding })).toEqual(tucker)
    expect(tuckerParameterCount(shape, tucker)).toBe(tuckerParameters)
  }
  expect(validateTuckerRank([3, 4, 2], 2)).toEqual([2, 2, 2])
  expect(validateTuckerRank([3, 4, 2], [1, 2, 3])).toEqual([1, 2, 3])
})

test('fixed modes keep their extent, and the others get what is left of the parameters', () => {
  const shape = [256, 128, 3, 3]
  for (const fraction of [0.1, 0.3, 0.8]) {
    const rank = validateTuckerRank(shape, fraction, { fixedModes: [2, 3] })
    expect(rank.slice(2)).toEqual([3, 3])
    const kept = tuckerParameterCount(shape, rank) / (256 * 128 * 9)
    expect(Math.abs(kept - fraction)).toBeLessThan(0.01)
  }
  expect(validateTuckerRank(shape, 5, { fixedModes: [0] })).toEqual([256, 5, 5, 5])
  // Nothing is left for the others.
  expect(validateTuckerRank([100, 4, 4], 0.5, { fixedModes: [0] })).toEqual([100, 1, 1])
})

test('Tucker-2 of a [128, 64, 3, 3] kernel at rank 32 has 15,360 parameters', () => {
  // 32 · 64 + 32 · 128 + 32 · 32 · 9, the identities of the fixed modes aside.
  expect(tuckerParameterCount([128, 64, 3, 3], [32, 32, 3, 3]) - 2 * 9).toBe(15360)
})

test('cores, factors and ranks that do not fit are refused with both numbers', () => {
  const core = randomTensor([2, 3], 1)
  const factors = [randomTensor([5, 2], 1), randomTensor([6, 4], 2)]
  expect(() => validateTuckerTensor({ core, factors })).toThrow(
    'Tucker tensor: each factor must have as many columns as its mode of the core; factor 1 has 4, mode 1 of the core has 3.',
  )
  expect(() => validateTuckerTensor({ core, factors: factors.slice(1) })).toThrow(
    'Tucker tensor: needs one factor per mode of the core [2, 3]; got 1 factors.',
  )
  expect(() => validateTuckerTensor({ core, factors: [factors[0]!, randomTensor([3], 1)] })).toThrow(
    'factors must be matrices [extent, rank]; factor 1 is [3].',
  )
  expect(() => validateTuckerRank([3, 4], [2])).toThrow('Tucker rank of [3, 4]: needs 2 ranks; got [2].')
  expect(() => validateTuckerRank([3, 4], [2, 0.5])).toThrow('ranks must be integers from 1; got [2, 0.5].')
  expect(() => validateTuckerRank([3, 4], 0.5, { fixedModes: [2] })).toThrow('each of fixedModes must be an integer')
})
