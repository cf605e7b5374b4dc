/** CP decomposition guarded against degeneracy. */
import { fail } from '../../core/index.ts'
import { cpSensitivity, type RankRule, type Tensor } from '../../tensor/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import { sumOfSquares } from '../matrix-layout.ts'
import { Alternation, type SweepResult } from './alternating.ts'
import type { CheckedCp, CpResult, Reals } from './cp-options.ts'
import { ErrorPreservingCorrection } from './error-preserving-correction.ts'
import { bestOfRestarts, checkParafac, cpResult, type ParafacOptions } from './parafac.ts'

/** Options of {@link stableParafac}. */
export interface StableParafacOptions extends ParafacOptions {
  /**
   * ‖X − X̂‖ / ‖X‖ that the correction may reach; default: 1 % above what alternating least squares comes to. Where that
   * is above the bound, corrections go on lowering the error first.
   */
  readonly errorBound?: number | undefined
  /** Sweeps of the correction at most, default 100; it ends early when the sensitivity falls by less than 0.1 %. */
  readonly correctionIterations?: number | undefined
}

/** A guarded CP decomposition. */
export interface StableCpResult extends CpResult {
  /** `cpSensitivity` of the result. */
  readonly sensitivity: number
}

/** How much more error the correction may cost where no bound is given. */
const ALLOWANCE = 1.01
const SETTLED = 1e-3

/**
 * The CP decomposition of a tensor with (nearly) the least error, and among those of that error one of low sensitivity:
 * alternating least squares ({@link parafac}), then error-preserving correction.
 *
 * Why: tensors of rank r are not a closed set. a∘a∘b + a∘b∘a + b∘a∘a has rank 3, yet tensors of rank 2 come as near to it
 * as one likes, (n (a + b/n)∘(a + b/n)∘(a + b/n) − n a∘a∘a) for growing n: the components grow without bound and cancel.
 * Alternating least squares follows such paths on weights of trained networks too, where noise makes them the rule. The
 * error stays small while components of opposite sign become many times as large as their sum; then every rounding or
 * training step on a factor is magnified as much, and fine-tuning the layer fails. The correction minimises the
 * sensitivity, Σ_k i_k Σ_r Π_{j≠k} ‖a_r⁽ʲ⁾‖² (`cpSensitivity`), subject to the error staying within a bound.
 *
 * @param tensor and rank as for {@link parafac}.
 * @returns errors and iterations of both parts, one after the other. With `normalizeFactors` the sensitivity is that of
 *   weights split evenly.
 * @throws WhittleError as {@link parafac}.
 * @see Phan, Sobolev, Sozykin, Ermilov, Gusak, Tichavský, Glukhov, Oseledets, Cichocki, "Stable low-rank tensor
 *   decomposition for compression of convolutional neural network", ECCV 2020; de Silva, Lim, "Tensor rank and the
 *   ill-posedness of the best low-rank approximation problem", SIAM J. Matrix Anal. Appl. 30(3), 2008.
 * @example
 * const engine = createPlainMatrixEngine()
 * // a∘a∘b + a∘b∘a + b∘a∘a: rank 3, but tensors of rank 2 come as near to it as one likes.
 * const x = tensor([[[0, 1], [1, 0]], [[1, 0], [0, 0]]])
 * const options = { init: 'random', maxIterations: 1000, tolerance: 0 } as const
 * const plain = await parafac(engine, x, 2, options)
 * const stable = await stableParafac(engine, x, 2, { ...options, errorBound: 0.1 })
 * console.log('plain ', plain.relativeError.toFixed(3), cpSensitivity(plain).toFixed(0))
 * console.log('stable', stable.relativeError.toFixed(3), stable.sensitivity.toFixed(0))
 */
export async function stableParafac(
  engine: MatrixEngine,
  tensor: Tensor,
  rank: RankRule,
  options: StableParafacOptions = {},
): Promise<StableCpResult> {
  const checked = checkParafac('stableParafac', tensor, rank, options)
  const { errorBound, correctionIterations = 100 } = options
  if (errorBound !== undefined && !(errorBound >= 0))
    fail('INVALID_ARGUMENT', `${checked.what}: errorBound must be 0 or more; got ${errorBound}.`)
  if (!(Number.isSafeInteger(correctionIterations) && correctionIterations >= 0))
    fail(
      'INVALID_ARGUMENT',
      `${checked.what}: correctionIterations must be a whole number from 0; got ${correctionIterations}.`,
    )
  const result =
    checked.data instanceof Float32Array
      ? await decompose(engine, { ...checked, data: checked.data }, { ...options, correctionIterations })
      : await decompose(engine, { ...checked, data: checked.data }, { ...options, correctionIterations })
  return { ...result, sensitivity: cpSensitivity(result) }
}

async function decompose<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  options: StableParafacOptions & { readonly correctionIterations: number },
): Promise<CpResult> {
  const found = await bestOfRestarts(engine, problem, options)
  if (problem.modes.length === 0) return cpResult(problem, found, options)
  const corrected = await correct(engine, problem, found, options)
  const errors = [...found.errors, ...corrected.errors]
  return cpResult(problem, { ...corrected, errors, converged: found.converged && corrected.converged }, options)
}

async function correct<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  found: SweepResult<T>,
  { errorBound, correctionIterations, signal, onProgress }: StableParafacOptions & { correctionIterations: number },
): Promise<SweepResult<T>> {
  const { shape, rank, modes } = problem
  const rule = new ErrorPreservingCorrection<T>(engine, {
    shape,
    squaredNorm: problem.squaredNorm,
    relativeError: found.relativeError,
    errorBound: errorBound ?? ALLOWANCE * found.relativeError,
    tolerance: SETTLED,
  })
  const factors = modes.length === shape.length ? balanced(found.factors, rank) : found.factors
  const sweeps = {
    maxIterations: correctionIterations,
    tolerance: 0,
    l2: 0,
    lineSearch: false,
    rule,
    signal,
    onProgress,
  }
  return new Alternation(engine, { ...problem, fitted: true }, factors, sweeps).run()
}

/** The same components with the lengths that make their sensitivity least: those of mode k proportional to √i_k. */
function balanced<T extends Reals>(factors: readonly T[], rank: number): T[] {
  const out = factors.map((factor) => factor.slice() as T)
  for (let r = 0; r < rank; r++) {
    const rows = out.map((factor) => factor.subarray((r * factor.length) / rank, ((r + 1) * factor.length) / rank))
    const lengths = rows.map((row) => Math.sqrt(sumOfSquares(row as T)))
    const natural = rows.map((row) => Math.sqrt(row.length))
    const logs = lengths.map((length, k) => Math.log(length) - Math.log(natural[k]!))
    const common = Math.exp(logs.reduce((sum, log) => sum + log, 0) / logs.length)
    if (!(common > 0 && common < Number.POSITIVE_INFINITY)) continue
    for (const [k, row] of rows.entries()) {
      const scale = (common * natural[k]!) / lengths[k]!
      for (let at = 0; at < row.length; at++) row[at] = row[at]! * scale
    }
  }
  return out
}
