/** Σ x², what norms and energies are made of. */
import { passKernel } from './pass-kernel.ts'
import type { Reals } from './reals.ts'

/** From this length on copying into the kernel's memory pays. */
const LONG = 2048
/** Numbers that are looked at at a time: they stay in the first-level cache, or nearly. */
const PIECE = 8192
/** Numbers that the kernel takes come in eights. */
const EIGHT = 8

/**
 * Σ x² in float64; may overflow for elements beyond 1e154, and is not finite where an element is not.
 *
 * @internal
 */
export function sumOfSquares(data: Reals): number {
  if (data.length < LONG) return sumOfFew(data)
  const { input, input64, sumOfSquares: sumOfPiece, sumOfSquares64: sumOfPiece64 } = passKernel()
  const isSingle = data instanceof Float32Array
  const whole = data.length - (data.length % EIGHT)
  let sum = 0
  for (let from = 0; from < whole; from += PIECE) {
    const end = Math.min(whole, from + PIECE)
    if (isSingle) input.set(data.subarray(from, end))
    else input64.set(data.subarray(from, end))
    sum += isSingle ? sumOfPiece(end - from) : sumOfPiece64(end - from)
  }
  return sum + sumOfFew(data.subarray(whole))
}

/** In four sums, so that additions do not wait for each other. */
function sumOfFew(data: Reals): number {
  let [a, b, c, d] = [0, 0, 0, 0]
  const whole = data.length - (data.length % 4)
  for (let i = 0; i < whole; i += 4) {
    a += data[i]! * data[i]!
    b += data[i + 1]! * data[i + 1]!
    c += data[i + 2]! * data[i + 2]!
    d += data[i + 3]! * data[i + 3]!
  }
  for (let i = whole; i < data.length; i++) a += data[i]! * data[i]!
  return a + b + (c + d)
}
