/** Rows of a Khatri–Rao product, some at a time, so that those who need them once need not keep them all. */
import type { Reals } from './reals.ts'

/** A matrix `[rows, rank]`, row-major. */
export interface FactorRows {
  readonly rows: number
  readonly data: Reals
}

/**
 * Writes rows `first` … `first + count − 1` of weights · (M₀ ⊙ M₁ ⊙ …) to `out`; the last matrix's rows run fastest.
 *
 * Products are taken from left to right in float64. Without matrices there is one row, the weights.
 *
 * @param out `[≥ count, rank]`. @param weights `[rank]`, default ones.
 */
export function khatriRaoRowsInto(
  out: Reals,
  matrices: readonly FactorRows[],
  rank: number,
  { first, count, weights }: { readonly first: number; readonly count: number; readonly weights?: Reals | undefined },
): void {
  const outer = matrices.slice(0, -1)
  // prefix[l] holds weights · M₀ … M_{l−1} at the current indices.
  const prefix = Array.from({ length: outer.length + 1 }, () => new Float64Array(rank).fill(1))
  if (weights) prefix[0]!.set(weights)
  const top = prefix.at(-1)!
  const last = matrices.at(-1)
  if (!last) {
    if (count > 0) out.set(top)
    return
  }
  const index = indexOf(matrices, first)
  let begin = index[outer.length]!
  let stale = 0
  for (let row = 0; row < count; ) {
    for (let level = stale; level < outer.length; level++)
      times(prefix[level]!, outer[level]!.data, index[level]! * rank, prefix[level + 1]!)
    const rows = Math.min(count - row, last.rows - begin)
    const part = last.data.subarray(begin * rank, (begin + rows) * rank)
    const target = out.subarray(row * rank, (row + rows) * rank)
    if (part instanceof Float32Array && target instanceof Float32Array) timesSingles(top, part, target)
    else timesRows(top, part, target)
    row += rows
    begin = 0
    // The next index; every prefix that a changed one is part of has to be made again.
    stale = outer.length - 1
    for (; stale >= 0; stale--) {
      index[stale]! += 1
      if (index[stale]! < outer[stale]!.rows) break
      index[stale] = 0
    }
    stale = Math.max(0, stale)
  }
}

function indexOf(matrices: readonly FactorRows[], row: number): number[] {
  const index = new Array<number>(matrices.length)
  let rest = row
  for (let level = matrices.length - 1; level >= 0; level--) {
    const { rows } = matrices[level]!
    index[level] = rest % rows
    rest = Math.floor(rest / rows)
  }
  return index
}

function times(a: Float64Array, b: Reals, start: number, out: Float64Array): void {
  for (let r = 0; r < out.length; r++) out[r] = a[r]! * b[start + r]!
}

/** Each row of `rows` times `factors`. */
function timesRows(factors: Float64Array, rows: Reals, out: Reals): void {
  const rank = factors.length
  for (let start = 0; start < rows.length; start += rank)
    for (let r = 0; r < rank; r++) out[start + r] = factors[r]! * rows[start + r]!
}

/** {@link timesRows} for float32, twice as fast as a loop that has to expect both types. */
function timesSingles(factors: Float64Array, rows: Float32Array, out: Float32Array): void {
  const rank = factors.length
  for (let start = 0; start < rows.length; start += rank)
    for (let r = 0; r < rank; r++) out[start + r] = factors[r]! * rows[start + r]!
}
