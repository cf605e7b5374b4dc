/** Moments for a layer behind compressed ones, from joint moments of the original and the changed input. */
import { type Matrix64, type MatrixEngine, solveSymmetricPositive } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { groupKernels, swapLeading } from './kernel.ts'
import type { PatchAverages } from './moment-requests.ts'
import { asFloat64, type SiteMoments, symmetrize } from './moments.ts'
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
  const covariance = symmetrize(block(1, 1))
  // E[x̂ yᵀ] = E[x̂ xᵀ] Wᵀ
  const right = await engine.multiply(block(1, 0), weight, { transposeB: true })
  const { solution } = await solveSymmetricPositive(engine, withRidge(covariance), right)
  const target = swapLeading(solution.data, d, outputs, 1)
  const reached = await engine.multiply({ rows: outputs, cols: d, data: target }, right)
  const response = await engine.multiply(await engine.multiply(weight, symmetrize(block(0, 0))), weight, {
    transposeB: true,
  })
  const variance = trace(response)
  const shift = new Float64Array(outputs)
  if (centred)
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < d; i++)
        shift[o]! += weight.data[o * d + i]! * joint.mean[i]! - target[o * d + i]! * joint.mean[d + i]!
  return {
    count,
    groups: [
      {
        covariance: covariance.data,
        mean: centred ? joint.mean.slice(d) : new Float64Array(d),
        target: { weight: target, shift, residual: Math.max(0, variance - trace(reached)), variance },
      },
    ],
  }
}

/** 1e-4 of the mean variance on the diagonal: directions the data hardly show must not get large weights. */
function withRidge(matrix: Matrix64): Matrix64 {
  const { rows: n } = matrix
  const data = matrix.data.slice()
  const ridge = (1e-4 * trace(matrix)) / n
  for (let i = 0; i < n; i++) data[i * n + i]! += ridge
  return { rows: n, cols: n, data }
}

function trace(matrix: Matrix64): number {
  let sum = 0
  for (let i = 0; i < matrix.rows; i++) sum += matrix.data[i * matrix.cols + i]!
  return sum
}
