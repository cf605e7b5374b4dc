/** What CP decompositions take and give, and the checks they share. */
import { fail, type Progress } from '../../core/index.ts'
import {
  type CpTensor,
  type RankRounding,
  type RankRule,
  type Tensor,
  validateCpRank,
  validateCpTensor,
} from '../../tensor/index.ts'
import { checkFinite, sumOfSquares } from '../matrix-layout.ts'

/** Elements that CP decompositions work on. */
export type Reals = Float32Array | Float64Array

/** A CP decomposition: a `CpTensor` and how it was found. */
export interface CpResult {
  /** λ, `[rank]`, not negative, with `normalizeFactors`; otherwise absent: the scale is in the factors. */
  readonly weights?: Tensor
  /** `[i_k, rank]` for every mode k, of the tensor's type. */
  readonly factors: Tensor[]
  /** ‖X − X̂‖ / ‖X‖ of these factors, over the observed elements; 0 for X = 0. */
  readonly relativeError: number
  /** The relative error after each sweep. */
  readonly errors: number[]
  /** Sweeps done. */
  readonly iterations: number
  /** Whether the error changed by less than the tolerance before the sweeps ran out. */
  readonly converged: boolean
}

/** How far a CP decomposition is. */
export interface CpProgress extends Progress {
  /** ‖X − X̂‖ / ‖X‖ after the sweep. */
  readonly relativeError: number
}

/** Options of all CP decompositions. */
export interface CpOptions {
  /** Sweeps over all modes at most, default 100. */
  readonly maxIterations?: number | undefined
  /** Sweeps end when the relative error changes by less than this; default 1e-8; 0: never. */
  readonly tolerance?: number | undefined
  /**
   * `'svd'` (the default): leading left singular vectors of the unfoldings, random columns where a mode is shorter than
   * the rank. `'random'`. Or a CP tensor of the tensor's shape and type to start from.
   */
  readonly init?: 'svd' | 'random' | CpTensor | undefined
  /** Columns of length 1 and their scale in `weights`; default `false`: no weights, the scale is in the factors. */
  readonly normalizeFactors?: boolean | undefined
  /** Modes whose initial factor stays as it is, bit for bit; default none. */
  readonly fixedModes?: readonly number[] | undefined
  /**
   * Of the tensor's shape; 0 where an element is missing, anything else where it is observed. What the tensor holds at
   * missing elements, NaN too, is not read.
   */
  readonly mask?: Tensor | undefined
  /** Decompositions from different random starts, of which the one with the least error is kept; default 1. */
  readonly restarts?: number | undefined
  /**
   * `'auto'` (the default): sweeps of a tensor of nearly low multilinear rank are done on its core, and only the last ones
   * on the tensor, where every factor is free, started from nothing and by least squares. `'none'`: all on the tensor.
   *
   * @see Bro, Andersson, "Improving the speed of multiway algorithms. Part II", Chemometrics Intell. Lab. Syst. 42, 1998.
   */
  readonly compression?: 'auto' | 'none' | undefined
  /** Of random starts; default 0. */
  readonly seed?: number | undefined
  /** How a fraction of the parameters becomes a rank; default `'round'`. */
  readonly rounding?: RankRounding | undefined
  /** Cancels the work between updates of factors: it throws a `WhittleError` with code `ABORTED`. */
  readonly signal?: AbortSignal | undefined
  /** Called after each sweep; must not throw. */
  readonly onProgress?: ((progress: CpProgress) => void) | undefined
}

/** A tensor and options that passed the checks. */
export interface CheckedCp {
  readonly what: string
  readonly shape: readonly number[]
  /** With the mean of the observed elements where some are missing. */
  readonly data: Reals
  /** ‖X‖² of the observed elements. */
  readonly squaredNorm: number
  readonly rank: number
  /** 1 where observed; absent when every element is. */
  readonly mask: Uint8Array | undefined
  /** Modes to update. */
  readonly modes: readonly number[]
  /** Whether the factors that decompositions start from say something about missing elements. */
  readonly fitted?: boolean | undefined
  /** Whether decompositions are to start from factors that are nowhere negative. */
  readonly nonNegative?: boolean | undefined
}

/**
 * Checks what all CP decompositions are given.
 *
 * @param name begins messages, e.g. `'parafac'`.
 * @throws WhittleError `UNSUPPORTED`, `SHAPE_MISMATCH`, `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`, `NOT_FINITE`.
 */
export function checkCp(name: string, tensor: Tensor, rule: RankRule, options: CpOptions): CheckedCp {
  const { shape, dtype } = tensor
  const what = `${name} of [${shape.join(', ')}]`
  if (dtype !== 'float32' && dtype !== 'float64')
    fail('UNSUPPORTED', `${what}: elements must be float32 or float64; got ${dtype}. Convert the tensor first.`)
  if (shape.length < 2) fail('SHAPE_MISMATCH', `${what}: needs a tensor of at least 2 modes; got ${shape.length}.`)
  if (tensor.size === 0) fail('SHAPE_MISMATCH', `${what}: needs a tensor with elements; got none.`)
  const { rounding } = options
  const rank = validateCpRank(shape, rule, rounding === undefined ? {} : { rounding })
  checkNumbers(what, options)
  const fixed = new Set(options.fixedModes ?? [])
  for (const mode of fixed)
    if (!(Number.isInteger(mode) && mode >= 0 && mode < shape.length))
      fail('INVALID_ARGUMENT', `${what}: fixedModes must be integers between 0 and ${shape.length - 1}; got ${mode}.`)
  const { init } = options
  if (init !== undefined && typeof init === 'string' && init !== 'svd' && init !== 'random')
    fail('INVALID_ARGUMENT', `${what}: init must be 'svd', 'random' or a CP tensor; got '${String(init)}'.`)
  const { compression = 'auto' } = options
  if (compression !== 'auto' && compression !== 'none')
    fail('INVALID_ARGUMENT', `${what}: compression must be 'auto' or 'none'; got '${String(compression)}'.`)
  if (typeof init === 'object') checkInit(what, tensor, rank, init)
  const mask = options.mask && observed(what, tensor, options.mask)
  const data = mask ? withMeanWhereMissing(tensor.data as Reals, mask) : (tensor.data as Reals)
  const squaredNorm = squaredNormOf(data, mask)
  // A finite sum has finite terms.
  if (!Number.isFinite(squaredNorm)) checkFinite(data, what)
  const modes = shape.map((_, mode) => mode).filter((mode) => !fixed.has(mode))
  return {
    what,
    shape,
    data,
    squaredNorm,
    rank,
    mask,
    modes,
    fitted: typeof init === 'object',
  }
}

function checkNumbers(what: string, { maxIterations = 100, tolerance = 0, restarts = 1 }: CpOptions): void {
  if (!(Number.isSafeInteger(maxIterations) && maxIterations >= 0))
    fail('INVALID_ARGUMENT', `${what}: maxIterations must be a whole number from 0; got ${maxIterations}.`)
  if (!(tolerance >= 0)) fail('INVALID_ARGUMENT', `${what}: tolerance must be 0 or more; got ${tolerance}.`)
  if (!(Number.isSafeInteger(restarts) && restarts >= 1))
    fail('INVALID_ARGUMENT', `${what}: restarts must be a whole number from 1; got ${restarts}.`)
}

function checkInit(what: string, tensor: Tensor, rank: number, init: CpTensor): void {
  const given = validateCpTensor(init)
  if (given.shape.join() !== tensor.shape.join() || given.rank !== rank)
    fail(
      'SHAPE_MISMATCH',
      `${what}: a CP tensor to start from must have its shape and rank ${rank}; ` +
        `got [${given.shape.join(', ')}] of rank ${given.rank}.`,
    )
  const { dtype } = init.factors[0]!
  if (dtype !== tensor.dtype)
    fail(
      'INVALID_ARGUMENT',
      `${what}: a CP tensor to start from must have its type ${tensor.dtype}; got ${dtype}. Convert one of them.`,
    )
  for (const [mode, factor] of init.factors.entries())
    checkFinite(factor.data as Reals, `${what}: init, factor ${mode}`)
  if (init.weights) checkFinite(init.weights.data as Reals, `${what}: init, weights`)
}

/** 1 where the mask is not 0; `undefined` when it is nowhere 0. */
function observed(what: string, tensor: Tensor, mask: Tensor): Uint8Array | undefined {
  if (mask.shape.join() !== tensor.shape.join())
    fail('SHAPE_MISMATCH', `${what}: the mask must have the tensor's shape; got [${mask.shape.join(', ')}].`)
  if (mask.dtype === 'string') fail('UNSUPPORTED', `${what}: the mask must hold numbers or booleans; got strings.`)
  const values = mask.data
  const out = new Uint8Array(values.length)
  let count = 0
  for (let at = 0; at < out.length; at++) if (Number(values[at]) !== 0) count += out[at] = 1
  if (count === 0) fail('INVALID_ARGUMENT', `${what}: the mask must leave observed elements; all are missing.`)
  return count === out.length ? undefined : out
}

function squaredNormOf(data: Reals, mask: Uint8Array | undefined): number {
  let sum = sumOfSquares(data)
  if (mask) for (let at = 0; at < data.length; at++) if (mask[at] === 0) sum -= data[at]! ** 2
  return sum
}

/** Missing elements replaced by the mean of the others: what sweeps begin with. */
function withMeanWhereMissing(data: Reals, mask: Uint8Array): Reals {
  let sum = 0
  let count = 0
  for (let at = 0; at < data.length; at++)
    if (mask[at] !== 0) {
      sum += data[at]!
      count++
    }
  const out = data.slice()
  for (let at = 0; at < out.length; at++) if (mask[at] === 0) out[at] = sum / count
  return out
}
