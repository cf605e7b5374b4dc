/**
 * Matrices of the linear algebra in this folder, and the port to whatever multiplies large ones.
 *
 * Row-major, contiguous. Small work is done here in plain float64; anything of size goes through
 * {@link MatrixEngine}, which `engine/` implements over ONNX Runtime.
 */

import type { Contraction, ContractionSpec, SolvedUpdate, UpdateEquations } from './contraction.ts'

/** A row-major matrix: element (i, j) is `data[i * cols + j]`. */
export interface Matrix<T extends Float32Array | Float64Array = Float32Array | Float64Array> {
  readonly rows: number
  readonly cols: number
  readonly data: T
}

/** A float64 matrix. */
export type Matrix64 = Matrix<Float64Array>

/** Matrices `[n, inner]` one after the other: a tensor `[outer, n, inner]`, row-major. */
export interface Slices<T extends Float32Array | Float64Array = Float32Array | Float64Array> {
  readonly dims: readonly [outer: number, n: number, inner: number]
  readonly data: T
}

/** One of several products along modes. */
export interface ModeStep<T extends Float32Array | Float64Array> {
  /** `[m, n]` */
  readonly matrix: Matrix<T>
  /** Of the tensor that is multiplied, n the mode in question. */
  readonly dims: readonly [outer: number, n: number, inner: number]
}

/** Multiplies matrices. Both operands have the same element type, and so has the result. */
export interface MatrixEngine {
  /** `op(a) @ op(b)`, where `op` transposes when asked to. Results are the caller's. */
  multiply<T extends Float32Array | Float64Array>(
    a: Matrix<T>,
    b: Matrix<T>,
    options?: { readonly transposeA?: boolean; readonly transposeB?: boolean },
  ): Promise<Matrix<T>>
  /**
   * `op(a) @ slices[o]` for every o: a product along the middle mode of a tensor, without rearranging it.
   *
   * @param a `[m, n]` (`[n, m]` with `transposeA`). @param slices `[outer, n, inner]`. Results are the caller's.
   * @returns `[outer, m, inner]`.
   */
  multiplySlices<T extends Float32Array | Float64Array>(
    a: Matrix<T>,
    slices: Slices<T>,
    options?: { readonly transposeA?: boolean },
  ): Promise<Slices<T>>
  /**
   * {@link multiplySlices} several times, each on what the one before gave, in one call: what lies between stays where it
   * is made. An engine without it, or with `undefined` for what would be too large, is asked for one after the other.
   *
   * @param steps matrices `[m, n]`, and the tensor as `[outer, n, inner]` around the mode that each of them multiplies.
   * @returns the elements of the last product. Results are the caller's.
   */
  maybeMultiplyModes?<T extends Float32Array | Float64Array>(
    data: T,
    steps: readonly ModeStep<T>[],
  ): Promise<T> | undefined
  /**
   * `op(a) @ op(a)ᵀ` accumulated in float64, `[n, n]` with n the rows of op(a); exactly symmetric. Chunked, so that
   * the extra memory stays small whatever the length of the rows.
   *
   * @param options.transpose `aᵀ a` instead of `a aᵀ`.
   */
  gram(a: Matrix, options?: { readonly transpose?: boolean }): Promise<Matrix64>
  /**
   * The Gram matrix of one of the first two modes of a tensor `[o, i, k]` of which the other one is contracted with a
   * basis; symmetric up to rounding. An engine without it is asked for plain products instead.
   *
   * @param basis one vector per row: `[r, i]` for mode 0, `[r, o]` for mode 1.
   * @param options.keep also the contracted tensor, `[o, r, k]` for mode 0, `[r, i, k]` for mode 1; default false.
   * @returns gram `[o, o]` for mode 0, `[i, i]` for mode 1, of products in the type of the tensor.
   */
  contractedGram?<T extends Float32Array | Float64Array>(
    tensor: Slices<T>,
    basis: Matrix<T>,
    mode: 0 | 1,
    options?: { readonly keep?: boolean },
  ): Promise<{ gram: Matrix<T>; contracted: T | undefined }>
  /**
   * The mode-n unfolding of a third-order tensor times the Khatri–Rao product of two factors, without forming either.
   * An engine without it is asked for plain products instead.
   *
   * @param tensor `[p, q, r]`, no extent 0. @param factors of the other two modes in ascending order, `[extent, rank]`.
   * @returns `[extent of the mode, rank]`.
   */
  mttkrp?<T extends Float32Array | Float64Array>(
    tensor: { readonly data: T; readonly dims: readonly [p: number, q: number, r: number] },
    factors: readonly [Matrix<T>, Matrix<T>],
    mode: 0 | 1 | 2,
  ): Promise<Matrix<T>>
  /**
   * Makes a tensor ready for updates of CP factors; absent, or `undefined` for tensors too small to be worth it: they are
   * done by {@link multiply}. The result is to be released.
   */
  maybePrepareContraction?<T extends Float32Array | Float64Array>(
    spec: ContractionSpec<T>,
  ): Promise<Contraction<T> | undefined>
  /** What `solveUpdate` of CP updates computes, in one call; absent: by {@link multiply}. */
  solveUpdate?<T extends Float32Array | Float64Array>(equations: UpdateEquations, mttkrp: T): Promise<SolvedUpdate<T>>
}
