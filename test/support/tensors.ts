/** Comparing and making tensors in tests. */
import { createRandom } from '../../src/core/index.ts'
import { sizeOf, Tensor, toFloat64 } from '../../src/tensor/index.ts'

/** ‖A − B‖ / ‖A‖; 0 when both are zero, infinite when only A is. Shapes must agree. */
export function relativeError(expected: Tensor, actual: Tensor): number {
  if (expected.shape.join() !== actual.shape.join())
    throw new Error(`Shapes differ: expected [${expected.shape}], got [${actual.shape}].`)
  return relativeErrorOf(toFloat64(expected), toFloat64(actual))
}

/** The same for plain numbers. */
export function relativeErrorOf(expected: ArrayLike<number>, actual: ArrayLike<number>): number {
  if (expected.length !== actual.length) throw new Error(`Lengths differ: ${expected.length} and ${actual.length}.`)
  let difference = 0
  let norm = 0
  for (let i = 0; i < expected.length; i++) {
    difference += (expected[i]! - actual[i]!) ** 2
    norm += expected[i]! ** 2
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm)
}

/** Normally distributed float32 numbers. */
export function randomTensor(shape: readonly number[], seed: number): Tensor {
  const random = createRandom(seed)
  return Tensor.of(
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
    shape,
  )
}

/** Normally distributed float64 numbers. */
export function randomTensor64(shape: readonly number[], seed: number): Tensor {
  const random = createRandom(seed)
  return Tensor.of(
    Float64Array.from({ length: sizeOf(shape) }, () => random.normal()),
    shape,
  )
}
