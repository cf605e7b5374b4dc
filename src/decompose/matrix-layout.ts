/** Making, checking and rearranging row-major matrices. */
import { fail } from '../core/index.ts'
import { sumOfSquares, Tensor, transposeTensor } from '../tensor/index.ts'
import type { Matrix, Matrix64 } from './matrix.ts'

export { sumOfSquares } from '../tensor/index.ts'

/** A zero float64 matrix `[rows, cols]`. */
export function zeros64(rows: number, cols: number): Matrix64 {
  return { rows, cols, data: new Float64Array(rows * cols) }
}

/** A new array of the same element type as `like`, zeros. */
export function arrayLike<T extends Float32Array | Float64Array>(like: T, length: number): T {
  return (like instanceof Float32Array ? new Float32Array(length) : new Float64Array(length)) as T
}

/** The matrix in float64: itself when it already is. */
export function toMatrix64(matrix: Matrix): Matrix64 {
  const { rows, cols, data } = matrix
  return { rows, cols, data: data instanceof Float64Array ? data : new Float64Array(data) }
}

/** The matrix rounded to the element type of `like`; itself when it already has it. */
export function toTypeOf<T extends Float32Array | Float64Array>(matrix: Matrix, like: T): Matrix<T> {
  const { rows, cols, data } = matrix
  if (data instanceof Float32Array === like instanceof Float32Array) return { rows, cols, data: data as T }
  const copy = arrayLike(like, data.length)
  copy.set(data)
  return { rows, cols, data: copy }
}

/** Rows first … last−1, a view. */
export function rowRange<T extends Float32Array | Float64Array>(
  matrix: Matrix<T>,
  first: number,
  last: number,
): Matrix<T> {
  const { cols, data } = matrix
  return { rows: last - first, cols, data: data.subarray(first * cols, last * cols) as T }
}

/** Columns first … last−1, a copy (a view when that is all of them). */
export function columnRange<T extends Float32Array | Float64Array>(
  matrix: Matrix<T>,
  first: number,
  last: number,
): Matrix<T> {
  const { rows, cols, data } = matrix
  const width = last - first
  if (width === cols) return matrix
  const out = arrayLike(data, rows * width)
  for (let i = 0; i < rows; i++) out.set(data.subarray(i * cols + first, i * cols + last), i * width)
  return { rows, cols: width, data: out }
}

/** From this size on the tiles of the tensor algebra pay. */
const LARGE_TRANSPOSE = 64 * 64

/** The transposed matrix, a copy. */
export function transposed<T extends Float32Array | Float64Array>(matrix: Matrix<T>): Matrix<T> {
  const { rows, cols, data } = matrix
  if (rows > 1 && cols > 1 && data.length >= LARGE_TRANSPOSE)
    return { rows: cols, cols: rows, data: transposeTensor(Tensor.of(data, [rows, cols])).data as T }
  const out = arrayLike(data, rows * cols)
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j]!
  return { rows: cols, cols: rows, data: out }
}

/**
 * Throws unless `data` has rows × cols elements and all of them are finite.
 *
 * @param what names the matrix in the message, e.g. `'Symmetric eigenproblem'`.
 * @throws WhittleError `SHAPE_MISMATCH`, `NOT_FINITE`.
 */
export function checkMatrix(matrix: Matrix, what: string): void {
  checkLength(matrix, what)
  checkFinite(matrix.data, `${what}: matrix [${matrix.rows}, ${matrix.cols}]`)
}

/** {@link checkMatrix} in the same pass as {@link sumOfSquares}, which it returns; where that is known, without the pass. */
export function checkedEnergy(matrix: Matrix, what: string, known?: number): number {
  checkLength(matrix, what)
  if (known !== undefined) return known
  const energy = sumOfSquares(matrix.data)
  // A finite sum has finite terms.
  if (!Number.isFinite(energy)) checkFinite(matrix.data, `${what}: matrix [${matrix.rows}, ${matrix.cols}]`)
  return energy
}

function checkLength({ rows, cols, data }: Matrix, what: string): void {
  if (data.length !== rows * cols)
    fail(
      'SHAPE_MISMATCH',
      `${what}: a matrix [${rows}, ${cols}] has ${rows * cols} elements; the array has ${data.length}.`,
    )
}

/** Throws `NOT_FINITE` unless all numbers are finite. @param what begins the message. */
export function checkFinite(data: Float32Array | Float64Array, what: string): void {
  // x − x is 0 for finite x and NaN otherwise: one sum instead of a test per element.
  let sum = 0
  for (let i = 0; i < data.length; i++) sum += data[i]! - data[i]!
  if (sum === 0) return
  const index = data.findIndex((value) => !Number.isFinite(value))
  fail(
    'NOT_FINITE',
    `${what}: all elements must be finite numbers; element ${index} is ${data[index]}. Check where the values come from.`,
  )
}

/** Sum of the diagonal of a square matrix. */
export function trace({ rows: n, data }: Matrix): number {
  let sum = 0
  for (let i = 0; i < n; i++) sum += data[i * (n + 1)]!
  return sum
}

/** {@link checkMatrix} in the same pass as the largest magnitude, which it returns; 0 for an empty matrix. */
export function checkedLargest(matrix: Matrix, what: string): number {
  checkLength(matrix, what)
  const { data } = matrix
  // Four maxima: shorter dependency chains. NaN and infinity come through to the end.
  let [a, b, c, d] = [0, 0, 0, 0]
  const whole = data.length - (data.length % 4)
  for (let i = 0; i < whole; i += 4) {
    a = Math.max(a, Math.abs(data[i]!))
    b = Math.max(b, Math.abs(data[i + 1]!))
    c = Math.max(c, Math.abs(data[i + 2]!))
    d = Math.max(d, Math.abs(data[i + 3]!))
  }
  for (let i = whole; i < data.length; i++) a = Math.max(a, Math.abs(data[i]!))
  const largest = Math.max(a, b, c, d)
  if (!Number.isFinite(largest)) checkFinite(data, `${what}: matrix [${matrix.rows}, ${matrix.cols}]`)
  return largest
}

/**
 * A power of two that brings a largest element to between 1 and 2⁶⁴: neither squares nor differences leave the range, and
 * what is usual is left as it is.
 */
export function powerOfTwoScale(largest: number): number {
  if (largest === 0 || (largest >= 1 && largest < 2 ** 64)) return 1
  // Clamped: 2 ** 1074 is not a number. What is below 2 ** -1000 is as good as zero after it.
  return 2 ** Math.min(1000, -Math.floor(Math.log2(largest)))
}
