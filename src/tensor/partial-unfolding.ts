/** Unfolding the inner modes of a tensor while outer ones, such as samples of a batch, stay as they are. */
import { fail } from '../core/index.ts'
import { permuted } from './permute.ts'
import { checkRefold, shapeText } from './reals.ts'
import { sizeOf, type Tensor } from './tensor.ts'
import { inOrder, refold, type UnfoldOptions, unfoldingModes } from './unfolding.ts'

/** Options of {@link partialTensorToVec} and {@link partialVecToTensor}. */
export interface PartialVecOptions extends UnfoldOptions {
  /** Modes left alone at the beginning, default 1. */
  readonly skipBegin?: number
  /** Modes left alone at the end, default 0. */
  readonly skipEnd?: number
}

/** Options of {@link partialUnfold} and {@link partialFold}. */
export interface PartialUnfoldOptions extends PartialVecOptions {
  /** The mode to unfold, counted from 0 after those left alone at the beginning; default 0. */
  readonly mode?: number
}

/** What a partial unfolding does to a shape: the order in which it reads the modes, and the shape it gives. */
interface PartialLayout {
  readonly modes: readonly number[]
  readonly shape: readonly number[]
}

/**
 * Unfolds each tensor of a batch: `partialUnfold(x)` holds `unfold(x[s], mode)` for every sample s.
 *
 * @param tensor `[b_0, …, i_0, …, i_{N−1}, …, e_0, …]` with `skipBegin` modes b and `skipEnd` modes e.
 * @returns `[b_0, …, i_mode, Π_{k≠mode} i_k, …, e_0, …]`.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const batch = randomTensor([8, 3, 4, 5])
 * console.log(partialUnfold(batch, { mode: 1 }).shape)
 */
export function partialUnfold(tensor: Tensor, options: PartialUnfoldOptions = {}): Tensor {
  const { modes, shape } = unfoldLayout(tensor.shape, options, 'partialUnfold')
  return permuted(tensor, modes, 'partialUnfold').reshape(shape)
}

/**
 * The inverse of {@link partialUnfold}.
 *
 * @param shape of the result, with the modes that were left alone.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const batch = randomTensor([8, 3, 4, 5])
 * const unfolded = partialUnfold(batch, { mode: 1 })
 * console.log(partialFold(unfolded, batch.shape, { mode: 1 }).shape)
 */
export function partialFold(unfolded: Tensor, shape: readonly number[], options: PartialUnfoldOptions = {}): Tensor {
  const layout = unfoldLayout(shape, options, 'partialFold')
  checkRefold(shape, unfolded.shape, layout.shape, 'partialFold')
  return refold(unfolded, layout.modes, shape, 'partialFold')
}

/**
 * Vectorises each tensor of a batch.
 *
 * @param tensor `[b_0, …, i_0, …, i_{N−1}, …, e_0, …]`.
 * @returns `[b_0, …, Π i_k, …, e_0, …]`.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * console.log(partialTensorToVec(randomTensor([8, 3, 4, 5])).shape)
 */
export function partialTensorToVec(tensor: Tensor, options: PartialVecOptions = {}): Tensor {
  const { modes, shape } = vecLayout(tensor.shape, options, 'partialTensorToVec')
  return permuted(tensor, modes, 'partialTensorToVec').reshape(shape)
}

/**
 * The inverse of {@link partialTensorToVec}.
 *
 * @param shape of the result, with the modes that were left alone.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * console.log(partialVecToTensor(randomTensor([8, 60]), [8, 3, 4, 5]).shape)
 */
export function partialVecToTensor(vectors: Tensor, shape: readonly number[], options: PartialVecOptions = {}): Tensor {
  const layout = vecLayout(shape, options, 'partialVecToTensor')
  checkRefold(shape, vectors.shape, layout.shape, 'partialVecToTensor')
  return refold(vectors, layout.modes, shape, 'partialVecToTensor')
}

function unfoldLayout(shape: readonly number[], options: PartialUnfoldOptions, what: string): PartialLayout {
  const { mode = 0, order = 'c' } = options
  const { begin, end, inner } = split(shape, options, what)
  if (!(Number.isInteger(mode) && mode >= 0 && mode < inner.length))
    fail(
      'INVALID_ARGUMENT',
      `${what} of ${shapeText(shape)} without its first ${begin.length} and last ${end.length} modes: ` +
        `mode must be an integer between 0 and ${inner.length - 1}; got ${mode}.`,
    )
  const modes = unfoldingModes(inner.length, mode, order, what).map((k) => inner[k]!)
  const [first, ...rest] = modes.map((k) => shape[k]!)
  return {
    modes: [...begin, ...modes, ...end],
    shape: [...begin.map((k) => shape[k]!), first!, sizeOf(rest), ...end.map((k) => shape[k]!)],
  }
}

function vecLayout(shape: readonly number[], options: PartialVecOptions, what: string): PartialLayout {
  const { begin, end, inner } = split(shape, options, what)
  const modes = inOrder(inner, options.order ?? 'c', what)
  const extent = sizeOf(inner.map((k) => shape[k]!))
  return {
    modes: [...begin, ...modes, ...end],
    shape: [...begin.map((k) => shape[k]!), extent, ...end.map((k) => shape[k]!)],
  }
}

/** The modes left alone and the others. */
function split(
  shape: readonly number[],
  { skipBegin = 1, skipEnd = 0 }: PartialVecOptions,
  what: string,
): { begin: number[]; inner: number[]; end: number[] } {
  const count = shape.length
  for (const [name, value] of [
    ['skipBegin', skipBegin],
    ['skipEnd', skipEnd],
  ] as const)
    if (!(Number.isInteger(value) && value >= 0))
      fail('INVALID_ARGUMENT', `${what} of ${shapeText(shape)}: ${name} must be an integer from 0; got ${value}.`)
  if (skipBegin + skipEnd >= count)
    fail(
      'INVALID_ARGUMENT',
      `${what} of ${shapeText(shape)}: at least one of ${count} modes must be left to unfold; ` +
        `got skipBegin ${skipBegin} and skipEnd ${skipEnd}.`,
    )
  const all = shape.map((_, k) => k)
  return {
    begin: all.slice(0, skipBegin),
    inner: all.slice(skipBegin, count - skipEnd),
    end: all.slice(count - skipEnd),
  }
}
