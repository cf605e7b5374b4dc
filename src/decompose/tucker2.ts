/**
 * Partial Tucker decomposition of a tensor `[o, i, k]` over its first two modes (Tucker-2): W ≈ core ×₀ U ×₁ V.
 *
 * Sources: De Lathauwer, De Moor, Vandewalle, "A multilinear singular value decomposition" and "On the best
 * rank-(R1, …, RN) approximation of higher-order tensors", SIAM J. Matrix Anal. Appl. 21, 2000 (HOSVD, HOOI);
 * Vannieuwenhoven, Vandebril, Meerbergen, "A new truncation strategy for the higher-order singular value
 * decomposition", SIAM J. Sci. Comput. 34, 2012 (the second mode is truncated after projecting on the first).
 * Large tensors begin with a random projection instead: Che, Wei, "Randomized algorithms for the approximations of Tucker
 * and the tensor train decompositions", Adv. Comput. Math. 45, 2019.
 */
import { checkAborted, createRandom, fail, type TaskOptions } from '../core/index.ts'
import { modeGram } from './gram.ts'
import { type GramSubspaceOptions, gramSubspaceRows } from './gram-subspace.ts'
import { chooseSubspaceMethod, modeSubspace } from './leading-subspace.ts'
import { projectionError, squaredDistance } from './low-rank.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { arrayLike, checkFinite, sumOfSquares, toMatrix64, toTypeOf, transposed } from './matrix-layout.ts'
import type { Tensor3 } from './mode-product.ts'
import { rangeRows } from './range-finder.ts'
import { symmetricEigen } from './symmetric-eigen.ts'

type Reals = Float32Array | Float64Array
type Products = 'float32' | 'float64'

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
  /**
   * Alternating sweeps after the start; each lowers the error, the first by most. Default 2; 1 for large tensors whose
   * projected unfoldings are much wider than high (5 × 5 kernels at a quarter of the channels), where a second one gains
   * a thousandth.
   */
  readonly iterations?: number
  /** Of the random projection that large tensors begin with; default 0. */
  readonly seed?: number
  /** ‖W‖², where it is known already: elements are then taken to be finite. */
  readonly energy?: number | undefined
}

/** Up to this size exact eigenvectors cost no more than approximate ones. */
const LARGEST_EXACT = 256
/** Width of a projected unfolding, as a multiple of its height, from which one sweep is enough. */
const WIDE = 4
/**
 * Columns of the unfolding of a random projection, as a multiple of its rows: fewer say too little of its row space,
 * more are no better a start.
 */
const SKETCH_WIDTH = [2, 3] as const
/**
 * Relative squared error below which Gram matrices of float32 products do not tell what is wanted from rounding any
 * more: a sweep with products in float64 follows.
 */
const PRECISE = 1e-3

/** What the steps of one decomposition share. */
interface Job<T extends Reals> {
  readonly engine: MatrixEngine
  readonly tensor: Tensor3<T>
  readonly ranks: readonly [number, number]
  readonly seed: number
  readonly signal: AbortSignal | undefined
  readonly tick: () => void
}

/** Bases with one vector per row, and the tensor projected on the outputs' `[ro, i, k]`, where it was kept. */
interface Bases<T extends Reals> {
  /** Absent: unknown yet. */
  readonly output: Matrix<T> | undefined
  readonly input: Matrix<T>
  readonly projected: T | undefined
}

/**
 * Partial Tucker decomposition over the first two modes with (nearly) the least error for the ranks.
 *
 * A mode at full rank is not truncated and keeps the identity. Extra memory: the projected tensors (`ri / i` and
 * `ro / o` of the weights) and some tens of megabytes.
 *
 * @param tensor `[o, i, k]`, float32 or float64; results have its type. Not written to.
 * @param ranks `[ro, ri]` in 1 … o and 1 … i.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @example
 * const engine = createPlainMatrixEngine()
 * // A kernel of 8 × 6 channels and 9 taps, of ranks 3 and 2.
 * const kernel = tuckerToTensor(randomTucker([8, 6, 9], [3, 2, 9], { seed: 1 }))
 * const { core, output, input, relativeError } = await tucker2(
 *   engine,
 *   { data: kernel.data as Float64Array, dims: [8, 6, 9] },
 *   [3, 2],
 * )
 * console.log(core.length, [output.rows, output.cols], [input.rows, input.cols], relativeError < 1e-7)
 */
export async function tucker2<T extends Reals>(
  engine: MatrixEngine,
  tensor: Tensor3<T>,
  ranks: readonly [number, number],
  { iterations = defaultSweeps(tensor.dims, ranks), seed = 0, energy: known, signal, onProgress }: Tucker2Options = {},
): Promise<Tucker2<T>> {
  const energy = check(tensor, ranks, known)
  const [o, i, k] = tensor.dims
  const [ro, ri] = ranks
  const sweeps = ro < o && ri < i ? iterations : 0
  let done = 0
  const tick = (): void => {
    checkAborted(signal)
    onProgress?.({ stage: 'tucker', done: Math.min(done++, 1 + 2 * sweeps), total: 2 + 2 * sweeps })
  }
  const job = { engine, tensor, ranks, seed, signal, tick }
  const products = tensor.data instanceof Float32Array ? 'float32' : 'float64'

  let bases: Bases<T>
  if (sweeps === 0 || !isLarge(tensor.dims)) {
    bases = await truncate(job, sweeps)
    for (let sweep = 0; sweep < sweeps; sweep++) bases = await improve(job, bases, 'float64')
  } else {
    bases = { output: undefined, input: await sketchedInputs(job, products), projected: undefined }
    for (let sweep = 1; sweep <= sweeps; sweep++) bases = await improve(job, bases, products, sweep === sweeps)
  }
  let core = await coreOf(job, bases)
  if (sweeps > 0 && products === 'float32' && isLarge(tensor.dims) && energy - sumOfSquares(core) < PRECISE * energy) {
    bases = await improve(job, bases, 'float64')
    core = await coreOf(job, bases)
  }
  const [output, input] = [bases.output!, bases.input]
  const relativeError = await projectionError(energy, sumOfSquares(core), async () =>
    squaredDistance(engine, { rows: o, cols: i * k, data: tensor.data }, transposed(output), {
      rows: ro,
      cols: i * k,
      data: (await engine.multiplySlices(input, { dims: [ro, ri, k], data: core }, { transposeA: true })).data,
    }),
  )
  onProgress?.({ stage: 'tucker', done: 2 + 2 * sweeps, total: 2 + 2 * sweeps })
  return { core, output: transposed(output), input: transposed(input), relativeError }
}

const isLarge = ([o, i]: Tensor3<Reals>['dims']): boolean => Math.max(o, i) > LARGEST_EXACT

function defaultSweeps(dims: Tensor3<Reals>['dims'], [ro, ri]: readonly [number, number]): number {
  const [o, i, k] = dims
  return isLarge(dims) && ro * k >= WIDE * i && ri * k >= WIDE * o ? 1 : 2
}

/** Checks everything about the arguments. @returns ‖W‖² */
function check({ data, dims }: Tensor3<Reals>, ranks: readonly [number, number], known: number | undefined): number {
  const [o, i, k] = dims
  if (data.length !== o * i * k)
    fail('SHAPE_MISMATCH', `Tucker of [${dims.join(', ')}]: needs ${o * i * k} elements; got ${data.length}.`)
  for (const mode of [0, 1] as const)
    if (!(Number.isInteger(ranks[mode]) && ranks[mode] >= 1 && ranks[mode] <= dims[mode]))
      fail(
        'RANK_OUT_OF_RANGE',
        `Tucker of [${dims.join(', ')}]: the rank of mode ${mode} must be between 1 and ${dims[mode]}; got ${ranks[mode]}.`,
      )
  if (known !== undefined) return known
  const energy = sumOfSquares(data)
  // A finite sum has finite terms.
  if (!Number.isFinite(energy)) checkFinite(data, `Tucker of [${dims.join(', ')}]`)
  return energy
}

function identityLike<T extends Reals>(like: T, n: number): Matrix<T> {
  const data = arrayLike(like, n * n)
  for (let j = 0; j < n; j++) data[j * n + j] = 1
  return { rows: n, cols: n, data }
}

/** Truncates the outputs, then the inputs of what is left: the start of small tensors, and all there is without sweeps. */
async function truncate<T extends Reals>(job: Job<T>, sweeps: number): Promise<Bases<T>> {
  const { engine, tensor, ranks, seed, signal, tick } = job
  const [o, i, k] = tensor.dims
  const [ro, ri] = ranks
  const byGram = (n: number, rank: number): boolean => sweeps > 0 || chooseSubspaceMethod(n, rank) === 'gram'
  const outputs = async (): Promise<Matrix<T>> => {
    if (ro === o) return identityLike(tensor.data, o)
    if (ro > i * k || byGram(o, ro)) return transposed(await modeSubspace(engine, tensor.data, [1, o, i * k], ro, job))
    return rangeRows(engine, { rows: o, cols: i * k, data: tensor.data }, ro, { seed, signal })
  }
  const inputs = async (projected: T): Promise<Matrix<T>> => {
    if (ri === i) return identityLike(tensor.data, i)
    if (ri > ro * k || byGram(i, ri)) return transposed(await modeSubspace(engine, projected, [ro, i, k], ri, job))
    const gram = await modeGram(engine, projected, [ro, i, k], { signal })
    return toTypeOf(await gramSubspaceRows(engine, gram, ri, { seed, signal, steps: 3 }), projected)
  }
  tick()
  const output = await outputs()
  tick()
  const projected = await projectOutputs(job, output)
  return { output, input: await inputs(projected), projected }
}

async function projectOutputs<T extends Reals>({ engine, tensor }: Job<T>, output: Matrix<T>): Promise<T> {
  const [o, i, k] = tensor.dims
  if (output.rows === o) return tensor.data
  return (await engine.multiply(output, { rows: o, cols: i * k, data: tensor.data })).data
}

/** The inputs' basis of the tensor whose outputs are replaced by random sums of them: a start for sweeps. */
async function sketchedInputs<T extends Reals>(job: Job<T>, products: Products): Promise<Matrix<T>> {
  const { engine, tensor, ranks, seed, signal, tick } = job
  const [o, i, k] = tensor.dims
  const [ro, ri] = ranks
  tick()
  const [least, most] = SKETCH_WIDTH.map((columns) => Math.ceil((columns * i) / k)) as [number, number]
  const width = Math.min(Math.max(ro, least), most)
  const gram =
    width < o
      ? (await gramOfInputs(job, randomSigns(tensor.data, width, o, seed), products, false)).gram
      : await modeGram(engine, tensor.data, tensor.dims, { products, signal })
  // What is left to gain here, the sweeps gain anyway.
  return toTypeOf(await leading(job, gram, ri, undefined, { steps: 1, polish: false }), tensor.data)
}

function randomSigns<T extends Reals>(like: T, rows: number, cols: number, seed: number): Matrix<T> {
  const random = createRandom(seed)
  const data = arrayLike(like, rows * cols)
  for (let at = 0; at < data.length; at += 32) {
    const bits = random.nextUint32()
    const end = Math.min(data.length, at + 32)
    for (let j = at; j < end; j++) data[j] = (bits >>> (j - at)) & 1 ? 1 : -1
  }
  return { rows, cols, data }
}

/** One sweep: better outputs for the inputs there are, then better inputs for these. */
async function improve<T extends Reals>(
  job: Job<T>,
  { output: previous, input }: Bases<T>,
  products: Products,
  isLast = true,
): Promise<Bases<T>> {
  const { tensor, ranks, tick } = job
  const [ro, ri] = ranks
  tick()
  const polish = { polish: isLast }
  const outputs = await gramOfOutputs(job, input, products)
  const output = toTypeOf(await leading(job, outputs, ro, previous, polish), tensor.data)
  tick()
  const { gram, projected } = await gramOfInputs(job, output, products, isLast)
  return { output, input: toTypeOf(await leading(job, gram, ri, input, polish), tensor.data), projected }
}

/** The outputs' Gram matrix of the tensor with its inputs projected on a basis `[r, i]`. */
async function gramOfOutputs<T extends Reals>(job: Job<T>, input: Matrix<T>, products: Products): Promise<Matrix> {
  const { engine, tensor, signal } = job
  const [o, , k] = tensor.dims
  if (engine.contractedGram && fitsEngine(tensor.data, o, products))
    return (await engine.contractedGram(tensor, input, 0)).gram
  const { data } = await engine.multiplySlices(input, tensor)
  return modeGram(engine, data, [1, o, input.rows * k], { products: productsFor(o, products), signal })
}

/**
 * The inputs' Gram matrix of the tensor with its outputs projected on a basis `[r, o]`; and, with `keep`, the projected
 * tensor `[r, i, k]`.
 */
async function gramOfInputs<T extends Reals>(
  job: Job<T>,
  output: Matrix<T>,
  products: Products,
  keep: boolean,
): Promise<{ gram: Matrix; projected: T | undefined }> {
  const { engine, tensor, signal } = job
  const [, i, k] = tensor.dims
  if (engine.contractedGram && fitsEngine(tensor.data, i, products)) {
    const { gram, contracted } = await engine.contractedGram(tensor, output, 1, { keep })
    return { gram, projected: contracted }
  }
  const projected = await projectOutputs(job, output)
  const options = { products: productsFor(i, products), signal }
  return { gram: await modeGram(engine, projected, [output.rows, i, k], options), projected }
}

/** Small modes are solved exactly, of products in float64. */
const productsFor = (n: number, products: Products): Products => (n > LARGEST_EXACT ? products : 'float64')
const fitsEngine = (data: Reals, n: number, products: Products): boolean =>
  productsFor(n, products) === (data instanceof Float32Array ? 'float32' : 'float64')

async function leading<T extends Reals>(
  { engine, seed, signal }: Job<T>,
  gram: Matrix,
  rank: number,
  previous: Matrix<T> | undefined,
  options: Pick<GramSubspaceOptions, 'steps' | 'polish'> = {},
): Promise<Matrix> {
  if (gram.rows > LARGEST_EXACT)
    return gramSubspaceRows(engine, gram, rank, { start: previous, ...options, seed, signal })
  const { vectors } = await symmetricEigen(engine, toMatrix64(gram), { count: rank, signal })
  return transposed(vectors!)
}

/** `[ro, ri, k]` */
async function coreOf<T extends Reals>({ engine, tensor, ranks }: Job<T>, { input, projected }: Bases<T>): Promise<T> {
  const [, i, k] = tensor.dims
  return (await engine.multiplySlices(input, { dims: [ranks[0], i, k], data: projected! })).data
}
