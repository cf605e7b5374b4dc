/**
 * Factors fitted to the layer's output on data instead of to its weight.
 *
 * With C the covariance of the input patches, the error of the output is tr((W − Ŵ) C (W − Ŵ)ᵀ).
 * - Where the first stage carries the whole kernel, the optimum is closed: project on the leading eigenvectors of the
 *   output's covariance W C Wᵀ (principal components of the responses: Zhang et al., TPAMI 2016, eq. 5).
 * - Otherwise the first stage F comes from the weight whitened by the covariance of its rows, and everything after it is
 *   the least-squares answer L = W C Tᵀ (T C Tᵀ)⁻¹, T being F as a map of patches; for Tucker-2, L is cut to the
 *   output rank optimally (reduced-rank regression: Izenman, J. Multivariate Analysis 5, 1975).
 * - CP and trains have no closed optimum: see `fit-last.ts`.
 * The mean of what is lost goes into the bias.
 * A layer behind compressed ones is fitted to the original output from the input it really gets (asymmetric
 * reconstruction: Zhang et al., section 3.3): the target is then the best dense weight for that input.
 */
import { type Matrix64, type MatrixEngine, solveSymmetricPositive, symmetricEigen } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { type FactorOptions, type GroupFactors, squaredNorm } from './factor.ts'
import { type Fit, fitLast } from './fit-last.ts'
import { type GroupKernel, type Reals, splitTaps, swapLeading } from './kernel.ts'
import { asFloat64, type GroupMoments, outputGram, symmetrize, trace, whiten } from './moments.ts'
import type { FormVariant, Ranks } from './stage.ts'

/** Data-aware factors of one group. */
export interface FittedFactors extends GroupFactors {
  /** Mean squared error of the group's output on the data, and the output's own variance. */
  readonly outputSquaredError: number
  readonly outputSquaredNorm: number
  /** What to add to the bias, `[out]`. */
  readonly biasShift: Float64Array
}

/** Fits one group's factors to the moments of its input. */
export async function fitGroup(
  engine: MatrixEngine,
  own: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  moments: GroupMoments,
  options: FactorOptions = {},
): Promise<FittedFactors> {
  const { target } = moments
  const kernel = target ? { ...own, data: target.weight } : own
  const stages = variant.stages(ranks)
  const weight = { rows: kernel.outputs, cols: kernel.inputs * kernel.taps, data: asFloat64(kernel.data) }
  const response = await outputGram(engine, kernel, moments)
  const firstCarriesAll = stages[0]!.carries.every((own) => own)
  const fitted =
    variant.form === 'cp' || variant.form === 'tt'
      ? await fitLast(engine, kernel, site, variant, ranks, moments, options)
      : firstCarriesAll
        ? await fitResponses(engine, weight, response, ranks.rank!)
        : await fitAfterFirst(engine, kernel, site, variant, ranks, moments, weight)
  const lost = difference(weight, fitted.product)
  const left = await engine.multiply(lost, { rows: weight.cols, cols: weight.cols, data: moments.covariance })
  let outputError = 0
  for (let i = 0; i < left.data.length; i++) outputError += left.data[i]! * lost.data[i]!
  return {
    stages: fitted.stages,
    squaredError: squaredDistance(own.data, fitted.product.data),
    squaredNorm: squaredNorm(own.data),
    outputSquaredError: Math.max(0, outputError) + (target?.residual ?? 0),
    outputSquaredNorm: target?.variance ?? trace(response),
    biasShift: multiplyVector(lost, moments.mean).map((value, o) => value + (target?.shift[o] ?? 0)),
  }
}

async function fitResponses(engine: MatrixEngine, weight: Matrix64, response: Matrix64, rank: number): Promise<Fit> {
  const { vectors } = await symmetricEigen(engine, response, { count: rank })
  const first = await engine.multiply(vectors!, weight, { transposeA: true })
  return { stages: { first: first.data, last: vectors!.data }, product: await engine.multiply(vectors!, first) }
}

async function fitAfterFirst(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  moments: GroupMoments,
  weight: Matrix64,
): Promise<Fit> {
  const { inputs, outputs } = kernel
  const [firstStage] = variant.stages(ranks)
  const split = splitTaps(site.kernel, firstStage!.carries)
  const rank = firstStage!.outputs
  const { whitened, matrix } = await whiten(engine, kernel, site, firstStage!.carries, moments)
  const { vectors } = await symmetricEigen(engine, await engine.gram(whitened), { count: rank })
  // Patches are whitened by L⁻¹, so the projection is Uᵀ L⁻¹ ∝ Uᵀ (Lᵀ M) Mᵀ; this form needs no inverse.
  const projected = await engine.multiply(vectors!, whitened, { transposeA: true })
  const first = normalizeRows(await engine.multiply(projected, matrix, { transposeB: true }))
  const map = patchMap(first, inputs, kernel.taps, split)
  const covariance = { rows: weight.cols, cols: weight.cols, data: moments.covariance }
  const mapped = await engine.multiply(map, covariance)
  const normal = symmetrize(await engine.multiply(mapped, map, { transposeB: true }))
  const right = await engine.multiply(mapped, weight, { transposeB: true })
  const { solution } = await solveSymmetricPositive(engine, normal, right)
  // [(r, b), o] → [o, (r, b)]
  const rest = {
    rows: outputs,
    cols: rank * split.restCount,
    data: swapLeading(solution.data, rank * split.restCount, outputs, 1),
  }
  if (variant.form !== 'tucker')
    return { stages: { first: first.data, last: rest.data }, product: await engine.multiply(rest, map) }
  const explained = symmetrize(await engine.multiply(rest, right))
  const output = (await symmetricEigen(engine, explained, { count: ranks.output! })).vectors!
  const core = await engine.multiply(output, rest, { transposeA: true })
  const product = await engine.multiply(output, await engine.multiply(core, map))
  return { stages: { first: first.data, core: core.data, last: output.data }, product }
}

/** Scales rows to length 1: the solve that follows is then well scaled. */
function normalizeRows(matrix: Matrix64): Matrix64 {
  const { rows, cols, data } = matrix
  for (let r = 0; r < rows; r++) {
    const row = data.subarray(r * cols, (r + 1) * cols)
    const length = Math.sqrt(squaredNorm(row)) || 1
    for (let c = 0; c < cols; c++) row[c]! /= length
  }
  return matrix
}

/** The first stage as a map of whole patches: `[(r, b), (i, t)]`, zero where b is not the tap's own remainder. */
function patchMap(first: Matrix64, inputs: number, taps: number, split: ReturnType<typeof splitTaps>): Matrix64 {
  const { carried, rest, carriedCount, restCount } = split
  const d = inputs * taps
  const data = new Float64Array(first.rows * restCount * d)
  for (let r = 0; r < first.rows; r++)
    for (let i = 0; i < inputs; i++)
      for (let t = 0; t < taps; t++)
        data[(r * restCount + rest[t]!) * d + i * taps + t] =
          first.data[r * first.cols + i * carriedCount + carried[t]!]!
  return { rows: first.rows * restCount, cols: d, data }
}

function difference(a: Matrix64, b: Matrix64): Matrix64 {
  return { rows: a.rows, cols: a.cols, data: a.data.map((value, i) => value - b.data[i]!) }
}

function squaredDistance(a: Reals, b: Reals): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return sum
}

function multiplyVector(matrix: Matrix64, vector: Float64Array): Float64Array {
  const out = new Float64Array(matrix.rows)
  for (let i = 0; i < matrix.rows; i++)
    for (let j = 0; j < matrix.cols; j++) out[i]! += matrix.data[i * matrix.cols + j]! * vector[j]!
  return out
}
