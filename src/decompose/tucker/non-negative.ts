/**
 * Non-negative Tucker decompositions: X ≈ G ×₀ A₀ ×₁ A₁ … with core and factors ≥ 0, by alternating updates.
 *
 * What an update needs of the tensor, its projections on the other factors, comes from the same tree of projections as in
 * higher-order orthogonal iteration: the tensor is read twice per sweep. Core and Gram matrices are float64.
 */
import { checkAborted, createRandom, fail, type TaskOptions } from '../../core/index.ts'
import {
  type RankRule,
  type Tensor,
  type TuckerTensor,
  toFloat64,
  validateTuckerRank,
  validateTuckerTensor,
} from '../../tensor/index.ts'
import { projectionError } from '../low-rank.ts'
import type { Matrix64, MatrixEngine } from '../matrix.ts'
import { toMatrix64, toTypeOf, zeros64 } from '../matrix-layout.ts'
import { checkTensor, type Reals, shapeText, tensorOf } from '../real-tensor.ts'
import { symmetricEigen } from '../symmetric-eigen.ts'
import { aroundMode, type Dense, projectModes, squaredResidual } from './mode-products.ts'
import { descendCore, descendFactor, multiplyCore, multiplyFactor } from './non-negative-updates.ts'
import type { TuckerReport } from './partial-tucker.ts'
import { sequentialHosvd } from './start.ts'
import { type Factors, sweep } from './sweep.ts'

/** Options of {@link nonNegativeTucker}. */
export interface NonNegativeTuckerOptions extends TaskOptions {
  /**
   * `'hals'` (default): columns of factors in turn, each to its best, and gradient steps for the core. `'multiplicative'`:
   * multiplicative updates, which approach more slowly and never reach zero.
   */
  readonly method?: 'hals' | 'multiplicative'
  /** Most sweeps; default 100. */
  readonly maxIterations?: number
  /** It stops when a sweep changes the relative error by less than this; default 1e-5. */
  readonly tolerance?: number
  /** `'svd'` (default): magnitudes of an ST-HOSVD; `'random'`: uniform numbers; or magnitudes of a Tucker tensor. */
  readonly init?: 'svd' | 'random' | TuckerTensor
  /** Of random numbers; default 0. */
  readonly seed?: number
}

/** A non-negative Tucker tensor and how it was found. */
export interface NonNegativeTucker extends TuckerTensor, TuckerReport {}

/**
 * Tucker decomposition with non-negative core and factors.
 *
 * Columns of the factors have length 1, their scale is in the core. Elements of the tensor may be negative, but nothing
 * non-negative comes near those. Extra memory: the tensor projected on its first or its last mode.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64; results have its type. Not written to.
 * @param ranks as `validateTuckerRank` takes them; lowered to the extents.
 * @returns core `[r_0, …, r_{N−1}]`, factors `[i_k, r_k]`, and `errors` after every sweep.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`, `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see Kim, Choi, "Nonnegative Tucker decomposition", CVPR 2007; Phan, Cichocki, "Extended HALS algorithm for nonnegative
 *   Tucker decomposition", Neurocomputing 74, 2011.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = tuckerToTensor(randomTucker([8, 9, 10], [2, 2, 2], { seed: 1, distribution: 'uniform' }))
 * const { relativeError } = await nonNegativeTucker(engine, x, 2)
 * console.log(relativeError < 0.05)
 */
export async function nonNegativeTucker(
  engine: MatrixEngine,
  tensor: Tensor,
  ranks: RankRule | readonly number[],
  options: NonNegativeTuckerOptions = {},
): Promise<NonNegativeTucker> {
  const what = 'Non-negative Tucker'
  const { data, energy } = checkTensor(tensor, what)
  const { shape } = tensor
  const rank = validateTuckerRank(shape, ranks).map((r, mode) => Math.min(r, shape[mode]!))
  checkOptions(shape, options)
  const { maxIterations = 100, tolerance = 1e-5, signal, onProgress } = options
  const state = await begin(engine, { shape, data }, rank, options)
  const errors: number[] = []
  let converged = false
  while (!converged && errors.length < maxIterations) {
    checkAborted(signal)
    const residual = await improve(engine, { shape, data }, state, energy, options.method ?? 'hals')
    errors.push(energy === 0 ? 0 : Math.sqrt(Math.max(0, residual) / energy))
    onProgress?.({ stage: 'non-negative tucker', done: errors.length, total: maxIterations })
    const [previous, error] = errors.slice(-2)
    converged = error !== undefined && Math.abs(previous! - error) < tolerance
  }
  const core = { shape: rank, data: tensorOf(data, state.core, rank).data as Reals }
  const factors = state.factors.map((matrix) => toTypeOf(matrix, data))
  const bases = factors.map((matrix, mode) => ({ mode, matrix }))
  const squared = (errors.at(-1) ?? 0) ** 2 * energy
  const relativeError = await projectionError(energy, energy - squared, () =>
    squaredResidual(engine, { shape, data }, core, bases),
  )
  return {
    core: tensorOf(data, core.data, rank),
    factors: factors.map((matrix) => tensorOf(data, matrix.data, [matrix.rows, matrix.cols])),
    relativeError,
    errors: [...errors.slice(0, -1), relativeError],
    iterations: errors.length,
    converged,
  }
}

function checkOptions(shape: readonly number[], options: NonNegativeTuckerOptions): void {
  const what = `Non-negative Tucker of ${shapeText(shape)}`
  const { method = 'hals', maxIterations = 100, tolerance = 0, init = 'svd' } = options
  if (method !== 'hals' && method !== 'multiplicative')
    fail('INVALID_ARGUMENT', `${what}: method must be 'hals' or 'multiplicative'; got '${String(method)}'.`)
  if (typeof init !== 'object' && init !== 'svd' && init !== 'random')
    fail('INVALID_ARGUMENT', `${what}: init must be 'svd', 'random' or a Tucker tensor; got '${String(init)}'.`)
  if (!(Number.isInteger(maxIterations) && maxIterations >= 1))
    fail('INVALID_ARGUMENT', `${what}: maxIterations must be an integer from 1; got ${maxIterations}.`)
  if (!(tolerance >= 0)) fail('INVALID_ARGUMENT', `${what}: tolerance must be a number from 0; got ${tolerance}.`)
}

/** What the sweeps change. */
interface State {
  readonly rank: readonly number[]
  core: Float64Array
  /** `[i_k, r_k]`, columns of length 1. */
  readonly factors: Matrix64[]
  /** AᵀA `[r_k, r_k]` of every factor. */
  readonly grams: Matrix64[]
}

async function begin(
  engine: MatrixEngine,
  tensor: Dense,
  rank: readonly number[],
  { init = 'svd', seed = 0, signal }: NonNegativeTuckerOptions,
): Promise<State> {
  const { shape } = tensor
  const size = rank.reduce((product, r) => product * r, 1)
  const random = createRandom(seed)
  let core: Float64Array | undefined
  let factors: Matrix64[]
  if (typeof init === 'object') {
    const given = validateTuckerTensor(init)
    if (given.shape.join() !== shape.join() || given.rank.join() !== rank.join())
      fail(
        'SHAPE_MISMATCH',
        `Non-negative Tucker of ${shapeText(shape)} at ranks ${shapeText(rank)}: init must be of this shape and these ` +
          `ranks; got ${shapeText(given.shape)} at ${shapeText(given.rank)}.`,
      )
    core = toFloat64(init.core).map(Math.abs)
    factors = init.factors.map((factor, mode) => ({
      rows: shape[mode]!,
      cols: rank[mode]!,
      data: toFloat64(factor).map(Math.abs),
    }))
  } else if (init === 'random') {
    core = Float64Array.from({ length: size }, () => random.uniform())
    factors = shape.map((n, mode) => uniform(n, rank[mode]!, random.uniform))
  } else {
    const found: Factors = new Map()
    const truncations = rank.map((r, mode) => ({ mode, rank: r }))
    await sequentialHosvd(engine, tensor, truncations, found, { seed, signal, approximate: false })
    factors = shape.map((_, mode) => {
      const matrix = toMatrix64(found.get(mode)!)
      return { ...matrix, data: matrix.data.map(Math.abs) }
    })
  }
  const state: State = { rank, core: core ?? new Float64Array(size), factors, grams: [] }
  for (const mode of shape.keys()) await normalize(engine, state, mode)
  if (!core) await projectCore(engine, tensor, state)
  return state
}

function uniform(rows: number, cols: number, draw: () => number): Matrix64 {
  const matrix = zeros64(rows, cols)
  for (let at = 0; at < matrix.data.length; at++) matrix.data[at] = draw()
  return matrix
}

/** The non-negative part of the projected tensor, at its best scale. */
async function projectCore(engine: MatrixEngine, tensor: Dense, state: State): Promise<void> {
  const typed = state.factors.map((matrix, mode) => ({ mode, matrix: toTypeOf(matrix, tensor.data) }))
  const numerator = Float64Array.from((await projectModes(engine, tensor, typed)).data)
  const core = numerator.map((value) => Math.max(0, value))
  const product = await timesGrams(engine, { shape: state.rank, data: core }, state.grams)
  const [fit, size] = [dot(numerator, core), dot(product, core)]
  state.core = size > 0 ? core.map((value) => (value * fit) / size) : core
}

/** One sweep over factors and core. @returns ‖X − X̂‖² after it, which may cancel. */
async function improve(
  engine: MatrixEngine,
  tensor: Dense,
  state: State,
  energy: number,
  method: 'hals' | 'multiplicative',
): Promise<number> {
  const { rank, factors, grams } = state
  const typed: Factors = new Map(factors.map((matrix, mode) => [mode, toTypeOf(matrix, tensor.data)]))
  const projected = await sweep(engine, tensor, [...rank.keys()], typed, async (others, mode) => {
    const core = { shape: rank, data: state.core }
    const rows = modeRows(core, mode)
    const m = await engine.multiply(modeRows(others, mode), rows, { transposeB: true })
    const weighed = await timesGrams(engine, core, grams, mode)
    const h = await engine.multiply(modeRows({ shape: rank, data: weighed }, mode), rows, { transposeB: true })
    if (method === 'hals') descendFactor(factors[mode]!, m, h)
    else multiplyFactor(factors[mode]!, m, h)
    await normalize(engine, state, mode)
    return toTypeOf(factors[mode]!, tensor.data)
  })
  const numerator = Float64Array.from(projected.data)
  const apply = (core: Float64Array): Promise<Float64Array> => timesGrams(engine, { shape: rank, data: core }, grams)
  let product: Float64Array
  if (method === 'hals') {
    const largest = await Promise.all(
      grams.map(async (gram) => (await symmetricEigen(engine, gram, { vectors: false })).values[0]!),
    )
    const curvature = largest.reduce((a, b) => a * b, 1)
    ;({ core: state.core, product } = await descendCore(state.core, numerator, apply, curvature))
  } else {
    multiplyCore(state.core, numerator, await apply(state.core))
    product = await apply(state.core)
  }
  return energy - 2 * dot(numerator, state.core) + dot(product, state.core)
}

/** Core ×ₙ AᵀA for all modes but one. */
async function timesGrams(
  engine: MatrixEngine,
  core: { readonly shape: readonly number[]; readonly data: Float64Array },
  grams: readonly Matrix64[],
  skip?: number,
): Promise<Float64Array> {
  let data = core.data
  for (const [mode, gram] of grams.entries())
    if (mode !== skip) data = (await engine.multiplySlices(gram, { dims: aroundMode(core.shape, mode), data })).data
  return data
}

/** Columns of a factor to length 1, their lengths into the core; columns of zeros stay. */
async function normalize(engine: MatrixEngine, { rank, core, factors, grams }: State, mode: number): Promise<void> {
  const { rows, cols, data } = factors[mode]!
  const lengths = new Float64Array(cols)
  for (let at = 0; at < data.length; at++) lengths[at % cols] = lengths[at % cols]! + data[at]! ** 2
  for (let j = 0; j < cols; j++) lengths[j] = Math.sqrt(lengths[j]!) || 1
  for (let at = 0; at < data.length; at++) data[at] = data[at]! / lengths[at % cols]!
  const [, extent, after] = aroundMode(rank, mode)
  for (let at = 0; at < core.length; at++) core[at] = core[at]! * lengths[Math.floor(at / after) % extent]!
  grams[mode] = await engine.gram({ rows, cols, data }, { transpose: true })
}

/** The mode's unfolding `[extent, before · after]` in float64. */
function modeRows({ shape, data }: Dense, mode: number): Matrix64 {
  const [before, extent, after] = aroundMode(shape, mode)
  const out = zeros64(extent, before * after)
  for (let b = 0; b < before; b++)
    for (let i = 0; i < extent; i++)
      for (let a = 0; a < after; a++) out.data[i * out.cols + b * after + a] = data[(b * extent + i) * after + a]!
  return out
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}
