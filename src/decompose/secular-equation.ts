/**
 * The eigenproblem of a diagonal matrix plus a rank-one matrix, D + ρ z zᵀ: its secular equation
 * f(λ) = 1/ρ + Σ z_i² / (d_i − λ) = 0 has one root between each pair of neighbouring d's. In WebAssembly with SIMD
 * (`wasm/secular.ts`).
 *
 * Roots are found relative to the nearest d, so that differences d_i − λ_j keep full relative accuracy; the vectors are
 * those of a nearby problem of which the computed roots are exact, so that they are orthogonal to working precision.
 *
 * Sources: Li, "Solving secular equations stably and efficiently", LAPACK Working Note 89, 1993 (the middle way);
 * Gu, Eisenstat, "A stable and efficient algorithm for the rank-one modification of the symmetric eigenproblem", SIAM
 * J. Matrix Anal. Appl. 15, 1994 (the nearby problem).
 */
import { invariant } from '../core/index.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { SECULAR_WASM } from './secular-wasm.generated.ts'
import { WasmKernel, type WasmWorkspace } from './wasm-kernel.ts'

/** Functions of `wasm/secular.ts`; addresses in bytes. */
type SecularExports = {
  readonly solve: (
    k: number,
    d: number,
    z: number,
    rho: number,
    first: number,
    values: number,
    delta: number,
    scratch: number,
  ) => number
  readonly formVectors: (k: number, rows: number, delta: number, z: number) => void
  readonly gatherColumns: (k: number, rows: number, x: number, members: number, count: number, out: number) => void
  readonly multiply: (m: number, k: number, n: number, a: number, b: number, c: number) => void
}

const kernel = new WasmKernel(SECULAR_WASM)

/** Numbers of the largest piece of a left operand: 32 MB. */
const PIECE = 4 * 1024 * 1024
/** Products of fewer multiplications, and operands of fewer numbers, are not worth a call of the engine. */
const SMALL_PRODUCT = 160_000
const SMALL_OPERAND = 16_384

/** Rows of the left operand of a product that are formed at a time. */
const pieceRows = (n: number): number => Math.max(64, Math.floor(PIECE / Math.max(n, 1)))

/** Numbers that a problem of n poles and the vectors of `wanted` of its roots take. */
const numbersOf = (n: number, wanted: number): number =>
  7 * n + 1 + wanted * n + Math.min(wanted, pieceRows(n)) * n + 2 * SMALL_OPERAND

/**
 * Runs `work` with memory for secular problems.
 *
 * @param problems how many poles they have, and of how many roots vectors are wanted, at most.
 */
export function withSecularSolver<R>(
  problems: readonly (readonly [poles: number, wanted: number])[],
  work: (solver: SecularSolver) => Promise<R>,
): Promise<R> {
  const numbers = Math.max(...problems.map(([poles, wanted]) => numbersOf(poles, wanted)))
  return kernel.use(numbers, (workspace) => work(new SecularSolver(workspace)))
}

/** Solves one secular problem after the other in the same memory. */
export class SecularSolver {
  readonly #memory: WebAssembly.Memory
  readonly #exports: SecularExports
  #poles = 0
  #first = 0

  /** @param workspace of this folder's secular module. */
  constructor({ memory, exports }: WasmWorkspace) {
    this.#memory = memory
    this.#exports = exports as SecularExports
  }

  /** k numbers each: poles, z, roots, and three of scratch; then members; then delta; then the left operand. */
  #address(part: number): number {
    return 8 * part * this.#poles
  }

  get #members(): number {
    return this.#address(6)
  }

  get #delta(): number {
    return this.#address(7) + 8
  }

  #view(address: number, length: number): Float64Array {
    return new Float64Array(this.#memory.buffer, address, length)
  }

  /**
   * Solves the eigenproblem of diag(d) + ρ z zᵀ.
   *
   * @param d poles, strictly ascending. @param z no component 0; ‖z‖ = 1. @param rho positive.
   * @param first vectors are wanted of the roots from this one on.
   * @returns λ, ascending.
   */
  solve(d: Float64Array, z: Float64Array, rho: number, first: number): Float64Array {
    const k = d.length
    this.#poles = k
    this.#first = first
    const [poles, weights, values] = [this.#address(0), this.#address(1), this.#address(2)]
    this.#view(poles, k).set(d)
    this.#view(weights, k).set(z)
    if (k === 1) {
      this.#view(weights, 1)[0] = 1
      this.#view(this.#delta, 1)[0] = 1
      return Float64Array.of(d[0]! + rho * z[0]! * z[0]!)
    }
    const found = this.#exports.solve(k, poles, weights, rho, first, values, this.#delta, this.#address(3))
    invariant(found !== 0, 'the secular equation did not converge.')
    return this.#view(values, k).slice()
  }

  /** Makes the eigenvectors, of length 1, of the roots from `first` on, in place of what {@link solve} left of them. */
  formVectors(): void {
    this.#exports.formVectors(this.#poles, this.#poles - this.#first, this.#delta, this.#address(1))
  }

  /** The vectors of roots from … end−1, one per row; a view that the next problem overwrites. */
  vectors(from: number, end: number): Matrix64 {
    const k = this.#poles
    const address = this.#delta + 8 * (from - this.#first) * k
    return { rows: end - from, cols: k, data: this.#view(address, (end - from) * k) }
  }

  /**
   * Some components of the vectors of roots from … end−1 times a matrix, in pieces.
   *
   * @param members which component meets each row of `b`; −1: none. @param b `[members.length, n]`.
   * @param take receives rows of the product, those of the roots `first`, `first` + 1 …; valid during the call.
   */
  async multiply(
    engine: MatrixEngine,
    [from, end]: readonly [from: number, end: number],
    members: Int32Array,
    b: Matrix64,
    take: (product: Matrix64, first: number) => void,
  ): Promise<void> {
    const k = this.#poles
    const count = members.length
    // Behind delta, which has a row for each root from `first` on.
    const left = this.#delta + 8 * (k - this.#first) * k
    const step = Math.min(end - from, pieceRows(Math.max(k, count)))
    for (let root = from; root < end; root += step) {
      new Int32Array(this.#memory.buffer, this.#members, count).set(members)
      const rows = Math.min(step, end - root)
      const vectors = this.#delta + 8 * (root - this.#first) * k
      this.#exports.gatherColumns(k, rows, vectors, this.#members, count, left)
      const small = rows * count * b.cols <= SMALL_PRODUCT && Math.max(count, rows) * b.cols <= SMALL_OPERAND
      if (small) {
        const right = left + 8 * rows * count
        const product = right + 8 * b.data.length
        this.#view(right, b.data.length).set(b.data)
        this.#exports.multiply(rows, count, b.cols, left, right, product)
        take({ rows, cols: b.cols, data: this.#view(product, rows * b.cols) }, root)
      } else take(await engine.multiply({ rows, cols: count, data: this.#view(left, rows * count) }, b), root)
    }
  }
}
