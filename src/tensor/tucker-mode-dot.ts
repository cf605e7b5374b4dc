/** The n-mode product of a Tucker tensor, which only changes the factor of that mode. */
import { contract } from './contract.ts'
import { modeDot } from './mode-dot.ts'
import { checkMode, checkSameReals } from './reals.ts'
import type { Tensor } from './tensor.ts'
import { type TuckerTensor, validateTuckerTensor } from './tucker-tensor.ts'

/** Options of {@link tuckerModeDot}. */
export interface TuckerModeDotOptions {
  /** After a vector: keeps the mode, with an extent of 1; default false: the mode is gone. */
  readonly keepMode?: boolean
}

/**
 * The mode-n product X ×ₙ M of a Tucker tensor, as a Tucker tensor.
 *
 * @param matrixOrVector `[j, i_n]`, or `[i_n]`, of the element type of the factors.
 * @param mode n, counted from 0.
 * @returns the factor of the mode becomes M Aₙ `[j, r_n]`; a vector is multiplied into the core, and the mode is gone
 *   (unless it is the only one, which stays with an extent of 1).
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 4.
 * @example
 * const x = randomTucker([4, 5, 6], [2, 3, 2], { seed: 1 })
 * const product = tuckerModeDot(x, randomTensor([7, 5], { seed: 2 }), 1)
 * console.log(validateTuckerTensor(product).shape)
 */
export function tuckerModeDot(
  tucker: TuckerTensor,
  matrixOrVector: Tensor,
  mode: number,
  { keepMode = false }: TuckerModeDotOptions = {},
): TuckerTensor {
  const { shape } = validateTuckerTensor(tucker)
  checkMode(shape, mode, 'tuckerModeDot')
  checkSameReals([tucker.core, matrixOrVector], 'tuckerModeDot')
  const { core, factors } = tucker
  // M A: the product of the factor, seen as a tensor, along its first mode.
  const product = modeDot(factors[mode]!, matrixOrVector, 0)
  if (matrixOrVector.shape.length === 2) return { core, factors: factors.with(mode, product) }
  if (keepMode || factors.length === 1) return { core, factors: factors.with(mode, product.reshape([1, product.size])) }
  return { core: contract(core, product, [mode, 0]), factors: factors.toSpliced(mode, 1) }
}
