/** Weighted sums over partial results of MTTKRPs, and the Khatri–Rao products that are their weights. */
import type { Reals } from './cp-options.ts'

/** A Khatri–Rao product of some factors: `[rows, rank]`; without factors one row of ones. */
export interface Side {
  readonly rows: number
  readonly data: Reals
}

/** The Khatri–Rao product of factors `[i_k, rank]`, the last one's rows running fastest. A single factor is itself. */
export function khatriRaoRows(factors: readonly Side[], rank: number): Side {
  const [first, ...rest] = factors
  if (!first) return { rows: 1, data: new Float64Array(rank).fill(1) }
  return rest.reduce((left, right) => {
    const data = new Float64Array(left.rows * right.rows * rank)
    let at = 0
    for (let i = 0; i < left.rows; i++)
      for (let j = 0; j < right.rows; j++)
        for (let r = 0; r < rank; r++) data[at++] = left.data[i * rank + r]! * right.data[j * rank + r]!
    return { rows: left.rows * right.rows, data }
  }, first)
}

/** Σ over b and a of partial[b, i, a, r] · before[b, r] · after[a, r]: `[extent, rank]`. */
export function weightedSums<T extends Reals>(partial: T, before: Side, extent: number, after: Side, rank: number): T {
  const out = new Float64Array(extent * rank)
  const sums = new Float64Array(rank)
  let at = 0
  for (let b = 0; b < before.rows; b++)
    for (let i = 0; i < extent; i++) {
      sums.fill(0)
      for (let a = 0; a < after.rows; a++)
        for (let r = 0; r < rank; r++) sums[r]! += partial[at++]! * after.data[a * rank + r]!
      for (let r = 0; r < rank; r++) out[i * rank + r]! += sums[r]! * before.data[b * rank + r]!
    }
  return (partial instanceof Float32Array ? Float32Array.from(out) : out) as T
}
