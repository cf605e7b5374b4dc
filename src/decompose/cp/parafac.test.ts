import { describe, expect, test } from 'vitest'
import { randomTensor64, relativeError } from '../../../test/support/tensors.ts'
import { type CpTensor, cpNormalize, cpToTensor, Tensor, toFloat64 } from '../../tensor/index.ts'
import { createPlainMatrixEngine, parafac } from '../index.ts'

const engine = createPlainMatrixEngine()

function randomCp(shape: readonly number[], rank: number, seed = 1): CpTensor {
  return { factors: shape.map((extent, mode) => randomTensor64([extent, rank], seed * 100 + mode)) }
}

function single(tensor: Tensor): Tensor {
  return Tensor.of(Float32Array.from(toFloat64(tensor)), tensor.shape)
}

/** The least |cosine| between a component of one CP tensor and its best counterpart in the other. */
function leastCongruence(one: CpTensor, other: CpTensor): number {
  const [a, b] = [cpNormalize(one), cpNormalize(other)]
  const rank = a.weights.size
  let least = 1
  for (let r = 0; r < rank; r++) {
    let most = 0
    for (let s = 0; s < rank; s++) {
      let product = 1
      for (const [mode, factor] of a.factors.entries()) {
        const [x, y] = [toFloat64(factor), toFloat64(b.factors[mode]!)]
        let cosine = 0
        for (let i = 0; i < factor.shape[0]!; i++) cosine += x[i * rank + r]! * y[i * rank + s]!
        product *= cosine
      }
      most = Math.max(most, product)
    }
    least = Math.min(least, most)
  }
  return least
}

describe('a tensor of known rank is recovered', () => {
  for (const shape of [
    [9, 8],
    [8, 7, 6],
    [6, 5, 4, 3],
    [4, 3, 5, 2, 3],
  ])
    for (const precision of ['float64', 'float32'] as const)
      test(`[${shape}], ${precision}`, async () => {
        const rank = shape.length === 2 ? 2 : 3
        const cp = randomCp(shape, rank)
        const exact = cpToTensor(cp)
        const tensor = precision === 'float32' ? single(exact) : exact
        const result = await parafac(engine, tensor, rank, { maxIterations: 1000, tolerance: 0 })
        const error = relativeError(tensor, cpToTensor(result))
        expect(error).toBeLessThan(1e-6)
        expect(Math.abs(result.relativeError - error)).toBeLessThan(1e-7)
        expect(result.factors.map(({ dtype }) => dtype)).toEqual(shape.map(() => precision))
        // Matrices have no unique factors.
        if (shape.length > 2 && precision === 'float64') expect(leastCongruence(cp, result)).toBeGreaterThan(1 - 1e-9)
      })
})
