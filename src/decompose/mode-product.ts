/**
 * Products along the modes of a tensor `[o, i, k]` that is too large to permute or convert: in chunks, with as little
 * copied as the products allow.
 */
import type { Matrix, MatrixEngine } from './matrix.ts'
import { arrayLike } from './matrix-layout.ts'

/** A tensor `[o, i, k]`, row-major. For a convolution: outputs, inputs, taps. */
export interface Tensor3<T extends Float32Array | Float64Array> {
  readonly data: T
  readonly dims: readonly [o: number, i: number, k: number]
}

/** Elements of a permuted chunk: 16 MB in float32. */
const CHUNK = 4 * 1024 * 1024
/** Rows that {@link swapLast} reads at once. */
const WIDTH = 4

/** Copies `from[o, a, b]` to `to[o, b, a]`. */
export function swapLast(
  from: Float32Array | Float64Array,
  [o, a, b]: readonly [number, number, number],
  to: Float32Array | Float64Array,
): void {
  const whole = a - (a % WIDTH)
  for (let slice = 0; slice < o; slice++) {
    const base = slice * a * b
    // Four rows at a time, element by element: reads and writes both go along a few lines of the cache.
    for (let x = 0; x < whole; x += WIDTH) {
      let source = base + x * b
      let target = base + x
      for (let y = 0; y < b; y++) {
        to[target] = from[source]!
        to[target + 1] = from[source + b]!
        to[target + 2] = from[source + 2 * b]!
        to[target + 3] = from[source + 3 * b]!
        source++
        target += a
      }
    }
    for (let x = whole; x < a; x++) for (let y = 0; y < b; y++) to[base + y * a + x] = from[base + x * b + y]!
  }
}

/**
 * W ×₁ Uᵀ with its result permuted: `[o, i, k]` and U `[i, r]` give `[o, k, r]`.
 *
 * @internal
 */
export async function contractInputs<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  { data, dims }: Tensor3<T>,
  u: Matrix<T>,
): Promise<T> {
  const [o, i, k] = dims
  const out = arrayLike(data, o * k * u.cols)
  const slices = Math.max(1, Math.floor(CHUNK / Math.max(1, i * k)))
  const scratch = k === 1 ? undefined : arrayLike(data, Math.min(o, slices) * i * k)
  for (let first = 0; first < o; first += slices) {
    const count = Math.min(slices, o - first)
    const chunk = data.subarray(first * i * k, (first + count) * i * k) as T
    if (scratch) swapLast(chunk, [count, i, k], scratch)
    const rows = (scratch ?? chunk).subarray(0, count * i * k) as T
    const product = await engine.multiply({ rows: count * k, cols: i, data: rows }, u)
    out.set(product.data, first * k * u.cols)
  }
  return out
}

/**
 * W ×₀ Uᵀ: `[o, i, k]` and U `[o, r]` give `[r, i, k]`.
 *
 * @internal
 */
export async function contractOutputs<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  { data, dims }: Tensor3<T>,
  u: Matrix<T>,
): Promise<T> {
  const [o, i, k] = dims
  return (await engine.multiply(u, { rows: o, cols: i * k, data }, { transposeA: true })).data
}
