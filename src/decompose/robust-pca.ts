/**
 * Robust principal component analysis of matrices and tensors: X = D + E with D of low (multilinear) rank and E sparse.
 *
 * Minimises Σₙ ‖D₍ₙ₎‖_* + λ ‖E‖₁ over D + E = X by the alternating direction method of multipliers, with a copy of D for
 * the unfolding of every mode and a penalty that grows from step to step.
 *
 * Sources: Candès, Li, Ma, Wright, "Robust principal component analysis?", J. ACM 58(3), 2011 (matrices, and λ); Goldfarb,
 * Qin, "Robust low-rank tensor recovery: models and algorithms", SIAM J. Matrix Anal. Appl. 35(1), 2014, section 3
 * (tensors); Lin, Chen, Ma, "The augmented Lagrange multiplier method for exact recovery of corrupted low-rank matrices",
 * arXiv:1009.5055, 2010 (the growing penalty).
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { modeGram } from './gram.ts'
import type { MatrixEngine } from './matrix.ts'
import { arrayLike, columnRange, sumOfSquares, toTypeOf } from './matrix-layout.ts'
import { checkTensor, type Reals, shapeText, tensorOf } from './real-tensor.ts'
import { symmetricEigen } from './symmetric-eigen.ts'
import { aroundMode } from './tucker/mode-products.ts'
import { observedElements, withMeanForMissing } from './tucker/observed.ts'

/** Options of {@link robustPca}. */
export interface RobustPcaOptions extends TaskOptions {
  /**
   * λ, the weight of ‖E‖₁ against nuclear norms. Larger: a sparser E and a D of higher rank. Default 1 / √i with
   * the largest extent i, the theory's choice for matrices and within the range that recovers tensors too.
   */
  readonly lambda?: number
  /** Of the tensor's shape, 0 where elements are missing: there D is estimated and E is 0. */
  readonly mask?: Tensor
  /** Stops when D + E and the copies of D are this near to X and D, relative to ‖X‖; default 1e-6. */
  readonly tolerance?: number
  /** Most steps; default 500. */
  readonly maxIterations?: number
  /** First penalty; default 1.25 over the largest singular value of the unfoldings. */
  readonly penalty?: number
  /** Growth of the penalty per step, above 1; default 1.1. Closer to 1: nearer the minimum, more steps. */
  readonly growth?: number
}

/** What {@link robustPca} found. */
export interface RobustPca {
  /** D, of the tensor's shape. */
  readonly lowRank: Tensor
  /** E, of the tensor's shape; 0 where elements are missing. */
  readonly sparse: Tensor
  /** Rank of every mode's unfolding in the last step; for a matrix both are its rank. */
  readonly ranks: readonly number[]
  /** ‖X − D − E‖ / ‖X‖ over what is not missing, after every step. */
  readonly errors: readonly number[]
  readonly iterations: number
  readonly converged: boolean
}

/**
 * Splits a matrix or tensor into a part of low rank and a sparse part.
 *
 * Every step decomposes the unfolding of every mode. Extra memory: 2N + 4 tensors of this size (6 for a matrix).
 *
 * @param tensor `[i_0, …, i_{N−1}]` with N ≥ 2, float32 or float64; results have its type. Not written to.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`, `SHAPE_MISMATCH`, `NOT_FINITE`, `ABORTED`.
 * @see Goldfarb, Qin 2014, algorithm 1.
 * @example
 * const low = ttToTensor(randomTt([30, 40], [1, 2, 1], { seed: 1 }))
 * const x = Tensor.of(toFloat64(low).map((value, i) => (i % 29 === 0 ? value + 10 : value)), [30, 40])
 * const { lowRank, ranks } = await robustPca(createPlainMatrixEngine(), x)
 * const rest = toFloat64(low).map((value, i) => value - toFloat64(lowRank)[i]!)
 * console.log(ranks, norm(Tensor.of(rest, [30, 40])) / norm(low) < 1e-5)
 */
export async function robustPca(
  engine: MatrixEngine,
  tensor: Tensor,
  options: RobustPcaOptions = {},
): Promise<RobustPca> {
  const { tolerance = 1e-6, maxIterations = 500, growth = 1.1, signal, onProgress } = options
  const what = 'Robust PCA'
  const observed = options.mask && observedElements(tensor, options.mask, what)
  const { data, energy } = checkTensor(observed ? withoutMissing(tensor, observed) : tensor, what)
  const { shape } = tensor
  checkOptions(shape, options)
  // Both unfoldings of a matrix have the same singular values: one copy does.
  const modes = shape.length === 2 ? [0] : [...shape.keys()]
  const scale = Math.sqrt(energy) || 1
  const lambda = options.lambda ?? 1 / Math.sqrt(Math.max(...shape))
  let penalty = options.penalty ?? 1.25 / (await largestSingularValue(engine, shape, modes, data))
  const state: State = {
    x: data,
    low: arrayLike(data, data.length),
    sparse: arrayLike(data, data.length),
    gap: arrayLike(data, data.length),
    copies: modes.map(() => arrayLike(data, data.length)),
    duals: modes.map(() => arrayLike(data, data.length)),
  }
  const errors: number[] = []
  let ranks: number[] = []
  let converged = false
  while (!converged && errors.length < maxIterations) {
    checkAborted(signal)
    ranks = await shrinkCopies(engine, shape, modes, state, penalty, signal)
    const fit = splitStep(state, lambda / penalty, penalty, observed)
    errors.push(fit.outside / scale)
    onProgress?.({ stage: 'robust pca', done: errors.length, total: maxIterations })
    converged = Math.max(fit.outside, fit.between) <= tolerance * scale
    penalty *= growth
  }
  return {
    lowRank: tensorOf(data, state.low, shape),
    sparse: tensorOf(data, state.sparse, shape),
    ranks: shape.length === 2 ? [ranks[0]!, ranks[0]!] : ranks,
    errors,
    iterations: errors.length,
    converged,
  }
}

function withoutMissing(tensor: Tensor, observed: Uint8Array): Tensor {
  if (tensor.dtype !== 'float32' && tensor.dtype !== 'float64') return tensor
  const data = tensor.data as Reals
  return tensorOf(data, withMeanForMissing(data, observed), tensor.shape)
}

function checkOptions(shape: readonly number[], options: RobustPcaOptions): void {
  const what = `Robust PCA of ${shapeText(shape)}`
  if (shape.length < 2) fail('INVALID_ARGUMENT', `${what}: needs a matrix or a tensor of more modes.`)
  const { lambda = 1, penalty = 1, growth = 2, tolerance = 0, maxIterations = 1 } = options
  if (!(lambda > 0 && penalty > 0))
    fail('INVALID_ARGUMENT', `${what}: lambda and penalty must be positive; got ${lambda} and ${penalty}.`)
  if (!(growth >= 1)) fail('INVALID_ARGUMENT', `${what}: growth must be 1 or more; got ${growth}.`)
  if (!(tolerance >= 0)) fail('INVALID_ARGUMENT', `${what}: tolerance must be a number from 0; got ${tolerance}.`)
  if (!(Number.isInteger(maxIterations) && maxIterations >= 1))
    fail('INVALID_ARGUMENT', `${what}: maxIterations must be an integer from 1; got ${maxIterations}.`)
}

async function largestSingularValue(
  engine: MatrixEngine,
  shape: readonly number[],
  modes: readonly number[],
  data: Reals,
): Promise<number> {
  let largest = 0
  for (const mode of modes) {
    const gram = await modeGram(engine, data, aroundMode(shape, mode))
    const { values } = await symmetricEigen(engine, gram, { vectors: false })
    largest = Math.max(largest, values[0]!)
  }
  return Math.sqrt(largest) || 1
}

/** All arrays are of the tensor's size. */
interface State {
  readonly x: Reals
  /** D */
  readonly low: Reals
  /** E */
  readonly sparse: Reals
  /** The multiplier of X = D + E, over the penalty. */
  readonly gap: Reals
  /** Jₙ, the copies of D. */
  readonly copies: Reals[]
  /** The multipliers of D = Jₙ. */
  readonly duals: readonly Reals[]
}

/** Jₙ ← D + Yₙ / μ with the singular values of its unfolding lowered by 1 / μ. @returns ranks. */
async function shrinkCopies(
  engine: MatrixEngine,
  shape: readonly number[],
  modes: readonly number[],
  { low, copies, duals }: State,
  penalty: number,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const ranks: number[] = []
  for (const [at, mode] of modes.entries()) {
    const dual = duals[at]!
    const target = arrayLike(low, low.length)
    for (let i = 0; i < target.length; i++) target[i] = low[i]! + dual[i]! / penalty
    const { data, rank } = await shrinkSingularValues(engine, target, aroundMode(shape, mode), 1 / penalty, signal)
    copies[at] = data
    ranks.push(rank)
  }
  return ranks
}

/** Singular value thresholding of the middle mode's unfolding, from whichever side is shorter. */
async function shrinkSingularValues(
  engine: MatrixEngine,
  data: Reals,
  dims: readonly [before: number, extent: number, after: number],
  threshold: number,
  signal: AbortSignal | undefined,
): Promise<{ data: Reals; rank: number }> {
  const [before, extent, after] = dims
  const others = before * after
  // The longer side of a matrix is not worth its Gram matrix; unfoldings that are not matrices in memory are rarely tall.
  const tall = extent > others && (before === 1 || after === 1)
  const [rows, cols] = after === 1 ? [others, extent] : [extent, others]
  const along: [number, number, number] = tall ? (after === 1 ? [1, rows, cols] : [rows, cols, 1]) : [...dims]
  const gram = await modeGram(engine, data, along, { signal })
  const { values, vectors } = await symmetricEigen(engine, gram, { signal })
  const rank = values.findIndex((value) => !(Math.sqrt(Math.max(0, value)) > threshold))
  const kept = rank < 0 ? values.length : rank
  if (kept === 0) return { data: arrayLike(data, data.length), rank: 0 }
  const basis = columnRange(vectors!, 0, kept)
  const scaled = { ...basis, data: basis.data.slice() }
  for (let at = 0; at < scaled.data.length; at++)
    scaled.data[at] = scaled.data[at]! * (1 - threshold / Math.sqrt(values[at % kept]!))
  const projected = await engine.multiplySlices(toTypeOf(basis, data), { dims: along, data }, { transposeA: true })
  return { data: (await engine.multiplySlices(toTypeOf(scaled, data), projected)).data, rank: kept }
}

/** Updates D, E and the multipliers, element by element. @returns ‖X − D − E‖ and the largest ‖D − Jₙ‖. */
function splitStep(
  { x, low, sparse, gap, copies, duals }: State,
  threshold: number,
  penalty: number,
  observed: Uint8Array | undefined,
): { outside: number; between: number } {
  let outside = 0
  for (let i = 0; i < x.length; i++) {
    let sum = 0
    for (let n = 0; n < copies.length; n++) sum += copies[n]![i]! - duals[n]![i]! / penalty
    // Nothing is known of missing elements: D there is what its copies say.
    if (observed && !observed[i]) {
      low[i] = sum / copies.length
      continue
    }
    const pull = gap[i]! / penalty
    low[i] = (sum + x[i]! - sparse[i]! + pull) / (copies.length + 1)
    const rest = x[i]! - low[i]! + pull
    sparse[i] = Math.sign(rest) * Math.max(0, Math.abs(rest) - threshold)
    const difference = x[i]! - low[i]! - sparse[i]!
    outside += difference * difference
    gap[i] = gap[i]! + penalty * difference
  }
  let between = 0
  for (const [n, copy] of copies.entries()) {
    const dual = duals[n]!
    for (let i = 0; i < x.length; i++) {
      const difference = low[i]! - copy[i]!
      dual[i] = dual[i]! + penalty * difference
      copy[i] = difference
    }
    between = Math.max(between, sumOfSquares(copy))
  }
  return { outside: Math.sqrt(outside), between: Math.sqrt(between) }
}
