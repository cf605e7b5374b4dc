// CP decompositions of tensors of several kinds from starts that TensorLy is given too.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createRandom } from 'whittle-nn'
import { nnls, nonNegativeParafac, parafac, stableParafac } from 'whittle-nn/decompose'
import { createNodeRuntime } from 'whittle-nn/node'
import { cpFlipSign, cpModeDot, cpPermuteFactors, cpToTensor, Tensor } from 'whittle-nn/tensor'
import { encodeNpy } from './npy.mjs'

/** Shape, rank, and the share of noise in a tensor of that rank. */
const TENSORS = [
  [[20, 18], 5, 0.3],
  [[12, 10, 8], 4, 0.1],
  [[12, 10, 8], 6, 0.5],
  [[30, 40, 50], 10, 0.2],
  [[24, 16, 3, 3], 20, 1],
  [[64, 48, 3, 3], 32, 0.3],
  [[8, 7, 6, 5, 4], 6, 0.2],
]
const SWEEPS = 25

function numbers(seed, shape, of = (value) => value) {
  const random = createRandom(seed)
  const size = shape.reduce((product, extent) => product * extent, 1)
  return Tensor.of(
    Float64Array.from({ length: size }, () => of(random.normal())),
    shape,
  )
}

const norm = (data) => Math.sqrt(data.reduce((sum, value) => sum + value * value, 0))

function noisy(seed, shape, rank, noise, of) {
  const factors = shape.map((extent, mode) => numbers(seed + mode, [extent, rank], of))
  const exact = cpToTensor({ factors }).data
  const random = numbers(seed + 50, shape).data
  const share = (noise * norm(exact)) / norm(random)
  return Tensor.of(
    exact.map((value, at) => value + share * random[at]),
    shape,
  )
}

const inType = (tensor, type) => (type === 'float64' ? tensor : Tensor.of(Float32Array.from(tensor.data), tensor.shape))

/** Writes tensors, starts and our results into a folder; returns what cp.py reads. */
export async function cpCases(folder) {
  const { matrices } = await createNodeRuntime()
  let count = 0
  const save = (tensor) => {
    const path = join(folder, `cp-${count++}.npy`)
    writeFileSync(path, encodeNpy(tensor.data, tensor.shape))
    return path
  }
  const saveCp = ({ weights, factors }) => ({ weights: weights && save(weights), factors: factors.map(save) })
  const decompositions = []
  for (const [index, [shape, rank, noise]] of TENSORS.entries())
    for (const type of shape[0] < 20 ? ['float32', 'float64'] : ['float32']) {
      const add = async (kind, tensor, init, options, decompose) => {
        const given = { tensor: save(tensor), init: saveCp(init), rank, sweeps: SWEEPS }
        const result = await decompose(tensor, rank, { init, maxIterations: SWEEPS, tolerance: 0, ...options })
        const name = `${kind} of [${shape}] rank ${rank} ${type}`
        const { relativeError, errors } = result
        decompositions.push({ name, kind, type, ...given, result: saveCp(result), relativeError, errors })
        return { name, given }
      }
      const seed = 1000 * (index + 1)
      const start = (of) => ({
        factors: shape.map((extent, k) => inType(numbers(seed + 90 + k, [extent, rank], of), type)),
      })
      const tensor = inType(noisy(seed, shape, rank, noise), type)
      const als = (...args) => parafac(matrices, ...args)
      await add('als', tensor, start(), {}, als)
      await add('l2', tensor, start(), { l2: 0.5 }, als)
      await add('line search', tensor, start(), { lineSearch: true }, als)
      await add('fixed', tensor, start(), { fixedModes: [0] }, als)
      await add('svd', tensor, start(), { init: 'svd' }, als)
      await add('stable', tensor, start(), {}, (...args) => stableParafac(matrices, ...args))
      const seen = numbers(seed + 70, shape).data.map((value) => (value > -1 ? 1 : 0))
      const holes = inType(
        Tensor.of(
          tensor.data.map((value, at) => value * seen[at]),
          shape,
        ),
        type,
      )
      const mask = inType(Tensor.of(seen, shape), type)
      // TensorLy completes singular vectors of short modes by way of square matrices as large as the other modes together.
      if (Math.min(...shape) >= rank) {
        await add('mask', holes, start(), { mask, init: 'svd' }, als)
        decompositions.at(-1).mask = save(mask)
      }
      const positive = inType(noisy(seed + 500, shape, rank, 0.05, Math.abs), type)
      const negativeNever = (...args) => nonNegativeParafac(matrices, ...args)
      await add('hals', positive, start(Math.abs), { passes: 500 }, negativeNever)
      await add('multiplicative', positive, start(Math.abs), { method: 'multiplicative' }, negativeNever)
    }
  return { decompositions, helpers: helpers({ save, saveCp }), nnls: await leastSquares(matrices, save) }
}

function helpers({ save, saveCp }) {
  const shape = [5, 4, 3]
  const make = (seed) => ({
    weights: numbers(seed, [6]),
    factors: shape.map((extent, mode) => numbers(seed + 1 + mode, [extent, 6])),
  })
  const [cp, other, matrix, vector] = [make(1), make(11), numbers(21, [2, 4]), numbers(22, [4])]
  return {
    cp: saveCp(cp),
    other: saveCp(other),
    matrix: save(matrix),
    vector: save(vector),
    flipped: [0, 1, 2].map((mode) => saveCp(cpFlipSign(cp, { mode }))),
    timesMatrix: saveCp(cpModeDot(cp, matrix, 1)),
    timesVector: saveCp(cpModeDot(cp, vector, 1)),
    permutation: cpPermuteFactors(cp, other).permutation,
  }
}

async function leastSquares(matrices, save) {
  const cases = []
  for (const [m, n] of [
    [20, 8],
    [40, 40],
    [10, 25],
  ])
    for (let seed = 1; seed <= 5; seed++) {
      const [a, b] = [numbers(seed, [m, n]), numbers(seed + 100, [m])]
      const { residuals } = await nnls(matrices, { rows: m, cols: n, data: a.data }, { rows: m, cols: 1, data: b.data })
      cases.push({ a: save(a), b: save(b), residual: residuals[0] })
    }
  return cases
}
