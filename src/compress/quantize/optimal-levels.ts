/**
 * Optimal clustering of numbers on a line: k levels that minimise the sum of squared distances to the nearest one.
 *
 * Dynamic programming over the sorted values (Wang, Song, "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by
 * Dynamic Programming", The R Journal 3(2), 2011), each row by divide and conquer in O(n log n), because the best first
 * element of the last cluster never moves left as values are added (Grønlund et al., arXiv 1701.07204). That holds for
 * levels from a fixed grid as well, where a cluster's level is the grid point nearest to its mean.
 */
import { fail } from '../../core/index.ts'

/** Options of {@link optimalLevels}. */
export interface LevelOptions {
  /** How often each value counts; default once. */
  readonly weights?: Float64Array | undefined
  /** Takes a cluster's mean to the level that stands for it, e.g. the nearest integer; default the mean itself. */
  readonly snap?: ((mean: number) => number) | undefined
}

/** What {@link optimalLevels} found. */
export interface Levels {
  /** Ascending and different; fewer than asked for when there are fewer values or levels coincide. */
  readonly levels: Float64Array
  /** Σ weight · (value − its level)². */
  readonly cost: number
}

/**
 * The best k levels for sorted values.
 *
 * @param values ascending, finite; equal ones may repeat.
 * @param count levels at most, from 1.
 * @throws WhittleError `INVALID_ARGUMENT` for no values, values out of order, or a count that is no positive integer.
 */
export function optimalLevels(values: Float64Array, count: number, options: LevelOptions = {}): Levels {
  check(values, count)
  const table = new Costs(values, options)
  const n = values.length
  const k = Math.min(count, n)
  // starts[c][j]: first element of the last of c + 1 clusters that cover elements 0 … j.
  const starts: Int32Array[] = []
  let previous = Float64Array.from(values, (_, j) => table.cost(0, j))
  for (let c = 1; c < k; c++) {
    const row = new Float64Array(n)
    const start = new Int32Array(n)
    fillRow(table, previous, row, start, c)
    starts.push(start)
    previous = row
  }
  const levels: number[] = []
  for (let c = k - 1, end = n - 1; c >= 0; c--) {
    const begin = c === 0 ? 0 : starts[c - 1]![end]!
    const level = table.level(begin, end)
    if (levels.length === 0 || level < levels[levels.length - 1]!) levels.push(level)
    end = begin - 1
    if (end < 0) break
  }
  return { levels: Float64Array.from(levels.reverse()), cost: previous[n - 1]! }
}

function check(values: Float64Array, count: number): void {
  if (values.length === 0) fail('INVALID_ARGUMENT', 'Clustering: needs at least one value; got none.')
  if (!(Number.isInteger(count) && count >= 1))
    fail('INVALID_ARGUMENT', `Clustering: the number of levels must be an integer from 1; got ${count}.`)
  for (let i = 0; i < values.length; i++)
    if (!Number.isFinite(values[i]!) || (i > 0 && values[i]! < values[i - 1]!))
      fail('INVALID_ARGUMENT', `Clustering: values must be finite and ascending; number ${i} is ${values[i]}.`)
}

/** Cost and level of a run of values in constant time, from prefix sums around the middle value. */
class Costs {
  readonly #count: Float64Array
  readonly #sum: Float64Array
  readonly #squares: Float64Array
  readonly #centre: number
  readonly #snap: ((mean: number) => number) | undefined

  constructor(values: Float64Array, { weights, snap }: LevelOptions) {
    const n = values.length
    this.#count = new Float64Array(n + 1)
    this.#sum = new Float64Array(n + 1)
    this.#squares = new Float64Array(n + 1)
    // Sums of squares far from zero would cancel.
    this.#centre = values[n >> 1]!
    this.#snap = snap
    for (let i = 0; i < n; i++) {
      const weight = weights?.[i] ?? 1
      const x = values[i]! - this.#centre
      this.#count[i + 1] = this.#count[i]! + weight
      this.#sum[i + 1] = this.#sum[i]! + weight * x
      this.#squares[i + 1] = this.#squares[i]! + weight * x * x
    }
  }

  #offset(begin: number, end: number): number {
    const mean = (this.#sum[end + 1]! - this.#sum[begin]!) / (this.#count[end + 1]! - this.#count[begin]!)
    return this.#snap ? this.#snap(mean + this.#centre) - this.#centre : mean
  }

  /** The level of elements `begin` … `end`. */
  level(begin: number, end: number): number {
    return this.#offset(begin, end) + this.#centre
  }

  /** Their squared distance to it. */
  cost(begin: number, end: number): number {
    const count = this.#count[end + 1]! - this.#count[begin]!
    const sum = this.#sum[end + 1]! - this.#sum[begin]!
    const squares = this.#squares[end + 1]! - this.#squares[begin]!
    const level = this.#offset(begin, end)
    return Math.max(0, squares - 2 * level * sum + level * level * count)
  }
}

/** One more cluster: row[j] = min over i of previous[i − 1] + cost(i, j), by divide and conquer. */
function fillRow(table: Costs, previous: Float64Array, row: Float64Array, start: Int32Array, c: number): void {
  // An explicit stack of [first j, last j, first i, last i].
  const stack: [number, number, number, number][] = [[c, row.length - 1, c, row.length - 1]]
  for (let part = stack.pop(); part; part = stack.pop()) {
    const [low, high, from, to] = part
    if (low > high) continue
    const middle = (low + high) >> 1
    let best = Number.POSITIVE_INFINITY
    let at = from
    for (let i = from; i <= Math.min(middle, to); i++) {
      const cost = previous[i - 1]! + table.cost(i, middle)
      if (cost < best) {
        best = cost
        at = i
      }
    }
    row[middle] = best
    start[middle] = at
    stack.push([low, middle - 1, from, at], [middle + 1, high, at, to])
  }
}
