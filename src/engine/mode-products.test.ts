import * as ort from 'onnxruntime-node'
import * as web from 'onnxruntime-web'
import { expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { multiModeDotWith } from '../decompose/index.ts'
import { multiModeDot } from '../tensor/index.ts'
import { createMatrixEngine } from './matrix-engine.ts'

const engines = [createMatrixEngine(ort, { threads: 2 }), createMatrixEngine(web)]

test('products along several modes in one graph are those one after the other, in both types and runtimes', async () => {
  for (const engine of engines)
    for (const [random, tolerance] of [
      [randomTensor, 1e-5],
      [randomTensor64, 1e-13],
    ] as const) {
      const x = random([40, 50, 60], 1)
      const matrices = [random([7, 40], 2), random([6, 50], 3), random([5, 60], 4)]
      expect(relativeError(multiModeDot(x, matrices), await multiModeDotWith(engine, x, matrices))).toBeLessThan(
        tolerance,
      )
      const transposed = [random([40, 7], 2), random([50, 70], 3), random([60, 5], 4)]
      const options = { transpose: true, skip: 1 }
      const expected = multiModeDot(x, transposed, options)
      expect(relativeError(expected, await multiModeDotWith(engine, x, transposed, options))).toBeLessThan(tolerance)
    }
})

test('vectors, more modes, and a mode that is named twice go the same way', async () => {
  const [engine] = engines
  const x = randomTensor64([20, 15, 16, 17], 1)
  const factors = [randomTensor64([4, 16], 2), randomTensor64([15], 3), randomTensor64([30, 20], 4)]
  const modes = [2, 1, 0]
  expect(
    relativeError(multiModeDot(x, factors, { modes }), await multiModeDotWith(engine!, x, factors, { modes })),
  ).toBeLessThan(1e-13)
  const twice = [randomTensor64([4, 17], 5), randomTensor64([9, 4], 6)]
  expect(
    relativeError(
      multiModeDot(x, twice, { modes: [3, 3] }),
      await multiModeDotWith(engine!, x, twice, { modes: [3, 3] }),
    ),
  ).toBeLessThan(1e-13)
})

test('what lies between too large for one call is left to single products', () => {
  const [engine] = engines
  const data = new Float32Array(8)
  const matrix = { rows: 2 ** 23, cols: 2, data: new Float32Array(2 ** 24) }
  expect(engine!.maybeMultiplyModes!(data, [{ matrix, dims: [1, 2, 4] }])).toBeUndefined()
})
