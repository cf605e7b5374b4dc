/** Columns of factor matrices: their lengths and inner products, in float64. */

import { frobenius } from './norm.ts'
import { columnMajor, multiplyInto, rowMajor } from './product.ts'
import { type Reals, zerosLike } from './reals.ts'
import { Tensor } from './tensor.ts'

/** AᵀA of a matrix `[m, n]`: `[n, n]` in float64. */
export function columnGram(data: Reals, rows: number, columns: number): Float64Array {
  const out = new Float64Array(columns * columns)
  multiplyInto(rowMajor(out, columns), columnMajor(data, columns), rowMajor(data, columns), [columns, rows, columns])
  return out
}

/** ‖a_r‖ of every column of a matrix. */
export function columnNorms(matrix: Tensor): Float64Array {
  const [rows, columns] = matrix.shape as [number, number]
  const data = matrix.data as Reals
  const column = new Float64Array(rows)
  return Float64Array.from({ length: columns }, (_, r) => {
    for (let i = 0; i < rows; i++) column[i] = data[i * columns + r]!
    return frobenius(column)
  })
}

/** The matrix with column r multiplied by `scale(r)`. */
export function withScaledColumns(matrix: Tensor, scale: (column: number) => number): Tensor {
  const [rows, columns] = matrix.shape as [number, number]
  const data = matrix.data as Reals
  const out = zerosLike(matrix, rows * columns)
  for (let r = 0; r < columns; r++) {
    const factor = scale(r)
    for (let at = r; at < out.length; at += columns) out[at] = data[at]! * factor
  }
  return Tensor.of(out, matrix.shape)
}

/** The matrix with column r divided by `lengths[r]`; columns of length 0 stay. */
export function withUnitColumns(matrix: Tensor, lengths: Float64Array): Tensor {
  const [rows, columns] = matrix.shape as [number, number]
  const data = matrix.data as Reals
  const out = zerosLike(matrix, rows * columns)
  for (let at = 0; at < out.length; at++) out[at] = data[at]! / (lengths[at % columns]! || 1)
  return Tensor.of(out, matrix.shape)
}
