/**
 * Reduction of a symmetric matrix to tridiagonal form, A = Q T Qᵀ with Q a product of Householder reflections, in
 * WebAssembly with SIMD (`wasm/tridiagonal.ts`).
 */
import { checkAborted, fail, type TaskOptions, yieldToEventLoop } from '../core/index.ts'
import type { Matrix64 } from './matrix.ts'
import { TRIDIAGONAL_WASM } from './tridiagonal-wasm.generated.ts'

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

/** `reducePanel` of `wasm/tridiagonal.ts`: addresses in bytes, then the first column and the panel's width. */
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
) => void

const PANEL = 32
const PAGE = 65536
/** WebAssembly addresses 4 GiB. */
const LARGEST = Math.floor(Math.sqrt((65536 * PAGE) / 8 / 1.02))
/** The event loop gets a turn this often, so that timers and cancellation work. */
const MILLISECONDS_PER_TURN = 100

let compiled: Promise<WebAssembly.Module> | undefined

function compileModule(): Promise<WebAssembly.Module> {
  compiled ??= WebAssembly.compile(Uint8Array.from(atob(TRIDIAGONAL_WASM), (character) => character.charCodeAt(0)))
  return compiled
}

interface Workspace {
  readonly memory: WebAssembly.Memory
  readonly reducePanel: ReducePanel
  /** Numbers that fit. */
  readonly capacity: number
  busy: boolean
}

/** The workspace of small matrices is kept: engines reserve gigabytes of addresses for every new memory. */
let kept: Workspace | undefined
const KEPT_CAPACITY = 1.25 * 1024 * 1024

async function takeWorkspace(numbers: number): Promise<Workspace> {
  const module = await compileModule()
  if (kept && !kept.busy && kept.capacity >= numbers) {
    kept.busy = true
    return kept
  }
  const capacity = Math.max(numbers, KEPT_CAPACITY)
  const memory = new WebAssembly.Memory({ initial: Math.ceil((capacity * 8) / PAGE) })
  const instance = new WebAssembly.Instance(module, { env: { memory } })
  const workspace = { memory, reducePanel: instance.exports.reducePanel as ReducePanel, capacity, busy: true }
  if (capacity === KEPT_CAPACITY) kept ??= workspace
  return workspace
}

/**
 * Reduces a symmetric matrix to tridiagonal form.
 *
 * 4/3 n³ operations on one thread, half of them bound by memory.
 *
 * @param matrix `[n, n]`, n ≥ 1; only its lower triangle is read. Not written to. All elements finite.
 * @param options.scale the matrix is multiplied by this first; its largest element should come near 1.
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
  const sizes = [n * n, PANEL * n, 8 * PANEL * Math.ceil(n / 4), n, n, n]
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0))
  const workspace = await takeWorkspace(starts[5]! + n)
  try {
    const view = (i: number): Float64Array => new Float64Array(workspace.memory.buffer, starts[i]! * 8, sizes[i]!)
    const a = view(0)
    if (scale === 1) a.set(matrix.data)
    else for (let i = 0; i < a.length; i++) a[i] = matrix.data[i]! * scale
    const [pa, pw, pp, pd, pe, pt] = starts.map((start) => start * 8) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ]
    let turn = performance.now()
    for (let start = 0; start < n - 1; start += PANEL) {
      workspace.reducePanel(pa, n, pw, pp, pd, pe, pt, start, PANEL)
      if (performance.now() - turn > MILLISECONDS_PER_TURN) {
        await yieldToEventLoop()
        checkAborted(signal)
        turn = performance.now()
      }
    }
    const result = { diagonal: view(3).slice(), offDiagonal: view(4).slice(), tau: view(5).slice() }
    if (n === 1) result.diagonal[0] = a[0]!
    result.offDiagonal[n - 1] = 0
    result.tau[n - 1] = 0
    if (!vectors) return { ...result, reflectors: undefined }
    // The kept workspace is overwritten by the next matrix; another one lives as long as the view on it.
    return { ...result, reflectors: { rows: n, cols: n, data: workspace === kept ? a.slice() : a } }
  } finally {
    workspace.busy = false
  }
}
