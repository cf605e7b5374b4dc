/**
 * Cholesky factors of symmetric positive definite matrices, and solving with them: small ones in WebAssembly
 * (`wasm/cholesky.ts`), large ones in blocks, whose products go through the engine.
 *
 * Source: Golub, Van Loan, "Matrix Computations", 4th edition, 2013, sections 3.1 and 4.2.
 */
import { createRandom, fail } from '../core/index.ts'
import { CHOLESKY_WASM } from './cholesky-wasm.generated.ts'
import type { Matrix, Matrix64, MatrixEngine } from './matrix.ts'
import { arrayLike, checkMatrix, columnRange, rowRange, toTypeOf, zeros64 } from './matrix-layout.ts'
import { layOut, WasmKernel } from './wasm-kernel.ts'

const BLOCK = 128
/** A matrix up to this size is one block: its inverse costs less than products of parts. */
const LARGEST_WHOLE = 256
/** Blocks of large matrices: what is copied for each is left of it or below it, and products of few rows are slow. */
const LARGE_BLOCK = 512
/** Up to this size one thread of WebAssembly is faster than products on the engine, block by block. */
const LARGEST_IN_WASM = 1024
/** Below this plain JavaScript takes no longer, and a module need not be compiled. */
const SMALLEST_IN_WASM = 24

const kernel = new WasmKernel(CHOLESKY_WASM)
type Factor = (a: number, n: number, tolerance: number, diagonal: number) => number
type InvertBlock = (l: number, n: number, from: number, size: number, out: number) => void
type Smallest = (l: number, n: number, x: number, steps: number) => number
type Largest = (l: number, n: number, x: number, y: number, steps: number) => number

/** A = L Lᵀ. */
export interface CholeskyFactor {
  /** L `[n, n]`, zeros above the diagonal. */
  readonly lower: Matrix64
  /** Inverses of the diagonal blocks of L; all of one size, but for the last one, which may be smaller. */
  readonly inverseBlocks: readonly Matrix64[]
}

/** Bounds of block i of n rows. */
const blockRange = (i: number, n: number, size: number): readonly [number, number] => [
  i * size,
  Math.min(n, (i + 1) * size),
]
const blockSize = ({ inverseBlocks }: CholeskyFactor): number => inverseBlocks[0]?.rows ?? BLOCK

/**
 * The Cholesky factor of a symmetric positive definite matrix, or `undefined` when it is not one.
 *
 * @param matrix `[n, n]`; only its lower triangle is read. Not written to.
 * @param options.tolerance pivots must exceed this share of their diagonal element; default n · 2⁻⁵². Pivots measure how
 *   far a row is from the span of those before it.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 2, cols: 2, data: Float64Array.of(2, 1, 1, 2) }
 * const factor = await maybeCholesky(engine, a)
 * console.log([...factor!.lower.data].map((value) => value.toFixed(4)))
 * const indefinite = { rows: 2, cols: 2, data: Float64Array.of(1, 2, 2, 1) }
 * console.log(await maybeCholesky(engine, indefinite))
 */
export async function maybeCholesky(
  engine: MatrixEngine,
  matrix: Matrix64,
  { tolerance = matrix.rows * 2 ** -52 }: { readonly tolerance?: number } = {},
): Promise<CholeskyFactor | undefined> {
  const n = matrix.rows
  if (n < SMALLEST_IN_WASM || n > LARGEST_IN_WASM) return blockedCholesky(engine, matrix, tolerance)
  const width = n <= LARGEST_WHOLE ? n : BLOCK
  const blocks = Math.ceil(n / width)
  return kernel.use(n * n + n + width * width, ({ memory, exports }) => {
    const { views, addresses } = layOut(memory, [n * n, n, width * width])
    const [a, diagonal, block] = addresses as [number, number, number]
    const [factor, invertBlock] = [exports.factor as Factor, exports.invertBlock as InvertBlock]
    views[0]!.set(matrix.data)
    if (!factor(a, n, tolerance, diagonal)) return undefined
    const inverseBlocks = Array.from({ length: blocks }, (_, k) => {
      const [from, to] = blockRange(k, n, width)
      const size = to - from
      // What is above the diagonal is not written.
      views[2]!.fill(0)
      invertBlock(a, n, from, size, block)
      return { rows: size, cols: size, data: views[2]!.slice(0, size * size) }
    })
    return { lower: { rows: n, cols: n, data: views[0]!.slice() }, inverseBlocks }
  })
}

async function blockedCholesky(
  engine: MatrixEngine,
  matrix: Matrix64,
  tolerance: number,
): Promise<CholeskyFactor | undefined> {
  const n = matrix.rows
  const step = n > LARGEST_IN_WASM ? LARGE_BLOCK : BLOCK
  const lower = zeros64(n, n)
  const inverseBlocks: Matrix64[] = []
  for (let from = 0; from < n; from += step) {
    const to = Math.min(n, from + step)
    const size = to - from
    // Rows from … n−1 of block column k: A minus what earlier columns account for.
    const panel = copyOfColumns(rowRange(matrix, from, n), from, to)
    if (from > 0) {
      const left = copyOfColumns(rowRange(lower, from, n), 0, from)
      subtract(panel.data, (await engine.multiply(left, rowRange(left, 0, size), { transposeB: true })).data)
    }
    const least = Float64Array.from({ length: size }, (_, i) => tolerance * matrix.data[(from + i) * (n + 1)]!)
    const block = await diagonalBlock(engine, rowRange(panel, 0, size), least)
    if (!block) return undefined
    inverseBlocks.push(block.inverse)
    setColumns(lower, from, from, block.lower)
    if (to === n) break
    setColumns(
      lower,
      to,
      from,
      await engine.multiply(rowRange(panel, size, n - from), block.inverse, { transposeB: true }),
    )
  }
  return { lower, inverseBlocks }
}

/** The factor of a block and its inverse; `undefined` when a pivot is not above its least value. May write to `block`. */
async function diagonalBlock(
  engine: MatrixEngine,
  block: Matrix64,
  least: Float64Array,
): Promise<{ lower: Matrix64; inverse: Matrix64 } | undefined> {
  const n = block.rows
  if (n <= BLOCK) {
    if (!factorBlock(block.data, n, least)) return undefined
    for (let i = 0; i < n; i++) block.data.fill(0, i * n + i + 1, (i + 1) * n)
    return { lower: block, inverse: inverseOf(block) }
  }
  const factor = await maybeCholesky(engine, block, { tolerance: 0 })
  if (!factor) return undefined
  const { lower } = factor
  for (let i = 0; i < n; i++) if (!(lower.data[i * (n + 1)]! ** 2 > least[i]!)) return undefined
  const inverse = zeros64(n, n)
  for (let i = 0; i < n; i++) inverse.data[i * (n + 1)] = 1
  await solveLowerInto(engine, factor, inverse)
  return { lower, inverse }
}

/** Columns first … last−1, always a copy. */
function copyOfColumns(matrix: Matrix64, first: number, last: number): Matrix64 {
  const copy = columnRange(matrix, first, last)
  return copy === matrix ? { ...matrix, data: matrix.data.slice() } : copy
}

/** Writes a block into a matrix, its first element at `[row, col]`. */
function setColumns(matrix: Matrix64, row: number, col: number, block: Matrix64): void {
  const { rows, cols, data } = block
  for (let i = 0; i < rows; i++) matrix.data.set(data.subarray(i * cols, (i + 1) * cols), (row + i) * matrix.cols + col)
}

/** x −= y */
function subtract(x: Float64Array, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i] = x[i]! - y[i]!
}

/** Cholesky of the lower triangle of one block, in place; `false` when a pivot is not above its least value. */
function factorBlock(a: Float64Array, n: number, least: Float64Array): boolean {
  for (let i = 0; i < n; i++) {
    const rowI = i * n
    for (let j = 0; j <= i; j++) {
      const rowJ = j * n
      let sum = a[rowI + j]!
      for (let k = 0; k < j; k++) sum -= a[rowI + k]! * a[rowJ + k]!
      if (j < i) a[rowI + j] = sum / a[rowJ + j]!
      else {
        if (!(sum > least[i]! && sum > 0)) return false
        a[rowI + i] = Math.sqrt(sum)
      }
    }
  }
  return true
}

/** The inverse of a lower triangular block (its upper part is not read). */
function inverseOf({ rows: n, data: l }: Matrix64): Matrix64 {
  const inverse = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    const row = inverse.subarray(i * n, i * n + i + 1)
    for (let k = 0; k < i; k++) {
      const factor = l[i * n + k]!
      for (let j = 0; j <= k; j++) row[j] = row[j]! - factor * inverse[k * n + j]!
    }
    const pivot = l[i * n + i]!
    for (let j = 0; j < i; j++) row[j] = row[j]! / pivot
    row[i] = 1 / pivot
  }
  return { rows: n, cols: n, data: inverse }
}

/**
 * L⁻¹ of the Cholesky factor A = L Lᵀ of a small matrix, or `undefined` when A is not positive definite; one thread.
 *
 * @param matrix and options as for {@link maybeCholesky}.
 */
export async function maybeInverseCholesky(matrix: Matrix64, tolerance: number): Promise<Matrix64 | undefined> {
  const n = matrix.rows
  return kernel.use(2 * n * n + n, ({ memory, exports }) => {
    const { views, addresses } = layOut(memory, [n * n, n, n * n])
    const [a, diagonal, inverse] = addresses as [number, number, number]
    views[0]!.set(matrix.data)
    if (!(exports.factor as Factor)(a, n, tolerance, diagonal)) return undefined
    // What is above the diagonal is not written.
    views[2]!.fill(0)
    ;(exports.invertBlock as InvertBlock)(a, n, 0, n, inverse)
    return { rows: n, cols: n, data: views[2]!.slice() }
  })
}

/**
 * The extreme eigenvalues of A = L Lᵀ, roughly: the largest a few percent low, the smallest a few percent high.
 */
export async function extremeEigenvalues({ lower }: CholeskyFactor): Promise<{ largest: number; smallest: number }> {
  const n = lower.rows
  return kernel.use(n * n + 2 * n, ({ memory, exports }) => {
    const { views, addresses } = layOut(memory, [n * n, n, n])
    const [l, x, y] = addresses as [number, number, number]
    views[0]!.set(lower.data)
    const random = createRandom(1)
    const start = Float64Array.from({ length: n }, () => random.uniform() - 0.5)
    views[1]!.set(start)
    const largest = (exports.largestEigenvalue as Largest)(l, n, x, y, 5)
    views[1]!.set(start)
    return { largest, smallest: (exports.smallestEigenvalue as Smallest)(l, n, x, 12) }
  })
}

/** −x in place. */
function negate(data: Float64Array): Float64Array {
  for (let i = 0; i < data.length; i++) data[i] = -data[i]!
  return data
}

/** `[left | right]` side by side. */
function beside(left: Matrix64, right: Matrix64): Matrix64 {
  const cols = left.cols + right.cols
  const out = zeros64(left.rows, cols)
  for (let i = 0; i < left.rows; i++) {
    out.data.set(left.data.subarray(i * left.cols, (i + 1) * left.cols), i * cols)
    out.data.set(right.data.subarray(i * right.cols, (i + 1) * right.cols), i * cols + left.cols)
  }
  return out
}

/**
 * L⁻¹ b.
 *
 * @param b `[n, m]`, float32 or float64; the result has its type. Not written to.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 2, cols: 2, data: Float64Array.of(2, 1, 1, 2) }
 * const factor = await maybeCholesky(engine, a)
 * const x = await solveLower(engine, factor!, { rows: 2, cols: 1, data: Float64Array.of(2, 1) })
 * console.log([...x.data].map((value) => value.toFixed(4)))
 */
export async function solveLower<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  factor: CholeskyFactor,
  b: Matrix<T>,
): Promise<Matrix<T>> {
  const x = { ...b, data: arrayLike(b.data, b.data.length) }
  x.data.set(b.data)
  await solveLowerInto(engine, factor, x)
  return x
}

/** x ← L⁻¹ x. */
export async function solveLowerInto(engine: MatrixEngine, factor: CholeskyFactor, x: Matrix): Promise<void> {
  const { lower, inverseBlocks } = factor
  const n = lower.rows
  for (const [k, inverse] of inverseBlocks.entries()) {
    const [from, to] = blockRange(k, n, blockSize(factor))
    // x_k = L_kk⁻¹ (b_k − L_k x) in one product: rows before `from` of x are solved, the next ones still hold b.
    const left = columnRange(rowRange(lower, from, to), 0, from)
    const solved = from > 0 ? await engine.multiply(inverse, left) : left
    const step = toTypeOf(beside({ ...solved, data: negate(solved.data) }, inverse), x.data)
    x.data.set((await engine.multiply(step, rowRange(x, 0, to))).data, from * x.cols)
  }
}

/**
 * L⁻ᵀ b; as {@link solveLower}.
 *
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 2, cols: 2, data: Float64Array.of(2, 1, 1, 2) }
 * const factor = await maybeCholesky(engine, a)
 * const x = await solveLowerTransposed(engine, factor!, { rows: 2, cols: 1, data: Float64Array.of(2, 1) })
 * console.log([...x.data].map((value) => value.toFixed(4)))
 */
export async function solveLowerTransposed<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  factor: CholeskyFactor,
  b: Matrix<T>,
): Promise<Matrix<T>> {
  const { lower, inverseBlocks } = factor
  const n = lower.rows
  const x = { rows: n, cols: b.cols, data: arrayLike(b.data, b.data.length) }
  x.data.set(b.data)
  for (let k = inverseBlocks.length - 1; k >= 0; k--) {
    const [from, to] = blockRange(k, n, blockSize(factor))
    const inverse = inverseBlocks[k]!
    // The step is transposed: rows of L below the block, times its inverse.
    const below = columnRange(rowRange(lower, to, n), from, to)
    const solved = to < n ? await engine.multiply(below, inverse) : below
    const step = zeros64(n - from, to - from)
    step.data.set(inverse.data)
    step.data.set(negate(solved.data), inverse.data.length)
    const product = await engine.multiply(toTypeOf(step, b.data), rowRange(x, from, n), { transposeA: true })
    x.data.set(product.data, from * b.cols)
  }
  return x
}

/** What {@link solveSymmetricPositive} found. */
export interface PositiveSolution {
  /** X `[n, m]`. */
  readonly solution: Matrix64
  /** What was added to the diagonal; 0 when A was positive definite. */
  readonly ridge: number
}

/**
 * Solves A X = B for a symmetric positive semidefinite A. When A is not numerically positive definite, the smallest
 * ridge from n · 2⁻⁵² of its mean diagonal upwards (in steps of 100) that makes it so is added to the diagonal.
 *
 * @param a `[n, n]`; only its lower triangle is read. @param b `[n, m]`. Neither is written to.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`; `INVALID_ARGUMENT` when A is far from semidefinite.
 * @example
 * const engine = createPlainMatrixEngine()
 * const a = { rows: 2, cols: 2, data: Float64Array.of(2, 1, 1, 2) }
 * const { solution } = await solveSymmetricPositive(engine, a, { rows: 2, cols: 1, data: Float64Array.of(3, 3) })
 * console.log([...solution.data].map((value) => value.toFixed(4)))
 */
export async function solveSymmetricPositive(
  engine: MatrixEngine,
  a: Matrix64,
  b: Matrix64,
): Promise<PositiveSolution> {
  const n = a.rows
  if (a.cols !== n || b.rows !== n)
    fail(
      'SHAPE_MISMATCH',
      `Solving A X = B: A must be square with B's rows; got [${n}, ${a.cols}] and [${b.rows}, ${b.cols}].`,
    )
  checkMatrix(a, 'Solving A X = B')
  checkMatrix(b, 'Solving A X = B')
  if (n === 0) return { solution: zeros64(0, b.cols), ridge: 0 }
  let trace = 0
  for (let i = 0; i < n; i++) trace += a.data[i * (n + 1)]!
  // A = 0: any ridge gives the same (zero) answer for a B in its range.
  const mean = trace > 0 ? trace / n : 1
  for (let ridge = 0; ridge <= mean; ridge = ridge === 0 ? n * 2 ** -52 * mean : ridge * 100) {
    const shifted = ridge === 0 ? a : { ...a, data: a.data.slice() }
    if (ridge > 0) for (let i = 0; i < n; i++) shifted.data[i * (n + 1)] = a.data[i * (n + 1)]! + ridge
    const factor = await maybeCholesky(engine, shifted)
    if (!factor) continue
    const solution = await solveLowerTransposed(engine, factor, await solveLower(engine, factor, b))
    return { solution, ridge }
  }
  return fail(
    'INVALID_ARGUMENT',
    `Solving A X = B: A [${n}, ${n}] must be positive semidefinite; it has eigenvalues far below zero. Use another solver.`,
  )
}
