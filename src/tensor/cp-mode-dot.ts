/** Mode products of CP tensors, without the full tensor. */
import { fail } from '../core/index.ts'
import { type CpTensor, validateCpTensor } from './cp-tensor.ts'
import { withScaledColumns } from './factor-columns.ts'
import { type ModeDotOptions, modeDot } from './mode-dot.ts'
import { checkMode, type Reals, shapeText } from './reals.ts'
import type { Tensor } from './tensor.ts'

/**
 * The mode-n product of a CP tensor: its n-th factor times a matrix; for a vector the mode goes, and the products with
 * its columns scale the factor before it.
 *
 * @param matrixOrVector `[j, i_n]` (with `transpose`: `[i_n, j]`) or `[i_n]`, of the factors' type.
 * @param mode n, counted from 0.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT` (a vector, and no other mode left).
 * @see Kolda, Bader 2009, section 2.5.
 * @example
 * const cp = { factors: [randomTensor([3, 2]), randomTensor([4, 2])] }
 * console.log(cpToTensor(cpModeDot(cp, randomTensor([5, 4]), 1)).shape)
 */
export function cpModeDot(cp: CpTensor, matrixOrVector: Tensor, mode: number, options: ModeDotOptions = {}): CpTensor {
  const { shape } = validateCpTensor(cp)
  checkMode(shape, mode, 'cpModeDot')
  const product = modeDot(cp.factors[mode]!, matrixOrVector, 0, options)
  if (product.shape.length === 2) return { ...cp, factors: cp.factors.with(mode, product) }
  if (shape.length === 1)
    fail(
      'INVALID_ARGUMENT',
      `cpModeDot of ${shapeText(shape)}: a vector would leave no mode. Use contract on the full tensor.`,
    )
  const factors = cp.factors.filter((_, k) => k !== mode)
  const scale = product.data as Reals
  const target = Math.max(0, mode - 1)
  return {
    ...cp,
    factors: factors.with(
      target,
      withScaledColumns(factors[target]!, (r) => scale[r]!),
    ),
  }
}
