/**
 * Least squares with solutions that are nowhere negative: x ≥ 0 that minimises ‖A x − b‖.
 *
 * The active-set method of Lawson and Hanson on AᵀA and Aᵀb, which are computed once for all right-hand sides; the
 * elements found positive are then solved for by QR, so that the condition number is not squared in the result.
 *
 * Sources: Lawson, Hanson, "Solving Least Squares Problems", 1974, chapter 23; Bro, De Jong, "A fast non-negativity-
 * constrained least squares algorithm", J. Chemometrics 11(5), 1997.
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import { leastSquares } from './least-squares.ts'
import type { Matrix, Matrix64, MatrixEngine } from './matrix.ts'
import { checkMatrix, columnRange, toMatrix64, zeros64 } from './matrix-layout.ts'

/** Options of {@link nnls}. */
export interface NnlsOptions extends TaskOptions {
  /** Changes of the active set per column of B at most, default 3 n; few problems need n. */
  readonly maxIterations?: number | undefined
}

/** What {@link nnls} found. */
export interface NnlsResult {
  /** X `[n, p]`, no element negative. */
  readonly solution: Matrix64
  /** ‖A x − b‖ for every column of B. */
  readonly residuals: Float64Array
  /** Whether every column ended at a minimum before its iterations ran out. */
  readonly converged: boolean
}

/** Components of the gradient below this share of ‖a_j‖ ‖b‖ are rounding. */
const GRADIENT = 1e-12
/** Pivots below this share of their diagonal element: the column depends on those that are positive already. */
const DEPENDENT = 1e-13

/**
 * Non-negative least squares, X ≥ 0 that minimises ‖A X − B‖ column by column.
 *
 * The minimum is unique where A has full column rank; otherwise one of the minima is found.
 *
 * @param a `[m, n]`, any m and n. @param b `[m, p]`. float32 is converted.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `INVALID_ARGUMENT`, `ABORTED`.
 * @see Bro, De Jong 1997.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 3, cols: 2, data: Float64Array.of(1, 1, 1, 2, 1, 3) }
 * const { solution } = await nnls(engine, a, { rows: 3, cols: 1, data: Float64Array.of(3, 2, 1) })
 * console.log([...solution.data].map((value) => value.toFixed(4)))
 */
export async function nnls(
  engine: MatrixEngine,
  a: Matrix,
  b: Matrix,
  { maxIterations = 3 * a.cols, signal, onProgress }: NnlsOptions = {},
): Promise<NnlsResult> {
  const what = 'Non-negative least squares'
  if (a.rows !== b.rows)
    fail(
      'SHAPE_MISMATCH',
      `${what}: A and B must have the same number of rows; got [${a.rows}, ${a.cols}] and [${b.rows}, ${b.cols}].`,
    )
  checkMatrix(a, what)
  checkMatrix(b, what)
  if (!(Number.isSafeInteger(maxIterations) && maxIterations >= 1))
    fail('INVALID_ARGUMENT', `${what}: maxIterations must be a whole number from 1; got ${maxIterations}.`)
  const [left, right] = [toMatrix64(a), toMatrix64(b)]
  const gram = (await engine.multiply(left, left, { transposeA: true })).data
  const products = (await engine.multiply(left, right, { transposeA: true })).data
  const [n, p] = [a.cols, b.cols]
  const solution = zeros64(n, p)
  let converged = true
  for (let column = 0; column < p; column++) {
    checkAborted(signal)
    const target = Float64Array.from({ length: n }, (_, j) => products[j * p + column]!)
    const b1 = columnRange(right, column, column + 1)
    const length = Math.sqrt(b1.data.reduce((sum, value) => sum + value * value, 0))
    const set = new ActiveSet(gram, target, length)
    if (!set.run(maxIterations)) converged = false
    const x = await polished(engine, left, b1, set.solution)
    for (let j = 0; j < n; j++) solution.data[j * p + column] = x[j]!
    onProgress?.({ stage: 'nnls', done: column + 1, total: p })
  }
  const residuals = new Float64Array(p)
  const fitted = (await engine.multiply(left, solution)).data
  for (let at = 0; at < fitted.length; at++) residuals[at % p]! += (fitted[at]! - right.data[at]!) ** 2
  return { solution, residuals: residuals.map(Math.sqrt), converged }
}

/**
 * The positive elements solved for again from A itself; those that turn out not to be positive are left behind, as within
 * the active-set method.
 */
async function polished(engine: MatrixEngine, a: Matrix64, b: Matrix64, start: Float64Array): Promise<Float64Array> {
  const x = start.slice()
  for (;;) {
    const positive = [...x.keys()].filter((j) => x[j]! > 0)
    if (positive.length === 0 || positive.length > a.rows) return x
    const columns = zeros64(a.rows, positive.length)
    for (let i = 0; i < a.rows; i++)
      for (const [k, j] of positive.entries()) columns.data[i * positive.length + k] = a.data[i * a.cols + j]!
    const { data } = await leastSquares(engine, columns, b)
    if (towards(x, positive, data)) return x
  }
}

/**
 * Moves the given elements of x, all positive, to new values, or as far as all of them stay so: then those that become 0
 * do exactly. Whether the values were reached.
 */
function towards(x: Float64Array, elements: readonly number[], values: Float64Array): boolean {
  if (values.every((value) => value > 0)) {
    for (const [k, j] of elements.entries()) x[j] = values[k]!
    return true
  }
  let step = 1
  for (const [k, j] of elements.entries()) if (!(values[k]! > 0)) step = Math.min(step, x[j]! / (x[j]! - values[k]!))
  for (const [k, j] of elements.entries()) {
    const from = x[j]!
    const to = from + step * (values[k]! - from)
    x[j] = !(values[k]! > 0) && to <= 1e-15 * from ? 0 : Math.max(to, 0)
  }
  return false
}

/** The active-set method for one right-hand side. */
class ActiveSet {
  readonly solution: Float64Array
  readonly #gram: Float64Array
  readonly #target: Float64Array
  readonly #n: number
  /** Elements that may be positive, in the order they were let in. */
  #passive: number[] = []
  /** Elements whose columns depend on the passive ones. */
  readonly #dependent = new Set<number>()
  readonly #least: Float64Array

  /** @param gram AᵀA. @param target Aᵀb. @param length ‖b‖. */
  constructor(gram: Float64Array, target: Float64Array, length: number) {
    this.#gram = gram
    this.#target = target
    this.#n = target.length
    this.solution = new Float64Array(this.#n)
    this.#least = Float64Array.from(target, (_, j) => GRADIENT * Math.sqrt(gram[j * (this.#n + 1)]!) * length)
  }

  /** Whether a minimum was reached within the given number of changes of the set. */
  run(maxIterations: number): boolean {
    for (let iteration = 0; iteration < maxIterations; iteration++) {
      const next = this.#steepest()
      if (next < 0) return true
      this.#passive.push(next)
      this.#descend(next)
    }
    return this.#steepest() < 0
  }

  /** The element that lowers the distance most by becoming positive; −1 when none does. */
  #steepest(): number {
    let best = -1
    let most = 0
    const passive = new Set(this.#passive)
    for (let j = 0; j < this.#n; j++) {
      if (passive.has(j) || this.#dependent.has(j)) continue
      let gradient = this.#target[j]!
      for (const k of this.#passive) gradient -= this.#gram[j * this.#n + k]! * this.solution[k]!
      if (gradient > most && gradient > this.#least[j]!) {
        most = gradient
        best = j
      }
    }
    return best
  }

  /** Goes to the minimum over the passive elements, leaving those behind that would become negative. */
  #descend(entered: number): void {
    for (;;) {
      const values = solvePassive(this.#gram, this.#n, this.#passive, this.#target)
      // A newcomer that depends on the others, or goes the wrong way by rounding, brings nothing.
      if (!values || (this.#passive.at(-1) === entered && this.solution[entered] === 0 && !(values.at(-1)! > 0))) {
        this.#passive = this.#passive.filter((j) => j !== entered)
        this.solution[entered] = 0
        this.#dependent.add(entered)
        return
      }
      if (towards(this.solution, this.#passive, values)) {
        this.#dependent.clear()
        return
      }
      this.#passive = this.#passive.filter((j) => this.solution[j]! > 0)
    }
  }
}

/** The minimum over some elements, the others being 0; `undefined` when their columns are dependent. */
function solvePassive(
  gram: Float64Array,
  n: number,
  passive: readonly number[],
  target: Float64Array,
): Float64Array | undefined {
  const size = passive.length
  const l = new Float64Array(size * size)
  const x = Float64Array.from(passive, (j) => target[j]!)
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = gram[passive[i]! * n + passive[j]!]!
      for (let k = 0; k < j; k++) sum -= l[i * size + k]! * l[j * size + k]!
      if (j < i) l[i * size + j] = sum / l[j * (size + 1)]!
      else if (sum > DEPENDENT * gram[passive[i]! * (n + 1)]!) l[i * (size + 1)] = Math.sqrt(sum)
      else return undefined
    }
    for (let k = 0; k < i; k++) x[i]! -= l[i * size + k]! * x[k]!
    x[i]! /= l[i * (size + 1)]!
  }
  for (let i = size - 1; i >= 0; i--) {
    for (let k = i + 1; k < size; k++) x[i]! -= l[k * size + i]! * x[k]!
    x[i]! /= l[i * (size + 1)]!
  }
  return x
}
