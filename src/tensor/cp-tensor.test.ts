import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  type CpTensor,
  contract,
  cpNorm,
  cpNormalize,
  cpParameterCount,
  cpToTensor,
  cpToUnfolded,
  cpToVec,
  khatriRao,
  norm,
  Tensor,
  tensorToVec,
  toFloat64,
  transposeTensor,
  unfold,
  validateCpRank,
  validateCpTensor,
} from './index.ts'

const ORDERS = ['c', 'kolda-bader'] as const

function randomCp(shape: readonly number[], rank: number): CpTensor {
  return {
    weights: randomTensor64([rank], 11),
    factors: shape.map((extent, mode) => randomTensor64([extent, rank], mode)),
  }
}

test('full tensors, unfoldings, vectors and norms are TensorLy’s', () => {
  for (const one of tensorly.cp) {
    for (const read of [stored, stored32]) {
      const [weights, factors] = [read(one.weights), one.factors.map(read)]
      const cp = { weights, factors }
      expect(relativeError(read(one.tensor), cpToTensor(cp))).toBe(0)
      expect(relativeError(read(one.plain), cpToTensor({ factors }))).toBe(0)
      expect(relativeError(read(one.vec), cpToVec(cp))).toBe(0)
      for (const [mode, expected] of one.unfolded.entries())
        expect(relativeError(read(expected), cpToUnfolded(cp, mode))).toBe(0)
      expect(Math.abs(cpNorm(cp) - one.norm)).toBeLessThanOrEqual(1e-14 * one.norm)
    }
  }
})

test('normalised factors are TensorLy’s, a column of zeros among them', () => {
  for (const one of tensorly.cp) {
    const result = cpNormalize({ weights: stored(one.weights), factors: one.factors.map(stored) })
    expect(relativeError(stored(one.normalized.weights), result.weights)).toBeLessThan(1e-15)
    for (const [mode, expected] of one.normalized.factors.entries())
      expect(relativeError(stored(expected), result.factors[mode]!)).toBeLessThan(1e-15)
  }
})

for (const shape of [[6], [4, 3], [2, 1, 3], [5, 4, 3, 2], [3, 2, 1, 2, 4]])
  test(`a CP tensor [${shape}] unfolds by the Khatri–Rao product, in both orders`, () => {
    const cp = randomCp(shape, 4)
    const full = cpToTensor(cp)
    expect(full.shape).toEqual(shape)
    for (const order of ORDERS) {
      expect(relativeError(tensorToVec(full, { order }), cpToVec(cp, { order }))).toBeLessThan(1e-14)
      for (const mode of shape.keys()) {
        expect(relativeError(unfold(full, mode, { order }), cpToUnfolded(cp, mode, { order }))).toBeLessThan(1e-14)
        if (shape.length === 1) continue
        const reverse = order === 'kolda-bader'
        const product = khatriRao(cp.factors, { skipMatrix: mode, reverse, weights: cp.weights })
        const expected = contract(cp.factors[mode]!, transposeTensor(product), [1, 0])
        expect(relativeError(expected, cpToUnfolded(cp, mode, { order }))).toBeLessThan(1e-14)
      }
    }
  })

test('normalising keeps the tensor, gives unit columns and weights that are not negative', () => {
  const cp = randomCp([5, 4, 3], 6)
  const result = cpNormalize(cp)
  expect(relativeError(cpToTensor(cp), cpToTensor(result))).toBeLessThan(1e-14)
  expect(Math.min(...toFloat64(result.weights))).toBeGreaterThan(0)
  for (const factor of result.factors) {
    const gram = toFloat64(contract(factor, factor, [0, 0]))
    for (let r = 0; r < 6; r++) expect(gram[r * 7]).toBeCloseTo(1, 14)
  }
})

test('the norm needs no full tensor, in float32 either', () => {
  const cp = randomCp([30, 20, 10], 5)
  const expected = norm(cpToTensor(cp))
  expect(Math.abs(cpNorm(cp) - expected)).toBeLessThan(1e-13 * expected)
  const single = { factors: [30, 20, 10].map((extent, mode) => randomTensor([extent, 5], mode)) }
  const wide = {
    factors: single.factors.map((factor) => Tensor.of(Float64Array.from(toFloat64(factor)), factor.shape)),
  }
  expect(Math.abs(cpNorm(single) - norm(cpToTensor(wide)))).toBeLessThan(1e-13 * cpNorm(single))
})

test('a mask is multiplied into the full tensor', () => {
  const cp = randomCp([3, 4], 2)
  const mask = Tensor.of(
    Float64Array.from({ length: 12 }, (_, at) => at % 3),
    [3, 4],
  )
  const full = toFloat64(cpToTensor(cp))
  expect(toFloat64(cpToTensor(cp, { mask })).map((x) => x + 0)).toEqual(full.map((x, at) => x * (at % 3) + 0))
  expect(() => cpToTensor(cp, { mask: mask.reshape([4, 3]) })).toThrow(
    "cpToTensor: the mask must have the tensor's shape [3, 4]; got [4, 3].",
  )
})

test('ranks and parameter counts are TensorLy’s', () => {
  for (const { shape, rule, rounding, cp, cpParameters } of tensorly.ranks) {
    expect(validateCpRank(shape, rule, { rounding })).toBe(Math.max(1, cp))
    expect(cpParameterCount(shape, cp, true)).toBe(cpParameters)
  }
  expect(validateCpRank([3, 4, 2], 7)).toBe(7)
  expect(validateCpRank([3, 4, 2])).toBe(validateCpRank([3, 4, 2], 'same'))
  expect(cpParameterCount([3, 4, 2], 5)).toBe(45)
})

test('halves are rounded to even', () => {
  // 8 · 8 / 16 = 4 parameters' worth of rank; fractions of it end in a half.
  const ranks = [0.125, 0.375, 0.625, 0.875].map((fraction) => validateCpRank([8, 8], fraction))
  expect(ranks).toEqual([1, 2, 2, 4])
})

test('weights, factors and ranks that do not fit are refused with both numbers', () => {
  const factor = (rows: number, rank: number): Tensor => randomTensor([rows, rank], 1)
  expect(() => validateCpTensor({ factors: [factor(3, 2), factor(4, 5)] })).toThrow(
    'CP tensor: all factors must have the same number of columns; factor 0 has 2, factor 1 has 5.',
  )
  expect(() => validateCpTensor({ factors: [randomTensor([3], 1)] })).toThrow(
    'CP tensor: factors must be matrices [extent, rank]; factor 0 is [3].',
  )
  expect(() => validateCpTensor({ weights: randomTensor([3], 1), factors: [factor(3, 2)] })).toThrow(
    'CP tensor of rank 2: weights must be [2]; got [3].',
  )
  expect(() => validateCpRank([3, 4], 0)).toThrow(
    "CP rank of [3, 4]: rank must be 'same', a positive integer, or a positive fraction of the parameters; got 0.",
  )
  expect(() => validateCpRank([3, 4], Number.NaN)).toThrow('got NaN.')
  expect(() => validateCpRank([3, 4], 'all' as 'same')).toThrow("got 'all'.")
  expect(() => validateCpRank([3, 4], 0.5, { rounding: 'up' as 'ceil' })).toThrow(
    "Rank: rounding must be 'round', 'floor' or 'ceil'; got 'up'.",
  )
})
