/** Tensors with missing elements: which elements are there, and values for those that are not. */
import { fail } from '../../core/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import { type Reals, shapeText } from '../real-tensor.ts'

const MASK_TYPES: readonly string[] = ['bool', 'uint8', 'int8', 'float32', 'float64']

/**
 * 1 for every element that is there, 0 for every one that is missing.
 *
 * @param mask of the tensor's shape; 0 where elements are missing. bool, uint8, int8, float32 or float64.
 * @throws WhittleError `SHAPE_MISMATCH`; `UNSUPPORTED` for another type; `INVALID_ARGUMENT` when nothing is observed.
 */
export function observedElements(tensor: Tensor, mask: Tensor, what: string): Uint8Array {
  const where = `${what} of ${shapeText(tensor.shape)}`
  if (mask.shape.join() !== tensor.shape.join())
    fail('SHAPE_MISMATCH', `${where}: the mask must have the tensor's shape; got ${shapeText(mask.shape)}.`)
  if (!MASK_TYPES.includes(mask.dtype))
    fail('UNSUPPORTED', `${where}: the mask must be one of ${MASK_TYPES.join(', ')}; got ${mask.dtype}.`)
  const values = mask.data as Float64Array
  const observed = Uint8Array.from(values, (value) => (value === 0 ? 0 : 1))
  if (!observed.includes(1)) fail('INVALID_ARGUMENT', `${where}: the mask hides every element.`)
  return observed
}

/** A copy with the mean of the observed elements in place of the missing ones, which may hold anything. */
export function withMeanForMissing(data: Reals, observed: Uint8Array): Reals {
  let [sum, count] = [0, 0]
  for (let i = 0; i < data.length; i++)
    if (observed[i]) {
      sum += data[i]!
      count++
    }
  const filled = data.slice()
  for (let i = 0; i < filled.length; i++) if (!observed[i]) filled[i] = sum / count
  return filled
}

/** Puts the model's values in place of missing elements. @returns Σ (x − model)² and Σ x² over the observed ones. */
export function fillMissing(
  filled: Reals,
  observed: Uint8Array,
  model: Reals,
): { readonly residual: number; readonly energy: number } {
  let [residual, energy] = [0, 0]
  for (let i = 0; i < filled.length; i++) {
    if (observed[i]) {
      residual += (filled[i]! - model[i]!) ** 2
      energy += filled[i]! ** 2
    } else filled[i] = model[i]!
  }
  return { residual, energy }
}
