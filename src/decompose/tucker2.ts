/**
 * Partial Tucker decomposition of a tensor `[o, i, k]` over its first two modes (Tucker-2): W ≈ core ×₀ U ×₁ V.
 *
 * Sources: De Lathauwer, De Moor, Vandewalle, "A multilinear singular value decomposition" and "On the best
 * rank-(R1, …, RN) approximation of higher-order tensors", SIAM J. Matrix Anal. Appl. 21, 2000 (HOSVD, HOOI);
 * Vannieuwenhoven, Vandebril, Meerbergen, "A new truncation strategy for the higher-order singular value
 * decomposition", SIAM J. Sci. Comput. 34, 2012 (the second mode is truncated after projecting on the first).
 * Alternating sweeps after the first improve the subspaces they have instead of computing new ones.
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import { chooseSubspaceMethod, modeSubspace } from './leading-subspace.ts'
import { projectionError, squaredDistance } from './low-rank.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { arrayLike, checkFinite, sumOfSquares, transposed } from './matrix-layout.ts'
import { contractInputs, contractOutputs, swapLast, type Tensor3 } from './mode-product.ts'
import { rangeFinder, refineRows } from './range-finder.ts'

type Reals = Float32Array | Float64Array

/** W ≈ Σ core[a, b, t] · output[o, a] · input[i, b]. */
export interface Tucker2<T extends Reals> {
  /** `[ro, ri, k]` */
  readonly core: T
  /** `[o, ro]`, orthonormal columns. */
  readonly output: Matrix<T>
  /** `[i, ri]`, orthonormal columns. */
  readonly input: Matrix<T>
  /** ‖W − Ŵ‖ / ‖W‖; 0 for W = 0. */
  readonly relativeError: number
}

/** Options of {@link tucker2}. */
export interface Tucker2Options extends TaskOptions {
  /** Alternating sweeps after the initial truncation, default 2; each lowers the error, the first by most. */
  readonly iterations?: number
  /** Of the range finder that large tensors begin with; default 0. */
  readonly seed?: number
}

/**
 * Up to this size an exact subspace costs no more than an approximate one. At 512 the exact one takes twice as long for
 * a relative error of 0.2840 instead of 0.2842 after two sweeps (`npm run bench -- layers`).
 */
const LARGEST_EXACT = 256
/** Multiplications per improvement: within a sweep more would improve on a subspace that is about to change. */
const SWEEP_ITERATIONS = 2

interface StartOptions {
  readonly seed: number
  readonly signal: AbortSignal | undefined
  /** Sweeps to come, which improve what the start left. */
  readonly sweeps: number
}

const startsExactly = (n: number, rank: number, { sweeps }: StartOptions): boolean =>
  sweeps === 0 ? chooseSubspaceMethod(n, rank) === 'gram' : n <= LARGEST_EXACT || rank > n / 3
const startIterations = ({ sweeps }: StartOptions): number => (sweeps === 0 ? 2 : 1)

/**
 * Partial Tucker decomposition over the first two modes with (nearly) the least error for the ranks.
 *
 * A mode at full rank is not truncated and keeps the identity. Extra memory: the projected tensors (`ri / i` and
 * `ro / o` of the weights) and some tens of megabytes.
 *
 * @param tensor `[o, i, k]`, float32 or float64; results have its type. Not written to.
 * @param ranks `[ro, ri]` in 1 … o and 1 … i.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 */
export async function tucker2<T extends Reals>(
  engine: MatrixEngine,
  tensor: Tensor3<T>,
  ranks: readonly [number, number],
  { iterations = 2, seed = 0, signal, onProgress }: Tucker2Options = {},
): Promise<Tucker2<T>> {
  check(tensor, ranks)
  const [o, i, k] = tensor.dims
  const [ro, ri] = ranks
  const sweeps = ro < o && ri < i ? iterations : 0
  let done = 0
  const tick = (): void => {
    checkAborted(signal)
    onProgress?.({ stage: 'tucker', done: done++, total: 2 + 2 * sweeps })
  }

  const options = { seed, signal, sweeps }
  tick()
  let output = await outputSubspace(engine, tensor, ro, options)
  tick()
  let projected = await projectOutputs(engine, tensor, output)
  let input = await inputSubspace(engine, projected, [ro, i, k], ri, undefined, options)
  for (let sweep = 0; sweep < sweeps; sweep++) {
    tick()
    const unfolded = { rows: o, cols: k * ri, data: await contractInputs(engine, tensor, input) }
    output = await outputSweep(engine, unfolded, output, options)
    tick()
    projected = await projectOutputs(engine, tensor, output)
    input = await inputSubspace(engine, projected, [ro, i, k], ri, input, options)
  }
  const core = arrayLike(tensor.data, ro * ri * k)
  swapLast(await contractInputs(engine, { data: projected, dims: [ro, i, k] }, input), [ro, k, ri], core)
  const result = { core, output, input }
  const relativeError = await projectionError(sumOfSquares(tensor.data), sumOfSquares(core), async () =>
    squaredDistance(engine, { rows: o, cols: i * k, data: tensor.data }, output, await expandInputs(engine, result, k)),
  )
  tick()
  return { ...result, relativeError }
}

function check({ data, dims }: Tensor3<Reals>, ranks: readonly [number, number]): void {
  const [o, i, k] = dims
  if (data.length !== o * i * k)
    fail('SHAPE_MISMATCH', `Tucker of [${dims.join(', ')}]: needs ${o * i * k} elements; got ${data.length}.`)
  for (const mode of [0, 1] as const)
    if (!(Number.isInteger(ranks[mode]) && ranks[mode] >= 1 && ranks[mode] <= dims[mode]))
      fail(
        'RANK_OUT_OF_RANGE',
        `Tucker of [${dims.join(', ')}]: the rank of mode ${mode} must be between 1 and ${dims[mode]}; got ${ranks[mode]}.`,
      )
  checkFinite(data, `Tucker of [${dims.join(', ')}]`)
}

function identityLike<T extends Reals>(like: T, n: number): Matrix<T> {
  const data = arrayLike(like, n * n)
  for (let j = 0; j < n; j++) data[j * n + j] = 1
  return { rows: n, cols: n, data }
}

/** The leading subspace of the first mode `[o, ro]`. */
async function outputSubspace<T extends Reals>(
  engine: MatrixEngine,
  { data, dims: [o, i, k] }: Tensor3<T>,
  ro: number,
  options: StartOptions,
): Promise<Matrix<T>> {
  if (ro === o) return identityLike(data, o)
  if (ro > i * k || startsExactly(o, ro, options)) return modeSubspace(engine, data, [1, o, i * k], ro, options)
  const iterations = startIterations(options)
  return rangeFinder(engine, { rows: o, cols: i * k, data }, ro, { ...options, iterations })
}

async function projectOutputs<T extends Reals>(
  engine: MatrixEngine,
  tensor: Tensor3<T>,
  output: Matrix<T>,
): Promise<T> {
  return output.cols === output.rows ? tensor.data : contractOutputs(engine, tensor, output)
}

/** The leading subspace of the second mode `[i, ri]` of the projected tensor `[ro, i, k]`, or a better one than given. */
async function inputSubspace<T extends Reals>(
  engine: MatrixEngine,
  projected: T,
  dims: readonly [number, number, number],
  ri: number,
  previous: Matrix<T> | undefined,
  options: StartOptions,
): Promise<Matrix<T>> {
  const [ro, i, k] = dims
  if (ri === i) return identityLike(projected, i)
  const exact = previous ? i <= LARGEST_EXACT : ri > ro * k || startsExactly(i, ri, options)
  if (exact) return modeSubspace(engine, projected, dims, ri, options)
  const data = k === 1 ? projected : arrayLike(projected, projected.length)
  if (k > 1) swapLast(projected, dims, data)
  const unfolded = { rows: ro * k, cols: i, data }
  if (previous) return improve(engine, unfolded, true, previous, options)
  return rangeFinder(engine, unfolded, ri, { ...options, transpose: true, iterations: startIterations(options) })
}

/** The leading subspace of the first mode of the tensor projected on the inputs. */
async function outputSweep<T extends Reals>(
  engine: MatrixEngine,
  unfolded: Matrix<T>,
  previous: Matrix<T>,
  options: StartOptions,
): Promise<Matrix<T>> {
  const { rows: o, cols } = unfolded
  if (o > LARGEST_EXACT) return improve(engine, unfolded, false, previous, options)
  return modeSubspace(engine, unfolded.data, [1, o, cols], previous.cols, options)
}

/** A better basis of the leading left (right, with `transpose`) subspace of a matrix that `basis` nearly is one of. */
async function improve<T extends Reals>(
  engine: MatrixEngine,
  unfolded: Matrix<T>,
  transpose: boolean,
  basis: Matrix<T>,
  { signal }: StartOptions,
): Promise<Matrix<T>> {
  const options = { transpose, iterations: SWEEP_ITERATIONS, signal }
  return transposed(await refineRows(engine, unfolded, transposed(basis), options))
}

/** core ×₁ V: `[ro, i·k]`. */
async function expandInputs<T extends Reals>(
  engine: MatrixEngine,
  { core, input }: { readonly core: T; readonly input: Matrix<T> },
  k: number,
): Promise<Matrix<T>> {
  const [i, ri] = [input.rows, input.cols]
  const ro = core.length / (ri * k)
  const permuted = arrayLike(core, core.length)
  swapLast(core, [ro, ri, k], permuted)
  const product = await engine.multiply({ rows: ro * k, cols: ri, data: permuted }, input, { transposeB: true })
  const data = arrayLike(core, ro * i * k)
  swapLast(product.data, [ro, k, i], data)
  return { rows: ro, cols: i * k, data }
}
