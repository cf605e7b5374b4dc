/**
 * Non-uniform quantization of weights: few levels that lie where the numbers are.
 *
 * Two forms. A *codebook*: float levels and an index per number, in ONNX a Gather. And AMCT's NUQ: the integers of a
 * uniformly quantized weight restricted to 16 or 32 different ones, which compress well and need nothing special to run.
 */
import { fail } from '../../core/index.ts'
import { fromNumbers, isFloat, Tensor, toFloat64 } from '../../tensor/index.ts'
import { roundHalfToEven } from './affine.ts'
import { optimalLevels } from './optimal-levels.ts'

/** Distinct values up to which the optimum is computed on the values themselves; beyond, on as many narrow bins. */
const EXACT_VALUES = 2 ** 14

/** A weight as indices into levels. */
export interface Codebook {
  /** Levels, ascending, of the weight's type. */
  readonly levels: Tensor
  /** Index of its level for every number; uint8, in the weight's shape. */
  readonly indices: Tensor
  /** ‖W − Ŵ‖ / ‖W‖. */
  readonly relativeError: number
}

function checkLevels(count: number): void {
  if (!(Number.isInteger(count) && count >= 2 && count <= 256))
    fail('INVALID_ARGUMENT', `Clustering: the number of levels must be an integer from 2 to 256; got ${count}.`)
}

/**
 * Clusters a weight to a few levels, those with the least squared error.
 *
 * Exact for up to 16,384 distinct numbers; with more, boundaries between levels are first found on 16,384 bins and then
 * moved until every number is at its nearest level and every level is the mean of its numbers.
 *
 * @param count levels at most, 2 … 256; AMCT uses 16 or 32.
 * @throws WhittleError `INVALID_ARGUMENT` for another count or a weight that is not floating point; `NOT_FINITE`.
 */
export function clusterWeight(weight: Tensor, count: number): Codebook {
  checkLevels(count)
  if (!isFloat(weight.dtype))
    fail('INVALID_ARGUMENT', `Clustering: the weight must be of a floating-point type; it is ${weight.dtype}.`)
  const data = toFloat64(weight)
  if (!data.every(Number.isFinite)) fail('NOT_FINITE', 'Clustering: the weight holds NaN or infinity. Repair it first.')
  const sorted = Float64Array.from(data).sort()
  const { values, counts } = distinct(sorted)
  const levels = values.length <= EXACT_VALUES ? exactLevels(values, counts, count) : binnedLevels(sorted, count)
  const stored = fromNumbers(levels, [levels.length], weight.dtype)
  const indices = nearestIndices(data, toFloat64(stored))
  return {
    levels: stored,
    indices: Tensor.of(indices, weight.shape),
    relativeError: errorOf(data, toFloat64(stored), indices),
  }
}

/** The weight that a codebook stands for. */
export function expandCodebook({ levels, indices }: Codebook): Tensor {
  const values = toFloat64(levels)
  const data = indices.data as Uint8Array
  return fromNumbers(
    Float64Array.from(data, (index) => values[index]!),
    indices.shape,
    levels.dtype,
  )
}

/**
 * Restricts integers to a few different ones, those with the least squared error: AMCT's NUQ on top of uniform
 * quantization.
 *
 * @param integers int8 or uint8, of any shape; one set of levels serves the whole tensor.
 * @param count levels at most, 2 … 256; AMCT uses 16 or 32.
 * @returns integers of the same type and shape, of at most `count` different values.
 * @throws WhittleError `INVALID_ARGUMENT`.
 */
export function clusterIntegers(integers: Tensor, count: number): Tensor {
  checkLevels(count)
  if (integers.dtype !== 'int8' && integers.dtype !== 'uint8')
    fail('INVALID_ARGUMENT', `Clustering: integers must be int8 or uint8; got ${integers.dtype}.`)
  const data = integers.data as Int8Array | Uint8Array
  if (data.length === 0) return integers
  const { values, counts } = distinct(Float64Array.from(data).sort())
  const { levels } = optimalLevels(values, count, { weights: counts, snap: roundHalfToEven })
  const indices = nearestIndices(toFloat64(integers), levels)
  return Tensor.of(
    data.map((_, i) => levels[indices[i]!]!),
    integers.shape,
  )
}

/** Distinct values of a sorted array and how often each occurs. */
function distinct(sorted: Float64Array): { values: Float64Array; counts: Float64Array } {
  let size = 0
  for (let i = 0; i < sorted.length; i++) if (i === 0 || sorted[i] !== sorted[i - 1]) size++
  const values = new Float64Array(size)
  const counts = new Float64Array(size)
  for (let i = 0, at = -1; i < sorted.length; i++) {
    if (i === 0 || sorted[i] !== sorted[i - 1]) values[++at] = sorted[i]!
    counts[at]!++
  }
  return { values, counts }
}

function exactLevels(values: Float64Array, counts: Float64Array, count: number): Float64Array {
  if (values.length === 0) return new Float64Array(1)
  return optimalLevels(values, count, { weights: counts }).levels
}

/** Levels for many values: the optimum over the means of narrow bins, then Lloyd's iteration on the values. */
function binnedLevels(sorted: Float64Array, count: number): Float64Array {
  const low = sorted[0]!
  const width = (sorted[sorted.length - 1]! - low) / EXACT_VALUES
  const means: number[] = []
  const counts: number[] = []
  for (let i = 0; i < sorted.length; ) {
    const edge = low + (Math.floor((sorted[i]! - low) / width) + 1) * width
    let sum = 0
    const begin = i
    do sum += sorted[i++]!
    while (i < sorted.length && sorted[i]! < edge)
    means.push(sum / (i - begin))
    counts.push(i - begin)
  }
  const { levels } = optimalLevels(Float64Array.from(means), count, { weights: Float64Array.from(counts) })
  return lloyd(sorted, levels)
}

/** Moves levels to the means of the values nearest to them until nothing changes; never worse than before. */
function lloyd(sorted: Float64Array, start: Float64Array): Float64Array {
  const prefix = new Float64Array(sorted.length + 1)
  for (let i = 0; i < sorted.length; i++) prefix[i + 1] = prefix[i]! + sorted[i]!
  let levels = start
  for (let round = 0; round < 100; round++) {
    const bounds = [0, ...boundaries(sorted, levels), sorted.length]
    const next = levels.map((level, c) => {
      const [begin, end] = [bounds[c]!, bounds[c + 1]!]
      return end > begin ? (prefix[end]! - prefix[begin]!) / (end - begin) : level
    })
    if (next.every((level, c) => level === levels[c])) return next
    levels = next
  }
  return levels
}

/** The first value beyond the middle between each two levels. */
function boundaries(sorted: Float64Array, levels: Float64Array): number[] {
  const found: number[] = []
  for (let c = 1; c < levels.length; c++) {
    const middle = (levels[c - 1]! + levels[c]!) / 2
    let [low, high] = [found[found.length - 1] ?? 0, sorted.length]
    while (low < high) {
      const at = (low + high) >> 1
      if (sorted[at]! < middle) low = at + 1
      else high = at
    }
    found.push(low)
  }
  return found
}

/** The index of the nearest level for every number; the lower one of two equally near. */
function nearestIndices(data: Float64Array, levels: Float64Array): Uint8Array {
  const middles = Float64Array.from({ length: levels.length - 1 }, (_, c) => (levels[c]! + levels[c + 1]!) / 2)
  return Uint8Array.from(data, (value) => {
    let [low, high] = [0, middles.length]
    while (low < high) {
      const at = (low + high) >> 1
      if (middles[at]! < value) low = at + 1
      else high = at
    }
    return low
  })
}

function errorOf(data: Float64Array, levels: Float64Array, indices: Uint8Array): number {
  let difference = 0
  let norm = 0
  for (let i = 0; i < data.length; i++) {
    difference += (data[i]! - levels[indices[i]!]!) ** 2
    norm += data[i]! ** 2
  }
  return norm === 0 ? 0 : Math.sqrt(difference / norm)
}
