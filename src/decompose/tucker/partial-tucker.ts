/** Tucker decompositions over some modes of a tensor: X ≈ core ×ₙ Aₙ for the modes n that are asked for. */
import { checkAborted, fail, type TaskOptions } from '../../core/index.ts'
import { type RankRule, Tensor } from '../../tensor/index.ts'
import { projectionError } from '../low-rank.ts'
import type { Matrix, Matrix64, MatrixEngine } from '../matrix.ts'
import { arrayLike, sumOfSquares } from '../matrix-layout.ts'
import { checkTensor, type Reals, shapeText, tensorOf } from '../real-tensor.ts'
import { canonicalCore } from './canonical.ts'
import { basisOfFactor, inverseTriangle } from './fixed-factors.ts'
import { errorOf, type Iteration, iterate } from './iteration.ts'
import { iterateObserved } from './masked.ts'
import { type Dense, expandMode, type ModeFactor, projectModes, squaredResidual } from './mode-products.ts'
import { observedElements, withMeanForMissing } from './observed.ts'
import { checkModes, partialRanks } from './ranks.ts'
import { plainHosvd, sequentialHosvd, type Truncation } from './start.ts'
import { randomSubspace } from './subspaces.ts'
import type { Factors } from './sweep.ts'

/** Options of {@link partialTucker}. */
export interface PartialTuckerOptions extends TaskOptions {
  /**
   * `'hooi'` (default): alternating improvements until the error stays. `'st-hosvd'`: one mode after the other, one pass.
   * `'hosvd'`: every mode by itself. The latter two are within √N of the least error.
   */
  readonly method?: 'hooi' | 'st-hosvd' | 'hosvd'
  /** Most sweeps of `'hooi'`; default 100. */
  readonly maxIterations?: number
  /** Of `'hooi'`: it stops when a sweep lowers the relative error by less than this; default 1e-4, as TensorLy. */
  readonly tolerance?: number
  /**
   * What `'hooi'` begins with: `'svd'` (default) an ST-HOSVD, `'random'` random bases, or factors, one per mode in the
   * order of the modes; they need not be orthonormal.
   */
  readonly init?: 'svd' | 'random' | { readonly factors: readonly Tensor[] }
  /** Modes whose factors in `init` are kept as they are; their ranks are those of these factors. Default none. */
  readonly fixedFactors?: readonly number[]
  /**
   * Of the tensor's shape, 0 where elements are missing, only with `'hooi'`: they are estimated from the decomposition
   * in every sweep (expectation–maximisation), and errors are those of the observed elements. Needs a copy of the tensor
   * and its reconstruction in memory.
   */
  readonly mask?: Tensor
  /** Of random numbers; default 0. */
  readonly seed?: number
}

/** How a Tucker decomposition went. */
export interface TuckerReport {
  /** ‖X − X̂‖ / ‖X‖; 0 for X = 0. */
  readonly relativeError: number
  /** The relative error after every sweep; of methods without sweeps, of the result alone. */
  readonly errors: readonly number[]
  /** Sweeps. */
  readonly iterations: number
  /** Whether the error stayed before sweeps ran out; always for methods without sweeps. */
  readonly converged: boolean
}

/** X ≈ core ×ₙ factors, n over `modes`. */
export interface PartialTucker extends TuckerReport {
  /** The tensor's shape with the extents of the modes replaced by ranks. */
  readonly core: Tensor
  /** `[extent, rank]`, orthonormal columns unless fixed, one per mode in the order of `modes`. */
  readonly factors: readonly Tensor[]
  readonly modes: readonly number[]
}

/**
 * Tucker decomposition over some modes; the others are left as they are and have no factor.
 *
 * Results are in canonical form (slices of the core orthogonal to each other and ordered by norm, largest elements of the
 * factors' columns positive). Modes at full rank have the identity as their factor. Extra memory: the tensor projected
 * on its first or its last mode, and some tens of megabytes.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64; results have its type. Not written to.
 * @param modes different modes, in any order, at least one.
 * @param ranks one integer for all modes, one per mode, `'same'`, or a fraction of the parameters; lowered to the extents.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`, `SHAPE_MISMATCH`, `NOT_FINITE`, `RANK_OUT_OF_RANGE`, `ABORTED`.
 * @see Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 4.
 * @example
 * const engine = createPlainMatrixEngine()
 * const kernel = randomTensor([32, 16, 3, 3], { seed: 1 })
 * const { core, factors } = await partialTucker(engine, kernel, [0, 1], [8, 6])
 * console.log(core.shape, multiModeDot(core, factors, { modes: [0, 1] }).shape)
 */
export async function partialTucker(
  engine: MatrixEngine,
  tensor: Tensor,
  modes: readonly number[],
  ranks: RankRule | readonly number[],
  options: PartialTuckerOptions = {},
): Promise<PartialTucker> {
  const what = 'Tucker'
  checkModes(tensor.shape, modes, what, 'modes')
  if (modes.length === 0) fail('INVALID_ARGUMENT', `${what} of ${shapeText(tensor.shape)}: needs at least one mode.`)
  checkOptions(tensor, modes, options)
  const observed = options.mask && observedElements(tensor, options.mask, what)
  const input = observed ? Tensor.of(withMeanForMissing(realsOf(tensor), observed), tensor.shape) : tensor
  const { data, energy } = checkTensor(input, what)
  const whole: Dense = { shape: tensor.shape, data }
  const plan = await planOf(engine, whole, modes, partialRanks(tensor.shape, modes, ranks, what), options)

  const fixed = plan.fixed.map(({ mode, basis }) => ({ mode, matrix: basis }))
  const run = { engine, energy, whole, fixed, truncations: plan.truncations, given: plan.given, observed }
  const { core, factors, errors, converged, observedError } = await decompose(run, options)
  const free = plan.truncations.map(({ mode }) => mode)
  let final = await canonicalCore(engine, core, free, factors)
  const bases: ModeFactor[] = [...fixed, ...free.map((mode) => ({ mode, matrix: factors.get(mode)! }))]
  const relativeError =
    observedError ??
    (await projectionError(energy, sumOfSquares(final.data), () => squaredResidual(engine, whole, final, bases)))
  for (const { mode, triangle } of plan.fixed)
    final = await expandMode(engine, final, { mode, matrix: await inverseTriangle(engine, triangle, data) })

  const factorOf = (mode: number, at: number): Tensor => {
    if (options.fixedFactors?.includes(mode)) return givenFactors(options)![at]!
    const matrix = factors.get(mode) ?? identityLike(data, tensor.shape[mode]!)
    return tensorOf(data, matrix.data, [matrix.rows, matrix.cols])
  }
  const iterations = errors.length
  return {
    core: tensorOf(data, final.data, final.shape),
    factors: modes.map(factorOf),
    modes: [...modes],
    relativeError,
    errors: [...errors.slice(0, -1), relativeError],
    iterations,
    converged,
  }
}

const givenFactors = ({ init }: PartialTuckerOptions): readonly Tensor[] | undefined =>
  typeof init === 'object' ? init.factors : undefined

function realsOf(tensor: Tensor): Reals {
  if (tensor.dtype === 'float32' || tensor.dtype === 'float64') return tensor.data as Reals
  return fail(
    'UNSUPPORTED',
    `Tucker of ${shapeText(tensor.shape)}: elements must be float32 or float64; got ${tensor.dtype}.`,
  )
}

function checkOptions(tensor: Tensor, modes: readonly number[], options: PartialTuckerOptions): void {
  const what = `Tucker of ${shapeText(tensor.shape)}`
  const { method = 'hooi', init = 'svd', fixedFactors = [], maxIterations = 100, tolerance = 0, mask } = options
  if (!['hooi', 'st-hosvd', 'hosvd'].includes(method))
    fail('INVALID_ARGUMENT', `${what}: method must be 'hooi', 'st-hosvd' or 'hosvd'; got '${method}'.`)
  if (typeof init !== 'object' && init !== 'svd' && init !== 'random')
    fail('INVALID_ARGUMENT', `${what}: init must be 'svd', 'random' or factors; got '${String(init)}'.`)
  if (typeof init === 'object' && init.factors.length !== modes.length)
    fail(
      'SHAPE_MISMATCH',
      `${what}: init must have a factor for each of ${modes.length} modes; got ${init.factors.length}.`,
    )
  if (!(Number.isInteger(maxIterations) && maxIterations >= 0))
    fail('INVALID_ARGUMENT', `${what}: maxIterations must be an integer from 0; got ${maxIterations}.`)
  if (!(tolerance >= 0)) fail('INVALID_ARGUMENT', `${what}: tolerance must be a number from 0; got ${tolerance}.`)
  if (mask && method !== 'hooi')
    fail('INVALID_ARGUMENT', `${what}: missing elements need the method 'hooi'; got '${method}'.`)
  checkModes(tensor.shape, fixedFactors, `Tucker`, 'fixedFactors')
  if (fixedFactors.some((mode) => !modes.includes(mode)))
    fail(
      'INVALID_ARGUMENT',
      `${what}: fixedFactors must be among the modes ${shapeText(modes)}; got ${shapeText(fixedFactors)}.`,
    )
  if (fixedFactors.length > 0 && typeof init !== 'object')
    fail('INVALID_ARGUMENT', `${what}: fixedFactors are those of init; give init: { factors }.`)
}

/** What is to be done with each mode. */
interface Plan {
  /** Free modes below full rank, ascending. */
  readonly truncations: readonly Truncation[]
  readonly fixed: readonly { readonly mode: number; readonly basis: Matrix<Reals>; readonly triangle: Matrix64 }[]
  /** Bases of the given factors of free modes. */
  readonly given: Factors | undefined
}

async function planOf(
  engine: MatrixEngine,
  { shape, data }: Dense,
  modes: readonly number[],
  ranks: readonly number[],
  options: PartialTuckerOptions,
): Promise<Plan> {
  const factors = givenFactors(options)
  const isFixed = (mode: number): boolean => options.fixedFactors?.includes(mode) ?? false
  const truncations = modes
    .map((mode, at) => ({ mode, rank: ranks[at]! }))
    .filter(({ mode, rank }) => !isFixed(mode) && rank < shape[mode]!)
    .sort((a, b) => a.mode - b.mode)
  const fixed: Plan['fixed'][number][] = []
  const given: Factors = new Map()
  for (const [at, mode] of modes.entries()) {
    const factor = factors?.[at]
    if (!factor) continue
    const independent = isFixed(mode)
    const what = `Tucker of ${shapeText(shape)}: init of mode ${mode}`
    const rank = independent ? (factor.shape[1] ?? 0) : ranks[at]!
    const result = await basisOfFactor(engine, factor, [shape[mode]!, rank], data, { what, independent })
    if (independent) fixed.push({ mode, ...result })
    else given.set(mode, result.basis)
  }
  return { truncations, fixed, given: factors && given }
}

interface Run {
  readonly engine: MatrixEngine
  readonly energy: number
  readonly whole: Dense
  readonly fixed: readonly ModeFactor[]
  readonly truncations: readonly Truncation[]
  readonly given: Factors | undefined
  readonly observed: Uint8Array | undefined
}

interface Decomposed extends Iteration {
  readonly factors: Factors
  readonly observedError?: number
}

/** Core and factors of the truncated modes, over a tensor that is projected on the fixed ones. */
async function decompose(run: Run, options: PartialTuckerOptions): Promise<Decomposed> {
  const { engine, energy, whole, truncations, fixed, observed } = run
  const { method = 'hooi', maxIterations = 100, tolerance = 1e-4, seed = 0, signal, onProgress } = options
  checkAborted(signal)
  const factors: Factors = new Map()
  // One mode's best subspace does not depend on any other.
  const sweeps = method === 'hooi' && (truncations.length > 1 || observed !== undefined) ? maxIterations : 0
  const tensor = await projectModes(engine, whole, fixed)
  const subspaces = { seed, signal, approximate: sweeps > 0 }
  if (method === 'hosvd') {
    const core = await plainHosvd(engine, tensor, truncations, factors, subspaces)
    return { core, factors, errors: [errorOf(energy, core)], converged: true }
  }
  const start = await startOf(run, tensor, factors, sweeps, options)
  if (sweeps === 0)
    return { core: start!, factors, errors: [0], converged: method !== 'hooi' || truncations.length < 2 }
  const iteration = { maxIterations, tolerance, energy, signal, onProgress }
  const modes = truncations.map(({ mode }) => mode)
  if (observed)
    return { ...(await iterateObserved(engine, { whole, observed, fixed }, modes, factors, iteration)), factors }
  const before = start && errorOf(energy, start)
  return { ...(await iterate(engine, tensor, modes, factors, before, iteration)), factors }
}

/** Fills `factors` with what sweeps begin with. @returns the core, where it is known without another pass or is the result. */
async function startOf(
  { engine, truncations, given }: Run,
  tensor: Dense,
  factors: Factors,
  sweeps: number,
  { init = 'svd', method = 'hooi', seed = 0, signal }: PartialTuckerOptions,
): Promise<Dense | undefined> {
  // A single mode, like ST-HOSVD, does not depend on where it begins.
  const needsNoStart = method === 'st-hosvd' || truncations.length < 2
  if (init === 'svd' || (sweeps === 0 && needsNoStart))
    return sequentialHosvd(engine, tensor, truncations, factors, { seed, signal, approximate: sweeps > 0 })
  for (const { mode, rank } of truncations)
    factors.set(
      mode,
      init === 'random'
        ? await randomSubspace(engine, tensor.shape[mode]!, rank, seed + mode, tensor.data)
        : given!.get(mode)!,
    )
  if (sweeps > 0) return undefined
  return projectModes(
    engine,
    tensor,
    truncations.map(({ mode }) => ({ mode, matrix: factors.get(mode)! })),
  )
}

function identityLike(like: Reals, n: number): Matrix<Reals> {
  const data = arrayLike(like, n * n)
  for (let j = 0; j < n; j++) data[j * (n + 1)] = 1
  return { rows: n, cols: n, data }
}
