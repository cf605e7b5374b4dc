/**
 * MTTKRP: the matricised tensor times a Khatri–Rao product, the work horse of CP decompositions.
 *
 * The tensor is seen as `[before, i_n, after]` and contracted with the Khatri–Rao product of the modes on its longer
 * side first, some rows of the product at a time, then with that of the shorter side. Neither the unfolding nor the
 * whole Khatri–Rao product is ever formed; extra memory is min(before, after) · i_n · rank numbers. Runs where it is
 * called, on one thread; `unfoldingDotKhatriRaoWith` of `whittle-nn/decompose` does the same on an engine.
 *
 * Sources: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 3.4; the order of
 * contraction: Phan, Tichavský, Cichocki, "Fast alternating LS algorithms for high order CANDECOMP/PARAFAC tensor
 * factorizations", IEEE Trans. Signal Processing 61(19), 2013.
 */
import { fail } from '../core/index.ts'
import { factorRows } from './khatri-rao.ts'
import { type FactorRows, khatriRaoRowsInto } from './khatri-rao-rows.ts'
import { type Block, evenRows, multiplyInto, rowMajor } from './product.ts'
import { checkMode, checkSameReals, type Reals, shapeText, tensorLike } from './reals.ts'
import { sizeOf, type Tensor } from './tensor.ts'

/** Rows of a Khatri–Rao product that exist at once. */
const CHUNK = 1024

/** Factors of a CP tensor, as `unfoldingDotKhatriRao` takes them: a CP tensor is one. */
export interface WeightedFactors {
  /** `[rank]`; absent: ones. */
  readonly weights?: Tensor | undefined
  /** `[i_k, rank]` for every mode k; the one of the mode in question is not read, but its shape is checked. */
  readonly factors: readonly Tensor[]
}

/**
 * X₍ₙ₎ (A₀ ⊙ … ⊙ A_{N−1}, without Aₙ) · diag(weights), the same for both orders of unfolding.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64, N ≥ 1.
 * @param cp weights and factors of the tensor's type. @param mode n, counted from 0.
 * @returns `[i_n, rank]`, accumulated in float64.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 3.4.
 * @example
 * const x = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
 * const cp = { factors: [tensor([[1], [1]]), tensor([[1], [2]]), tensor([[1], [-1]])] }
 * console.log(formatTensor(unfoldingDotKhatriRao(x, cp, 0)))
 */
export function unfoldingDotKhatriRao(tensor: Tensor, cp: WeightedFactors, mode: number): Tensor {
  const what = 'unfoldingDotKhatriRao'
  const { weights, factors } = cp
  const rank = validateWeightedFactors(tensor, cp, mode, what)
  const extent = tensor.shape[mode]!
  const parts: Parts = {
    data: tensor.data as Reals,
    extent,
    rank,
    before: sideOf(factors.slice(0, mode)),
    after: sideOf(factors.slice(mode + 1)),
  }
  const out = parts.after.rows >= parts.before.rows ? afterFirst(parts) : beforeFirst(parts)
  if (weights) {
    const scale = weights.data as Reals
    for (let at = 0; at < out.length; at++) out[at]! *= scale[at % rank]!
  }
  return tensorLike(tensor, out, [extent, rank])
}

/** The modes on one side of the mode in question. */
interface Side {
  readonly rows: number
  readonly matrices: readonly FactorRows[]
}

interface Parts {
  readonly data: Reals
  readonly extent: number
  readonly rank: number
  readonly before: Side
  readonly after: Side
}

function sideOf(factors: readonly Tensor[]): Side {
  return { rows: sizeOf(factors.map(({ shape }) => shape[0]!)), matrices: factors.map(factorRows) }
}

/** T[(l, i), r] = Σ_s X[l, i, s] K[s, r], then Σ_l T[l, i, r] K[l, r]. */
function afterFirst({ data, extent, rank, before, after }: Parts): Float64Array {
  const count = before.rows * extent
  const partial = contractSide(after, rank, count, (first) => rowMajor(data, after.rows, first))
  if (before.matrices.length === 0) return partial
  return reduceSide(before, partial, rank, extent, { side: extent * rank, extent: rank })
}

/** T[(i, s), r] = Σ_l X[l, i, s] K[l, r], then Σ_s T[i, s, r] K[s, r]. */
function beforeFirst({ data, extent, rank, before, after }: Parts): Float64Array {
  const count = extent * after.rows
  const partial = contractSide(before, rank, count, (first) => ({
    data,
    offset: first * count,
    rows: evenRows(1),
    columnStride: count,
  }))
  if (after.matrices.length === 0) return partial
  return reduceSide(after, partial, rank, extent, { side: rank, extent: after.rows * rank })
}

/** Sums over a side whose Khatri–Rao product comes in chunks: `[count, rank]`. */
function contractSide(side: Side, rank: number, count: number, block: (first: number) => Block): Float64Array {
  const out = new Float64Array(count * rank)
  const chunk = new Float64Array(Math.min(CHUNK, side.rows) * rank)
  for (let first = 0; first < side.rows; first += CHUNK) {
    const rows = Math.min(CHUNK, side.rows - first)
    khatriRaoRowsInto(chunk, side.matrices, rank, { first, count: rows })
    multiplyInto(rowMajor(out, rank), block(first), rowMajor(chunk, rank), [count, rows, rank], true)
  }
  return out
}

/** Σ over the rows of a side of partial[side, i, r] K[side, r]: `[extent, rank]`. */
function reduceSide(
  side: Side,
  partial: Float64Array,
  rank: number,
  extent: number,
  strides: { readonly side: number; readonly extent: number },
): Float64Array {
  const out = new Float64Array(extent * rank)
  const row = new Float64Array(side.rows * rank)
  khatriRaoRowsInto(row, side.matrices, rank, { first: 0, count: side.rows })
  for (let i = 0; i < extent; i++)
    for (let s = 0; s < side.rows; s++) {
      const from = s * strides.side + i * strides.extent
      for (let r = 0; r < rank; r++) out[i * rank + r]! += partial[from + r]! * row[s * rank + r]!
    }
  return out
}

/**
 * Checks that factors fit a tensor, for whoever multiplies: here, or an engine.
 *
 * @param what begins messages, e.g. `'unfoldingDotKhatriRao'`.
 * @returns the rank.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @internal
 */
export function validateWeightedFactors(
  tensor: Tensor,
  { weights, factors }: WeightedFactors,
  mode: number,
  what: string,
): number {
  const { shape } = tensor
  checkSameReals([tensor, ...factors, ...(weights ? [weights] : [])], what)
  checkMode(shape, mode, what)
  if (factors.length !== shape.length)
    fail(
      'SHAPE_MISMATCH',
      `${what} of ${shapeText(shape)}: needs one factor per mode, ${shape.length}; got ${factors.length}.`,
    )
  const rank = factors[0]!.shape[1] ?? 0
  for (const [mode, factor] of factors.entries())
    if (factor.shape.join() !== `${shape[mode]},${rank}`)
      fail(
        'SHAPE_MISMATCH',
        `${what} of ${shapeText(shape)}: factor ${mode} must be [${shape[mode]}, ${rank}]; got ${shapeText(factor.shape)}.`,
      )
  if (weights && weights.shape.join() !== String(rank))
    fail('SHAPE_MISMATCH', `${what}: weights must be [${rank}]; got ${shapeText(weights.shape)}.`)
  return rank
}
