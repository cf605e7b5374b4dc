/** Signs of CP components: every component keeps its value when two of its columns change sign. */
import { type CpTensor, validateCpTensor } from './cp-tensor.ts'
import { withScaledColumns } from './factor-columns.ts'
import { checkMode, type Reals } from './reals.ts'
import { Tensor, toFloat64 } from './tensor.ts'

/** Options of {@link cpFlipSign}. */
export interface CpFlipSignOptions {
  /** The mode whose columns take what signs are left, default 0. */
  readonly mode?: number
  /** A number with the sign of a column, default its mean; 0 counts as positive. */
  readonly signOf?: (column: Float64Array) => number
}

/**
 * The same tensor with columns of positive sign in all factors but one, and weights that are not negative.
 *
 * @returns weights and factors of the same type; weights only where there were some.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Bro, Acar, Kolda, "Resolving the sign ambiguity in the singular value decomposition", J. Chemometrics 22(2), 2008.
 * @example
 * const cp = { factors: [randomTensor([3, 2]), randomTensor([4, 2]), randomTensor([5, 2])] }
 * console.log(cpFlipSign(cp, { mode: 1 }).factors.map((factor) => factor.shape))
 */
export function cpFlipSign(cp: CpTensor, { mode = 0, signOf = meanOf }: CpFlipSignOptions = {}): CpTensor {
  const { shape, rank } = validateCpTensor(cp)
  checkMode(shape, mode, 'cpFlipSign')
  const rest = new Float64Array(rank).fill(1)
  const factors = cp.factors.map((factor, k) => {
    if (k === mode) return factor
    const values = toFloat64(factor)
    const signs = Float64Array.from({ length: rank }, (_, r) => {
      const column = Float64Array.from({ length: factor.shape[0]! }, (_, i) => values[i * rank + r]!)
      return signOf(column) < 0 ? -1 : 1
    })
    for (let r = 0; r < rank; r++) rest[r]! *= signs[r]!
    return withScaledColumns(factor, (r) => signs[r]!)
  })
  const weights = cp.weights && (cp.weights.data as Reals).slice()
  if (weights)
    for (let r = 0; r < rank; r++) {
      if (weights[r]! < 0) rest[r]! *= -1
      weights[r] = Math.abs(weights[r]!)
    }
  factors[mode] = withScaledColumns(factors[mode]!, (r) => rest[r]!)
  return { ...(weights ? { weights: Tensor.of(weights, [rank]) } : {}), factors }
}

function meanOf(column: Float64Array): number {
  return column.reduce((sum, value) => sum + value, 0) / column.length
}
