/**
 * An estimate of all singular values of a large matrix from products with a few random vectors: the leading ones by a
 * range finder, the distribution of the others by stochastic Lanczos quadrature.
 *
 * Sums over the spectrum and counts above a level come out within about a percent. For decisions that leave such a
 * margin, where the exact spectrum would take minutes.
 *
 * Source: Ubaru, Chen, Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl.
 * 38(4), 2017.
 */
import { checkAborted, createRandom, type TaskOptions } from '../core/index.ts'
import { modeGram } from './gram.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { arrayLike, checkMatrix, sumOfSquares } from './matrix-layout.ts'
import { rangeRows } from './range-finder.ts'
import { symmetricEigen } from './symmetric-eigen.ts'
import { tridiagonalEigen } from './tridiagonal-ql.ts'

/** Options of {@link estimateSingularValues}. */
export interface SpectrumEstimateOptions extends TaskOptions {
  /** Leading singular values that are computed, default 128 or an eighth of all; the others are distributed. */
  readonly leading?: number
  /** Random vectors, default 16; a count c has an error of about √(2 c / probes). */
  readonly probes?: number
  /** Lanczos steps, each two products with the matrix, default 20. */
  readonly steps?: number
  /** Default 0. */
  readonly seed?: number
}

type Reals = Float32Array | Float64Array

/**
 * Estimates of the min(m, n) singular values, descending; their squares sum to ‖A‖².
 *
 * @param a `[m, n]`, float32 or float64.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`, `ABORTED`.
 * @example
 * const engine = createPlainMatrixEngine()
 * const weight = randomTensor([30, 40], { seed: 1 })
 * const a = { rows: 30, cols: 40, data: weight.data as Float64Array }
 * const estimate = await estimateSingularValues(engine, a, { leading: 4 })
 * console.log(estimate.length)
 */
export async function estimateSingularValues(
  engine: MatrixEngine,
  a: Matrix,
  { leading = 128, probes = 16, steps = 20, seed = 0, signal, onProgress }: SpectrumEstimateOptions = {},
): Promise<Float64Array> {
  checkMatrix(a, 'Spectrum estimate')
  const n = Math.min(a.rows, a.cols)
  const total = sumOfSquares(a.data)
  if (n === 0 || total === 0) return new Float64Array(n)
  const transpose = a.rows > a.cols
  const head = Math.max(1, Math.min(leading, Math.ceil(n / 8)))
  const basis = await rangeRows(engine, a, head, { iterations: 2, seed, transpose, signal })
  const image = await engine.multiply(basis, a, { transposeB: transpose })
  const gram = await modeGram(engine, image.data, [1, head, image.cols], { signal })
  const { values } = await symmetricEigen(engine, gram, { vectors: false, signal })

  const rest = Math.max(0, total - values.reduce((sum, value) => sum + value, 0))
  const run = new LanczosRuns(engine, a, basis, probes, seed + 1)
  const limit = Math.min(steps, n - head)
  for (let step = 0; step < limit; step++) {
    checkAborted(signal)
    await run.step()
    onProgress?.({ stage: 'spectrum', done: step + 1, total: limit })
  }
  const tail = scaledTo(rest, run.quantiles(n - head))
  const squares = new Float64Array(n)
  squares.set(values)
  squares.set(tail, head)
  return squares
    .map((value) => Math.sqrt(Math.max(value, 0)))
    .sort()
    .reverse()
}

/** The numbers scaled to a sum. */
function scaledTo(sum: number, values: Float64Array): Float64Array {
  const own = values.reduce((total, value) => total + value, 0)
  return own > 0 ? values.map((value) => (value * sum) / own) : values
}

/** Lanczos recurrences of A Aᵀ on the complement of a basis, one per random vector, run side by side. */
class LanczosRuns {
  readonly #engine: MatrixEngine
  readonly #a: Matrix
  readonly #transpose: boolean
  readonly #basis: Matrix
  readonly #alphas: number[][]
  readonly #betas: number[][]
  #current: Matrix
  #previous: Reals

  /** @param basis orthonormal rows `[head, n]` that the vectors stay orthogonal to. */
  constructor(engine: MatrixEngine, a: Matrix, basis: Matrix, probes: number, seed: number) {
    this.#engine = engine
    this.#a = a
    this.#transpose = a.rows > a.cols
    this.#basis = basis
    const random = createRandom(seed)
    const data = arrayLike(a.data, probes * basis.cols)
    for (let i = 0; i < data.length; i++) data[i] = random.nextUint32() & 1 ? 1 : -1
    this.#current = { rows: probes, cols: basis.cols, data }
    this.#previous = arrayLike(a.data, data.length)
    this.#alphas = Array.from({ length: probes }, () => [])
    this.#betas = Array.from({ length: probes }, () => [])
  }

  async step(): Promise<void> {
    const [engine, a, transposeB] = [this.#engine, this.#a, this.#transpose]
    if (this.#alphas[0]!.length === 0) {
      await this.#project(this.#current)
      this.#eachRow((p, x) => normalise(x) > 0 || this.#stop(p))
    }
    const image = await engine.multiply(this.#current, a, { transposeB })
    const next = await engine.multiply(image, a, { transposeB: !transposeB })
    // Twice: what rounding left of the leading vectors the next products would enlarge by their eigenvalues.
    await this.#project(next)
    await this.#project(next)
    const n = next.cols
    this.#eachRow((p, x) => {
      const betas = this.#betas[p]!
      const beta = betas.at(-1) ?? 0
      // Stopped: the vectors so far span an invariant subspace.
      if (betas.length > 0 && beta === 0) return
      const before = this.#previous.subarray(p * n, (p + 1) * n)
      const y = next.data.subarray(p * n, (p + 1) * n)
      let alpha = 0
      for (let i = 0; i < n; i++) alpha += x[i]! * y[i]!
      for (let i = 0; i < n; i++) y[i] = y[i]! - alpha * x[i]! - beta * before[i]!
      this.#alphas[p]!.push(alpha)
      const length = normalise(y)
      betas.push(length > 1e-6 * this.#alphas[p]![0]! ? length : 0)
    })
    this.#previous = this.#current.data
    this.#current = next
  }

  /** `count` values distributed like the eigenvalues, descending: the mean of what each vector says. */
  quantiles(count: number): Float64Array {
    const mean = new Float64Array(count)
    this.#alphas.forEach((alphas, p) => {
      const { values, vectors } = tridiagonalEigen(Float64Array.from(alphas), Float64Array.from(this.#betas[p]!))
      const k = values.length
      const weights = Float64Array.from(values, (_, j) => vectors[(k - 1 - j) * k]! ** 2 * count)
      addQuantiles(mean, values.reverse(), weights)
    })
    return mean.map((value) => value / this.#alphas.length)
  }

  #stop(p: number): void {
    this.#alphas[p]!.push(0)
    this.#betas[p]!.push(0)
  }

  #eachRow(visit: (p: number, row: Reals) => void): void {
    const { rows, cols, data } = this.#current
    for (let p = 0; p < rows; p++) visit(p, data.subarray(p * cols, (p + 1) * cols))
  }

  /** x −= (x Qᵀ) Q */
  async #project(x: Matrix): Promise<void> {
    const inside = await this.#engine.multiply(x, this.#basis, { transposeB: true })
    const { data } = await this.#engine.multiply(inside, this.#basis)
    for (let i = 0; i < data.length; i++) x.data[i] = x.data[i]! - data[i]!
  }
}

function normalise(x: Reals): number {
  const length = Math.sqrt(sumOfSquares(x))
  if (length > 0) for (let i = 0; i < x.length; i++) x[i] = x[i]! / length
  return length
}

/** Adds value number i + ½ of the distribution: between the centres of neighbouring nodes, linearly. */
function addQuantiles(out: Float64Array, values: Float64Array, weights: Float64Array): void {
  let at = 0
  let below = weights[0]! / 2
  for (let i = 0; i < out.length; i++) {
    let gap = 0
    for (; at + 1 < values.length; at++) {
      gap = (weights[at]! + weights[at + 1]!) / 2
      if (below + gap >= i + 0.5) break
      below += gap
    }
    const share = at + 1 < values.length && gap > 0 ? Math.max(0, (i + 0.5 - below) / gap) : 0
    const value = share > 0 ? values[at]! + share * (values[at + 1]! - values[at]!) : values[at]!
    out[i] = out[i]! + Math.max(value, 0)
  }
}
