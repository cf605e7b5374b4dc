/** The one rule of matrix products. */
import { fail } from '../core/index.ts'
import type { Matrix, Slices } from './matrix.ts'

/** Shape `[m, k] @ [k, n]` of a product. */
export interface ProductShape {
  readonly m: number
  readonly k: number
  readonly n: number
}

/**
 * The shape of `op(a) @ op(b)`.
 *
 * @throws WhittleError `SHAPE_MISMATCH` when the inner lengths differ.
 * @internal
 */
export function checkProduct(
  a: Matrix,
  b: Matrix,
  { transposeA = false, transposeB = false }: { readonly transposeA?: boolean; readonly transposeB?: boolean },
): ProductShape {
  const [m, k] = transposeA ? [a.cols, a.rows] : [a.rows, a.cols]
  const [inner, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols]
  if (k !== inner)
    fail('SHAPE_MISMATCH', `Matrix product: inner lengths must agree; got [${m}, ${k}] @ [${inner}, ${n}].`)
  return { m, k, n }
}

/**
 * The number of rows of `op(a)`, for `op(a) @ slices[o]`.
 *
 * @throws WhittleError `SHAPE_MISMATCH` when the inner lengths differ.
 * @example
 * const a = { rows: 5, cols: 3, data: new Float64Array(15) }
 * console.log(checkSlicesProduct(a, { dims: [2, 3, 4], data: new Float64Array(24) }, {}))
 * @internal
 */
export function checkSlicesProduct(
  a: Matrix,
  { dims }: Slices,
  { transposeA = false }: { readonly transposeA?: boolean },
): number {
  const [m, k] = transposeA ? [a.cols, a.rows] : [a.rows, a.cols]
  if (k !== dims[1])
    fail('SHAPE_MISMATCH', `Product of slices: inner lengths must agree; got [${m}, ${k}] @ [${dims.join(', ')}].`)
  return m
}
