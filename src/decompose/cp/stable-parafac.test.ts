import { expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../../test/support/tensors.ts'
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

test('where components grow without bound, the guard keeps them small at the same error', async () => {
  const tensor = borderTensor(6)
  const options = { maxIterations: 3000, tolerance: 0, seed: 3, init: 'random' } as const
  const plain = await parafac(engine, tensor, 2, options)
  const guarded = await stableParafac(engine, tensor, 2, options)
  console.log(
    plain.relativeError,
    guarded.relativeError,
    cpIntensity(plain) / norm(tensor),
    cpIntensity(guarded) / norm(tensor),
    cpSensitivity(plain),
    guarded.sensitivity,
    guarded.iterations,
    guarded.converged,
  )
  const b = await stableParafac(engine, tensor, 2, { ...options, errorBound: 0.05 })
  console.log(b.relativeError, cpIntensity(b) / norm(tensor), b.sensitivity, b.iterations)
  const x = randomTensor([16, 16, 3, 3], 4)
  const p2 = await parafac(engine, x, 24, { maxIterations: 500 })
  const g2 = await stableParafac(engine, x, 24, { maxIterations: 500 })
  console.log(
    p2.relativeError,
    g2.relativeError,
    cpIntensity(p2) / norm(x),
    cpIntensity(g2) / norm(x),
    cpSensitivity(p2),
    g2.sensitivity,
    p2.iterations,
    g2.iterations,
  )
})
