import { expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  type CpTensor,
  cpFlipSign,
  cpIntensity,
  cpModeDot,
  cpNorm,
  cpNormalize,
  cpPermuteFactors,
  cpSensitivity,
  cpToTensor,
  modeDot,
  Tensor,
  toFloat64,
} from './index.ts'

function randomCp(shape: readonly number[], rank: number, seed = 1): CpTensor {
  return {
    weights: randomTensor64([rank], 99 + seed),
    factors: shape.map((extent, mode) => randomTensor64([extent, rank], 10 * seed + mode)),
  }
}

test('flipping signs keeps the tensor and leaves negative columns and weights to one mode', () => {
  const cp = randomCp([6, 5, 4], 7)
  for (const mode of [0, 1, 2]) {
    const flipped = cpFlipSign(cp, { mode })
    expect(relativeError(cpToTensor(cp), cpToTensor(flipped))).toBeLessThan(1e-15)
    expect(Math.min(...toFloat64(flipped.weights!))).toBeGreaterThan(0)
    for (const [k, factor] of flipped.factors.entries()) {
      const means = toFloat64(
        modeDot(factor, Tensor.of(new Float64Array(factor.shape[0]!).fill(1), [factor.shape[0]!]), 0),
      )
      if (k !== mode) expect(Math.min(...means)).toBeGreaterThan(0)
      else expect(Math.min(...means)).toBeLessThan(0)
    }
  }
  // By its first element instead of its mean.
  const byFirst = cpFlipSign(cp, { signOf: (column) => column[0]! })
  expect(Math.min(...toFloat64(byFirst.factors[1]!).slice(0, 7))).toBeGreaterThan(0)
  expect(cpFlipSign({ factors: cp.factors }).weights).toBeUndefined()
  expect(() => cpFlipSign(cp, { mode: 3 })).toThrow(
    'cpFlipSign of [6, 5, 4]: mode must be an integer between 0 and 2; got 3.',
  )
})

test('columns whose sum is 0 are not lost', () => {
  const factors = [Tensor.of(Float64Array.of(1, -1), [2, 1]), Tensor.of(Float64Array.of(1, -1), [2, 1])]
  expect(relativeError(cpToTensor({ factors }), cpToTensor(cpFlipSign({ factors })))).toBe(0)
})

test('mode products of CP tensors are those of the full tensor', () => {
  const cp = randomCp([3, 4, 5], 6)
  const full = cpToTensor(cp)
  for (const mode of [0, 1, 2]) {
    const extent = full.shape[mode]!
    const [matrix, vector] = [randomTensor64([2, extent], 5), randomTensor64([extent], 6)]
    expect(relativeError(modeDot(full, matrix, mode), cpToTensor(cpModeDot(cp, matrix, mode)))).toBeLessThan(1e-14)
    expect(relativeError(modeDot(full, vector, mode), cpToTensor(cpModeDot(cp, vector, mode)))).toBeLessThan(1e-14)
    const transposed = randomTensor64([extent, 2], 5)
    const options = { transpose: true }
    expect(
      relativeError(modeDot(full, transposed, mode, options), cpToTensor(cpModeDot(cp, transposed, mode, options))),
    ).toBeLessThan(1e-14)
  }
  expect(() => cpModeDot({ factors: [randomTensor([3, 2], 1)] }, randomTensor([3], 2), 0)).toThrow(
    'cpModeDot of [3]: a vector would leave no mode. Use contract on the full tensor.',
  )
})

test('components are put into the order of a reference, whatever their scale and sign', () => {
  const rank = 9
  const cp = randomCp([8, 7, 6], rank)
  const order = [4, 0, 8, 2, 1, 7, 3, 6, 5]
  const shuffled = (tensor: Tensor, scale: (r: number) => number): Tensor => {
    const data = toFloat64(tensor)
    return Tensor.of(
      data.map((_, at) => data[at - (at % rank) + order[at % rank]!]! * scale(at % rank)),
      tensor.shape,
    )
  }
  const other = {
    weights: shuffled(cp.weights!, () => 1),
    factors: cp.factors.map((factor, mode) => shuffled(factor, (r) => (mode === 0 ? -r - 1 : 1))),
  }
  const found = cpPermuteFactors(cp, other)
  expect(found.permutation).toEqual(order.map((_, r) => order.indexOf(r)))
  expect(found.congruence).toBeCloseTo(1, 14)
  for (const mode of [1, 2]) expect(relativeError(cp.factors[mode]!, found.cp.factors[mode]!)).toBe(0)
  expect(relativeError(cpToTensor(other), cpToTensor(found.cp))).toBeLessThan(1e-15)
  expect(() => cpPermuteFactors(cp, randomCp([8, 7, 6], 3))).toThrow(
    'cpPermuteFactors: both must have the same shape and rank; got [8, 7, 6] of rank 9 and [8, 7, 6] of rank 3.',
  )
})

test('the assignment is the best of all, not the greedy one', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const [a, b] = [randomCp([2, 2], 5, seed), randomCp([2, 2], 5, seed + 50)]
    const { congruence } = cpPermuteFactors(a, b)
    const pair = (r: number, s: number): number => {
      let product = 1
      for (const mode of [0, 1]) {
        const [x, y] = [a, b].map((cp) => toFloat64(cpNormalize(cp).factors[mode]!)) as [Float64Array, Float64Array]
        product *= Math.abs(x[r]! * y[s]! + x[5 + r]! * y[5 + s]!)
      }
      return product
    }
    let best = 0
    const visit = (row: number, used: readonly number[], sum: number): void => {
      if (row === 5) best = Math.max(best, sum)
      for (let s = 0; s < 5; s++) if (!used.includes(s)) visit(row + 1, [...used, s], sum + pair(row, s))
    }
    visit(0, [], 0)
    expect(congruence).toBeCloseTo(best / 5, 12)
  }
})

test('sensitivity is the expected squared change under noise in the factors', () => {
  const cp = { factors: randomCp([5, 4, 3], 2).factors }
  const full = toFloat64(cpToTensor(cp))
  const sigma = 1e-6
  let sum = 0
  const trials = 2000
  for (let trial = 0; trial < trials; trial++) {
    const factors = cp.factors.map((factor, mode) => {
      const noise = toFloat64(randomTensor64(factor.shape, 1000 + 3 * trial + mode))
      return Tensor.of(
        toFloat64(factor).map((value, at) => value + sigma * noise[at]!),
        factor.shape,
      )
    })
    const moved = toFloat64(cpToTensor({ factors }))
    for (let at = 0; at < full.length; at++) sum += (moved[at]! - full[at]!) ** 2
  }
  expect(sum / trials / sigma ** 2 / cpSensitivity(cp)).toBeCloseTo(1, 1)
  // [5, 4, 3], one component with columns of length 1, 2 and 3.
  const unit = (extent: number, length: number): Tensor =>
    Tensor.of(
      Float64Array.from({ length: extent }, (_, i) => (i === 0 ? length : 0)),
      [extent, 1],
    )
  const one = { factors: [unit(5, 1), unit(4, 2), unit(3, 3)] }
  expect(cpSensitivity(one)).toBe(5 * 4 * 9 + 4 * 1 * 9 + 3 * 1 * 4)
  expect(cpIntensity(one)).toBe(6)
})

test('intensity is the norm of orthogonal components, and far above it where they cancel', () => {
  const eye = Tensor.of(Float64Array.of(1, 0, 0, 1), [2, 2])
  const apart = { weights: Tensor.of(Float64Array.of(3, -4), [2]), factors: [eye, eye, eye] }
  expect(cpIntensity(apart)).toBeCloseTo(5, 14)
  expect(cpNorm(apart)).toBeCloseTo(5, 14)
  const near = Tensor.of(Float64Array.of(1, 1, 0, 1e-3), [2, 2])
  const cancelling = { weights: Tensor.of(Float64Array.of(1, -1), [2]), factors: [near, eye, eye].map(() => near) }
  expect(cpIntensity(cancelling) / cpNorm(cancelling)).toBeGreaterThan(100)
  const split = cpNormalize(cancelling)
  expect(cpSensitivity(split)).toBeLessThan(cpSensitivity(cancelling) * 1.01)
})
