/** CP decomposition with factors that are nowhere negative. */
import { fail } from '../../core/index.ts'
import type { RankRule, Tensor } from '../../tensor/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import type { FactorRule, RuleInput } from './alternating.ts'
import { type CheckedCp, type CpOptions, type CpResult, checkCp, type Reals } from './cp-options.ts'
import { bestOfRestarts, cpResult } from './parafac.ts'

/** Options of {@link nonNegativeParafac}. */
export interface NonNegativeParafacOptions extends CpOptions {
  /**
   * `'hals'` (the default): one component of a factor after the other, exactly (hierarchical alternating least squares).
   * `'multiplicative'`: elements times ratios; slower to converge, zeros stay zeros.
   */
  readonly method?: 'hals' | 'multiplicative' | undefined
  /** Of `'hals'`: passes over a factor's components per sweep at most, default 20. More take longer and fit closer. */
  readonly passes?: number | undefined
}

/** Passes end when one changes the factor by less than this share of the first, squared. */
const SMALL_CHANGE = 1e-6

/**
 * The CP decomposition X ≈ Σ_r a_r ∘ b_r ∘ c_r … with factors that are nowhere negative.
 *
 * `init: 'svd'` takes magnitudes of the singular vectors, `'random'` of normal numbers; a CP tensor to start from must
 * not be negative, nor must its weights.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, N ≥ 2, float32 or float64; may have negative elements, which are approximated from
 *   above 0. @param rank as for `parafac`.
 * @throws WhittleError `UNSUPPORTED`, `SHAPE_MISMATCH`, `RANK_OUT_OF_RANGE`, `INVALID_ARGUMENT`, `NOT_FINITE`,
 *   `ABORTED`.
 * @see Cichocki, Phan, "Fast local algorithms for large scale nonnegative matrix and tensor factorizations", IEICE Trans.
 *   Fundamentals E92-A(3), 2009; the passes: Gillis, Glineur, "Accelerated multiplicative updates and hierarchical ALS
 *   algorithms for nonnegative matrix factorization", Neural Computation 24(4), 2012; multiplicative updates: Shashua,
 *   Hazan, "Non-negative tensor factorization with applications to statistics and computer vision", ICML 2005.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = cpToTensor(randomCp([6, 7, 8], 2, { seed: 1, distribution: 'uniform' }))
 * const cp = await nonNegativeParafac(engine, x, 2, { maxIterations: 500, tolerance: 0 })
 * const least = Math.min(...cp.factors.flatMap((factor) => [...(factor.data as Float64Array)]))
 * console.log(cp.relativeError < 1e-3, least >= 0)
 */
export async function nonNegativeParafac(
  engine: MatrixEngine,
  tensor: Tensor,
  rank: RankRule,
  options: NonNegativeParafacOptions = {},
): Promise<CpResult> {
  const checked = checkCp('nonNegativeParafac', tensor, rank, options)
  const { method = 'hals', passes = 20, init } = options
  if (method !== 'hals' && method !== 'multiplicative')
    fail('INVALID_ARGUMENT', `${checked.what}: method must be 'hals' or 'multiplicative'; got '${String(method)}'.`)
  if (!(Number.isSafeInteger(passes) && passes >= 1))
    fail('INVALID_ARGUMENT', `${checked.what}: passes must be a whole number from 1; got ${passes}.`)
  if (typeof init === 'object')
    for (const [name, values] of [
      ...init.factors.entries(),
      ...(init.weights ? [['weights', init.weights] as const] : []),
    ])
      if ((values.data as Reals).some((value) => value < 0))
        fail(
          'INVALID_ARGUMENT',
          `${checked.what}: a CP tensor to start from must not be negative; ${typeof name === 'number' ? `factor ${name} is` : 'its weights are'}.`,
        )
  return checked.data instanceof Float32Array
    ? decompose(engine, { ...checked, data: checked.data }, { ...options, method, passes })
    : decompose(engine, { ...checked, data: checked.data }, { ...options, method, passes })
}

async function decompose<T extends Reals>(
  engine: MatrixEngine,
  problem: CheckedCp & { readonly data: T },
  options: CpOptions & { readonly method: 'hals' | 'multiplicative'; readonly passes: number },
): Promise<CpResult> {
  const update: FactorRule<T> = {
    update: async (input) => (options.method === 'hals' ? hierarchical(input, options.passes) : multiplicative(input)),
  }
  const found = await bestOfRestarts(engine, { ...problem, nonNegative: true }, options, () => update)
  return cpResult(problem, found, options)
}

/**
 * a_r ← max(0, a_r + (m_r − Σ_s G_rs a_s) / G_rr) for one component r after the other, several times.
 *
 * @see Gillis, Glineur 2012, algorithm 3 and section 4.
 */
function hierarchical<T extends Reals>({ mode, mttkrp, gram, factors }: RuleInput<T>, passes: number): T {
  const rank = Math.sqrt(gram.length)
  const extent = mttkrp.length / rank
  const a = Float64Array.from(factors[mode]!)
  const target = new Float64Array(extent)
  let first = 0
  for (let pass = 0; pass < passes; pass++) {
    let change = 0
    for (let r = 0; r < rank; r++) {
      const curvature = gram[r * (rank + 1)]!
      // Nothing of the component is left in the other factors: any a_r gives the same tensor.
      if (!(curvature > 0)) continue
      for (let i = 0; i < extent; i++) target[i] = mttkrp[r * extent + i]!
      for (let s = 0; s < rank; s++) if (s !== r) subtractRow(target, a, s * extent, gram[r * rank + s]!)
      for (let i = 0; i < extent; i++) {
        const value = Math.max(0, target[i]! / curvature)
        change += (value - a[r * extent + i]!) ** 2
        a[r * extent + i] = value
      }
    }
    if (pass === 0) first = change
    if (change <= SMALL_CHANGE * first) break
  }
  return rounded(a, mttkrp)
}

/** target −= factor · (the row of a from `from` on) */
function subtractRow(target: Float64Array, a: Float64Array, from: number, factor: number): void {
  if (factor === 0) return
  for (let i = 0; i < target.length; i++) target[i] = target[i]! - factor * a[from + i]!
}

/** A ← A ∗ M / (G A), both kept above 0. */
function multiplicative<T extends Reals>({ mode, mttkrp, gram, factors }: RuleInput<T>): T {
  const rank = Math.sqrt(gram.length)
  const extent = mttkrp.length / rank
  const a = Float64Array.from(factors[mode]!)
  const out = a.slice()
  const least = mttkrp instanceof Float32Array ? 2 ** -23 : 2 ** -52
  const below = new Float64Array(extent)
  for (let r = 0; r < rank; r++) {
    below.fill(0)
    for (let s = 0; s < rank; s++) subtractRow(below, a, s * extent, -gram[r * rank + s]!)
    for (let i = 0; i < extent; i++)
      out[r * extent + i]! *= Math.max(mttkrp[r * extent + i]!, least) / Math.max(below[i]!, least)
  }
  return rounded(out, mttkrp)
}

function rounded<T extends Reals>(values: Float64Array, like: T): T {
  return (like instanceof Float32Array ? Float32Array.from(values) : values) as T
}
