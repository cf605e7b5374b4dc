/**
 * Second moments of a layer's input and what they say about its output.
 *
 * With C the covariance of the layer's input patches (order: channel, then kernel position), a change ΔW of the weight
 * changes the output by tr(ΔW C ΔWᵀ) on average: the error that data-aware decomposition minimises.
 */
import { fail } from '../../core/index.ts'
import { type CholeskyFactor, type Matrix64, type MatrixEngine, maybeCholesky } from '../../decompose/index.ts'
import type { Site } from '../sites.ts'
import { type GroupKernel, type Reals, splitMatrix, splitTaps } from './kernel.ts'

/** Covariance and mean of one group's input patches. */
export interface GroupMoments {
  /** `[d, d]`, d = inputs · taps; centred when the layer's bias can take up the mean, raw otherwise. */
  readonly covariance: Float64Array
  /** `[d]`. */
  readonly mean: Float64Array
  /** What to approximate instead of the layer's own weight, when the input is that of a compressed network. */
  readonly target?: ResponseTarget | undefined
}

/**
 * The dense weight that makes most of a changed input: least squares from the compressed network's patches x̂ to the
 * original layer's output y.
 */
export interface ResponseTarget {
  /** E[y x̂ᵀ] E[x̂ x̂ᵀ]⁻¹, `[out, d]`. */
  readonly weight: Float64Array
  /** What to add to the bias besides, `[out]`. */
  readonly shift: Float64Array
  /** The part of the output's variance that no weight can reach from x̂. */
  readonly residual: number
  /** The variance of the original output. */
  readonly variance: number
}

/** Moments of a site's input, one per group. */
export interface SiteMoments {
  readonly groups: readonly GroupMoments[]
  /** Patches seen. */
  readonly count: number
}

/** Numbers as float64, not copied when they already are. */
export function asFloat64(data: Reals): Float64Array {
  return data instanceof Float64Array ? data : Float64Array.from(data)
}

/** `W C Wᵀ` `[out, out]`: the covariance of the layer's output. */
export async function outputGram(
  engine: MatrixEngine,
  kernel: GroupKernel,
  moments: Pick<GroupMoments, 'covariance'>,
): Promise<Matrix64> {
  const d = kernel.inputs * kernel.taps
  const weight = { rows: kernel.outputs, cols: d, data: asFloat64(kernel.data) }
  const product = await engine.multiply(weight, { rows: d, cols: d, data: moments.covariance })
  return symmetrize(await engine.multiply(product, weight, { transposeB: true }))
}

/**
 * `Lᵀ M Mᵀ L`, with M the split matrix [(in, carried taps), (out, other taps)] and L Lᵀ the covariance of its rows
 * summed over the other taps: the Gram matrix whose spectrum approximates the output's error when M is truncated.
 */
export async function rowGram(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  carries: readonly boolean[],
  moments: GroupMoments,
): Promise<Matrix64> {
  const { whitened } = await whiten(engine, kernel, site, carries, moments)
  return engine.gram(whitened)
}

/** `Lᵀ M`, M and L, with L and M as in {@link rowGram}. */
export async function whiten(
  engine: MatrixEngine,
  kernel: GroupKernel,
  site: Site,
  carries: readonly boolean[],
  moments: GroupMoments,
): Promise<{ whitened: Matrix64; matrix: Matrix64; factor: CholeskyFactor }> {
  const split = splitTaps(site.kernel, carries)
  const { rows, cols, data } = splitMatrix(kernel, split)
  const matrix = { rows, cols, data: asFloat64(data) }
  const factor = await choleskyOfRows(engine, kernel, split, moments.covariance)
  return { whitened: await engine.multiply(factor.lower, matrix, { transposeA: true }), matrix, factor }
}

/** Cholesky factor of the rows' covariance, with a ridge of 1e-9 of its mean diagonal or more where it is singular. */
async function choleskyOfRows(
  engine: MatrixEngine,
  { inputs, taps }: GroupKernel,
  split: ReturnType<typeof splitTaps>,
  covariance: Float64Array,
): Promise<CholeskyFactor> {
  const { carried, rest, carriedCount } = split
  const n = inputs * carriedCount
  const d = inputs * taps
  const sum = new Float64Array(n * n)
  for (let i = 0; i < inputs; i++)
    for (let t = 0; t < taps; t++) {
      const row = (i * carriedCount + carried[t]!) * n
      const from = (i * taps + t) * d
      for (let j = 0; j < inputs; j++)
        for (let u = 0; u < taps; u++)
          if (rest[u] === rest[t]) sum[row + j * carriedCount + carried[u]!]! += covariance[from + j * taps + u]!
    }
  const matrix = { rows: n, cols: n, data: sum }
  // An input that is always zero has no preference among rows: any multiple of the identity.
  const mean = trace(matrix) / n || 1
  for (let added = 0, ridge = 1e-9 * mean; ridge <= mean; ridge *= 100) {
    for (let i = 0; i < n; i++) sum[i * n + i]! += ridge - added
    added = ridge
    const factor = await maybeCholesky(engine, matrix)
    if (factor) return factor
  }
  return fail('NOT_FINITE', 'Moments: a covariance must be symmetric, finite and have no negative eigenvalues.')
}

/** Sum of the diagonal. */
export function trace({ rows, cols, data }: Matrix64): number {
  let sum = 0
  for (let i = 0; i < rows; i++) sum += data[i * cols + i]!
  return sum
}

/** Averages a nearly symmetric matrix with its transpose, in place. */
export function symmetrize(matrix: Matrix64): Matrix64 {
  const { rows: n, data } = matrix
  for (let i = 0; i < n; i++)
    for (let j = 0; j < i; j++) {
      const mean = (data[i * n + j]! + data[j * n + i]!) / 2
      data[i * n + j] = mean
      data[j * n + i] = mean
    }
  return matrix
}
