/**
 * Tensor trains from tensors by successive singular value decompositions (TT-SVD), of given ranks or of the least ranks
 * that keep a given error.
 *
 * Source: Oseledets, "Tensor-train decomposition", SIAM J. Sci. Comput. 33(5), 2011, algorithm 1 and theorem 2.2.
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import {
  type RankRule,
  sizeOf,
  type Tensor,
  type TtMatrix,
  type TtTensor,
  transposeTensor,
  validateTtRank,
} from '../tensor/index.ts'
import { projectionError, squaredDistance } from './low-rank.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { sumOfSquares } from './matrix-layout.ts'
import { checkTensor, type Reals, shapeText, tensorOf } from './real-tensor.ts'
import { type StepOptions, type StepRule, trainStep } from './train-step.ts'

/** The least ranks with ‖A − B‖ ≤ error · ‖A‖. */
export interface TrainErrorBound {
  /** Relative, from 0 on; the rounding of the elements (10⁻⁷ for float32, 10⁻¹⁴ for float64) is the least that is kept. */
  readonly error: number
  /** Ranks between cores are at most this, whatever the error; default unlimited. */
  readonly maxRank?: number
}

/** Options of {@link tensorTrain}. */
export interface TensorTrainOptions extends TaskOptions {
  /**
   * `'gram'`: eigenvectors of Gram matrices. `'exact'`: full singular value decompositions, also right where singular
   * values below 10⁻⁸ of the largest matter, and many times slower. `'randomized'`: range finders for unfoldings of more
   * than 1,600 rows and columns, of given ranks only. Default `'auto'`: `'exact'` for error bounds below 10⁻⁵, else
   * `'randomized'`.
   */
  readonly method?: 'auto' | 'gram' | 'exact' | 'randomized'
  /** Of the range finders; default 0. */
  readonly seed?: number
}

/** A tensor train and how far it is from the tensor. */
export interface TensorTrain extends TtTensor {
  /** ‖A − B‖ / ‖A‖; 0 for A = 0. */
  readonly relativeError: number
}

/** A tensor-train matrix and how far it is from the matrix. */
export interface TensorTrainMatrix extends TtMatrix {
  /** ‖A − B‖ / ‖A‖; 0 for A = 0. */
  readonly relativeError: number
}

/** Ranks as {@link tensorTrain} takes them. */
export type TrainRanks = RankRule | readonly number[] | TrainErrorBound

/**
 * The tensor train of a tensor.
 *
 * At given ranks the error is at most √(N−1) times the least one; with an error bound it is kept up to rounding (about
 * 10⁻⁶ for float32, 10⁻¹⁴ for float64). All cores but the last are orthonormal: `[r·i, r′]` has orthonormal columns.
 * Ranks above those of the exact train are lowered to them. Extra memory: about `r_1 / i_0` of the tensor and some tens
 * of megabytes.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64; the cores have its type. Not written to.
 * @param ranks as `validateTtRank` takes them (`'same'`, a fraction of the parameters, one integer, or r_0 … r_N), or
 *   `{ error }`.
 * @returns cores `[r_k, i_k, r_{k+1}]`.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see Oseledets 2011, algorithm 1.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = ttToTensor(randomTt([6, 7, 8], [1, 3, 2, 1], { seed: 1 }))
 * const { factors, relativeError } = await tensorTrain(engine, x, { error: 1e-10 })
 * console.log(factors.map(({ shape }) => shape), relativeError < 1e-10)
 */
export async function tensorTrain(
  engine: MatrixEngine,
  tensor: Tensor,
  ranks: TrainRanks,
  { method = 'auto', seed = 0, signal, onProgress }: TensorTrainOptions = {},
): Promise<TensorTrain> {
  const { data, energy } = checkTensor(tensor, 'Tensor train')
  const { shape } = tensor
  const rules = stepRules(shape, ranks, energy, data instanceof Float32Array ? 1e-7 : 1e-14)
  const chosen = method === 'auto' ? automaticMethod(ranks) : method
  const options: StepOptions = { method: chosen, seed, signal }
  const factors: Tensor[] = []
  let leftOut = 0
  let rest: Matrix<Reals> = { rows: 1, cols: tensor.size, data }
  for (const [k, extent] of shape.slice(0, -1).entries()) {
    checkAborted(signal)
    onProgress?.({ stage: 'tensor train', done: k, total: shape.length - 1 })
    const matrix = { rows: rest.rows * extent, cols: rest.cols / extent, data: rest.data }
    const step = await trainStep(engine, matrix, rules(k, leftOut), options)
    factors.push(tensorOf(data, step.basis.data, [rest.rows, extent, step.basis.cols]))
    leftOut += step.leftOut
    rest = step.rest
  }
  factors.push(tensorOf(data, rest.data, [rest.rows, rest.cols, 1]))
  onProgress?.({ stage: 'tensor train', done: shape.length - 1, total: shape.length - 1 })
  const relativeError = await projectionError(energy, sumOfSquares(rest.data), () =>
    squaredTrainDistance(engine, tensor, factors),
  )
  return { factors, relativeError }
}

function automaticMethod(ranks: TrainRanks): StepOptions['method'] {
  return typeof ranks === 'object' && 'error' in ranks && ranks.error < SMALLEST_GRAM_ERROR ? 'exact' : 'randomized'
}

/** Tails below this are lost in the rounding of Gram matrices. */
const SMALLEST_GRAM_ERROR = 1e-5
/** Of the error, kept for rounding. */
const RESERVE = 1e-4

/** What each step may leave out, from what those before it did leave out. */
export function stepRules(
  shape: readonly number[],
  ranks: TrainRanks,
  energy: number,
  rounding: number,
): (step: number, leftOut: number) => StepRule {
  const steps = shape.length - 1
  if (typeof ranks !== 'object' || !('error' in ranks)) {
    const list = validateTtRank(shape, ranks)
    return (step) => ({ rank: list[step + 1]! })
  }
  const { error, maxRank = Number.POSITIVE_INFINITY } = ranks
  if (!(error >= 0))
    fail('INVALID_ARGUMENT', `Tensor train of ${shapeText(shape)}: error must be a number from 0; got ${error}.`)
  if (!(maxRank >= 1))
    fail('RANK_OUT_OF_RANGE', `Tensor train of ${shapeText(shape)}: maxRank must be 1 or more; got ${maxRank}.`)
  const allowed = energy * Math.min(1, Math.max(rounding, error * (1 - RESERVE))) ** 2
  // Errors of the steps are orthogonal to each other: what one does not use is left for the others.
  return (step, leftOut) => ({
    rank: Math.floor(Math.min(maxRank, Number.MAX_SAFE_INTEGER)),
    slack: Math.max(0, allowed - leftOut) / (steps - step),
  })
}

/** ‖A − train‖², from two halves of the train, some rows at a time. */
async function squaredTrainDistance(engine: MatrixEngine, tensor: Tensor, factors: readonly Tensor[]): Promise<number> {
  const { shape } = tensor
  if (factors.length === 1) return 0
  // The cut with the smallest halves.
  const numbersAt = (cut: number): number =>
    factors[cut]!.shape[0]! * (sizeOf(shape.slice(0, cut)) + sizeOf(shape.slice(cut)))
  let cut = shape.length - 1
  for (let k = 1; k < shape.length; k++) if (numbersAt(k) < numbersAt(cut)) cut = k
  const matrices = factors.map((factor) => {
    const [r, extent, next] = factor.shape as [number, number, number]
    return { r, cols: extent * next, data: factor.data as Reals }
  })
  const chain = async (from: number, to: number): Promise<Reals> => {
    let product = matrices[from]!.data
    for (const { r, cols, data } of matrices.slice(from + 1, to))
      product = (await engine.multiply({ rows: product.length / r, cols: r, data: product }, { rows: r, cols, data }))
        .data
    return product
  }
  const r = matrices[cut]!.r
  const [rows, cols] = [sizeOf(shape.slice(0, cut)), sizeOf(shape.slice(cut))]
  const left = await chain(0, cut)
  const whole = { rows, cols, data: tensor.data as Reals }
  return squaredDistance(
    engine,
    whole,
    { rows, cols: r, data: left },
    { rows: r, cols, data: await chain(cut, factors.length) },
  )
}

/** Options of {@link tensorTrainMatrix}. */
export interface TensorTrainMatrixOptions extends TensorTrainOptions {
  /** `[m_0, …, m_{d−1}]`, whose product is the number of rows; with `colShape`. */
  readonly rowShape?: readonly number[]
  /** `[n_0, …, n_{d−1}]`, whose product is the number of columns; with `rowShape`. */
  readonly colShape?: readonly number[]
  /** As {@link tensorTrain} takes them, of the train over the modes m_k n_k; default `'same'`. */
  readonly ranks?: TrainRanks
}

/**
 * The tensor-train matrix of a matrix or of a matrix that is already split into modes.
 *
 * @param tensor with `rowShape` and `colShape`: a matrix `[Π m_k, Π n_k]`; otherwise `[m_0, …, m_{d−1}, n_0, …, n_{d−1}]`.
 *   float32 or float64; the cores have its type. Not written to.
 * @returns cores `[r_k, m_k, n_k, r_{k+1}]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see Oseledets, "Approximation of 2^d × 2^d matrices using tensor decomposition", SIAM J. Matrix Anal. Appl. 31(4), 2010.
 * @example
 * const engine = createPlainMatrixEngine()
 * const weight = randomTensor([32, 36], { seed: 1 })
 * const train = await tensorTrainMatrix(engine, weight, { rowShape: [4, 8], colShape: [6, 6], ranks: 5 })
 * console.log(train.factors.map(({ shape }) => shape))
 */
export async function tensorTrainMatrix(
  engine: MatrixEngine,
  tensor: Tensor,
  { rowShape, colShape, ranks = 'same', ...options }: TensorTrainMatrixOptions = {},
): Promise<TensorTrainMatrix> {
  const [left, right] = splitShape(tensor.shape, rowShape, colShape)
  const count = left.length
  // [m_0, m_1, …, n_0, n_1, …] → [m_0, n_0, m_1, n_1, …]
  const order = left.flatMap((_, k) => [k, count + k])
  checkTensor(tensor, 'Tensor-train matrix')
  const paired = transposeTensor(tensor.reshape([...left, ...right]), order)
  const train = await tensorTrain(engine, paired.reshape(left.map((extent, k) => extent * right[k]!)), ranks, options)
  const factors = train.factors.map((factor, k) =>
    factor.reshape([factor.shape[0]!, left[k]!, right[k]!, factor.shape[2]!]),
  )
  return { factors, relativeError: train.relativeError }
}

/** Row and column modes, equally many. */
function splitShape(
  shape: readonly number[],
  rowShape: readonly number[] | undefined,
  colShape: readonly number[] | undefined,
): [readonly number[], readonly number[]] {
  const what = `Tensor-train matrix of ${shapeText(shape)}`
  if (rowShape && colShape) {
    if (rowShape.length !== colShape.length || rowShape.length === 0)
      fail(
        'SHAPE_MISMATCH',
        `${what}: rows and columns must be split into the same number of modes; got ${shapeText(rowShape)} and ` +
          `${shapeText(colShape)}.`,
      )
    if (shape.length !== 2 || sizeOf(rowShape) !== shape[0] || sizeOf(colShape) !== shape[1])
      fail(
        'SHAPE_MISMATCH',
        `${what}: modes ${shapeText(rowShape)} × ${shapeText(colShape)} split a matrix ` +
          `[${sizeOf(rowShape)}, ${sizeOf(colShape)}]; choose modes with these products.`,
      )
    return [rowShape, colShape]
  }
  if (rowShape || colShape)
    fail('INVALID_ARGUMENT', `${what}: give both rowShape and colShape, or neither for a tensor that is already split.`)
  const count = shape.length / 2
  if (!Number.isInteger(count) || count === 0)
    fail(
      'SHAPE_MISMATCH',
      `${what}: the tensor must have as many row modes as column modes; got ${shape.length} modes. Give rowShape and colShape to split a matrix.`,
    )
  return [shape.slice(0, count), shape.slice(count)]
}
