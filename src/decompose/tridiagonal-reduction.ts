/**
 * Reduction of a symmetric matrix to tridiagonal form, A = Q T Qᵀ with Q a product of Householder reflections, in
 * WebAssembly with SIMD (`wasm/tridiagonal.ts`).
 */
import { checkAborted, fail, type TaskOptions, yieldToEventLoop } from '../core/index.ts'
import type { Matrix64 } from './matrix.ts'
import { TRIDIAGONAL_WASM } from './tridiagonal-wasm.generated.ts'
import { layOut, MOST_NUMBERS, WasmKernel } from './wasm-kernel.ts'

/** T and Q of A = Q T Qᵀ. */
export interface TridiagonalReduction {
  /** Diagonal of T, n numbers. */
  readonly diagonal: Float64Array
  /** T[i, i+1], n numbers, the last one 0. */
  readonly offDiagonal: Float64Array
  /**
   * `[n, n]`: Q = H_0 H_1 … H_{n−2} with H_i = I − tau_i v_iᵀ v_i and v_i in row i (zeros up to column i, 1 in column
   * i + 1). Absent when only T was asked for.
   */
  readonly reflectors: Matrix64 | undefined
  readonly tau: Float64Array
}

/** `reducePanel` of `wasm/tridiagonal.ts`: addresses in bytes, then the first column, the panel's width and more scratch. */
type ReducePanel = (
  a: number,
  n: number,
  w: number,
  packed: number,
  diagonal: number,
  off: number,
  tau: number,
  start: number,
  width: number,
  columns: number,
  factors: number,
) => void

type Addresses = [number, number, number, number, number, number, number, number]

/** Columns per panel: a matrix that does not stay in the cache is updated less often. */
const panelWidth = (n: number): number => (n <= 1280 ? 16 : 32)
const kernel = new WasmKernel(TRIDIAGONAL_WASM)
const LARGEST = Math.floor(Math.sqrt(MOST_NUMBERS / 1.02))
/** The event loop gets a turn this often, so that timers and cancellation work. */
const MILLISECONDS_PER_TURN = 100

/**
 * Reduces a symmetric matrix to tridiagonal form.
 *
 * 4/3 n³ operations on one thread, half of them bound by memory.
 *
 * @param matrix `[n, n]`, n ≥ 1; only its lower triangle is read. Not written to. All elements finite.
 * @param options.scale the matrix is multiplied by this first; its largest element should come to 1 … 2⁶⁴.
 * @param options.vectors whether {@link TridiagonalReduction.reflectors} are wanted.
 * @throws WhittleError `UNSUPPORTED` beyond n = 22,900 (WebAssembly's memory); `ABORTED`.
 */
export async function reduceToTridiagonal(
  matrix: Matrix64,
  { scale, vectors, signal }: TaskOptions & { readonly scale: number; readonly vectors: boolean },
): Promise<TridiagonalReduction> {
  const n = matrix.rows
  if (n > LARGEST)
    fail(
      'UNSUPPORTED',
      `Symmetric eigenproblem [${n}, ${n}]: at most ${LARGEST} rows fit into WebAssembly's memory. Use a range finder.`,
    )
  const width = panelWidth(n)
  const lengths = [n * n, width * n, 8 * width * Math.ceil(n / 4), n, n, n, width * n, width]
  const numbers = lengths.reduce((sum, length) => sum + length, 0)
  return kernel.use(numbers, async ({ memory, exports, kept }) => {
    const { views, addresses } = layOut(memory, lengths)
    const [a, , , diagonal, offDiagonal, tau] = views as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ]
    a.set(matrix.data)
    if (scale !== 1) scaleBy(a, scale)
    const [pa, pw, pp, pd, pe, pt, pc, pf] = addresses as Addresses
    const reducePanel = exports.reducePanel as ReducePanel
    let turn = performance.now()
    for (let start = 0; start < n - 1; start += width) {
      reducePanel(pa, n, pw, pp, pd, pe, pt, start, width, pc, pf)
      if (performance.now() - turn > MILLISECONDS_PER_TURN) {
        await yieldToEventLoop()
        checkAborted(signal)
        turn = performance.now()
      }
    }
    if (n === 1) diagonal[0] = a[0]!
    offDiagonal[n - 1] = 0
    tau[n - 1] = 0
    const result = { diagonal: diagonal.slice(), offDiagonal: offDiagonal.slice(), tau: tau.slice() }
    if (!vectors) return { ...result, reflectors: undefined }
    return { ...result, reflectors: { rows: n, cols: n, data: kept ? a.slice() : a } }
  })
}

function scaleBy(x: Float64Array, factor: number): void {
  for (let i = 0; i < x.length; i++) x[i] = x[i]! * factor
}
