/**
 * Data-aware factors of chains that have no closed optimum (CP, trains of kernels): the weight is whitened by the
 * covariance of its input channels, factored, and the first stage taken back; then the last stage is the least-squares
 * answer to everything before it.
 */
import {
  type Matrix64,
  type MatrixEngine,
  solveLowerTransposed,
  solveSymmetricPositive,
} from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { factorCp } from './cp.ts'
import { type FactorOptions, squaredNorm } from './factor.ts'
import { type GroupKernel, swapLeading } from './kernel.ts'
import { asFloat64, type GroupMoments, symmetrize, whiten } from './moments.ts'
import type { FormVariant, Ranks, Stage } from './stage.ts'
import { factorTrain } from './trains.ts'

/** Stages fitted to data, and the weight `[out, in · taps]` that they stand for. */
export interface Fit {
  readonly stages: Readonly<Record<string, Float64Array>>
  readonly product: Matrix64
}

/** Fits a CP chain or a train of a kernel to the moments of the layer's input. */
export async function fitLast(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  ranks: Ranks,
  moments: GroupMoments,
  options: FactorOptions,
): Promise<Fit> {
  const { inputs, outputs, taps } = kernel
  const none = site.kernel.map(() => false)
  const { whitened, factor } = await whiten(engine, kernel, site, none, moments)
  const white = { ...kernel, data: swapLeading(whitened.data, inputs, outputs, taps) }
  const factorWeight = variant.form === 'cp' ? factorCp : factorTrain
  const factored = await factorWeight(engine, white, site, variant, ranks, options)
  const chain = variant.stages(ranks)
  const stages = Object.fromEntries(
    Object.entries(factored.stages).map(([role, data]) => [role, asFloat64(data)] as const),
  )
  // Lᵀ W ≈ … · first, so that W ≈ … · first · L⁻¹: row by row, L⁻ᵀ of it.
  const rank = chain[0]!.outputs
  const turned = { rows: inputs, cols: rank, data: swapLeading(stages.first!, rank, inputs, 1) }
  stages.first = swapLeading((await solveLowerTransposed(engine, factor, turned)).data, inputs, rank, 1)
  const map = await mapBeforeLast(engine, chain, stages, inputs)
  normalizeTerms(map, stages, chain)
  const covariance = { rows: map.cols, cols: map.cols, data: moments.covariance }
  const mapped = await engine.multiply(map, covariance)
  const weight = { rows: outputs, cols: map.cols, data: asFloat64(kernel.data) }
  const normal = symmetrize(await engine.multiply(mapped, map, { transposeB: true }))
  const right = await engine.multiply(mapped, weight, { transposeB: true })
  const { solution } = await solveSymmetricPositive(engine, normal, right)
  const last = { rows: outputs, cols: map.rows, data: swapLeading(solution.data, map.rows, outputs, 1) }
  return { stages: { ...stages, last: last.data }, product: await engine.multiply(last, map) }
}

/** What all stages but the last do to a patch, as one matrix `[r, in · taps]`. */
async function mapBeforeLast(
  engine: MatrixEngine,
  chain: readonly Stage[],
  stages: Readonly<Record<string, Float64Array>>,
  inputs: number,
): Promise<Matrix64> {
  let map: Matrix64 = { rows: chain[0]!.outputs, cols: inputs, data: stages.first! }
  for (const stage of chain.slice(1, -1)) {
    const own = stages[stage.role]!
    map = stage.depthwise ? eachWithTaps(map, own) : await withTaps(engine, map, stage, own)
  }
  return map
}

/** Row r, `[i, t]`, times the r-th row of taps u: `[i, t, u]`. */
function eachWithTaps({ rows, cols, data }: Matrix64, own: Float64Array): Matrix64 {
  const taps = own.length / rows
  const out = new Float64Array(rows * cols * taps)
  let at = 0
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) for (let u = 0; u < taps; u++) out[at++] = data[r * cols + c]! * own[r * taps + u]!
  return { rows, cols: cols * taps, data: out }
}

/** Σ_r own[s, r, u] · map[r, (i, t)], as `[s, (i, t, u)]`. */
async function withTaps(
  engine: MatrixEngine,
  map: Matrix64,
  { inputs: rank, outputs }: Stage,
  own: Float64Array,
): Promise<Matrix64> {
  const taps = own.length / (rank * outputs)
  // [s, r, u] → [r, (s, u)]
  const turned = { rows: rank, cols: outputs * taps, data: swapLeading(own, outputs, rank, taps) }
  const product = await engine.multiply(turned, map, { transposeA: true })
  const out = new Float64Array(product.data.length)
  const { cols } = map
  for (let s = 0; s < outputs; s++)
    for (let u = 0; u < taps; u++)
      for (let c = 0; c < cols; c++) out[(s * cols + c) * taps + u] = product.data[(s * taps + u) * cols + c]!
  return { rows: outputs, cols: cols * taps, data: out }
}

/** Scales the rows of the map to length 1, and the stage before the last with them: the solve is then well scaled. */
function normalizeTerms(map: Matrix64, stages: Record<string, Float64Array>, chain: readonly Stage[]): void {
  const before = stages[chain.at(-2)!.role]!
  const size = before.length / map.rows
  for (let r = 0; r < map.rows; r++) {
    const row = map.data.subarray(r * map.cols, (r + 1) * map.cols)
    const length = Math.sqrt(squaredNorm(row)) || 1
    for (let c = 0; c < row.length; c++) row[c]! /= length
    for (let i = r * size; i < (r + 1) * size; i++) before[i]! /= length
  }
}
