/**
 * Reduction of a square matrix to bidiagonal form, A = P Bᵀ Qᵀ with P and Q products of Householder reflections, in
 * WebAssembly with SIMD (`wasm/bidiagonal.ts`).
 */
import { checkAborted, fail, type TaskOptions, yieldToEventLoop } from '../core/index.ts'
import { BIDIAGONAL_WASM } from './bidiagonal-wasm.generated.ts'
import type { Matrix64 } from './matrix.ts'
import { layOut, MOST_NUMBERS, WasmKernel } from './wasm-kernel.ts'

/** Reflections H_0 H_1 … with H_i = I − tau_i v_iᵀ v_i, and v_i in row i. */
export interface Reflections {
  /** `[n, n]` */
  readonly vectors: Matrix64
  readonly tau: Float64Array
}

/** B, P and Q of A = P Bᵀ Qᵀ. */
export interface BidiagonalReduction {
  /** Diagonal of B, n numbers of either sign. */
  readonly diagonal: Float64Array
  /** B[i, i+1], n numbers, the last one 0. */
  readonly offDiagonal: Float64Array
  /** Vectors zero up to column i, 1 in column i + 1; the last one is not used. Absent when only B was asked for. */
  readonly p: Reflections | undefined
  /** Vectors zero before column i, 1 in column i. Absent when only B was asked for. */
  readonly q: Reflections | undefined
}

/** `reducePanel` of `wasm/bidiagonal.ts`: addresses in bytes, but for n, ld, and the first row and the panel's width. */
type ReducePanel = (
  m: number,
  u: number,
  n: number,
  ld: number,
  y: number,
  x: number,
  columns: number,
  packed: number,
  factors: number,
  diagonal: number,
  off: number,
  tauQ: number,
  tauP: number,
  start: number,
  width: number,
) => void

/** Columns per panel: a matrix that does not stay in the cache is updated less often. */
const panelWidth = (n: number): number => (n <= 1280 ? 16 : 32)
const kernel = new WasmKernel(BIDIAGONAL_WASM)
const LARGEST = Math.floor(Math.sqrt(MOST_NUMBERS / 2.1))
/** The event loop gets a turn this often, so that timers and cancellation work. */
const MILLISECONDS_PER_TURN = 100

/**
 * Reduces a square matrix to bidiagonal form.
 *
 * 8/3 n³ operations on one thread, half of them bound by memory.
 *
 * @param matrix `[n, n]`, n ≥ 1. Not written to. All elements finite.
 * @param options.scale the matrix is multiplied by this first; its largest element should come to 1 … 2⁶⁴.
 * @param options.vectors whether P and Q are wanted.
 * @throws WhittleError `UNSUPPORTED` beyond n = 15,900 (WebAssembly's memory); `ABORTED`.
 */
export async function reduceToBidiagonal(
  matrix: Matrix64,
  { scale, vectors, signal }: TaskOptions & { readonly scale: number; readonly vectors: boolean },
): Promise<BidiagonalReduction> {
  const n = matrix.rows
  if (n > LARGEST)
    fail(
      'UNSUPPORTED',
      `Exact singular values of a matrix with ${n} rows: at most ${LARGEST} fit into WebAssembly's memory; use the method 'gram', or 'randomized'.`,
    )
  const ld = 4 * Math.ceil(n / 4)
  const width = panelWidth(n)
  const panel = width * ld
  const lengths = [ld * ld, ld * ld, panel, panel, panel, 4 * panel, width, n, n, n, n]
  const numbers = lengths.reduce((sum, length) => sum + length, 0)
  return kernel.use(numbers, async ({ memory, exports, kept }) => {
    const { views, addresses } = layOut(memory, lengths)
    const view = (index: number): Float64Array => views[index]!
    const address = (index: number): number => addresses[index]!
    const m = view(0)
    fillPadded(m, ld, matrix, scale)
    const reducePanel = exports.reducePanel as ReducePanel
    let turn = performance.now()
    for (let start = 0; start < n; start += width) {
      const [y, x, columns, packed, factors] = [address(2), address(3), address(4), address(5), address(6)]
      const [diagonal, off, tauQ, tauP] = [address(7), address(8), address(9), address(10)]
      reducePanel(
        ...([address(0), address(1), n, ld, y, x, columns, packed, factors] as const),
        ...([diagonal, off, tauQ, tauP, start, width] as const),
      )
      if (performance.now() - turn > MILLISECONDS_PER_TURN) {
        await yieldToEventLoop()
        checkAborted(signal)
        turn = performance.now()
      }
    }
    view(8)[n - 1] = 0
    view(10)[n - 1] = 0
    const result = { diagonal: view(7).slice(), offDiagonal: view(8).slice() }
    if (!vectors) return { ...result, p: undefined, q: undefined }
    const copied = (data: Float64Array): Matrix64 => ({
      rows: n,
      cols: n,
      data: ld > n ? withoutPadding(data, ld, n) : kept ? data.slice() : data,
    })
    return {
      ...result,
      p: { vectors: copied(view(1)), tau: view(10).slice() },
      q: { vectors: copied(m), tau: view(9).slice() },
    }
  })
}

/** out ← the matrix times `scale`, in rows of `ld`; the rest of `out` is 0. */
function fillPadded(out: Float64Array, ld: number, { rows: n, data }: Matrix64, scale: number): void {
  if (ld > n) out.fill(0)
  for (let i = 0; i < n; i++) {
    out.set(data.subarray(i * n, i * n + n), i * ld)
  }
  if (scale !== 1) for (let i = 0; i < out.length; i++) out[i] = out[i]! * scale
}

function withoutPadding(data: Float64Array, ld: number, n: number): Float64Array {
  const out = new Float64Array(n * n)
  for (let i = 0; i < n; i++) out.set(data.subarray(i * ld, i * ld + n), i * n)
  return out
}
