import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { randomMatrix, relativeDistance } from '../../test/support/matrices.ts'
import { relativeError } from '../../test/support/tensors.ts'
import { maybeCholesky, solveLower, solveLowerTransposed, tensorTrain, tucker } from '../decompose/index.ts'
import {
  fromNumbers,
  randomTt,
  randomTucker,
  type Tensor,
  toFloat64,
  ttToTensor,
  tuckerToTensor,
} from '../tensor/index.ts'
import { createMatrixEngine } from './matrix-engine.ts'

const engine = createMatrixEngine(ort, { threads: 2 })
const single = (tensor: Tensor): Tensor => fromNumbers(toFloat64(tensor), tensor.shape, 'float32')

describe('decompositions on ONNX Runtime', () => {
  // Above a million elements Gram matrices are float32; beyond 256 and 512 rows subspaces are iterated.
  it.each([
    [
      [110, 100, 100],
      [5, 4, 6],
    ],
    [
      [700, 40, 40],
      [6, 5, 4],
    ],
    [
      [30, 300, 40],
      [4, 7, 5],
    ],
  ] as const)('Tucker recovers a float32 tensor %j of known ranks', async (shape, ranks) => {
    const tensor = single(tuckerToTensor(randomTucker(shape, ranks, { seed: 1 })))
    const found = await tucker(engine, tensor, ranks)
    expect(found.relativeError).toBeLessThan(1e-6)
    expect(relativeError(tensor, tuckerToTensor(found))).toBeLessThan(1e-6)
  })

  it('a tensor train keeps its error bound', async () => {
    const tensor = single(ttToTensor(randomTt([40, 50, 30, 20], [1, 6, 9, 5, 1], { seed: 2 })))
    for (const error of [1e-5, 0.3]) {
      const train = await tensorTrain(engine, tensor, { error })
      expect(relativeError(tensor, ttToTensor(train))).toBeLessThan(error)
      if (error < 0.1) expect(train.factors.map(({ shape }) => shape[0])).toEqual([1, 6, 9, 5])
    }
  })

  it('Cholesky factors of matrices too large for one block of WebAssembly', async () => {
    const n = 1100
    const wide = randomMatrix(n, n + 40)
    const a = await engine.gram(wide)
    const factor = (await maybeCholesky(engine, a))!
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) if (factor.lower.data[i * n + j] !== 0) expect.fail()
    expect(relativeDistance(await engine.multiply(factor.lower, factor.lower, { transposeB: true }), a)).toBeLessThan(
      1e-14,
    )
    const b = randomMatrix(n, 3, 5)
    const x = await solveLower(engine, factor, b)
    expect(relativeDistance(await engine.multiply(factor.lower, x), b)).toBeLessThan(1e-11)
    const y = await solveLowerTransposed(engine, factor, b)
    expect(relativeDistance(await engine.multiply(factor.lower, y, { transposeA: true }), b)).toBeLessThan(1e-11)
    // One row a multiple of another, in another block: its pivot is rounding, or below zero.
    for (let j = 0; j < wide.cols; j++) wide.data[900 * wide.cols + j] = 3 * wide.data[10 * wide.cols + j]!
    expect(await maybeCholesky(engine, await engine.gram(wide), { tolerance: 1e-12 })).toBeUndefined()
  })
})
