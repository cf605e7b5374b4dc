/**
 * Gram matrices A Aᵀ of matrices and of unfoldings of tensors, in chunks: whatever the length of the rows, the extra
 * memory is one chunk. Only blocks on and below the diagonal are computed.
 *
 * Eigenvalues of a Gram matrix are squares of singular values: with float64 products, singular values below about
 * 10⁻⁸ of the largest are lost in the rounding of the largest (10⁻⁴ with float32 products). Where those matter, use
 * `truncatedSvd` with method `'exact'`.
 */
import { checkAborted, fail, type TaskOptions } from '../core/index.ts'
import type { Matrix, Matrix64, MatrixEngine } from './matrix.ts'
import { rowRange, zeros64 } from './matrix-layout.ts'

/** Options of {@link modeGram}. */
export interface GramOptions extends TaskOptions {
  /**
   * Precision of the products of a chunk, default `'float64'`. `'float32'` is two to three times as fast and exact to
   * about 10⁻⁷ of the largest eigenvalue: enough for the leading subspace. Chunks are always added in float64.
   */
  readonly products?: 'float32' | 'float64'
  /** Numbers of the unfolding that are gathered at a time; default 4 Mi (32 MB in float64), or 256 columns. */
  readonly chunk?: number
  /** Whether what is above the diagonal is wanted too, default true; without, it may be anything. */
  readonly symmetric?: boolean
}

const CHUNK = 4 * 1024 * 1024
const LEAST_WIDTH = 256
const BLOCK = 512

/**
 * Σ_o A_o A_oᵀ over the slices A_o `[n, inner]` of a tensor `[outer, n, inner]`: the Gram matrix `[n, n]` of its
 * unfolding along the middle mode, exactly symmetric, without a permuted copy of the tensor.
 *
 * A matrix `[m, n]` gives `a aᵀ` as dims `[1, m, n]` and `aᵀ a` as `[m, n, 1]`.
 *
 * @throws WhittleError `SHAPE_MISMATCH` when the data do not have as many elements as dims say; `ABORTED`.
 * @example
 * const engine = createPlainMatrixEngine()
 * const gram = await modeGram(engine, Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8), [2, 2, 2])
 * console.log([...gram.data])
 */
export async function modeGram(
  engine: MatrixEngine,
  data: Float32Array | Float64Array,
  dims: readonly [outer: number, n: number, inner: number],
  { products = 'float64', chunk: size, symmetric = true, signal, onProgress }: GramOptions = {},
): Promise<Matrix64> {
  const [outer, n, inner] = dims
  const columns = outer * inner
  if (data.length !== columns * n)
    fail('SHAPE_MISMATCH', `Gram matrix of [${dims.join(', ')}]: needs ${columns * n} elements; got ${data.length}.`)
  const gram = zeros64(n, n)
  const Scratch = products === 'float32' ? Float32Array : Float64Array
  // A matrix of the right type is taken as it lies.
  const atOnce = data.length <= (size ?? Math.max(CHUNK, LEAST_WIDTH * n))
  const whole = outer === 1 && (size === undefined || atOnce) && data instanceof Scratch
  if (inner === 1 && outer > 1 && n <= BLOCK && atOnce && data instanceof Scratch) {
    const rows = { rows: outer, cols: n, data }
    checkAborted(signal)
    gram.data.set((await engine.multiply(rows, rows, { transposeA: true })).data)
    mirror(gram)
    onProgress?.({ stage: 'gram', done: columns, total: columns })
    return gram
  }
  const width = whole
    ? columns
    : chunkWidth(Math.floor((size ?? Math.max(CHUNK, LEAST_WIDTH * n)) / Math.max(n, 1)), columns, inner)
  const scratch = whole ? data : new Scratch(n * width)
  for (let start = 0; start < columns; start += width) {
    checkAborted(signal)
    const length = Math.min(width, columns - start)
    const chunk = { rows: n, cols: length, data: scratch.subarray(0, n * length) }
    if (!whole) gatherColumns(data, dims, start, chunk)
    await addProducts(engine, chunk, gram, start === 0)
    onProgress?.({ stage: 'gram', done: start + length, total: columns })
  }
  if (symmetric) mirror(gram)
  return gram
}

/** Copies what is below the diagonal to above it, in tiles: along rows alone, one side would always miss the cache. */
function mirror({ rows: n, data }: Matrix64): void {
  for (let i0 = 0; i0 < n; i0 += TILE)
    for (let j0 = 0; j0 <= i0; j0 += TILE)
      for (let i = i0; i < Math.min(n, i0 + TILE); i++)
        for (let j = j0; j < Math.min(i, j0 + TILE); j++) data[j * n + i] = data[i * n + j]!
}

/**
 * `a aᵀ`, or `aᵀ a` with `transpose`; the implementation of `MatrixEngine.gram`.
 *
 * @internal
 */
export function gramOfUnfolding(
  engine: MatrixEngine,
  a: Matrix,
  { transpose = false, ...options }: GramOptions & { readonly transpose?: boolean } = {},
): Promise<Matrix64> {
  return modeGram(engine, a.data, transpose ? [a.rows, a.cols, 1] : [1, a.rows, a.cols], options)
}

/** Columns per chunk, about `wanted`: whole slices, unless a slice alone is more than a chunk. */
function chunkWidth(wanted: number, columns: number, inner: number): number {
  const most = Math.max(1, Math.min(columns, wanted))
  return most > inner ? most - (most % inner) : most
}

/** Columns start … start + chunk.cols − 1 of the unfolding; column (o, t) is `data[o, :, t]`. */
function gatherColumns(
  data: Float32Array | Float64Array,
  [outer, n, inner]: readonly [number, number, number],
  start: number,
  chunk: Matrix,
): void {
  const width = chunk.cols
  if (outer === 1 || width <= inner) {
    const from = Math.floor(start / inner) * n * inner + (start % inner)
    const whole = Math.min(width, inner - (start % inner))
    for (let j = 0; j < n; j++) chunk.data.set(data.subarray(from + j * inner, from + j * inner + whole), j * width)
    if (whole < width) gatherSlices(data, n, inner, start + whole, width - whole, chunk.data, whole, width)
  } else gatherSlices(data, n, inner, start, width, chunk.data, 0, width)
}

const TILE = 32

/** Copies short pieces, `count` columns from `start`, which begins a slice; in tiles of rows, to keep to the cache. */
function gatherSlices(
  data: Float32Array | Float64Array,
  n: number,
  inner: number,
  start: number,
  count: number,
  out: Float32Array | Float64Array,
  offset: number,
  stride: number,
): void {
  const firstSlice = start / inner
  for (let j0 = 0; j0 < n; j0 += TILE) {
    const j1 = Math.min(n, j0 + TILE)
    for (let done = 0; done < count; done += inner) {
      const piece = Math.min(inner, count - done)
      const slice = (firstSlice + done / inner) * n * inner
      for (let j = j0; j < j1; j++) {
        const from = slice + j * inner
        const to = j * stride + offset + done
        for (let t = 0; t < piece; t++) out[to + t] = data[from + t]!
      }
    }
  }
}

/** gram += chunk chunkᵀ on the blocks on and below the diagonal; `first`: in their place. */
async function addProducts(engine: MatrixEngine, chunk: Matrix, gram: Matrix64, isFirst: boolean): Promise<void> {
  const n = chunk.rows
  for (let first = 0; first < n; first += BLOCK) {
    const last = Math.min(n, first + BLOCK)
    const product = await engine.multiply(rowRange(chunk, first, last), rowRange(chunk, 0, last), { transposeB: true })
    if (isFirst && last === n && first === 0) gram.data.set(product.data)
    else
      for (let i = first; i < last; i++) {
        const row = product.data.subarray((i - first) * last, (i - first) * last + i + 1)
        if (isFirst) gram.data.set(row, i * n)
        else addTo(gram.data, i * n, row)
      }
  }
}

function addTo(out: Float64Array, to: number, row: Float32Array | Float64Array): void {
  for (let j = 0; j < row.length; j++) out[to + j] = out[to + j]! + row[j]!
}
