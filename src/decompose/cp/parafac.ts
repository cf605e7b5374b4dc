/** CP decomposition (CANDECOMP/PARAFAC) by alternating least squares. */
import { fail } from '../../core/index.ts'
import { type CpTensor, cpNormalize, type RankRule, Tensor } from '../../tensor/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { transposed } from '../matrix-layout.ts'
import { Alternation, type FactorRule, type SweepOptions, type SweepResult } from './alternating.ts'
import { type CompressedCp, joinSweeps, maybeCompress } from './compression.ts'
import { type CheckedCp, type CpOptions, type CpResult, checkCp, type Reals } from './cp-options.ts'
import { initialFactors } from './initialize.ts'

/** Options of {@link parafac}. */
export interface ParafacOptions extends CpOptions {
  /** λ of ‖X − X̂‖² + λ Σ ‖A_k‖², in the units of the squared tensor; default 0. */
  readonly l2?: number | undefined
  /** Extrapolates every second sweep where that lowers the error, as TensorLy does; default `false`. */
  readonly lineSearch?: boolean | undefined
}

/**
 * The CP decomposition X ≈ Σ_r λ_r a_r ∘ b_r ∘ c_r … of a tensor, by alternating least squares (ALS).
 *
 * ALS finds a local minimum, and may take hundreds of sweeps to; a best decomposition need not exist
 * ({@link stableParafac} is for those cases). With missing elements each sweep is followed by filling them in from the
 * factors (expectation maximisation), and errors are over observed elements. A large tensor whose core of little more
 * than the rank in each mode holds 98 % of ‖X‖² is swept there, and by the last sweeps, three of a hundred, itself (option
 * `compression`). Extra memory: as much as the tensor for
 * each mode but the first whose turn begins a matrix product (at most N − 1 times), and partial results.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, N ≥ 2, float32 or float64; sums are accumulated in the tensor's type over one or
 *   some modes, normal equations are float64. Not written to.
 * @param rank the number of components; may exceed every extent. Or a rule for it, as `validateCpRank` takes.
 * @returns a CP tensor of the tensor's type; it converges when an error differs from the last by less than the tolerance.
 * @throws WhittleError `UNSUPPORTED`, `SHAPE_MISMATCH`, `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`, `NOT_FINITE` (float32
 *   products overflow for elements beyond about 1e12), `ABORTED`.
 * @see Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, figure 3.3.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = cpToTensor(randomCp([6, 7, 8], 3, { seed: 1 }))
 * const cp = await parafac(engine, x, 3, { normalizeFactors: true, tolerance: 1e-10, maxIterations: 500 })
 * console.log(cp.relativeError < 1e-4, cp.factors.map(({ shape }) => shape), cp.weights?.shape)
 */
export async function parafac(
  engine: MatrixEngine,
  tensor: Tensor,
  rank: RankRule,
  options: ParafacOptions = {},
): Promise<CpResult> {
  const checked = checkParafac('parafac', tensor, rank, options)
  return checked.data instanceof Float32Array
    ? decompose(engine, { ...checked, data: checked.data }, options)
    : decompose(engine, { ...checked, data: checked.data }, options)
}

/** `checkCp` and the options of least squares. @param name begins messages. */
export function checkParafac(name: string, tensor: Tensor, rank: RankRule, options: ParafacOptions): CheckedCp {
  const checked = checkCp(name, tensor, rank, options)
  const { l2 = 0 } = options
  if (!(l2 >= 0 && l2 < Number.POSITIVE_INFINITY))
    fail('INVALID_ARGUMENT', `${checked.what}: l2 must be a finite number from 0; got ${l2}.`)
  return checked
}

async function decompose<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  options: ParafacOptions,
): Promise<CpResult> {
  return cpResult(problem, await bestOfRestarts(engine, problem, options), options)
}

/** Least squares sweeps from each start; the ones that end with the least error. */
export async function bestOfRestarts<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  options: ParafacOptions,
  ruleFor: () => FactorRule<T> | undefined = () => undefined,
): Promise<SweepResult<T>> {
  const { init = 'svd', restarts = 1, seed = 0, maxIterations = 100, tolerance = 1e-8 } = options
  const { l2 = 0, lineSearch = false, signal, onProgress } = options
  // Rules of their own see the elements; theirs are not the core's.
  const compressed = ruleFor() ? undefined : await maybeCompress(engine, problem, options)
  let best: SweepResult<T> | undefined
  for (let attempt = 0; attempt < restarts; attempt++) {
    const from = { init: attempt === 0 ? init : ('random' as const), seed: seed + attempt }
    const sweeps = { maxIterations, tolerance, l2, lineSearch, rule: ruleFor(), signal, onProgress }
    const result = compressed
      ? await sweepsThroughCore(engine, problem, compressed, from, sweeps)
      : await sweepsFrom(engine, problem, from, sweeps)
    if (!best || result.relativeError < best.relativeError) best = result
  }
  return best!
}

interface Start {
  readonly init: 'svd' | 'random' | CpTensor
  readonly seed: number
}

async function sweepsFrom<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  { init, seed }: Start,
  sweeps: SweepOptions<T>,
): Promise<SweepResult<T>> {
  const factors = await initialFactors(engine, problem, init, { seed, signal: sweeps.signal })
  return new Alternation(engine, problem, factors, sweeps).run()
}

/** Most sweeps on the core, the last ones on the tensor. */
async function sweepsThroughCore<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  { problem: core, finalSweeps, expand, errorOf }: CompressedCp<T>,
  start: Start,
  sweeps: SweepOptions<T>,
): Promise<SweepResult<T>> {
  const { maxIterations, onProgress } = sweeps
  const first = await sweepsFrom(engine, core, start, {
    ...sweeps,
    maxIterations: maxIterations - finalSweeps,
    onProgress:
      onProgress &&
      ((progress) => onProgress({ ...progress, total: maxIterations, relativeError: errorOf(progress.relativeError) })),
  })
  const done = first.errors.length
  const last = await new Alternation(engine, problem, await expand(first.factors), {
    ...sweeps,
    maxIterations: maxIterations - done,
    onProgress:
      onProgress && ((progress) => onProgress({ ...progress, done: done + progress.done, total: maxIterations })),
  }).run()
  return joinSweeps(first, last, errorOf)
}

/** The result of sweeps as tensors. */
export function cpResult<T extends Reals>(
  { shape, rank, modes }: CheckedCp,
  { factors, errors, converged, relativeError }: SweepResult<T>,
  { init, normalizeFactors = false }: CpOptions,
): CpResult {
  const about = { relativeError, errors, iterations: errors.length, converged }
  const tensors = factors.map((data, mode) =>
    Tensor.of(transposed({ rows: rank, cols: shape[mode]!, data }).data, [shape[mode]!, rank]),
  )
  // Nothing was updated: what was given is the result, its weights still apart.
  if (modes.length === 0 && typeof init === 'object')
    return { ...(init.weights ? { weights: init.weights } : {}), factors: [...init.factors], ...about }
  if (modes.length === 0) return { factors: tensors, ...about }
  if (!normalizeFactors) return { factors: tensors, ...about }
  const unit = cpNormalize({ factors: modes.map((mode) => tensors[mode]!) })
  for (const [at, mode] of modes.entries()) tensors[mode] = unit.factors[at]!
  return { weights: unit.weights, factors: tensors, ...about }
}
