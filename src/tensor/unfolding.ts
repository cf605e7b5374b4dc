/**
 * Unfolding tensors into matrices and vectors, and back, in two orders of the columns.
 *
 * `'c'` (TensorLy, numpy): the modes that make up the columns keep their order and the last of them runs fastest.
 * `'kolda-bader'`: the first of them runs fastest, column j = Σ_{k≠n} i_k Π_{m<k, m≠n} I_m (zero-based). The matrices
 * have the same columns in another order; docs/numerics.md shows both. Modes count from 0.
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 2.4.
 */
import { fail } from '../core/index.ts'
import { permuted } from './permute.ts'
import { checkMode, checkRefold, realsOf, shapeText } from './reals.ts'
import { sizeOf, type Tensor } from './tensor.ts'

/** Which of the unfolded modes runs fastest: the last (`'c'`, as TensorLy) or the first (`'kolda-bader'`). */
export type UnfoldingOrder = 'c' | 'kolda-bader'

/** Options of functions that unfold. */
export interface UnfoldOptions {
  /** Order of the columns, default `'c'`. */
  readonly order?: UnfoldingOrder
}

/** The modes of a tensor of order N in the order in which an unfolding reads them, rows first. */
export function unfoldingModes(order: number, mode: number, convention: UnfoldingOrder, what: string): number[] {
  const rest = Array.from({ length: order }, (_, k) => k).filter((k) => k !== mode)
  return [mode, ...inOrder(rest, convention, what)]
}

/** The modes that one index is made of, slowest first, given in ascending order. */
export function inOrder(modes: readonly number[], order: UnfoldingOrder, what: string): readonly number[] {
  if (order === 'c') return modes
  if (order === 'kolda-bader') return modes.toReversed()
  return fail('INVALID_ARGUMENT', `${what}: order must be 'c' or 'kolda-bader'; got '${String(order)}'.`)
}

/**
 * The mode-n unfolding X₍ₙ₎: a matrix whose rows are indexed by the mode and whose columns are the mode-n fibres.
 *
 * @param tensor `[i_0, …, i_n, …, i_{N−1}]`, float32 or float64.
 * @param mode n, counted from 0.
 * @returns `[i_n, Π_{k≠n} i_k]`; shares the data where no element moves (mode 0 in C order).
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.4.
 * @example
 * const x = tensor([[[1, 13], [4, 16], [7, 19], [10, 22]], [[2, 14], [5, 17], [8, 20], [11, 23]], [[3, 15], [6, 18], [9, 21], [12, 24]]])
 * console.log(formatTensor(unfold(x, 0)))
 * console.log(formatTensor(unfold(x, 0, { order: 'kolda-bader' })))
 */
export function unfold(tensor: Tensor, mode: number, { order = 'c' }: UnfoldOptions = {}): Tensor {
  checkMode(tensor.shape, mode, 'unfold')
  const modes = unfoldingModes(tensor.shape.length, mode, order, 'unfold')
  const rows = tensor.shape[mode]!
  return permuted(tensor, modes, 'unfold').reshape([rows, columnsOf(tensor.shape, mode)])
}

/**
 * The tensor of a mode-n unfolding: the inverse of {@link unfold}.
 *
 * @param unfolded `[i_n, Π_{k≠n} i_k]`, float32 or float64.
 * @param mode n, counted from 0. @param shape of the result, `[i_0, …, i_{N−1}]`.
 * @returns shares the data where no element moves.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const x = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
 * console.log(toNested(fold(unfold(x, 1), 1, x.shape)))
 */
export function fold(
  unfolded: Tensor,
  mode: number,
  shape: readonly number[],
  { order = 'c' }: UnfoldOptions = {},
): Tensor {
  checkMode(shape, mode, 'fold to')
  checkRefold(shape, unfolded.shape, [shape[mode]!, columnsOf(shape, mode)], 'fold')
  return refold(unfolded, unfoldingModes(shape.length, mode, order, 'fold'), shape, 'fold')
}

/**
 * The elements as a vector.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64.
 * @returns `[Π i_k]`; the last mode runs fastest in C order, the first in Kolda and Bader's (their vec, column by
 *   column). Shares the data in C order.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const x = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
 * console.log(toNested(tensorToVec(x)), toNested(tensorToVec(x, { order: 'kolda-bader' })))
 */
export function tensorToVec(tensor: Tensor, { order = 'c' }: UnfoldOptions = {}): Tensor {
  const modes = inOrder(
    tensor.shape.map((_, k) => k),
    order,
    'tensorToVec',
  )
  return permuted(tensor, modes, 'tensorToVec').reshape([tensor.size])
}

/**
 * The tensor of a vector: the inverse of {@link tensorToVec}.
 *
 * @param vector `[Π i_k]`, float32 or float64. @param shape of the result, `[i_0, …, i_{N−1}]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * console.log(toNested(vecToTensor(tensor([1, 2, 3, 4, 5, 6]), [2, 3])))
 */
export function vecToTensor(vector: Tensor, shape: readonly number[], { order = 'c' }: UnfoldOptions = {}): Tensor {
  checkRefold(shape, vector.shape, [sizeOf(shape)], 'vecToTensor')
  const modes = inOrder(
    shape.map((_, k) => k),
    order,
    'vecToTensor',
  )
  return refold(vector, modes, shape, 'vecToTensor')
}

/**
 * A matrix whose rows and columns are indexed by groups of modes, in C order within each group.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64.
 * @param rowModes modes of the rows, slowest first. @param columnModes of the columns; default: the others, ascending.
 * @returns `[Π rows, Π columns]`.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT` unless the two lists hold each mode once.
 * @see Kolda, "Multilinear operators for higher-order decompositions", SAND2006-2081, 2006, section 2.
 * @example
 * const x = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
 * console.log(formatTensor(matricize(x, [0, 2])))
 */
export function matricize(tensor: Tensor, rowModes: readonly number[], columnModes?: readonly number[]): Tensor {
  const { shape } = tensor
  const columns = columnModes ?? shape.map((_, k) => k).filter((k) => !rowModes.includes(k))
  const modes = [...rowModes, ...columns]
  for (const mode of modes) checkMode(shape, mode, 'matricize')
  if (modes.length !== shape.length || new Set(modes).size !== modes.length)
    fail(
      'INVALID_ARGUMENT',
      `matricize of ${shapeText(shape)}: rows and columns must name each of ${shape.length} modes once; ` +
        `got rows ${shapeText(rowModes)} and columns ${shapeText(columns)}.`,
    )
  const extents = (list: readonly number[]): number => sizeOf(list.map((mode) => shape[mode]!))
  return permuted(tensor, modes, 'matricize').reshape([extents(rowModes), extents(columns)])
}

/** The tensor of `shape` whose modes, read in the order `modes`, are the elements of `source`. */
export function refold(source: Tensor, modes: readonly number[], shape: readonly number[], what: string): Tensor {
  realsOf(source, what)
  const inverse = new Array<number>(modes.length)
  for (const [at, mode] of modes.entries()) inverse[mode] = at
  return permuted(source.reshape(modes.map((mode) => shape[mode]!)), inverse, what)
}

function columnsOf(shape: readonly number[], mode: number): number {
  return sizeOf(shape.filter((_, k) => k !== mode))
}
