import * as ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../../test/support/tensors.ts'
import { createMatrixEngine } from '../../engine/index.ts'
import {
  type CpTensor,
  cpNorm,
  cpNormalize,
  cpPermuteFactors,
  cpToTensor,
  khatriRao,
  Tensor,
  toFloat32,
  toFloat64,
  transposeTensor,
  unfold,
  unfoldingDotKhatriRao,
} from '../../tensor/index.ts'
import { type CpProgress, createPlainMatrixEngine, leastSquares, type ParafacOptions, parafac } from '../index.ts'

const plain = createPlainMatrixEngine()
const engine = createMatrixEngine(ort, { threads: 1 })

function randomCp(shape: readonly number[], rank: number, seed = 1): CpTensor {
  return { factors: shape.map((extent, mode) => randomTensor64([extent, rank], seed * 100 + mode)) }
}

function single(tensor: Tensor): Tensor {
  return Tensor.of(Float32Array.from(toFloat64(tensor)), tensor.shape)
}

/** A CP tensor and noise of the given share of its norm. */
function noisy(shape: readonly number[], rank: number, noise: number): Tensor {
  const exact = toFloat64(cpToTensor(randomCp(shape, rank)))
  const random = toFloat64(randomTensor64(shape, 77))
  const share = noise * Math.sqrt(exact.reduce((sum, value) => sum + value * value, 0) / exact.length)
  return Tensor.of(
    exact.map((value, at) => value + share * random[at]!),
    shape,
  )
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
        const result = await parafac(plain, tensor, rank, { maxIterations: 400, tolerance: 0 })
        const error = relativeError(tensor, cpToTensor(result))
        expect(error).toBeLessThan(1e-6)
        // No false zero: what is said is the distance there is, to the rounding of the reconstruction.
        expect(Math.abs(result.relativeError - error)).toBeLessThan(precision === 'float32' ? 3e-7 : 1e-15)
        expect(result.factors.map(({ dtype }) => dtype)).toEqual(shape.map(() => precision))
        // Matrices have no unique factors.
        if (shape.length > 2) expect(cpPermuteFactors(cp, wide(result)).congruence).toBeGreaterThan(1 - 1e-6)
      })
})

function wide(cp: CpTensor): CpTensor {
  return { factors: cp.factors.map((factor) => Tensor.of(Float64Array.from(toFloat64(factor)), factor.shape)) }
}

/** One sweep by the book: least squares by QR on unfoldings and whole Khatri–Rao products. */
async function sweepByTheBook(tensor: Tensor, factors: readonly Tensor[], modes: readonly number[]): Promise<Tensor[]> {
  const current = [...factors]
  for (const mode of modes) {
    const product = khatriRao(current, { skipMatrix: mode })
    const unfolded = unfold(tensor, mode)
    const [m, rank] = product.shape as [number, number]
    const rows = tensor.shape[mode]!
    const right = toFloat64(transposeTensor(unfolded)) as Float64Array
    const a = { rows: m, cols: rank, data: toFloat64(product) as Float64Array }
    const { data } = await leastSquares(plain, a, { rows: m, cols: rows, data: right })
    current[mode] = transposeTensor(Tensor.of(data, [rank, rows]))
  }
  return current
}

describe('sweeps are those of alternating least squares', () => {
  for (const shape of [
    [7, 6],
    [7, 6, 5],
    [2, 9, 3],
    [5, 4, 3, 6],
    [9, 8, 2, 2],
    [3, 4, 2, 3, 2],
    [24, 24, 24],
    [40, 30, 3, 3],
  ])
    for (const fixedModes of [[], [0], [1], shape.length > 2 ? [0, 2] : []])
      test(`[${shape}], fixed modes [${fixedModes}]`, async () => {
        const rank = shape[0]! > 20 ? 40 : 3
        const tensor = randomTensor64(shape, 5)
        const init = randomCp(shape, rank, 3)
        const modes = shape.map((_, mode) => mode).filter((mode) => !fixedModes.includes(mode))
        let expected = [...init.factors]
        for (let sweep = 0; sweep < 3; sweep++) expected = await sweepByTheBook(tensor, expected, modes)
        for (const used of [plain, engine]) {
          const result = await parafac(used, tensor, rank, { init, maxIterations: 3, tolerance: 0, fixedModes })
          for (const [mode, factor] of expected.entries())
            expect(relativeError(factor, result.factors[mode]!)).toBeLessThan(1e-7)
          for (const mode of fixedModes)
            expect(toFloat64(result.factors[mode]!)).toEqual(toFloat64(init.factors[mode]!))
          const error = relativeError(tensor, cpToTensor(result))
          expect(result.errors).toHaveLength(3)
          expect(Math.abs(result.errors[2]! - error)).toBeLessThan(1e-10)
          expect(Math.abs(result.relativeError - error)).toBeLessThan(1e-12)
        }
      })
})

test('the engine’s graphs give what plain products give, in float32', async () => {
  for (const [shape, rank] of [
    [[30, 40, 50], 20],
    [[64, 48, 3, 3], 32],
    [[12, 11, 10, 9], 50],
  ] as const) {
    const tensor = single(noisy(shape, rank, 0.5))
    const options = { init: 'random', maxIterations: 5, tolerance: 0, seed: 4 } as const
    const [one, other] = [await parafac(plain, tensor, rank, options), await parafac(engine, tensor, rank, options)]
    expect(relativeError(cpToTensor(one), cpToTensor(other))).toBeLessThan(1e-3)
    expect(Math.abs(one.relativeError - other.relativeError)).toBeLessThan(1e-5)
    for (const result of [one, other]) {
      expect(Math.abs(result.errors.at(-1)! - result.relativeError)).toBeLessThan(1e-6)
      expect(Math.abs(relativeError(tensor, cpToTensor(result)) - result.relativeError)).toBeLessThan(1e-6)
    }
  }
})

test('errors fall from sweep to sweep, and the sweeps end when they do not', async () => {
  const tensor = noisy([8, 7, 6], 3, 0.1)
  const result = await parafac(plain, tensor, 3, { maxIterations: 500 })
  expect(result.converged).toBe(true)
  expect(result.iterations).toBe(result.errors.length)
  expect(result.iterations).toBeLessThan(500)
  for (let k = 1; k < result.iterations; k++)
    expect(result.errors[k]).toBeLessThanOrEqual(result.errors[k - 1]! + 1e-12)
  // At a minimum of least squares the residual is at right angles to what every factor can change.
  const residual = toFloat64(tensor).map((value, at) => value - toFloat64(cpToTensor(result))[at]!)
  for (const mode of [0, 1, 2]) {
    const gradient = unfoldingDotKhatriRao(Tensor.of(residual, tensor.shape), result, mode)
    expect(Math.max(...toFloat64(gradient).map(Math.abs))).toBeLessThan(1e-2)
  }
  const short = await parafac(plain, tensor, 3, { maxIterations: 2 })
  expect([short.iterations, short.converged]).toEqual([2, false])
  const none = await parafac(plain, tensor, 3, { maxIterations: 0 })
  expect([none.iterations, none.errors.length]).toEqual([0, 0])
  expect(none.relativeError).toBeCloseTo(relativeError(tensor, cpToTensor(none)), 12)
})

test('normalised factors have columns of length 1, and are the same tensor', async () => {
  const tensor = noisy([8, 7, 6], 3, 0.1)
  const options = { maxIterations: 20, seed: 2 }
  const loose = await parafac(plain, tensor, 3, options)
  const unit = await parafac(plain, tensor, 3, { ...options, normalizeFactors: true })
  expect(loose.weights).toBeUndefined()
  expect(relativeError(cpToTensor(loose), cpToTensor(unit))).toBeLessThan(1e-14)
  expect(relativeError(cpNormalize(loose).weights, unit.weights!)).toBeLessThan(1e-14)
  const init = { weights: randomTensor64([3], 3), factors: randomCp([8, 7, 6], 3).factors }
  const partly = await parafac(plain, tensor, 3, { init, fixedModes: [0], normalizeFactors: true })
  expect(toFloat64(partly.factors[0]!)).toEqual(toFloat64(init.factors[0]!))
  expect(relativeError(tensor, cpToTensor(partly))).toBeCloseTo(partly.relativeError, 12)
  const frozen = await parafac(plain, tensor, 3, { init, fixedModes: [0, 1, 2] })
  expect(relativeError(cpToTensor(init), cpToTensor(frozen))).toBe(0)
  expect([frozen.iterations, frozen.converged]).toEqual([0, true])
  expect(frozen.relativeError).toBeCloseTo(relativeError(tensor, cpToTensor(init)), 12)
})

test('missing elements are recovered from the others, whatever stands in their place', async () => {
  const exact = cpToTensor(randomCp([10, 9, 8], 2))
  const chance = toFloat64(randomTensor64(exact.shape, 12))
  const mask = Tensor.of(
    Uint8Array.from(chance, (value) => (value > -0.8 ? 1 : 0)),
    exact.shape,
    'bool',
  )
  const holes = toFloat64(exact).map((value, at) => (mask.data[at] ? value : Number.NaN))
  const tensor = Tensor.of(holes, exact.shape)
  const result = await parafac(plain, tensor, 2, { mask, maxIterations: 500, tolerance: 0 })
  expect(relativeError(exact, cpToTensor(result))).toBeLessThan(1e-6)
  expect(result.relativeError).toBeLessThan(1e-6)
  expect(result.errors[0]).toBeGreaterThan(result.errors[100]!)
  // Errors count observed elements only.
  const early = await parafac(plain, tensor, 2, { mask, maxIterations: 3, tolerance: 0 })
  const full = toFloat64(cpToTensor(early))
  let [distance, size] = [0, 0]
  for (let at = 0; at < holes.length; at++)
    if (mask.data[at]) {
      distance += (holes[at]! - full[at]!) ** 2
      size += holes[at]! ** 2
    }
  expect(early.relativeError).toBeCloseTo(Math.sqrt(distance / size), 12)
  expect(early.errors[2]).toBeCloseTo(early.relativeError, 12)
})

test('a mask that hides nothing changes nothing', async () => {
  const tensor = noisy([6, 5, 4], 2, 0.3)
  const mask = Tensor.of(new Float32Array(120).fill(1), [6, 5, 4])
  const [one, other] = [await parafac(plain, tensor, 2), await parafac(plain, tensor, 2, { mask })]
  expect(other.errors).toEqual(one.errors)
})

test('regularisation shrinks the factors', async () => {
  const tensor = noisy([8, 7, 6], 3, 0.1)
  const sizes: number[] = []
  for (const l2 of [0, 1, 10]) {
    const result = await parafac(plain, tensor, 3, { l2, maxIterations: 300 })
    sizes.push(cpNorm(result))
  }
  expect(sizes[1]).toBeLessThan(sizes[0]!)
  expect(sizes[2]).toBeLessThan(0.9 * sizes[1]!)
})

test('extrapolation is not worse, and where sweeps are slow it is much faster', async () => {
  // Columns that are nearly parallel: a swamp.
  const factors = [8, 8, 8].map((extent, mode) => {
    const [base, rest] = [toFloat64(randomTensor64([extent], mode)), toFloat64(randomTensor64([extent, 3], 50 + mode))]
    return Tensor.of(
      rest.map((value, at) => base[Math.floor(at / 3)]! + 0.3 * value),
      [extent, 3],
    )
  })
  const tensor = cpToTensor({ factors })
  const options = { init: 'random', maxIterations: 200, tolerance: 0, seed: 1 } as const
  const sweeps = await parafac(plain, tensor, 3, options)
  const searched = await parafac(plain, tensor, 3, { ...options, lineSearch: true })
  expect(searched.relativeError).toBeLessThan(0.5 * sweeps.relativeError)
  for (let k = 1; k < 200; k++) expect(searched.errors[k]).toBeLessThanOrEqual(searched.errors[k - 1]! + 1e-12)
  expect(searched.relativeError).toBeCloseTo(relativeError(tensor, cpToTensor(searched)), 12)
})

test('of several starts the best is kept', async () => {
  const tensor = noisy([6, 5, 4], 5, 0.4)
  const options = { init: 'random', maxIterations: 30, tolerance: 0 } as const
  const alone = await Promise.all([0, 1, 2, 3].map((k) => parafac(plain, tensor, 5, { ...options, seed: 10 + k })))
  const best = await parafac(plain, tensor, 5, { ...options, seed: 10, restarts: 4 })
  const errors = alone.map(({ relativeError }) => relativeError)
  expect(new Set(errors).size).toBe(4)
  expect(best.relativeError).toBe(Math.min(...errors))
})

test('a seed decides everything', async () => {
  const tensor = single(noisy([30, 40, 50], 20, 0.2))
  for (const init of ['random', 'svd'] as const) {
    const run = (seed: number) => parafac(engine, tensor, 60, { init, seed, maxIterations: 3 })
    const [one, again, other] = [await run(1), await run(1), await run(2)]
    expect(again.factors.map(toFloat64)).toEqual(one.factors.map(toFloat64))
    expect(toFloat64(other.factors[0]!)).not.toEqual(toFloat64(one.factors[0]!))
  }
})

test('ranks beyond what the modes can tell apart, zeros and constants are no problem', async () => {
  const tensor = randomTensor([3, 3, 2], 1)
  const exact = await parafac(plain, tensor, 12, { maxIterations: 50 })
  expect(exact.relativeError).toBeLessThan(1e-4)
  const zeros = await parafac(plain, Tensor.of(new Float32Array(24), [2, 3, 4]), 2)
  expect([zeros.relativeError, cpNorm(zeros)]).toEqual([0, 0])
  const ones = await parafac(plain, Tensor.of(new Float64Array(24).fill(1), [2, 3, 4]), 4)
  expect(ones.relativeError).toBeLessThan(1e-7)
  const half = await parafac(plain, randomTensor64([4, 4, 4], 1), 0.5)
  expect(half.factors[0]!.shape).toEqual([4, 3])
})

test('float32 that overflows is said to, and float64 does not', async () => {
  const huge = Tensor.of(
    toFloat32(randomTensor([5, 4, 3], 1)).map((value) => value * 1e30),
    [5, 4, 3],
  )
  await expect(parafac(plain, huge, 2)).rejects.toMatchObject({ code: 'NOT_FINITE' })
  const wider = Tensor.of(Float64Array.from(toFloat64(huge)), [5, 4, 3])
  const [large, usual] = [await parafac(plain, wider, 2), await parafac(plain, randomTensor([5, 4, 3], 1), 2)]
  expect(large.relativeError).toBeCloseTo(usual.relativeError, 4)
})

test('progress tells every sweep and its error', async () => {
  const seen: CpProgress[] = []
  const result = await parafac(plain, noisy([6, 5, 4], 2, 0.1), 2, {
    maxIterations: 5,
    tolerance: 0,
    onProgress: (progress) => seen.push(progress),
  })
  expect(seen.map(({ stage, done, total }) => [stage, done, total])).toEqual([1, 2, 3, 4, 5].map((k) => ['cp', k, 5]))
  expect(seen.map((progress) => progress.relativeError)).toEqual(result.errors)
})

test('a signal stops the sweeps', async () => {
  const controller = new AbortController()
  let sweeps = 0
  const run = parafac(plain, noisy([6, 5, 4], 2, 0.1), 2, {
    tolerance: 0,
    signal: controller.signal,
    onProgress: () => {
      if (++sweeps === 3) controller.abort()
    },
  })
  await expect(run).rejects.toMatchObject({ code: 'ABORTED' })
  expect(sweeps).toBe(3)
})

describe('what does not fit is refused', () => {
  const tensor = randomTensor64([3, 4, 2], 1)
  const nan = Tensor.of(Float64Array.of(1, Number.NaN, 2, 3), [2, 2])
  const cp = randomCp([3, 4, 2], 2)
  const cases: [string, Tensor, number, ParafacOptions, string][] = [
    ['NaN', nan, 1, {}, 'parafac of [2, 2]: all elements must be finite numbers; element 1 is NaN.'],
    ['rank 0', tensor, 0, {}, 'CP rank of [3, 4, 2]: rank must be'],
    ['vectors', randomTensor64([3], 1), 1, {}, 'parafac of [3]: needs a tensor of at least 2 modes; got 1.'],
    ['no elements', randomTensor64([0, 3], 1), 1, {}, 'parafac of [0, 3]: needs a tensor with elements; got none.'],
    ['integers', Tensor.int64([1, 2]).reshape([1, 2]), 1, {}, 'elements must be float32 or float64; got int64.'],
    ['mask shape', tensor, 2, { mask: randomTensor([3, 4], 1) }, "the mask must have the tensor's shape; got [3, 4]."],
    ['mask of zeros', tensor, 2, { mask: Tensor.of(new Float32Array(24), [3, 4, 2]) }, 'all are missing.'],
    ['init rank', tensor, 3, { init: cp }, 'must have its shape and rank 3; got [3, 4, 2] of rank 2.'],
    ['init type', single(tensor), 2, { init: cp }, 'must have its type float32; got float64.'],
    ['init name', tensor, 2, { init: 'hosvd' as 'svd' }, "init must be 'svd', 'random' or a CP tensor; got 'hosvd'."],
    ['fixed mode', tensor, 2, { fixedModes: [3] }, 'fixedModes must be integers between 0 and 2; got 3.'],
    ['l2', tensor, 2, { l2: -1 }, 'l2 must be a finite number from 0; got -1.'],
    ['tolerance', tensor, 2, { tolerance: Number.NaN }, 'tolerance must be 0 or more; got NaN.'],
    ['iterations', tensor, 2, { maxIterations: 1.5 }, 'maxIterations must be a whole number from 0; got 1.5.'],
    ['restarts', tensor, 2, { restarts: 0 }, 'restarts must be a whole number from 1; got 0.'],
  ]
  for (const [name, given, rank, options, message] of cases)
    test(name, async () => {
      await expect(parafac(plain, given, rank, options)).rejects.toThrow(message)
    })
})

test('a few sweeps, for which the tensor stays as it lies, are the first of many', async () => {
  const x = randomTensor64([21, 40, 33], 5)
  for (const fixedModes of [[], [1], [0]]) {
    const start = randomCp([21, 40, 33], 7, 2)
    const options = { init: start, tolerance: 0, fixedModes }
    const few = await parafac(engine, x, 7, { ...options, maxIterations: 6 })
    const many = await parafac(engine, x, 7, { ...options, maxIterations: 8 })
    for (const [sweep, error] of few.errors.entries())
      expect(Math.abs(error / many.errors[sweep]! - 1)).toBeLessThan(1e-10)
    expect(few.relativeError).toBeGreaterThan(many.relativeError)
  }
})

describe('compression', () => {
  test('ends where sweeps on the tensor end, and reports every sweep', async () => {
    const x = single(noisy([70, 72, 74], 4, 0.1))
    const options = { init: 'random', seed: 3, maxIterations: 60, tolerance: 0 } as const
    const steps: number[] = []
    const onProgress = ({ done, total }: { done: number; total?: number | undefined }) => {
      expect(total).toBe(60)
      steps.push(done)
    }
    const whole = await parafac(engine, x, 6, { ...options, compression: 'none' })
    const found = await parafac(engine, x, 6, { ...options, onProgress })
    expect(steps).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
    expect(found.errors).toHaveLength(60)
    // Errors of the core are told as those of the tensor.
    expect(Math.abs(found.errors[40]! / found.relativeError - 1)).toBeLessThan(0.02)
    expect(found.relativeError).toBeLessThan(1.005 * whole.relativeError)
    const difference = relativeError(x, cpToTensor(found))
    expect(Math.abs(difference / found.relativeError - 1)).toBeLessThan(1e-4)
    expect(found.factors[0]!.data).not.toEqual(whole.factors[0]!.data)
  })

  test('leaves tensors that no small core holds alone', async () => {
    const x = randomTensor([70, 72, 74], 8)
    const options = { init: 'random', seed: 3, maxIterations: 20, tolerance: 0 } as const
    const whole = await parafac(engine, x, 3, { ...options, compression: 'none' })
    const found = await parafac(engine, x, 3, options)
    expect(found.factors.map(({ data }) => data)).toEqual(whole.factors.map(({ data }) => data))
  })

  test('is one of two words', async () => {
    const work = parafac(engine, randomTensor([3, 4, 5], 1), 2, { compression: 'always' as 'auto' })
    await expect(work).rejects.toThrow("compression must be 'auto' or 'none'; got 'always'.")
  })
})
