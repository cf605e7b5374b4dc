/**
 * Rounding as a lattice problem: the least (ŵ − w)ᵀ H (ŵ − w) + 2 bᵀ(ŵ − w) over multiples of steps, one row of the
 * weight at a time. H is the second moment of the layer's input and b what the input's own quantization asks for.
 *
 * Sources: E. Frantar et al., "GPTQ", ICLR 2023 (one element after the other, those left make up for its error; the
 * same as Babai's nearest plane, J. Chen et al., 2025); P. Nair, A. Suggala, "CDQuant", 2024 (coordinate descent).
 */

import { fail } from '../../core/index.ts'
import { type MatrixEngine, maybeCholesky, solveLower, solveLowerTransposed } from '../../decompose/index.ts'
import type { WeightGrid } from './weight-grid.ts'

/** One group of a layer: rows `[outputs, length]` with one H. */
export interface QuadraticProblem {
  readonly outputs: number
  readonly length: number
  readonly grid: WeightGrid
  /** H `[length, length]`, symmetric: mean of x xᵀ. */
  readonly second: Float64Array
  /** b `[outputs, length]`: mean of (w·x − y) x, where y is what the layer should put out. */
  readonly shift: Float64Array
}

/** The loss of each row for given multiples, relative to that of the weight itself. */
export function quadraticLoss(
  { outputs, length, grid, second, shift }: QuadraticProblem,
  levels: Float64Array,
): number {
  let total = 0
  const error = new Float64Array(length)
  for (let o = 0; o < outputs; o++) {
    const row = o * length
    for (let j = 0; j < length; j++) error[j] = levels[row + j]! * grid.step[row + j]! - grid.weight[row + j]!
    for (let i = 0; i < length; i++) {
      const e = error[i]!
      if (e === 0) continue
      let sum = 2 * shift[row + i]!
      const at = i * length
      for (let j = 0; j < length; j++) sum += second[at + j]! * error[j]!
      total += e * sum
    }
  }
  return total
}

/** Steps of the descent over all elements at most; it ends when none changes. */
const MOST_SWEEPS = 30

/**
 * Moves one element at a time to the neighbouring multiple that lowers the loss most, until none does.
 *
 * @param levels where it starts; written to.
 * @param reach how far from the weight's own neighbours a multiple may be: 0 for the two that AdaRound chooses from.
 */
export function descendCoordinates(problem: QuadraticProblem, levels: Float64Array, reach: number): void {
  const { outputs, length, grid, second } = problem
  const { step, weight } = grid
  const gradient = new Float64Array(length)
  for (let o = 0; o < outputs; o++) {
    const row = o * length
    gradientOf(problem, levels, o, gradient)
    for (let sweep = 0, changed = true; changed && sweep < MOST_SWEEPS; sweep++) {
      changed = false
      for (let j = 0; j < length; j++) {
        const at = row + j
        const curvature = second[j * length + j]!
        if (curvature <= 0) continue
        // The best multiple with all others as they are, and the nearest one that is allowed.
        const s = step[at]!
        const below = Math.floor(weight[at]! / s)
        const least = Math.max(grid.least[at]!, below - reach)
        const most = Math.min(grid.most[at]!, below + 1 + reach)
        const wanted = Math.round(levels[at]! - gradient[j]! / (curvature * s))
        const next = Math.min(Math.max(wanted, least), most)
        const move = (next - levels[at]!) * s
        if (move === 0 || !(move * (2 * gradient[j]! + move * curvature) < 0)) continue
        levels[at] = next
        changed = true
        for (let k = 0, from = j * length; k < length; k++) gradient[k]! += move * second[from + k]!
      }
    }
  }
}

/** Rows longer than this are not searched for pairs: that takes the square of the length for each output and sweep. */
export const LONGEST_PAIRED = 1536
const MOST_PAIR_SWEEPS = 2

/**
 * Moves two elements at a time by one step each, as long as that lowers the loss; then none alone does either.
 *
 * @param levels where it starts, best from {@link descendCoordinates}; written to.
 * @param reach as there.
 */
export function descendPairs(problem: QuadraticProblem, levels: Float64Array, reach: number): void {
  const { outputs, length, second } = problem
  if (length > LONGEST_PAIRED) return
  const gradient = new Float64Array(length)
  const moves = { up: new Float64Array(length), down: new Float64Array(length) }
  const largest = largestBeside(problem)
  for (let o = 0; o < outputs; o++) {
    gradientOf(problem, levels, o, gradient)
    const step = problem.grid.step.subarray(o * length, (o + 1) * length)
    const widest = step.reduce((most, s) => Math.max(most, s), 0)
    for (let sweep = 0, changed = true; changed && sweep < MOST_PAIR_SWEEPS; sweep++) {
      changed = false
      singleMoves(problem, levels, o, reach, gradient, moves)
      for (let i = 0; i < length; i++) {
        const found = bestPair(i, length, second, step, moves, 2 * largest[i]! * step[i]! * widest)
        if (!found) continue
        changed = true
        for (const { at, by } of found) {
          levels[o * length + at]! += by
          const move = by * step[at]!
          for (let k = 0, from = at * length; k < length; k++) gradient[k]! += move * second[from + k]!
        }
        singleMoves(problem, levels, o, reach, gradient, moves)
      }
    }
  }
}

interface Moves {
  /** What a step up or down of each element alone adds to the loss; infinite where it is not allowed. */
  readonly up: Float64Array
  readonly down: Float64Array
}

function singleMoves(
  { length, grid, second }: QuadraticProblem,
  levels: Float64Array,
  o: number,
  reach: number,
  gradient: Float64Array,
  { up, down }: Moves,
): void {
  for (let j = 0, at = o * length; j < length; j++, at++) {
    const s = grid.step[at]!
    const below = Math.floor(grid.weight[at]! / s)
    const own = s * s * second[j * length + j]!
    const slope = 2 * s * gradient[j]!
    const level = levels[at]!
    up[j] = level < Math.min(grid.most[at]!, below + 1 + reach) ? own + slope : Number.POSITIVE_INFINITY
    down[j] = level > Math.max(grid.least[at]!, below - reach) ? own - slope : Number.POSITIVE_INFINITY
  }
}

/** Greatest magnitude of each row of H beside its diagonal. */
function largestBeside({ length, second }: QuadraticProblem): Float64Array {
  const largest = new Float64Array(length)
  for (let i = 0, at = 0; i < length; i++)
    for (let j = 0; j < length; j++, at++) {
      const size = Math.abs(second[at]!)
      if (j !== i && size > largest[i]!) largest[i] = size
    }
  return largest
}

/**
 * The move of element i with another one that lowers the loss most, if any does.
 *
 * Of a pair that lowers it, the element whose own step costs less costs less than what the two share, so that elements
 * beyond that need no look: they come up as the other one of a pair.
 *
 * @param bound most that i can share with another one: 2 |Hᵢⱼ| sᵢ sⱼ.
 */
function bestPair(
  i: number,
  length: number,
  second: Float64Array,
  step: Float64Array,
  { up, down }: Moves,
  bound: number,
): readonly { at: number; by: number }[] | undefined {
  let best = -1e-12 * Math.abs(second[i * length + i]! * step[i]! ** 2)
  let [own, other, move] = [0, -1, 0]
  for (let by = 1; by >= -1; by -= 2) {
    const alone = by > 0 ? up[i]! : down[i]!
    if (!(2 * alone <= bound)) continue
    const factor = 2 * by * step[i]!
    for (let j = 0, at = i * length; j < length; j++, at++) {
      const cross = factor * step[j]! * second[at]!
      const raised = alone + up[j]! + cross
      if (raised < best && j !== i) {
        best = raised
        own = by
        other = j
        move = 1
      }
      const lowered = alone + down[j]! - cross
      if (lowered < best && j !== i) {
        best = lowered
        own = by
        other = j
        move = -1
      }
    }
  }
  if (other < 0) return undefined
  return [
    { at: i, by: own },
    { at: other, by: move },
  ]
}

/** Half the gradient of a row's loss: H (ŵ − w) + b. */
function gradientOf(
  { length, grid, second, shift }: QuadraticProblem,
  levels: Float64Array,
  o: number,
  out: Float64Array,
) {
  const row = o * length
  for (let i = 0; i < length; i++) out[i] = shift[row + i]!
  for (let j = 0; j < length; j++) {
    const e = levels[row + j]! * grid.step[row + j]! - grid.weight[row + j]!
    if (e === 0) continue
    for (let k = 0, from = j * length; k < length; k++) out[k]! += e * second[from + k]!
  }
}

/**
 * Rounds element after element, from the last to the first; each makes up for the errors of those behind it.
 *
 * @param damping added to H's diagonal, as a share of its mean.
 * @returns multiples.
 * @throws WhittleError `NOT_FINITE` when H is not positive even with the damping.
 */
export async function roundInSequence(
  engine: MatrixEngine,
  problem: QuadraticProblem,
  damping: number,
): Promise<Float64Array> {
  const { outputs, length, grid, shift } = problem
  const second = problem.second.slice()
  let trace = 0
  for (let i = 0; i < length; i++) trace += second[i * length + i]!
  const added = (damping * trace) / length || 1
  for (let i = 0; i < length; i++) second[i * length + i]! += added
  const factor = await maybeCholesky(engine, { rows: length, cols: length, data: second })
  if (!factor) fail('NOT_FINITE', 'Rounding: the second moments of the input are not those of finite numbers.')
  const lower = factor.lower.data
  // w* = w − H⁻¹ b, the weight that serves the quantized input best.
  const columns = new Float64Array(length * outputs)
  for (let o = 0; o < outputs; o++) for (let j = 0; j < length; j++) columns[j * outputs + o] = shift[o * length + j]!
  const half = await solveLower(engine, factor, { rows: length, cols: outputs, data: columns })
  const move = await solveLowerTransposed(engine, factor, half)
  const levels = new Float64Array(outputs * length)
  const error = new Float64Array(length)
  for (let o = 0; o < outputs; o++) {
    const row = o * length
    const owed = new Float64Array(length)
    for (let i = length - 1; i >= 0; i--) {
      const at = row + i
      const target = grid.weight[at]! - move.data[i * outputs + o]!
      const wanted = (target - owed[i]! / lower[i * length + i]!) / grid.step[at]!
      const level = Math.min(Math.max(Math.round(wanted), grid.least[at]!), grid.most[at]!)
      levels[at] = level
      error[i] = level * grid.step[at]! - target
      for (let j = 0, from = i * length; j < i; j++) owed[j]! += error[i]! * lower[from + j]!
    }
  }
  return levels
}
