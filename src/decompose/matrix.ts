/**
 * Matrices of the linear algebra in this folder, and the port to whatever multiplies large ones.
 *
 * Row-major, contiguous. Small work is done here in plain float64; anything of size goes through
 * {@link MatrixEngine}, which `engine/` implements over ONNX Runtime.
 */

/** A row-major matrix: element (i, j) is `data[i * cols + j]`. */
export interface Matrix<T extends Float32Array | Float64Array = Float32Array | Float64Array> {
  readonly rows: number
  readonly cols: number
  readonly data: T
}

/** A float64 matrix. */
export type Matrix64 = Matrix<Float64Array>

/** Multiplies matrices. Both operands have the same element type, and so has the result. */
export interface MatrixEngine {
  /** `op(a) @ op(b)`, where `op` transposes when asked to. Results are the caller's. */
  multiply<T extends Float32Array | Float64Array>(
    a: Matrix<T>,
    b: Matrix<T>,
    options?: { readonly transposeA?: boolean; readonly transposeB?: boolean },
  ): Promise<Matrix<T>>
  /**
   * `op(a) @ op(a)ᵀ` accumulated in float64, `[n, n]` with n the rows of op(a); exactly symmetric. Chunked, so that
   * the extra memory stays small whatever the length of the rows.
   *
   * @param options.transpose `aᵀ a` instead of `a aᵀ`.
   */
  gram(a: Matrix, options?: { readonly transpose?: boolean }): Promise<Matrix64>
}
