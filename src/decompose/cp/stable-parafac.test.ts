import * as ort from 'onnxruntime-node'
import { expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../../test/support/tensors.ts'
import { createMatrixEngine } from '../../engine/index.ts'
import { type CpTensor, cpIntensity, cpSensitivity, cpToTensor, norm, Tensor, toFloat64 } from '../../tensor/index.ts'
import { createPlainMatrixEngine, parafac, stableParafac } from '../index.ts'

const engine = createPlainMatrixEngine()

/** a∘a∘b + a∘b∘a + b∘a∘a for independent a and b: rank 3, and a limit of tensors of rank 2. */
function borderTensor(extent: number): Tensor {
  const [a, b] = [1, 2].map((seed) => randomTensor64([extent, 1], seed)) as [Tensor, Tensor]
  const parts = [
    [a, a, b],
    [a, b, a],
    [b, a, a],
  ].map((factors) => toFloat64(cpToTensor({ factors })))
  const sum = parts[0]!.map((value, at) => value + parts[1]![at]! + parts[2]![at]!)
  return Tensor.of(sum, [extent, extent, extent])
}

test('components of a rank-2 approximation of a limit tensor grow without bound, and stay small within an error bound', async () => {
  const tensor = borderTensor(6)
  const plain: CpTensor[] = []
  for (const maxIterations of [50, 400, 2000]) {
    const init = plain.at(-1) ?? 'random'
    plain.push(await parafac(engine, tensor, 2, { init, maxIterations, tolerance: 0, seed: 3 }))
  }
  const growth = plain.map((cp) => cpIntensity(cp) / norm(tensor))
  expect(growth[1]).toBeGreaterThan(1.3 * growth[0]!)
  expect(growth[2]).toBeGreaterThan(1.3 * growth[1]!)
  const guarded = await stableParafac(engine, tensor, 2, {
    init: plain[2],
    maxIterations: 10,
    errorBound: 0.05,
  })
  expect(relativeError(tensor, cpToTensor(guarded))).toBeLessThan(0.05 * (1 + 1e-9))
  expect(cpIntensity(guarded) / norm(tensor)).toBeLessThan(1.5)
  expect(guarded.sensitivity).toBe(cpSensitivity(guarded))
  expect(guarded.sensitivity).toBeLessThan(0.1 * cpSensitivity(plain[2]!))
})

for (const precision of ['float64', 'float32'] as const)
  test(`a degenerate decomposition of noise keeps its error and loses its sensitivity, in ${precision}`, async () => {
    const tensor = precision === 'float32' ? randomTensor([12, 12, 3, 3], 4) : randomTensor64([12, 12, 3, 3], 4)
    const options = { maxIterations: 200, tolerance: 0 }
    const plain = await parafac(engine, tensor, 16, options)
    const guarded = await stableParafac(engine, tensor, 16, options)
    expect(relativeError(tensor, cpToTensor(guarded))).toBeLessThan(1.01 * plain.relativeError + 1e-6)
    expect(guarded.relativeError).toBeCloseTo(relativeError(tensor, cpToTensor(guarded)), 5)
    expect(guarded.sensitivity).toBeLessThan(0.1 * cpSensitivity(plain))
    expect(cpIntensity(guarded)).toBeLessThan(0.5 * cpIntensity(plain))
    expect(guarded.iterations).toBe(guarded.errors.length)
    expect(guarded.iterations).toBeGreaterThan(200)
  })

test('a sound decomposition is left nearly as it is', async () => {
  const exact = { factors: [9, 8, 7].map((extent, mode) => randomTensor64([extent, 3], mode)) }
  const tensor = cpToTensor(exact)
  const guarded = await stableParafac(engine, tensor, 3, { maxIterations: 300, tolerance: 0, errorBound: 1e-4 })
  expect(relativeError(tensor, cpToTensor(guarded))).toBeLessThan(1e-4 * (1 + 1e-6))
  expect(cpIntensity(guarded) / cpIntensity(exact)).toBeCloseTo(1, 3)
  expect(guarded.sensitivity).toBeLessThanOrEqual(cpSensitivity(exact))
})

test('below the bound of an error too high, corrections go on fitting', async () => {
  const tensor = cpToTensor({ factors: [9, 8, 7].map((extent, mode) => randomTensor64([extent, 3], mode)) })
  const options = { init: 'random', seed: 2, maxIterations: 3, errorBound: 0.01 } as const
  const guarded = await stableParafac(engine, tensor, 3, options)
  expect(guarded.errors[2]).toBeGreaterThan(0.05)
  expect(relativeError(tensor, cpToTensor(guarded))).toBeLessThan(0.01 * (1 + 1e-6))
})

test('on the engine, with weights, fixed modes and missing elements', async () => {
  const fast = createMatrixEngine(ort, { threads: 1 })
  const tensor = randomTensor([20, 20, 3, 3], 4)
  const options = { maxIterations: 40, tolerance: 0 }
  const plain = await parafac(fast, tensor, 24, options)
  const guarded = await stableParafac(fast, tensor, 24, { ...options, normalizeFactors: true })
  expect(relativeError(tensor, cpToTensor(guarded))).toBeLessThan(1.01 * plain.relativeError + 1e-5)
  expect(guarded.weights!.shape).toEqual([24])
  expect(guarded.sensitivity).toBeLessThan(cpSensitivity(plain))
  const init = { factors: plain.factors }
  const fixed = await stableParafac(fast, tensor, 24, { ...options, init, fixedModes: [3], maxIterations: 5 })
  expect(toFloat64(fixed.factors[3]!)).toEqual(toFloat64(init.factors[3]!))
  expect(fixed.relativeError).toBeLessThan(1.01 * plain.relativeError + 1e-5)
  const chance = toFloat64(randomTensor(tensor.shape, 8))
  const mask = Tensor.of(
    Uint8Array.from(chance, (value) => (value > -1 ? 1 : 0)),
    tensor.shape,
    'bool',
  )
  const holes = await parafac(fast, tensor, 12, { ...options, mask })
  const filled = await stableParafac(fast, tensor, 12, { ...options, mask })
  expect(filled.relativeError).toBeLessThan(1.01 * holes.relativeError + 1e-5)
  expect(filled.sensitivity).toBeLessThan(cpSensitivity(holes))
})

test('bounds and iterations that do not fit are refused', async () => {
  const tensor = randomTensor64([3, 4, 2], 1)
  await expect(stableParafac(engine, tensor, 2, { errorBound: -1 })).rejects.toThrow(
    'stableParafac of [3, 4, 2]: errorBound must be 0 or more; got -1.',
  )
  await expect(stableParafac(engine, tensor, 2, { correctionIterations: 0.5 })).rejects.toThrow(
    'stableParafac of [3, 4, 2]: correctionIterations must be a whole number from 0; got 0.5.',
  )
})
