/**
 * Rank–error curves of CP, which no spectrum tells: the error of a few sweeps of alternating least squares at ranks
 * that double, and between them interpolation. More sweeps give less error, so that estimates are rather too high.
 *
 * A general tensor has an exact CP once its terms have as many free numbers as it has elements, at about elements /
 * (sum of extents − modes + 1) terms (Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009,
 * section 3.1, on typical ranks); there chains stop being cheaper than the layer. Trials go up to half that rank; from
 * the last one the squared error is taken to fall evenly to almost nothing there.
 */
import { checkAborted } from '../../core/index.ts'
import { type MatrixEngine, parafac } from '../../decompose/index.ts'
import { Tensor } from '../../tensor/index.ts'
import type { Site } from '../sites.ts'
import { cpTensor } from './cp.ts'
import { type GroupKernel, swapLeading } from './kernel.ts'
import { type GroupMoments, whiten } from './moments.ts'
import type { FormVariant } from './stage.ts'

/** What a curve is computed with. */
export interface CpCurveOptions {
  readonly seed: number
  readonly signal?: AbortSignal | undefined
  /** Of the group's input: then it is the curve of the weight whitened by the covariance of its input channels. */
  readonly moments?: GroupMoments | undefined
}

/** Trials: the largest rank, and each time half as many. */
const TRIALS = 4
const SWEEPS = 8
/** Elements of the tensor times rank: beyond this sweeps take seconds, and the curve is extrapolated. */
const LARGEST_WORK = 1e9
/** What is left of the squared error of the last trial at the typical rank: sweeps do not get to the bottom. */
const REST = 0.02

/** A squared relative error, by decomposition (and not 0) or by extrapolation. */
interface Point {
  readonly rank: number
  readonly squared: number
  readonly tried: boolean
}

/** Relative energies lost between ranks r and r + 1, for r = 0 … full rank − 1; their tails are squared relative errors. */
export async function cpCurve(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  variant: FormVariant,
  { seed, signal, moments }: CpCurveOptions,
): Promise<Float64Array> {
  const full = variant.fullRanks.rank!
  const tensor = cpTensor(moments ? await whitenedKernel(engine, kernel, site, moments) : kernel, site, variant)
  const single =
    tensor.dtype === 'float64' ? Tensor.of(Float32Array.from(tensor.data as Float64Array), tensor.shape) : tensor
  const typical = Math.ceil(tensor.size / tensor.shape.reduce((sum, extent) => sum + extent - 1, 1))
  let last: Point = { rank: 0, squared: 1, tried: true }
  const points = [last]
  for (const rank of trialRanks(Math.min(typical / 2, full - 1, LARGEST_WORK / tensor.size))) {
    checkAborted(signal)
    const { relativeError } = await parafac(engine, single, rank, { maxIterations: SWEEPS, tolerance: 0, seed, signal })
    // A higher rank never has more error, whatever the sweeps came to.
    const squared = Math.min(relativeError ** 2, last.squared)
    last = { rank, squared, tried: squared > 0 }
    points.push(last)
  }
  if (last.rank < typical && typical < full) points.push({ rank: typical, squared: REST * last.squared, tried: false })
  points.push({ rank: full, squared: 0, tried: false })
  return energies(points, full)
}

async function whitenedKernel(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  moments: GroupMoments,
): Promise<GroupKernel> {
  const none = site.kernel.map(() => false)
  const { whitened } = await whiten(engine, kernel, site, none, moments)
  return { ...kernel, data: swapLeading(whitened.data, kernel.inputs, kernel.outputs, kernel.taps) }
}

/** Rising ranks, each about twice the one before, up to the given number; at least rank 1. */
function trialRanks(most: number): number[] {
  const ranks: number[] = []
  for (let rank = Math.max(1, Math.floor(most)); rank >= 1 && ranks.length < TRIALS; rank = Math.floor(rank / 2))
    ranks.unshift(rank)
  return ranks
}

/** Differences of a curve through the points: geometric up to the last trial, even from there. */
function energies(points: readonly Point[], full: number): Float64Array {
  const curve = new Float64Array(full + 1)
  for (const [k, high] of points.entries()) {
    const low = points[k - 1]
    if (!low) continue
    for (let rank = low.rank; rank <= high.rank; rank++) {
      const share = (rank - low.rank) / (high.rank - low.rank)
      curve[rank] = high.tried
        ? low.squared * (high.squared / low.squared) ** share
        : low.squared + share * (high.squared - low.squared)
    }
  }
  return curve.subarray(0, full).map((squared, rank) => Math.max(0, squared - curve[rank + 1]!))
}
