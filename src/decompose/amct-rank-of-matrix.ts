/** AMCT's rank of a matrix, without its exact spectrum where that would take minutes and change nothing. */
import type { TaskOptions } from '../core/index.ts'
import { type AmctKernel, type AmctRank, amctMatrixShape, clampAmctRank } from './amct-rank.ts'
import { evbmf } from './evbmf.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { estimateSingularValues } from './spectrum-estimate.ts'
import { singularValues } from './svd.ts'

/** Options of {@link amctRankOfMatrix}. */
export interface AmctRankOptions extends TaskOptions {
  /** Always compute all singular values; default false. */
  readonly exact?: boolean
  /** Of the estimate; default 0. */
  readonly seed?: number
}

/** All eigenvalues of a Gram matrix of this size take about two seconds; the time grows with the cube. */
const LARGEST_QUICK = 2048

/**
 * AMCT's rank of a weight, as {@link amctRank}.
 *
 * AMCT clamps EVBMF's rank to a narrow window and rounds it, so that for large layers an estimate of the spectrum decides:
 * it is used when every raw rank within its error gives the same answer, and the exact spectrum otherwise.
 *
 * @param a the matrix of {@link amctMatrixShape}, or its transpose.
 * @returns the rank; `raw` is an estimate (within a few percent) when `estimated`.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `ABORTED`.
 * @example
 * const engine = createPlainMatrixEngine()
 * const kernel = { outputChannels: 16, inputChannels: 8, kernelHeight: 3, kernelWidth: 3 }
 * const weight = randomTensor([24, 48], { seed: 1 })
 * const a = { rows: 24, cols: 48, data: weight.data as Float64Array }
 * console.log(await amctRankOfMatrix(engine, a, kernel))
 */
export async function amctRankOfMatrix(
  engine: MatrixEngine,
  a: Matrix,
  kernel: AmctKernel,
  { exact = false, seed = 0, ...task }: AmctRankOptions = {},
): Promise<AmctRank & { readonly estimated: boolean }> {
  const [l, m] = amctMatrixShape(kernel)
  const rankFrom = (values: Float64Array): number => evbmf(values, l, m).rank
  if (!exact && l > LARGEST_QUICK) {
    const raw = rankFrom(await estimateSingularValues(engine, a, { seed, ...task }))
    const slack = 16 + Math.ceil(0.1 * raw)
    const answer = clampAmctRank(raw, kernel)
    const extremes = [clampAmctRank(Math.max(0, raw - slack), kernel), clampAmctRank(raw + slack, kernel)]
    if (extremes.every(({ rank }) => rank === answer.rank)) return { ...answer, estimated: true }
  }
  return { ...clampAmctRank(rankFrom(await singularValues(engine, a, task)), kernel), estimated: false }
}
