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
const TILE = 16

/** Copies `from[o, a, b]` to `to[o, b, a]`. */
export function swapLast(
  from: Float32Array | Float64Array,
  [o, a, b]: readonly [number, number, number],
  to: Float32Array | Float64Array,
): void {
  for (let slice = 0; slice < o; slice++) {
    const base = slice * a * b
    // Tiles along a: reads come in short runs of b, writes in runs of TILE.
    for (let a0 = 0; a0 < a; a0 += TILE) {
      const a1 = Math.min(a, a0 + TILE)
      for (let y = 0; y < b; y++) {
        const target = base + y * a
        let source = base + a0 * b + y
        for (let x = a0; x < a1; x++) {
          to[target + x] = from[source]!
          source += b
        }
      }
    }
  }
}

/**
 * W ×₁ Uᵀ with its result permuted: `[o, i, k]` and U `[i, r]` give `[o, k, r]`.
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

/** W ×₀ Uᵀ: `[o, i, k]` and U `[o, r]` give `[r, i, k]`. */
export async function contractOutputs<T extends Float32Array | Float64Array>(
  engine: MatrixEngine,
  { data, dims }: Tensor3<T>,
  u: Matrix<T>,
): Promise<T> {
  const [o, i, k] = dims
  return (await engine.multiply(u, { rows: o, cols: i * k, data }, { transposeA: true })).data
}
