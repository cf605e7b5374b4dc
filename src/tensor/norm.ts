/**
 * Norms over all elements of a tensor.
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 2 (order 2).
 */
import { fail } from '../core/index.ts'
import { type Reals, realsOf, shapeText } from './reals.ts'
import { sumOfSquares } from './sum-of-squares.ts'
import type { Tensor } from './tensor.ts'

/** Sums of squares outside of these are computed again on scaled elements: squares overflow or vanish there. */
const SAFE_SQUARES = [1e-280, 1e300] as const

/**
 * (Σ |x|^order)^(1/order) over all elements, accumulated in float64; neither overflows nor vanishes before the norm.
 *
 * @param tensor of any shape, float32 or float64; 0 for no elements.
 * @param order 2 (Frobenius, the default), 1, `Infinity` (largest magnitude), or any number from 1.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.
 * @example
 * const x = tensor([[3, 0], [0, -4]])
 * console.log(norm(x), norm(x, 1), norm(x, Number.POSITIVE_INFINITY))
 */
export function norm(tensor: Tensor, order = 2): number {
  if (!(order >= 1))
    fail('INVALID_ARGUMENT', `norm of ${shapeText(tensor.shape)}: order must be 1 or more; got ${order}.`)
  const data = realsOf(tensor, 'norm')
  if (order === Number.POSITIVE_INFINITY) return largest(data)
  if (order === 1) return sumOfMagnitudes(data)
  if (order === 2) return frobenius(data)
  const scale = largest(data)
  if (!(scale > 0 && scale < Number.POSITIVE_INFINITY)) return scale
  let sum = 0
  for (let i = 0; i < data.length; i++) sum += (Math.abs(data[i]!) / scale) ** order
  return scale * sum ** (1 / order)
}

/** √Σ x². */
export function frobenius(data: Reals): number {
  const sum = sumOfSquares(data)
  if (sum > SAFE_SQUARES[0] && sum < SAFE_SQUARES[1]) return Math.sqrt(sum)
  const scale = largest(data)
  if (!(scale > 0 && scale < Number.POSITIVE_INFINITY)) return scale
  return scale * Math.sqrt(sumOfSquares(Float64Array.from(data, (value) => value / scale)))
}

function sumOfMagnitudes(data: Reals): number {
  let sum = 0
  for (let i = 0; i < data.length; i++) sum += Math.abs(data[i]!)
  return sum
}

/** The largest magnitude; NaN when there is one. */
function largest(data: Reals): number {
  let result = 0
  for (let i = 0; i < data.length; i++) {
    const value = Math.abs(data[i]!)
    // Also true for NaN, which then stays.
    if (!(value <= result) && !Number.isNaN(result)) result = value
  }
  return result
}
