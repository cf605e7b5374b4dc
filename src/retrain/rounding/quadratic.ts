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

/**
 * Half the gradients of the rows' losses, (ŵ − w) H + b: one product of matrices for all rows.
 *
 * @returns `[outputs, length]`.
 */
async function gradientsOf(
  engine: MatrixEngine,
  { outputs, length, grid, second, shift }: QuadraticProblem,
  levels: Float64Array,
): Promise<Float64Array> {
  const error = levels.map((level, at) => level * grid.step[at]! - grid.weight[at]!)
  const { data } = await engine.multiply(
    { rows: outputs, cols: length, data: error },
    { rows: length, cols: length, data: second },
  )
  for (let at = 0; at < data.length; at++) data[at]! += shift[at]!
  return data
}

/** The sum of the rows' losses for given multiples, relative to that of the weight itself. */
export async function quadraticLoss(
  engine: MatrixEngine,
  problem: QuadraticProblem,
  levels: Float64Array,
): Promise<number> {
  const { grid, shift } = problem
  const gradients = await gradientsOf(engine, problem, levels)
  let total = 0
  for (const [at, gradient] of gradients.entries())
    total += (levels[at]! * grid.step[at]! - grid.weight[at]!) * (gradient + shift[at]!)
  return total
}

/** Steps of the descent over all elements at most; it ends when none changes. */
const MOST_SWEEPS = 30

/** Rows that go through the elements together, so that each row of H is read once for all of them. */
const TOGETHER = 16

/**
 * Moves one element at a time to the neighbouring multiple that lowers the loss most, until none does.
 *
 * @param levels where it starts; written to.
 * @param reach how far from the weight's own neighbours a multiple may be: 0 for the two that AdaRound chooses from.
 */
export async function descendCoordinates(
  engine: MatrixEngine,
  problem: QuadraticProblem,
  levels: Float64Array,
  reach: number,
): Promise<void> {
  const { outputs, length } = problem
  const gradients = await gradientsOf(engine, problem, levels)
  for (let first = 0; first < outputs; first += TOGETHER) {
    let moving = Array.from({ length: Math.min(TOGETHER, outputs - first) }, (_, r) => first + r)
    for (let sweep = 0; moving.length > 0 && sweep < MOST_SWEEPS; sweep++) {
      const changed = new Set<number>()
      for (let j = 0; j < length; j++)
        for (const o of moving) if (moveElement(problem, levels, gradients, o, j, reach)) changed.add(o)
      moving = [...changed]
    }
  }
}

/** Gives an element the best multiple with all others of its row as they are; whether that was another one. */
function moveElement(
  { length, grid, second }: QuadraticProblem,
  levels: Float64Array,
  gradients: Float64Array,
  o: number,
  j: number,
  reach: number,
): boolean {
  const row = o * length
  const at = row + j
  const curvature = second[j * length + j]!
  if (curvature <= 0) return false
  const s = grid.step[at]!
  const below = Math.floor(grid.weight[at]! / s)
  const least = Math.max(grid.least[at]!, below - reach)
  const most = Math.min(grid.most[at]!, below + 1 + reach)
  const wanted = Math.round(levels[at]! - gradients[at]! / (curvature * s))
  const next = Math.min(Math.max(wanted, least), most)
  const move = (next - levels[at]!) * s
  if (move === 0 || !(move * (2 * gradients[at]! + move * curvature) < 0)) return false
  levels[at] = next
  addMultiple(gradients, row, move, second, j * length, length)
  return true
}

/** `target[at + k] += factor * source[from + k]` for k below count. */
function addMultiple(
  target: Float64Array,
  at: number,
  factor: number,
  source: Float64Array,
  from: number,
  count: number,
): void {
  for (let k = 0; k < count; k++) target[at + k]! += factor * source[from + k]!
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
export async function descendPairs(
  engine: MatrixEngine,
  problem: QuadraticProblem,
  levels: Float64Array,
  reach: number,
): Promise<void> {
  const { outputs, length, second } = problem
  if (length > LONGEST_PAIRED) return
  const gradients = await gradientsOf(engine, problem, levels)
  const moves = { up: new Float64Array(length), down: new Float64Array(length) }
  const largest = largestBeside(problem)
  for (let o = 0; o < outputs; o++) {
    const gradient = gradients.subarray(o * length, (o + 1) * length)
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
          addMultiple(gradient, 0, by * step[at]!, second, at * length, length)
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
  const owed = new Float64Array(TOGETHER * length)
  for (let first = 0; first < outputs; first += TOGETHER) {
    const rows = Math.min(TOGETHER, outputs - first)
    owed.fill(0)
    for (let i = length - 1; i >= 0; i--)
      for (let r = 0; r < rows; r++) {
        const o = first + r
        const at = o * length + i
        const target = grid.weight[at]! - move.data[i * outputs + o]!
        const wanted = (target - owed[r * length + i]! / lower[i * length + i]!) / grid.step[at]!
        const level = Math.min(Math.max(Math.round(wanted), grid.least[at]!), grid.most[at]!)
        levels[at] = level
        // What this error asks of the elements before it.
        addMultiple(owed, r * length, level * grid.step[at]! - target, lower, i * length, i)
      }
  }
  return levels
}
