/** Moments for a layer behind compressed ones, from joint moments of the original and the changed input. */
import { type Matrix64, type MatrixEngine, solveSymmetricPositive } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { type PatchAverages, shrinkCovariance } from './covariance.ts'
import { groupKernels, swapLeading } from './kernel.ts'
import { independentSamples } from './moment-requests.ts'
import { asFloat64, outputGram, type SiteMoments, symmetrize, trace } from './moments.ts'
import { canShiftBias } from './replace.ts'

/** Whether a site can be fitted to a changed input: its moments can be collected, and it has one group. */
export function canFitSequentially(site: Site): boolean {
  return site.group === 1 && site.kind !== 'transposed-convolution'
}

/**
 * Moments with the target of a fit to a changed input.
 *
 * @param joint averages over patches of [x; x̂] along the channels, x the original input and x̂ the changed one:
 *   2 · in channels, each with its kernel positions.
 */
export async function sequentialMoments(
  engine: MatrixEngine,
  site: Site,
  joint: PatchAverages,
  count: number,
): Promise<SiteMoments> {
  const [kernel] = groupKernels(site)
  const { outputs } = kernel!
  const d = kernel!.inputs * kernel!.taps
  const centred = canShiftBias(site)
  const block = (row: number, col: number): Matrix64 => {
    const data = new Float64Array(d * d)
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++) {
        const mean = centred ? joint.mean[row * d + i]! * joint.mean[col * d + j]! : 0
        data[i * d + j] = joint.second[(row * d + i) * 2 * d + col * d + j]! - mean
      }
    return { rows: d, cols: d, data }
  }
  const weight = { rows: outputs, cols: d, data: asFloat64(kernel!.data) }
  const changed = symmetrize(block(1, 1))
  const covariance = { rows: d, cols: d, data: changed.data.slice() }
  let meanSquare = 0
  for (let i = d; i < 2 * d; i++) meanSquare += joint.second[i * 2 * d + i]! / d
  const { keep, added } = shrinkCovariance(covariance.data, d, independentSamples(site, count), meanSquare)
  // E[x̂ yᵀ] = E[x̂ xᵀ] Wᵀ
  const right = await engine.multiply(block(1, 0), weight, { transposeB: true })
  const { solution } = await solveSymmetricPositive(
    engine,
    withRidge(covariance),
    pulledTo(weight, right, keep, added + ridgeOf(covariance)),
  )
  const target = { rows: outputs, cols: d, data: swapLeading(solution.data, d, outputs, 1) }
  // E‖y − Ŵ x̂‖² = E‖y‖² − 2 tr(Ŵ E[x̂ yᵀ]) + tr(Ŵ C Ŵᵀ)
  const variance = trace(await outputGram(engine, kernel!, { covariance: symmetrize(block(0, 0)).data }))
  const reached = trace(await engine.multiply(target, right))
  const own = trace(await outputGram(engine, { ...kernel!, data: target.data }, { covariance: changed.data }))
  const shift = new Float64Array(outputs)
  if (centred)
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < d; i++)
        shift[o]! += weight.data[o * d + i]! * joint.mean[i]! - target.data[o * d + i]! * joint.mean[d + i]!
  return {
    count,
    groups: [
      {
        covariance: covariance.data,
        mean: centred ? joint.mean.slice(d) : new Float64Array(d),
        target: { weight: target.data, shift, residual: Math.max(0, variance - 2 * reached + own), variance },
      },
    ],
  }
}

/** 1e-4 of the mean variance: directions the data hardly show must not get large weights. */
function ridgeOf(matrix: Matrix64): number {
  return (1e-4 * trace(matrix)) / matrix.rows
}

function withRidge(matrix: Matrix64): Matrix64 {
  const { rows: n } = matrix
  const data = matrix.data.slice()
  const ridge = ridgeOf(matrix)
  for (let i = 0; i < n; i++) data[i * n + i]! += ridge
  return { rows: n, cols: n, data }
}

/** keep · E[x̂ yᵀ] + ridge · Wᵀ `[d, out]`: where the data say little, the target stays the layer's own weight. */
function pulledTo(weight: Matrix64, right: Matrix64, keep: number, ridge: number): Matrix64 {
  const { rows: outputs, cols: d } = weight
  const own = swapLeading(weight.data, outputs, d, 1)
  return { rows: d, cols: outputs, data: right.data.map((value, i) => keep * value + ridge * own[i]!) }
}
