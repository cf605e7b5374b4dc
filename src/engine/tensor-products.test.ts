/** Tensor products on ONNX Runtime and on the plain engine against those of tensor algebra. */
import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  createPlainMatrixEngine,
  modeDotWith,
  multiModeDotWith,
  unfoldingDotKhatriRaoWith,
} from '../decompose/index.ts'
import { modeDot, multiModeDot, type Tensor, unfoldingDotKhatriRao } from '../tensor/index.ts'
import { createEvaluator } from './evaluator.ts'
import { createMatrixEngine } from './matrix-engine.ts'
import { mttkrpGraphs } from './mttkrp.ts'

const SHAPES = [[7], [9, 8], [4, 70, 60], [60, 3, 50], [50, 60, 1], [3, 30, 4, 40], [5, 4, 3, 2, 40]]
const ENGINES = [
  ['ONNX Runtime', createMatrixEngine(ort, { threads: 2 })],
  ['the plain engine', createPlainMatrixEngine()],
] as const

describe.each(ENGINES)('on %s', (_, engine) => {
  describe.each([
    ['float64', randomTensor64, 1e-13],
    ['float32', randomTensor, 1e-5],
  ] as const)('in %s', (_dtype, random, tolerance) => {
    it.each(SHAPES.map((shape) => [shape]))('mode products of [%s] are those of tensor algebra', async (shape) => {
      const x = random(shape, 1)
      for (const [mode, extent] of shape.entries()) {
        for (const [factor, transpose] of [
          [random([6, extent], 2), false],
          [random([extent, 6], 3), true],
          [random([extent], 4), false],
        ] as const) {
          const product = await modeDotWith(engine, x, factor, mode, { transpose })
          expect(relativeError(modeDot(x, factor, mode, { transpose }), product)).toBeLessThan(tolerance)
        }
      }
      const matrices = shape.map((extent, mode) => random([extent, 2 + mode], 10 + mode))
      for (const options of [{ transpose: true }, { transpose: true, skip: shape.length - 1 }])
        expect(
          relativeError(multiModeDot(x, matrices, options), await multiModeDotWith(engine, x, matrices, options)),
        ).toBeLessThan(tolerance)
    })

    it.each(SHAPES.map((shape) => [shape]))('MTTKRP of [%s] is that of tensor algebra', async (shape) => {
      const x = random(shape, 1)
      const factors = shape.map((extent, mode) => random([extent, 5], 20 + mode))
      for (const weights of [undefined, random([5], 30)])
        for (const mode of shape.keys()) {
          const product = await unfoldingDotKhatriRaoWith(engine, x, { weights, factors }, mode)
          expect(relativeError(unfoldingDotKhatriRao(x, { weights, factors }, mode), product)).toBeLessThan(tolerance)
        }
    })
  })

  it('empty tensors and factors give empty products', async () => {
    const x = randomTensor([3, 0, 4], 1)
    const factors = [3, 0, 4].map((extent) => randomTensor([extent, 2], 2))
    expect((await unfoldingDotKhatriRaoWith(engine, x, { factors }, 0)).data).toEqual(new Float32Array(6))
    expect((await modeDotWith(engine, x, randomTensor([2, 3], 1), 0)).shape).toEqual([2, 0, 4])
    expect((await modeDotWith(engine, x, randomTensor([2, 0], 1), 1)).data).toEqual(new Float32Array(24))
  })

  it('operands that do not fit are refused', async () => {
    const x = randomTensor([2, 3, 4], 1)
    await expect(modeDotWith(engine, x, randomTensor([2, 5], 1), 1)).rejects.toThrow(
      'modeDotWith of [2, 3, 4] by [2, 5]: the columns of the matrix must be as many as mode 1 has; got 5 and 3.',
    )
    const factors: Tensor[] = [2, 3, 5].map((extent) => randomTensor([extent, 2], 1))
    await expect(unfoldingDotKhatriRaoWith(engine, x, { factors }, 0)).rejects.toThrow(
      'unfoldingDotKhatriRaoWith of [2, 3, 4]: factor 2 must be [4, 2]; got [5, 2].',
    )
  })
})

it('long intermediate results are cut along the first mode', async () => {
  const evaluator = createEvaluator(ort, { threads: 2 })
  const products = mttkrpGraphs((model) => evaluator.load(model), 2 * 40 * 5)
  const engine = { ...ENGINES[0][1], ...products }
  const x = randomTensor64([7, 30, 40], 1)
  const factors = x.shape.map((extent, mode) => randomTensor64([extent, 5], 2 + mode))
  for (const mode of [0, 1, 2])
    expect(
      relativeError(
        unfoldingDotKhatriRao(x, { factors }, mode),
        await unfoldingDotKhatriRaoWith(engine, x, { factors }, mode),
      ),
    ).toBeLessThan(1e-13)
})
