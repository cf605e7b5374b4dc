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
  const levels = matrices.length
  // prefix[l] holds weights · M₀ … M_{l−1} at the current indices.
  const prefix = Array.from({ length: Math.max(levels, 1) }, () => new Float64Array(rank).fill(1))
  if (weights) prefix[0]!.set(weights)
  const index = indexOf(matrices, first)
  const last = matrices.at(-1)
  let stale = 1
  for (let row = 0; row < count; row++) {
    for (let level = stale; level < levels; level++)
      times(prefix[level - 1]!, matrices[level - 1]!.data, index[level - 1]! * rank, prefix[level]!, 0, rank)
    stale = levels
    const top = prefix.at(-1)!
    if (last) times(top, last.data, index[levels - 1]! * rank, out, row * rank, rank)
    else out.set(top, row * rank)
    // The next index; every prefix that a changed one is part of has to be made again.
    for (let level = levels - 1; level >= 0; level--) {
      index[level]! += 1
      if (index[level]! < matrices[level]!.rows) break
      index[level] = 0
      stale = level
    }
    stale = Math.max(1, stale)
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

function times(a: Float64Array, b: Reals, bStart: number, out: Reals, start: number, count: number): void {
  for (let r = 0; r < count; r++) out[start + r] = a[r]! * b[bStart + r]!
}
