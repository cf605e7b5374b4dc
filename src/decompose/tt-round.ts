/**
 * Rounding of tensor trains: a train of lower ranks near a given one, without the full tensor.
 *
 * Source: Oseledets, "Tensor-train decomposition", SIAM J. Sci. Comput. 33(5), 2011, algorithm 2.
 */
import { checkAborted, type TaskOptions } from '../core/index.ts'
import { type Tensor, type TtTensor, toFloat64, validateTtTensor } from '../tensor/index.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { checkFinite, sumOfSquares, transposed } from './matrix-layout.ts'
import { thinQr } from './qr.ts'
import { type Reals, tensorOf } from './real-tensor.ts'
import { stepRules, type TensorTrain, type TrainRanks } from './tensor-train.ts'
import { trainStep } from './train-step.ts'

/**
 * A tensor train with lower ranks.
 *
 * At given ranks the error is at most √(N−1) times the least one; with an error bound it is kept. Everything is computed
 * in float64, about N · i · r³ operations; all cores but the last become orthonormal.
 *
 * @param train cores `[r_k, i_k, r_{k+1}]`, float32 or float64; results have their type. Not written to.
 * @param ranks as `tensorTrain` takes them; ranks are never raised.
 * @returns cores and the error relative to the given train.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see Oseledets 2011, algorithm 2.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = randomTensor([6, 7, 8], { seed: 1 })
 * const train = await tensorTrain(engine, x, 'same')
 * const rounded = await ttRound(engine, train, 2)
 * console.log(validateTtTensor(rounded).rank)
 */
export async function ttRound(
  engine: MatrixEngine,
  train: TtTensor,
  ranks: TrainRanks,
  { signal, onProgress }: TaskOptions = {},
): Promise<TensorTrain> {
  const { shape } = validateTtTensor(train)
  for (const [k, { data }] of train.factors.entries()) checkFinite(data as Reals, `Rounding a tensor train: core ${k}`)
  const cores = await orthogonalized(engine, train.factors)
  const like = train.factors[0]!.data as Reals
  const energy = sumOfSquares(cores[0]!.data)
  const rules = stepRules(shape, ranks, energy, 1e-14)
  const factors: Tensor[] = []
  let leftOut = 0
  let current = cores[0]!
  let rank = 1
  for (const [k, extent] of shape.slice(0, -1).entries()) {
    checkAborted(signal)
    onProgress?.({ stage: 'round', done: k, total: shape.length - 1 })
    const matrix = { rows: rank * extent, cols: current.data.length / (rank * extent), data: current.data }
    const step = await trainStep(engine, matrix, rules(k, leftOut), { method: 'exact', seed: 0, signal })
    factors.push(tensorOf(like, step.basis.data, [rank, extent, step.basis.cols]))
    leftOut += step.leftOut
    rank = step.basis.cols
    current = await engine.multiply(step.rest, cores[k + 1]!)
  }
  factors.push(tensorOf(like, current.data, [rank, shape.at(-1)!, 1]))
  onProgress?.({ stage: 'round', done: shape.length - 1, total: shape.length - 1 })
  return { factors, relativeError: energy === 0 ? 0 : Math.sqrt(leftOut / energy) }
}

/** Cores as matrices `[r_k, i_k r_{k+1}]`, those after the first with orthonormal rows: the first has all of the norm. */
async function orthogonalized(engine: MatrixEngine, factors: readonly Tensor[]): Promise<Matrix64[]> {
  const cores = factors.map((factor) => {
    const rows = factor.shape[0]!
    return { rows, cols: factor.size / rows, data: toFloat64(factor) }
  })
  for (let k = cores.length - 1; k > 0; k--) {
    // core = Rᵀ Qᵀ; Rᵀ goes to the core before.
    const { q, r } = await thinQr(engine, transposed(cores[k]!))
    cores[k] = transposed(q)
    const before = cores[k - 1]!
    const columns = { rows: before.data.length / r.cols, cols: r.cols, data: before.data }
    const { data } = await engine.multiply(columns, r, { transposeB: true })
    cores[k - 1] = { rows: before.rows, cols: data.length / before.rows, data }
  }
  return cores
}
