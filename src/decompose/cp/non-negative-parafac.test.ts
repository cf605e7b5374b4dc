import * as ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../../test/support/tensors.ts'
import { createMatrixEngine } from '../../engine/index.ts'
import {
  type CpTensor,
  cpPermuteFactors,
  cpToTensor,
  norm,
  Tensor,
  toFloat64,
  unfoldingDotKhatriRao,
} from '../../tensor/index.ts'
import { createPlainMatrixEngine, nonNegativeParafac } from '../index.ts'

const plain = createPlainMatrixEngine()
const engine = createMatrixEngine(ort, { threads: 1 })

/** Factors with a third of zeros: recovered only where zeros are. */
function positiveCp(shape: readonly number[], rank: number): CpTensor {
  return {
    factors: shape.map((extent, mode) => {
      const factor = randomTensor64([extent, rank], 30 + mode)
      return Tensor.of(
        toFloat64(factor).map((value) => Math.max(0, value + 0.4)),
        factor.shape,
      )
    }),
  }
}

function least(cp: CpTensor): number {
  return Math.min(...cp.factors.flatMap((factor) => [...toFloat64(factor)]))
}

describe('a non-negative tensor of known rank is recovered', () => {
  for (const shape of [
    [9, 8, 7],
    [7, 6, 5, 4],
  ])
    for (const precision of ['float64', 'float32'] as const)
      test(`[${shape}], ${precision}`, async () => {
        const cp = positiveCp(shape, 3)
        const exact = cpToTensor(cp)
        const tensor = precision === 'float32' ? Tensor.of(Float32Array.from(toFloat64(exact)), shape) : exact
        const result = await nonNegativeParafac(plain, tensor, 3, { maxIterations: 1000, tolerance: 0, restarts: 2 })
        expect(relativeError(tensor, cpToTensor(result))).toBeLessThan(1e-6)
        expect(least(result)).toBeGreaterThanOrEqual(0)
        const found = { factors: result.factors.map((f) => Tensor.of(Float64Array.from(toFloat64(f)), f.shape)) }
        expect(cpPermuteFactors(cp, found).congruence).toBeGreaterThan(1 - 1e-6)
      })
})

test('at the end no factor element can lower the error without becoming negative', async () => {
  const tensor = randomTensor64([6, 5, 4], 2)
  const result = await nonNegativeParafac(plain, tensor, 3, { maxIterations: 3000, tolerance: 1e-15 })
  expect(result.converged).toBe(true)
  const full = toFloat64(cpToTensor(result))
  const residual = Tensor.of(
    toFloat64(tensor).map((value, at) => value - full[at]!),
    tensor.shape,
  )
  for (const mode of [0, 1, 2]) {
    const downhill = toFloat64(unfoldingDotKhatriRao(residual, result, mode))
    const values = toFloat64(result.factors[mode]!)
    for (const [at, value] of values.entries()) {
      expect(value).toBeGreaterThanOrEqual(0)
      expect(downhill[at]).toBeLessThan(1e-4 * norm(tensor))
      if (value > 1e-3) expect(Math.abs(downhill[at]!)).toBeLessThan(1e-4 * norm(tensor))
    }
  }
})

test('both methods lower the error in every sweep, hierarchical ones by more', async () => {
  const tensor = cpToTensor(positiveCp([9, 8, 7], 4))
  const options = { init: 'random', maxIterations: 50, tolerance: 0, seed: 5 } as const
  const results = []
  for (const method of ['multiplicative', 'hals'] as const) {
    const result = await nonNegativeParafac(plain, tensor, 4, { ...options, method })
    for (let k = 1; k < 50; k++) expect(result.errors[k]).toBeLessThanOrEqual(result.errors[k - 1]! + 1e-12)
    expect(least(result)).toBeGreaterThanOrEqual(0)
    expect(result.relativeError).toBeCloseTo(relativeError(tensor, cpToTensor(result)), 12)
    results.push(result.relativeError)
  }
  expect(results[1]).toBeLessThan(results[0]!)
})

test('the engine’s graphs give what plain products give; weights, fixed modes and masks', async () => {
  const shape = [30, 40, 50]
  const tensor = Tensor.of(Float32Array.from(toFloat64(cpToTensor(positiveCp(shape, 12)))), shape)
  const options = { init: 'random', maxIterations: 5, tolerance: 0 } as const
  const one = await nonNegativeParafac(plain, tensor, 12, options)
  const other = await nonNegativeParafac(engine, tensor, 12, { ...options, normalizeFactors: true })
  expect(relativeError(cpToTensor(one), cpToTensor(other))).toBeLessThan(1e-4)
  expect(Math.min(...toFloat64(other.weights!))).toBeGreaterThanOrEqual(0)
  const init = { factors: one.factors }
  const fixed = await nonNegativeParafac(engine, tensor, 12, { ...options, init, fixedModes: [1] })
  expect(toFloat64(fixed.factors[1]!)).toEqual(toFloat64(init.factors[1]!))
  expect(fixed.relativeError).toBeLessThan(one.relativeError)
  const mask = Tensor.of(
    toFloat64(randomTensor(shape, 8)).map((value) => (value > -1 ? 1 : 0)),
    shape,
  )
  const holes = await nonNegativeParafac(engine, tensor, 12, { ...options, mask, maxIterations: 60 })
  expect(relativeError(tensor, cpToTensor(holes))).toBeLessThan(0.1)
})

test('negative starts and unknown methods are refused', async () => {
  const tensor = randomTensor64([3, 4], 1)
  const factors = [3, 4].map((extent) => Tensor.of(new Float64Array(2 * extent).fill(1), [extent, 2]))
  const weights = Tensor.of(Float64Array.of(1, -1), [2])
  await expect(nonNegativeParafac(plain, tensor, 2, { init: { weights, factors } })).rejects.toThrow(
    'nonNegativeParafac of [3, 4]: a CP tensor to start from must not be negative; its weights are.',
  )
  await expect(
    nonNegativeParafac(plain, tensor, 2, { init: { factors: [factors[0]!, randomTensor64([4, 2], 1)] } }),
  ).rejects.toThrow('must not be negative; factor 1 is.')
  await expect(nonNegativeParafac(plain, tensor, 2, { method: 'mu' as 'hals' })).rejects.toThrow(
    "nonNegativeParafac of [3, 4]: method must be 'hals' or 'multiplicative'; got 'mu'.",
  )
})
