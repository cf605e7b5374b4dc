import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  contract,
  norm,
  sizeOf,
  type TtTensor,
  tensorToVec,
  ttNorm,
  ttParameterCount,
  ttToTensor,
  ttToUnfolded,
  ttToVec,
  unfold,
  validateTtRank,
  validateTtTensor,
} from './index.ts'

function randomTrain(shape: readonly number[], rank: readonly number[]): TtTensor {
  return { factors: shape.map((extent, k) => randomTensor64([rank[k]!, extent, rank[k + 1]!], k)) }
}

test('full tensors, unfoldings, vectors and norms are TensorLy’s', () => {
  for (const one of tensorly.train)
    for (const read of [stored, stored32]) {
      const train = { factors: one.factors.map(read) }
      expect(relativeError(read(one.tensor), ttToTensor(train))).toBe(0)
      expect(relativeError(read(one.vec), ttToVec(train))).toBe(0)
      for (const [mode, expected] of one.unfolded.entries())
        expect(relativeError(read(expected), ttToUnfolded(train, mode))).toBe(0)
      expect(Math.abs(ttNorm(train) - one.norm)).toBeLessThanOrEqual(1e-14 * one.norm)
    }
})

test('a train is the chain of contractions of its cores; its norm needs no full tensor', () => {
  const train = randomTrain([4, 3, 1, 5], [1, 3, 2, 4, 1])
  const full = ttToTensor(train)
  const chain = train.factors.reduce((a, b) => contract(a, b, [a.shape.length - 1, 0])).reshape([4, 3, 1, 5])
  expect(relativeError(chain, full)).toBeLessThan(1e-14)
  expect(Math.abs(ttNorm(train) - norm(full))).toBeLessThan(1e-13 * norm(full))
  for (const order of ['c', 'kolda-bader'] as const) {
    expect(relativeError(tensorToVec(full, { order }), ttToVec(train, { order }))).toBe(0)
    expect(relativeError(unfold(full, 1, { order }), ttToUnfolded(train, 1, { order }))).toBe(0)
  }
})

test('ranks and parameter counts are TensorLy’s', () => {
  for (const { shape, rule, rounding, tt, ttParameters, ttConstant, ttExact } of tensorly.ranks) {
    expect(validateTtRank(shape, rule, { rounding })).toEqual(tt)
    expect(ttParameterCount(shape, tt)).toBe(ttParameters)
    expect(validateTtRank(shape, rule, { rounding, constantRank: true })).toEqual(ttConstant.map((r) => Math.max(1, r)))
    expect(validateTtRank(shape, rule, { rounding, allowOverparametrization: false })).toEqual(ttExact)
  }
  expect(validateTtRank([3, 4, 2], 5)).toEqual([1, 5, 5, 1])
  expect(validateTtRank([3, 4, 2], [1, 2, 3, 1])).toEqual([1, 2, 3, 1])
  expect(validateTtRank([3, 4, 2], 99, { allowOverparametrization: false })).toEqual([1, 3, 2, 1])
})

test('trains over one and two modes have the parameters that were asked for', () => {
  expect(validateTtRank([7], 0.5)).toEqual([1, 1])
  for (const constantRank of [false, true]) {
    const rank = validateTtRank([100, 300], 0.3, { constantRank })
    expect(Math.abs(ttParameterCount([100, 300], rank) / sizeOf([100, 300]) - 0.3)).toBeLessThan(0.01)
  }
})

test('cores and ranks that do not fit are refused with both numbers', () => {
  const core = (...shape: number[]) => randomTensor(shape, 1)
  expect(() => validateTtTensor({ factors: [core(1, 3, 4), core(5, 2, 1)] })).toThrow(
    'Tensor train: consecutive factors must have matching ranks; factor 0 ends with 4, factor 1 begins with 5.',
  )
  expect(() => validateTtTensor({ factors: [core(2, 3, 4), core(4, 2, 3)] })).toThrow(
    'Tensor train: the first and the last rank must be 1; got 2 and 3.',
  )
  expect(() => validateTtTensor({ factors: [core(1, 3)] })).toThrow(
    'Tensor train: factors must have 3 modes; factor 0 is [1, 3].',
  )
  expect(() => validateTtTensor({ factors: [] })).toThrow('Tensor train: needs at least one tensor; got none.')
  expect(() => validateTtRank([3, 4], [2, 2, 1])).toThrow(
    'Tensor-train rank of [3, 4]: the first and the last rank must be 1; got 2 and 1.',
  )
  expect(() => validateTtRank([3, 4], [1, 1])).toThrow('Tensor-train rank of [3, 4]: needs 3 ranks; got [1, 1].')
  expect(() => validateTtRank([], 2)).toThrow('a scalar has no modes')
})
