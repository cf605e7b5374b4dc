import { describe, expect, it } from 'vitest'
import { orthogonalityError } from '../../../test/support/matrices.ts'
import { randomTensor, randomTensor64, relativeError } from '../../../test/support/tensors.ts'
import { WhittleError } from '../../core/index.ts'
import {
  fromNumbers,
  modeDot,
  multiModeDot,
  norm,
  randomTucker,
  Tensor,
  toFloat64,
  tuckerToTensor,
  unfold,
  validateTuckerTensor,
} from '../../tensor/index.ts'
import { createPlainMatrixEngine } from '../plain-matrix-engine.ts'
import { singularValues } from '../svd.ts'
import { partialTucker } from './partial-tucker.ts'
import { tucker } from './tucker.ts'

const plain = createPlainMatrixEngine()
const METHODS = ['hooi', 'st-hosvd', 'hosvd'] as const

const asMatrix = ({ data, shape }: Tensor) => ({ rows: shape[0]!, cols: shape[1]!, data: data as Float64Array })

/** A tensor of known ranks plus noise of a share of its norm. */
function noisy(shape: readonly number[], ranks: readonly number[], share: number, seed = 1): Tensor {
  const signal = toFloat64(tuckerToTensor(randomTucker(shape, ranks, { seed })))
  const noise = toFloat64(randomTensor64(shape, seed + 100))
  const scale = (share * norm(Tensor.of(signal as Float64Array, shape))) / norm(Tensor.of(noise as Float64Array, shape))
  return Tensor.of(
    signal.map((value, i) => value + scale * noise[i]!),
    shape,
  )
}

describe('tucker', () => {
  it.each([
    { dtype: 'float64', bound: 1e-12 },
    { dtype: 'float32', bound: 1e-6 },
  ] as const)('recovers tensors of known multilinear rank in $dtype', async ({ dtype, bound }) => {
    for (const [shape, ranks] of [
      [
        [12, 9],
        [4, 4],
      ],
      [
        [60, 11, 13],
        [3, 4, 5],
      ],
      [
        [7, 6, 8, 5],
        [2, 3, 4, 2],
      ],
      [
        [5, 4, 6, 3, 4],
        [2, 2, 3, 2, 2],
      ],
    ] as const) {
      const tensor = fromNumbers(toFloat64(tuckerToTensor(randomTucker(shape, ranks, { seed: 2 }))), shape, dtype)
      for (const method of METHODS) {
        const found = await tucker(plain, tensor, ranks, { method })
        expect(validateTuckerTensor(found)).toEqual({ shape, rank: ranks })
        expect(found.core.dtype).toBe(dtype)
        expect(relativeError(tensor, tuckerToTensor(found))).toBeLessThan(bound)
        expect(found.relativeError).toBeLessThan(bound)
        expect(found.converged).toBe(true)
      }
    }
  })

  it('recovers them from random bases too, where a mode has more columns than the others can tell apart', async () => {
    const tensor = tuckerToTensor(randomTucker([10, 11, 12], [2, 3, 4], { seed: 4 }))
    for (const ranks of [
      [2, 3, 4],
      [9, 2, 4],
    ]) {
      const found = await tucker(plain, tensor, ranks, { init: 'random', seed: 3 })
      if (ranks[0] === 2) expect(found.relativeError).toBeLessThan(1e-12)
      for (const factor of found.factors) expect(await orthogonalityError(asMatrix(factor))).toBeLessThan(1e-13)
      expect(Math.abs(relativeError(tensor, tuckerToTensor(found)) - found.relativeError)).toBeLessThan(1e-12)
    }
  })

  it('is exact at full ranks, with the identity for factors', async () => {
    const tensor = randomTensor64([4, 5, 6], 1)
    for (const method of METHODS) {
      const found = await tucker(plain, tensor, [100, 5, 6], { method })
      expect(found.core.shape).toEqual([4, 5, 6])
      expect(relativeError(tensor, tuckerToTensor(found))).toBe(0)
      expect(found.relativeError).toBe(0)
    }
    const partly = await tucker(plain, tensor, [4, 2, 6])
    const best = await singularValues(plain, asMatrix(unfold(tensor, 1)))
    const left = best.subarray(2).reduce((sum, s) => sum + s * s, 0)
    expect(partly.relativeError).toBeCloseTo(Math.sqrt(left) / norm(tensor), 12)
  })

  it('lowers the error with every sweep, and states the error it has', async () => {
    for (const shape of [
      [40, 12, 50],
      [9, 8, 40, 7],
    ]) {
      const tensor = randomTensor64(shape, 5)
      const ranks = shape.map((extent) => Math.ceil(extent / 4))
      for (const init of ['svd', 'random'] as const) {
        const found = await tucker(plain, tensor, ranks, { init, tolerance: 0, maxIterations: 8 })
        expect(found.iterations).toBe(8)
        expect(found.converged).toBe(false)
        expect(found.errors).toHaveLength(8)
        for (let i = 1; i < 8; i++) expect(found.errors[i]!).toBeLessThanOrEqual(found.errors[i - 1]! + 1e-14)
        expect(found.errors[7]!).toBeLessThan(found.errors[0]!)
        expect(relativeError(tensor, tuckerToTensor(found))).toBeCloseTo(found.relativeError, 12)
      }
    }
  })

  it('is within √N of the least error, and sweeps come below what they begin with', async () => {
    const shape = [14, 15, 16]
    const tensor = noisy(shape, [3, 3, 3], 0.5)
    const ranks = [3, 3, 3]
    const error: Record<string, number> = {}
    for (const method of METHODS) error[method] = (await tucker(plain, tensor, ranks, { method })).relativeError
    // No decomposition of these ranks comes below the worst unfolding's best.
    const tails = await Promise.all(
      shape.map(async (_, mode) => {
        const s = await singularValues(plain, asMatrix(unfold(tensor, mode)))
        return s.subarray(3).reduce((sum, value) => sum + value * value, 0) / norm(tensor) ** 2
      }),
    )
    const bound = Math.sqrt(tails.reduce((sum, tail) => sum + tail, 0))
    for (const method of METHODS) {
      expect(error[method]!).toBeGreaterThanOrEqual(Math.sqrt(Math.max(...tails)))
      expect(error[method]!).toBeLessThanOrEqual(bound)
    }
    expect(error.hooi!).toBeLessThanOrEqual(error['st-hosvd']!)
  })

  it('gives a canonical form: orthonormal factors, orthogonal slices of the core in order, largest elements positive', async () => {
    const tensor = noisy([20, 60, 18], [4, 5, 3], 0.3)
    const { core, factors } = await tucker(plain, tensor, [4, 5, 3])
    for (const [mode, factor] of factors.entries()) {
      expect(await orthogonalityError(asMatrix(factor))).toBeLessThan(1e-13)
      const slices = asMatrix(unfold(core, mode))
      const gram = await plain.multiply(slices, slices, { transposeB: true })
      const n = slices.rows
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++)
          if (i !== j) expect(Math.abs(gram.data[i * n + j]!)).toBeLessThan(1e-12 * gram.data[0]!)
          else if (i > 0) expect(gram.data[i * (n + 1)]!).toBeLessThanOrEqual(gram.data[(i - 1) * (n + 1)]!)
      for (let j = 0; j < n; j++) {
        const column = Array.from({ length: factor.shape[0]! }, (_, i) => Number(factor.data[i * n + j]))
        expect(Math.max(...column)).toBeGreaterThanOrEqual(Math.max(...column.map((value) => -value)))
      }
    }
    // The core is the projection of the tensor.
    expect(relativeError(core, multiModeDot(tensor, factors, { transpose: true }))).toBeLessThan(1e-12)
  })

  it('finds the same from every beginning, when there is one best', async () => {
    const tensor = noisy([20, 21, 22], [3, 3, 3], 0.1)
    const expected = await tucker(plain, tensor, [3, 3, 3], { tolerance: 1e-12 })
    const random = await tucker(plain, tensor, [3, 3, 3], { init: 'random', tolerance: 1e-12 })
    const { factors } = randomTucker([20, 21, 22], [3, 3, 3], { seed: 9 })
    const given = await tucker(plain, tensor, [3, 3, 3], { init: { factors }, tolerance: 1e-12 })
    for (const found of [random, given])
      for (const mode of [0, 1, 2])
        expect(relativeError(expected.factors[mode]!, found.factors[mode]!)).toBeLessThan(1e-4)
  })

  it('keeps fixed factors as they are, and fits the rest to them', async () => {
    const exact = randomTucker([10, 11, 12], [3, 4, 2], { seed: 5 })
    const tensor = tuckerToTensor(exact)
    const found = await tucker(plain, tensor, [3, 4, 2], { init: exact, fixedFactors: [1] })
    expect(found.factors[1]).toBe(exact.factors[1])
    expect(found.relativeError).toBeLessThan(1e-12)
    expect(relativeError(tensor, tuckerToTensor(found))).toBeLessThan(1e-12)
    // A wrong factor: the best of all fits with it, so that the rest is orthogonal to its span.
    const wrong = { factors: randomTucker([10, 11, 12], [3, 4, 2], { seed: 6 }).factors }
    const fit = await tucker(plain, tensor, [3, 4, 2], { init: wrong, fixedFactors: [0, 1, 2] })
    const full = tuckerToTensor(fit)
    expect(relativeError(tensor, full)).toBeCloseTo(fit.relativeError, 10)
    const rest = Tensor.of(
      toFloat64(tensor).map((value, i) => value - toFloat64(full)[i]!),
      tensor.shape,
    )
    const projected = multiModeDot(rest, fit.factors, { transpose: true })
    expect(norm(projected)).toBeLessThan(1e-10 * norm(tensor))
  })

  it('estimates missing elements', async () => {
    const tensor = tuckerToTensor(randomTucker([12, 13, 14], [2, 2, 2], { seed: 7 }))
    const mask = Tensor.of(
      Uint8Array.from({ length: tensor.size }, (_, i) => ((i * 7919) % 10 < 2 ? 0 : 1)),
      tensor.shape,
      'bool',
    )
    const data = toFloat64(tensor).map((value, i) => (mask.data[i] ? value : Number.NaN))
    const found = await tucker(plain, Tensor.of(data, tensor.shape), [2, 2, 2], {
      mask,
      maxIterations: 400,
      tolerance: 1e-9,
    })
    expect(found.relativeError).toBeLessThan(1e-6)
    expect(relativeError(tensor, tuckerToTensor(found))).toBeLessThan(1e-5)
    for (let i = 1; i < found.errors.length; i++)
      expect(found.errors[i]!).toBeLessThanOrEqual(found.errors[i - 1]! + 1e-12)
  })

  it('gives the same bits for the same seed, reports progress and stops', async () => {
    const tensor = randomTensor([20, 60, 15], 1)
    for (const init of ['svd', 'random'] as const) {
      const bits = async (seed: number): Promise<unknown> => (await tucker(plain, tensor, 4, { init, seed })).core.bytes
      expect(await bits(1)).toEqual(await bits(1))
    }
    const seen: number[] = []
    await tucker(plain, tensor, 4, { maxIterations: 3, tolerance: 0, onProgress: ({ done }) => seen.push(done) })
    expect(seen).toEqual([1, 2, 3])
    await expect(tucker(plain, tensor, 4, { signal: AbortSignal.abort() })).rejects.toThrow(
      new WhittleError('ABORTED', 'The work was cancelled.'),
    )
    const controller = new AbortController()
    const stopped = tucker(plain, tensor, 4, {
      tolerance: 0,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('takes fractions of the parameters, zero tensors and single elements', async () => {
    const { core, factors } = await tucker(plain, randomTensor([20, 20, 20], 1), 0.1)
    const count = factors.reduce((sum, { size }) => sum + size, core.size)
    expect(count).toBeGreaterThan(600)
    expect(count).toBeLessThan(1000)
    const zero = await tucker(plain, Tensor.of(new Float64Array(60), [3, 4, 5]), 2)
    expect(zero.relativeError).toBe(0)
    expect(norm(tuckerToTensor(zero))).toBe(0)
    expect((await tucker(plain, Tensor.of(Float64Array.of(-3), [1, 1]), 1)).relativeError).toBe(0)
  })

  it('refuses what it cannot decompose, and says why', async () => {
    const tensor = randomTensor([3, 4, 5], 1)
    const refusals = [
      [[1, 2], {}, 'RANK_OUT_OF_RANGE'],
      [0, {}, 'RANK_OUT_OF_RANGE'],
      [2, { tolerance: -1 }, 'INVALID_ARGUMENT'],
      [2, { maxIterations: 1.5 }, 'INVALID_ARGUMENT'],
      [2, { fixedFactors: [0] }, 'INVALID_ARGUMENT'],
      [2, { fixedFactors: [3] }, 'INVALID_ARGUMENT'],
      [2, { init: { factors: [] } }, 'SHAPE_MISMATCH'],
      [2, { mask: Tensor.of(new Uint8Array(60), [3, 4, 5]) }, 'INVALID_ARGUMENT'],
      [2, { mask: Tensor.of(new Uint8Array(12), [3, 4]) }, 'SHAPE_MISMATCH'],
      [2, { mask: Tensor.of(new Uint8Array(60).fill(1), [3, 4, 5]), method: 'hosvd' }, 'INVALID_ARGUMENT'],
    ] as const
    for (const [ranks, options, code] of refusals)
      await expect(tucker(plain, tensor, ranks, options)).rejects.toMatchObject({ code })
    await expect(tucker(plain, Tensor.of(new Int32Array(8), [2, 2, 2]), 1)).rejects.toThrow(
      new WhittleError(
        'UNSUPPORTED',
        'Tucker of [2, 2, 2]: elements must be float32 or float64; got int32. Convert the tensor first.',
      ),
    )
    const dependent = randomTucker([3, 4, 5], [2, 2, 2]).factors.map((factor) =>
      Tensor.of(new Float64Array(factor.size).fill(1), factor.shape),
    )
    await expect(
      tucker(plain, randomTensor64([3, 4, 5], 1), 2, { init: { factors: dependent }, fixedFactors: [0] }),
    ).rejects.toThrow(
      new WhittleError(
        'INVALID_ARGUMENT',
        'Tucker of [3, 4, 5]: init of mode 0: columns of a fixed factor must be independent; column 1 is not.',
      ),
    )
  })
})

describe('partialTucker', () => {
  it('leaves other modes alone, whatever the order of its own', async () => {
    const exact = randomTucker([8, 9, 5, 6], [3, 2, 5, 6], { seed: 3 })
    const tensor = tuckerToTensor(exact)
    for (const modes of [
      [0, 1],
      [1, 0],
    ]) {
      const ranks = modes.map((mode) => [3, 2][mode]!)
      const found = await partialTucker(plain, tensor, modes, ranks)
      expect(found.core.shape).toEqual([3, 2, 5, 6])
      expect(found.factors.map(({ shape }) => shape)).toEqual(
        modes.map(
          (mode) =>
            [
              [8, 3],
              [9, 2],
            ][mode],
        ),
      )
      expect(relativeError(tensor, multiModeDot(found.core, found.factors, { modes }))).toBeLessThan(1e-12)
    }
  })

  it('finds the best subspace of one mode in one go', async () => {
    const tensor = randomTensor64([6, 30, 5], 2)
    const found = await partialTucker(plain, tensor, [1], [4], { init: 'random' })
    const s = await singularValues(plain, asMatrix(unfold(tensor, 1)))
    const left = s.subarray(4).reduce((sum, value) => sum + value * value, 0)
    expect(found.relativeError).toBeCloseTo(Math.sqrt(left) / norm(tensor), 12)
    expect(relativeError(tensor, modeDot(found.core, found.factors[0]!, 1))).toBeCloseTo(found.relativeError, 12)
  })

  it('takes fractions of the parameters', async () => {
    const { core, factors } = await partialTucker(plain, randomTensor([30, 30, 9], 1), [0, 1], 0.3)
    const count = factors.reduce((sum, { size }) => sum + size, core.size)
    expect(Math.abs(count / 8100 - 0.3)).toBeLessThan(0.05)
  })

  it('refuses modes that there are not', async () => {
    const tensor = randomTensor([3, 4], 1)
    await expect(partialTucker(plain, tensor, [0, 2], 1)).rejects.toThrow(
      new WhittleError('INVALID_ARGUMENT', 'Tucker of [3, 4]: modes must be modes between 0 and 1; got 2.'),
    )
    await expect(partialTucker(plain, tensor, [1, 1], 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(partialTucker(plain, tensor, [], 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
