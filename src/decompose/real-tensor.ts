/** Tensors as decompositions take them: float32 or float64, finite, never empty. */
import { fail } from '../core/index.ts'
import { Tensor } from '../tensor/index.ts'
import { arrayLike, sumOfSquares } from './matrix-layout.ts'

/** Elements of a float32 or float64 tensor. */
export type Reals = Float32Array | Float64Array

/** A shape as messages write it: `[3, 4, 2]`. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`
}

/** Energies outside of these have lost squares to overflow or underflow. */
const LEAST_ENERGY = 1e-280
const MOST_ENERGY = 1e300

/** What every decomposition of a tensor begins with. */
export interface CheckedTensor {
  readonly data: Reals
  /** ‖X‖² in float64. */
  readonly energy: number
}

/**
 * The elements of a tensor and their energy, in one pass.
 *
 * @param what begins messages, e.g. `'Tucker'`.
 * @throws WhittleError `UNSUPPORTED` for other types than float32 and float64, and for elements beyond
 *   about 10^±140; `INVALID_ARGUMENT` for scalars and tensors without elements; `NOT_FINITE`.
 */
export function checkTensor(tensor: Tensor, what: string): CheckedTensor {
  const where = `${what} of ${shapeText(tensor.shape)}`
  if (tensor.dtype !== 'float32' && tensor.dtype !== 'float64')
    fail('UNSUPPORTED', `${where}: elements must be float32 or float64; got ${tensor.dtype}. Convert the tensor first.`)
  if (tensor.shape.length === 0 || tensor.size === 0)
    fail('INVALID_ARGUMENT', `${where}: the tensor must have at least one mode and one element.`)
  const data = tensor.data as Reals
  const energy = sumOfSquares(data)
  if (energy > LEAST_ENERGY && energy < MOST_ENERGY) return { data, energy }
  const index = data.findIndex((value) => !Number.isFinite(value))
  if (index >= 0)
    fail('NOT_FINITE', `${where}: all elements must be finite numbers; element ${index} is ${data[index]}.`)
  if (data.some((value) => value !== 0))
    fail('UNSUPPORTED', `${where}: squares of the elements leave the range of numbers; bring the largest near 1 first.`)
  return { data, energy }
}

/** Numbers as a tensor of the element type of `like`; not copied when they already have it. */
export function tensorOf(like: Reals, numbers: Reals, shape: readonly number[]): Tensor {
  if (like instanceof Float32Array === numbers instanceof Float32Array) return Tensor.of(numbers, shape)
  const copy = arrayLike(like, numbers.length)
  copy.set(numbers)
  return Tensor.of(copy, shape)
}
