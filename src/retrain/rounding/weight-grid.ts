/** The integers that each element of a weight can be rounded to. */
import { integerLimits, integerTensor, type Quantization, roundHalfToEven } from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import { sizeOf, type Tensor } from '../../tensor/index.ts'

/** A weight as a matrix of multiples of steps: element i stands for `(q[i] − zero[i]) · step[i]`. */
export interface WeightGrid {
  /** The weight itself. */
  readonly weight: Float64Array
  readonly step: Float64Array
  /** Least and greatest multiple, zero points subtracted. */
  readonly least: Float64Array
  readonly most: Float64Array
}

/**
 * The grid of a weight.
 *
 * @param weight its elements in any order. @param order index into the weight tensor of each of them.
 * @throws WhittleError `SHAPE_MISMATCH` when the quantization has not as many scales as its axis has indices.
 */
export function weightGrid(
  weight: Float64Array,
  order: Int32Array,
  shape: readonly number[],
  quantization: Quantization,
): WeightGrid {
  const { type, bits, scale, zeroPoint, axis } = quantization
  const count = axis === null ? 1 : shape[axis < 0 ? axis + shape.length : axis]
  if (count !== scale.length || count !== zeroPoint.length)
    fail(
      'SHAPE_MISMATCH',
      `Quantization: a weight [${shape.join(', ')}] along axis ${axis} needs ${count} scales and zero points; got ${scale.length} and ${zeroPoint.length}.`,
    )
  const inner = axis === null ? 1 : sizeOf(shape.slice((axis < 0 ? axis + shape.length : axis) + 1))
  const limits = integerLimits(type, bits)
  const step = new Float64Array(weight.length)
  const least = new Float64Array(weight.length)
  const most = new Float64Array(weight.length)
  for (let i = 0; i < weight.length; i++) {
    const index = axis === null ? 0 : Math.floor(order[i]! / inner) % count
    step[i] = scale[index]!
    least[i] = limits.least - zeroPoint[index]!
    most[i] = limits.most - zeroPoint[index]!
  }
  return { weight, step, least, most }
}

/** The nearest multiple of each element. */
export function nearestLevels({ weight, step, least, most }: WeightGrid): Float64Array {
  return weight.map((value, i) => clamp(roundHalfToEven(value / step[i]!), least[i]!, most[i]!))
}

/** The multiples below each element; with those above them what AdaRound chooses from. */
export function lowerLevels({ weight, step, least, most }: WeightGrid): Float64Array {
  return weight.map((value, i) => clamp(Math.floor(value / step[i]!), least[i]!, most[i]!))
}

function clamp(x: number, least: number, most: number): number {
  return Math.min(Math.max(x, least), most)
}

/**
 * Multiples of steps as the integers that are stored.
 *
 * @param levels in the order of `order`. @returns a tensor of the weight's shape and the quantization's type; 4-bit
 *   types are packed, low bits first.
 */
export function storedIntegers(
  levels: Float64Array,
  order: Int32Array,
  shape: readonly number[],
  quantization: Quantization,
): Tensor {
  const { type, zeroPoint, axis } = quantization
  const at = axis === null ? 0 : axis < 0 ? axis + shape.length : axis
  const inner = axis === null ? 1 : sizeOf(shape.slice(at + 1))
  const integers = new Int32Array(levels.length)
  for (const [i, to] of order.entries()) {
    const index = axis === null ? 0 : Math.floor(to / inner) % shape[at]!
    integers[to] = levels[i]! + zeroPoint[index]!
  }
  return integerTensor(integers, shape, type)
}
