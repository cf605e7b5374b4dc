/** How much a CP tensor changes when its factors do: what tells degenerate decompositions from sound ones. */

import { type CpTensor, validateCpTensor } from './cp-tensor.ts'
import { columnNorms } from './factor-columns.ts'
import { toFloat64 } from './tensor.ts'

/**
 * The sensitivity of a CP tensor: the expected squared change of the full tensor, relative to σ², when independent noise
 * of a small variance σ² is added to every element of every factor. It is Σ_k i_k Σ_r Π_{j≠k} ‖a_r⁽ʲ⁾‖².
 *
 * It depends on how the scale of a component is split between its factors; weights count as split evenly. It is least,
 * for the same tensor, when the column lengths of mode k are proportional to √i_k.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Phan et al., "Stable low-rank tensor decomposition for compression of convolutional neural network", ECCV 2020,
 *   definition 1 and lemma 1.
 * @example
 * // Two components that nearly cancel.
 * const factors = [tensor([[100, -100]]), tensor([[1, 1]]), tensor([[1, 0.99]])]
 * console.log(cpNorm({ factors }).toFixed(2), cpSensitivity({ factors }).toFixed(0))
 */
export function cpSensitivity(cp: CpTensor): number {
  const { shape, rank } = validateCpTensor(cp)
  const squares = squaredLengths(cp)
  let sum = 0
  for (const [mode, extent] of shape.entries())
    for (let r = 0; r < rank; r++) {
      let product = extent
      for (const [other, lengths] of squares.entries()) if (other !== mode) product *= lengths[r]!
      sum += product
    }
  return sum
}

/**
 * The intensity of a CP tensor: √Σ_r ‖λ_r a_r ∘ b_r ∘ …‖², the length of the weights when columns have length 1.
 *
 * It is near the norm of the tensor for components at right angles, and many times that where components cancel.
 *
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Phan et al. 2020, section 3.1.
 * @example
 * // Two components that nearly cancel.
 * const factors = [tensor([[100, -100]]), tensor([[1, 1]]), tensor([[1, 0.99]])]
 * console.log(cpNorm({ factors }).toFixed(2), cpIntensity({ factors }).toFixed(1))
 */
export function cpIntensity(cp: CpTensor): number {
  const { rank } = validateCpTensor(cp)
  const squares = squaredLengths(cp)
  let sum = 0
  for (let r = 0; r < rank; r++) sum += squares.reduce((product, lengths) => product * lengths[r]!, 1)
  return Math.sqrt(sum)
}

/** ‖a_r‖² of every mode, weights split evenly. */
function squaredLengths({ weights, factors }: CpTensor): Float64Array[] {
  const share = weights && toFloat64(weights).map((weight) => Math.abs(weight) ** (2 / factors.length))
  return factors.map((factor) => columnNorms(factor).map((length, r) => length ** 2 * (share ? share[r]! : 1)))
}
