/** Pieces that rules of several families are made of. */
import { float } from '../../graph/index.ts'
import { DTYPES } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'

/** The value in the element type of another; the value itself when it has it. */
export function toTypeOf(emit: Emitter, x: string, like: string): string {
  const { dtype } = emit.type(like)
  return emit.type(x).dtype === dtype ? x : emit.cast(x, dtype, DTYPES[dtype].code)
}

/** Largest float32: with this slope every normal positive number reaches 1. */
const STEEP = 3.4028234663852886e38

/**
 * `g` where `x` is positive, else 0.
 *
 * In float32 as a product with a HardSigmoid of the steepest slope, which is one pass less than a comparison, a
 * conversion and a product; ONNX Runtime has no float64 kernel for it.
 */
export function wherePositive(emit: Emitter, x: string, g: string): string {
  if (emit.type(x).dtype === 'float64')
    return emit.where(emit.binary('Greater', x, emit.number(0, x)), g, emit.number(0, g))
  return emit.mul(g, emit.unary('HardSigmoid', x, { alpha: float(STEEP), beta: float(0) }))
}

/**
 * Zeros of a shape with updates added at indices along an axis, after ScatterElements: one after the other, so that
 * the sum is the same in every run. In float32 where the updates are float16, for which ONNX Runtime cannot add.
 */
export function scatterAdd(
  emit: Emitter,
  shape: readonly number[],
  indices: string,
  updates: string,
  axis: number,
): string {
  if (emit.type(updates).dtype === 'float16') {
    const single = emit.cast(updates, 'float32', DTYPES.float32.code)
    return toTypeOf(emit, scatterAdd(emit, shape, indices, single, axis), updates)
  }
  const zeros = emit.expand(emit.number(0, updates), shape)
  return emit.op('ScatterElements', [zeros, indices, updates], shape, { axis, reduction: 'add' })
}
