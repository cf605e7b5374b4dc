/**
 * The elements that tensor algebra works on: float32 or float64, one type per operation, results in that type.
 */
import { fail } from '../core/index.ts'
import { sizeOf, Tensor } from './tensor.ts'
import { unwrittenFloat32, unwrittenFloat64 } from './unwritten.ts'

/** Elements of a float32 or float64 tensor. */
export type Reals = Float32Array | Float64Array

/** A shape as messages write it: `[3, 4, 2]`. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`
}

/**
 * The elements of a float32 or float64 tensor, not copied.
 *
 * @param what begins the message, e.g. `'unfold'`.
 * @throws WhittleError `UNSUPPORTED` for other element types.
 */
export function realsOf(tensor: Tensor, what: string): Reals {
  const { dtype } = tensor
  if (dtype === 'float32' || dtype === 'float64') return tensor.data as Reals
  return fail(
    'UNSUPPORTED',
    `${what} of ${shapeText(tensor.shape)}: elements must be float32 or float64; got ${dtype}. Convert the tensor first.`,
  )
}

/**
 * Throws unless all tensors are float32 or all are float64.
 *
 * @throws WhittleError `UNSUPPORTED` for another type, `INVALID_ARGUMENT` for two types or no tensor at all.
 */
export function checkSameReals(tensors: readonly Tensor[], what: string): void {
  const [first] = tensors
  if (!first) fail('INVALID_ARGUMENT', `${what}: needs at least one tensor; got none.`)
  for (const tensor of tensors) {
    realsOf(tensor, what)
    if (tensor.dtype !== first.dtype)
      fail(
        'INVALID_ARGUMENT',
        `${what}: all operands must have one element type; got ${first.dtype} and ${tensor.dtype}. Convert one of them.`,
      )
  }
}

/** Zeros of the element type of `like`. */
export function zerosLike(like: Tensor, count: number): Reals {
  return like.dtype === 'float32' ? new Float32Array(count) : new Float64Array(count)
}

/** Numbers of the element type of `like` that are undefined until each of them is written. */
export function unwrittenLike(like: Tensor, count: number): Reals {
  return like.dtype === 'float32' ? unwrittenFloat32(count) : unwrittenFloat64(count)
}

/** Numbers as a tensor of the element type of `like`; not copied when they already have it. */
export function tensorLike(like: Tensor, numbers: Reals, shape: readonly number[]): Tensor {
  const same = numbers instanceof Float32Array === (like.dtype === 'float32')
  if (same) return Tensor.of(numbers, shape)
  return Tensor.of(like.dtype === 'float32' ? Float32Array.from(numbers) : Float64Array.from(numbers), shape)
}

/**
 * Throws unless `mode` numbers a mode of a tensor of the given shape.
 *
 * @param name what the argument is called, default `'mode'`.
 * @throws WhittleError `INVALID_ARGUMENT`.
 */
export function checkMode(shape: readonly number[], mode: number, what: string, name = 'mode'): void {
  if (Number.isInteger(mode) && mode >= 0 && mode < shape.length) return
  const rule =
    shape.length === 0 ? 'a scalar has no modes' : `${name} must be an integer between 0 and ${shape.length - 1}`
  fail('INVALID_ARGUMENT', `${what} of ${shapeText(shape)}: ${rule}; got ${mode}.`)
}

/**
 * Throws unless the shape consists of extents that a tensor of `size` elements can have.
 *
 * @throws WhittleError `SHAPE_MISMATCH`.
 */
export function checkRefold(
  shape: readonly number[],
  got: readonly number[],
  expected: readonly number[],
  what: string,
): void {
  const wrong = shape.find((extent) => !(Number.isSafeInteger(extent) && extent >= 0))
  if (wrong !== undefined)
    fail('SHAPE_MISMATCH', `${what} to ${shapeText(shape)}: extents must be integers from 0; got ${wrong}.`)
  if (got.join() !== expected.join())
    fail(
      'SHAPE_MISMATCH',
      `${what} to ${shapeText(shape)}: needs ${shapeText(expected)} (${sizeOf(expected)} elements); ` +
        `got ${shapeText(got)} (${sizeOf(got)}).`,
    )
}
