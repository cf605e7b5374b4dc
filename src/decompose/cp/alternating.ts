/**
 * Alternating least squares sweeps over the factors of a CP tensor.
 *
 * The error after a sweep comes from what the sweep has computed, ‖X‖² − 2⟨X, X̂⟩ + ‖X̂‖² with ⟨X, X̂⟩ from the last
 * MTTKRP. Where these cancel, near an exact fit or among large opposite components, the elements are compared instead.
 */
import { checkAborted } from '../../core/index.ts'
import type { MatrixEngine } from '../matrix.ts'
import type { CheckedCp, CpProgress, Reals } from './cp-options.ts'
import { DimensionTree, type FactorUpdate } from './dimension-tree.ts'
import { gramOfFactor, hadamard, updateEquations } from './normal-equations.ts'
import { forEachPart, squaredResidual } from './residual.ts'

/** What a factor is updated from. Components are in rows. */
export interface RuleInput<T extends Reals> {
  readonly mode: number
  /** M `[rank, i_n]` */
  readonly mttkrp: T
  /** G `[rank, rank]`, without the factor's own. */
  readonly gram: Float64Array
  /** `[rank, i_n]` of every mode, the one in question as it is. */
  readonly factors: readonly T[]
  /** A Aᵀ of every factor. */
  readonly grams: readonly Float64Array[]
}

/** Another way to update factors than least squares. */
export interface FactorRule<T extends Reals> {
  /** The new factor `[rank, i_n]`. */
  update(input: RuleInput<T>): Promise<T>
  /** Told the relative error after each sweep; says whether sweeps may end. */
  settled?(relativeError: number): boolean
}

/** What sweeps need to know. */
export interface SweepOptions<T extends Reals> {
  readonly maxIterations: number
  readonly tolerance: number
  /** Added to the diagonal of the normal equations. */
  readonly l2: number
  readonly lineSearch: boolean
  /** Default: least squares. */
  readonly rule?: FactorRule<T> | undefined
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: CpProgress) => void) | undefined
}

/** Where sweeps ended. */
export interface SweepResult<T extends Reals> {
  /** `[rank, i_k]`, components in rows. */
  readonly factors: readonly T[]
  readonly errors: number[]
  readonly converged: boolean
  /** ‖X − X̂‖ / ‖X‖ of the factors; from the elements where the last sweep's error is not certain enough. */
  readonly relativeError: number
}

/** Squared distances below this share of the squared numbers they are the difference of are computed again. */
const CANCELLED = { float32: 2.5e-5, float64: 2.5e-12 } as const
/** Squared relative errors from here on lose at most some 1e-5 of themselves in the difference. */
const CERTAIN = 4e-3
/** Sweeps before the first extrapolation. */
const FIRST_JUMP = 6
/** Failed extrapolations before the next ones are shorter. */
const MOST_FAILURES = 4

/** The state of one decomposition between updates. */
export class Alternation<T extends Reals> {
  readonly #engine: MatrixEngine
  readonly #problem: CheckedCp & { readonly data: T }
  readonly #options: SweepOptions<T>
  readonly #tree: DimensionTree<T>
  /** `[rank, i_k]` */
  #factors: T[]
  /** A Aᵀ of every factor. */
  #grams: Float64Array[] = []
  /** The first update of the next sweep, where it is known already. */
  #next: FactorUpdate<T> | undefined
  /** The tensor, missing elements filled in. */
  readonly #data: T

  /** @param factors `[rank, i_k]` to start from; not written to. */
  constructor(
    engine: MatrixEngine,
    problem: CheckedCp & { readonly data: T },
    factors: readonly T[],
    options: SweepOptions<T>,
  ) {
    const { data, shape, rank, mask } = problem
    this.#engine = engine
    this.#problem = problem
    this.#options = options
    this.#factors = [...factors]
    this.#data = mask ? (data.slice() as T) : data
    this.#tree = new DimensionTree(engine, this.#data, {
      shape,
      rank,
      changing: mask !== undefined,
      sweeps: options.maxIterations,
    })
  }

  /** Sweeps until the error stays or sweeps run out. */
  async run(): Promise<SweepResult<T>> {
    const { maxIterations, tolerance, lineSearch, rule, onProgress } = this.#options
    const { mask, modes, fitted } = this.#problem
    const errors: number[] = []
    const search = { power: 2, failures: 0 }
    let converged = modes.length === 0
    let certain = false
    try {
      this.#grams = await this.#gramsOf(this.#factors)
      if (mask && fitted) await this.#impute()
      for (let sweep = 0; sweep < maxIterations && !converged; sweep++) {
        const before = this.#factors.slice()
        let error = await this.#sweep()
        if (lineSearch && sweep % 2 === 0 && sweep >= FIRST_JUMP)
          error = await this.#extrapolate(before, error, sweep, search)
        if (mask) await this.#impute()
        certain = mask === undefined && error ** 2 > CERTAIN
        const change = Math.abs((errors.at(-1) ?? Number.POSITIVE_INFINITY) - error)
        converged = rule?.settled?.(error) ?? change < tolerance
        errors.push(error)
        onProgress?.({ stage: 'cp', done: sweep + 1, total: maxIterations, relativeError: error })
      }
      const relativeError = certain ? errors.at(-1)! : await this.#residual(this.#factors)
      return { factors: this.#factors, errors, converged, relativeError }
    } finally {
      await this.#tree.release()
    }
  }

  /** Updates every factor once; the relative error after. */
  async #sweep(): Promise<number> {
    const { modes } = this.#problem
    let last: FactorUpdate<T> | undefined
    for (const mode of modes) {
      checkAborted(this.#options.signal)
      last = this.#next ?? (await this.#update(mode, this.#factors, this.#grams))
      this.#next = undefined
      this.#factors[mode] = last.factor
      this.#grams[mode] = last.gram
    }
    return this.#errorOf(this.#factors, this.#grams, modes.at(-1)!, last!.mttkrp)
  }

  async #update(mode: number, factors: readonly T[], grams: readonly Float64Array[]): Promise<FactorUpdate<T>> {
    const { rank } = this.#problem
    const { rule } = this.#options
    const gram = hadamard(grams, mode)
    if (rule) {
      const mttkrp = await this.#tree.mttkrp(mode, factors)
      const factor = await rule.update({ mode, mttkrp, gram, factors, grams })
      return { mttkrp, factor, gram: await gramOfFactor(this.#engine, factor, rank) }
    }
    for (let r = 0; r < rank; r++) gram[r * (rank + 1)]! += this.#options.l2
    return this.#tree.update(mode, factors, await updateEquations(gram, factors[mode]!))
  }

  /** The relative error of factors, given the MTTKRP of one mode with the others of these factors. */
  async #errorOf(factors: readonly T[], grams: readonly Float64Array[], mode: number, mttkrp: T): Promise<number> {
    if (this.#problem.mask) return this.#residual(factors)
    const [inner, innerSize] = sumOfProducts(mttkrp, factors[mode]!)
    const [square, squareSize] = sumOf(hadamard(grams))
    const distance = this.#problem.squaredNorm - 2 * inner + square
    const size = this.#problem.squaredNorm + 2 * innerSize + squareSize
    const enough = CANCELLED[mttkrp instanceof Float32Array ? 'float32' : 'float64'] * size
    return distance > enough ? Math.sqrt(distance / this.#problem.squaredNorm) : this.#residual(factors)
  }

  async #residual(factors: readonly T[]): Promise<number> {
    const { shape, rank } = this.#problem
    const cp = { shape, rank, factors }
    const squared = await squaredResidual(this.#engine, this.#problem, cp, this.#options.signal)
    return squared === 0 ? 0 : Math.sqrt(squared / this.#problem.squaredNorm)
  }

  /**
   * Goes on in the direction of the last sweep, by Bro's heuristic step, if that lowers the error. What it takes to find
   * out is what the next sweep begins with.
   *
   * @returns the relative error of the factors that are kept.
   * @see Bro, "Multi-way analysis in the food industry", PhD thesis, University of Amsterdam, 1998, section 4.
   */
  async #extrapolate(
    before: readonly T[],
    error: number,
    sweep: number,
    search: { power: number; failures: number },
  ): Promise<number> {
    const jump = sweep ** (1 / search.power)
    const fixed = (mode: number): boolean => this.#factors[mode] === before[mode]
    const there = this.#factors.map((factor, mode) =>
      fixed(mode) ? factor : extrapolated(before[mode]!, factor, jump),
    )
    const grams = await this.#gramsOf(there)
    const first = this.#problem.modes[0]!
    const next = this.#problem.mask ? undefined : await this.#update(first, there, grams)
    const reached = await this.#errorOf(there, grams, first, next?.mttkrp ?? there[first]!)
    if (reached < error) {
      this.#factors = there
      this.#grams = grams
      this.#next = next
      search.failures = 0
      return reached
    }
    search.failures += 1
    if (search.failures === MOST_FAILURES) {
      search.power += 1
      search.failures = 0
    }
    return error
  }

  async #gramsOf(factors: readonly T[]): Promise<Float64Array[]> {
    const grams: Float64Array[] = []
    for (const factor of factors) grams.push(await gramOfFactor(this.#engine, factor, this.#problem.rank))
    return grams
  }

  /**
   * Fills missing elements with those of the factors: expectation maximisation.
   *
   * @see Tomasi, Bro, "PARAFAC and missing values", Chemometrics and Intelligent Laboratory Systems 75(2), 2005.
   */
  async #impute(): Promise<void> {
    const { shape, rank, mask } = this.#problem
    const data = this.#data
    const fill = (part: T, start: number): void => {
      for (let at = 0; at < part.length; at++) if (mask![start + at] === 0) data[start + at] = part[at]!
    }
    await forEachPart(this.#engine, { shape, rank, factors: this.#factors }, fill, this.#options.signal)
    this.#tree.replace(data)
  }
}

function extrapolated<T extends Reals>(from: T, to: T, jump: number): T {
  const out = to.slice() as T
  for (let at = 0; at < out.length; at++) out[at] = from[at]! + (to[at]! - from[at]!) * jump
  return out
}

/** Σ a b, and Σ |a b|. */
function sumOfProducts(a: Reals, b: Reals): readonly [number, number] {
  let sum = 0
  let size = 0
  for (let at = 0; at < a.length; at++) {
    const product = a[at]! * b[at]!
    sum += product
    size += Math.abs(product)
  }
  return [sum, size]
}

/** Σ a, and Σ |a|. */
function sumOf(values: Float64Array): readonly [number, number] {
  let sum = 0
  let size = 0
  for (let at = 0; at < values.length; at++) {
    sum += values[at]!
    size += Math.abs(values[at]!)
  }
  return [sum, size]
}
