/** Rows of a Khatri–Rao product, some at a time, so that those who need them once need not keep them all. */
import { panelKernel } from './panel-kernel.ts'
import { passKernel } from './pass-kernel.ts'
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
  const timesLast = rowScaler(last, out, rank)
  const index = indexOf(matrices, first)
  let begin = index[outer.length]!
  let stale = 0
  for (let row = 0; row < count; ) {
    for (let level = stale; level < outer.length; level++)
      times(prefix[level]!, outer[level]!.data, index[level]! * rank, prefix[level + 1]!)
    const rows = Math.min(count - row, last.rows - begin)
    timesLast(top, begin, rows, row)
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

/** Writes `count` rows of a matrix from `begin` on, each times `factors`, to rows `row` … of the result. */
type RowScaler = (factors: Float64Array, begin: number, count: number, row: number) => void

/** In WebAssembly for float32 matrices that fit into its memory, which this fills; nothing else may, until the end. */
function rowScaler(last: FactorRows, out: Reals, rank: number): RowScaler {
  const { data } = last
  if (data instanceof Float32Array && out instanceof Float32Array && rank > 0) {
    const inFloat64 = maybeKernelScaler(data, out, rank)
    if (inFloat64) return inFloat64
  }
  return (factors, begin, count, row) => {
    for (let k = 0; k < count; k++) {
      const [from, to] = [(begin + k) * rank, (row + k) * rank]
      for (let r = 0; r < rank; r++) out[to + r] = factors[r]! * data[from + r]!
    }
  }
}

function maybeKernelScaler(data: Float32Array, out: Float32Array, rank: number): RowScaler | undefined {
  const { left, rows32, scaled32, scale } = panelKernel()
  const most = Math.floor(scaled32.length / rank)
  if (data.length > rows32.length || most === 0 || rank > left.length) return undefined
  rows32.set(data)
  const single = passKernel()
  const fits = data.length <= single.input.length && rank <= single.factors.length
  const mostSingle = Math.floor(single.output.length / rank)
  if (fits) single.input.set(data)
  return (factors, begin, count, row) => {
    // The product of two float32 numbers is exact in float64: rounded once, it is the product in float32.
    const isSingle = fits && factors.every((factor) => Math.fround(factor) === factor)
    if (isSingle) single.factors.set(factors)
    else left.set(factors)
    const [step, from] = isSingle ? [mostSingle, single.output] : [most, scaled32]
    for (let done = 0; done < count; done += step) {
      const part = Math.min(step, count - done)
      if (isSingle) single.scale(begin + done, part, rank)
      else scale(begin + done, part, rank)
      out.set(from.subarray(0, part * rank), (row + done) * rank)
    }
  }
}
