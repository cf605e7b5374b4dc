/**
 * Kronecker and Khatri–Rao products.
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 2.6.
 */
import { fail } from '../core/index.ts'
import { type FactorRows, khatriRaoRowsInto } from './khatri-rao-rows.ts'
import { checkSameReals, type Reals, realsOf, shapeText, unwrittenLike } from './reals.ts'
import { sizeOf, Tensor } from './tensor.ts'

/** Options of {@link kronecker}. */
export interface KroneckerOptions {
  /** Place in the list of a matrix to leave out. */
  readonly skipMatrix?: number | undefined
  /** Multiplies in the order of the list read backwards, default false. */
  readonly reverse?: boolean
}

/** Options of {@link khatriRao}. */
export interface KhatriRaoOptions extends KroneckerOptions {
  /** `[rank]`: scales the columns of the product. */
  readonly weights?: Tensor | undefined
  /** As many elements as the product has rows, in their order: scales the rows. */
  readonly mask?: Tensor | undefined
}

/**
 * The Kronecker product M₀ ⊗ M₁ ⊗ …: the block matrix of M₀'s elements times the rest.
 *
 * @param matrices each `[m_k, n_k]`, float32 or float64, all of one type.
 * @returns `[Π m_k, Π n_k]`; the last matrix's indices run fastest. One matrix is returned as it is.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.6.
 * @example
 * console.log(formatTensor(kronecker([tensor([[1, 2]]), tensor([[1, 0], [0, 1]])])))
 */
export function kronecker(matrices: readonly Tensor[], options: KroneckerOptions = {}): Tensor {
  checkSameReals(matrices, 'kronecker')
  checkMatrices(matrices, 'kronecker')
  return chosen(matrices, options, 'kronecker').reduce(kroneckerOfTwo)
}

function kroneckerOfTwo(a: Tensor, b: Tensor): Tensor {
  const [m, n] = a.shape as [number, number]
  const [p, q] = b.shape as [number, number]
  const out = unwrittenLike(a, m * n * p * q)
  const left = realsOf(a, 'kronecker')
  const right = realsOf(b, 'kronecker')
  let at = 0
  for (let i = 0; i < m; i++)
    for (let k = 0; k < p; k++)
      for (let j = 0; j < n; j++) {
        const factor = left[i * n + j]!
        for (let l = 0; l < q; l++) out[at++] = factor * right[k * q + l]!
      }
  return Tensor.of(out, [m * p, n * q])
}

/**
 * The Khatri–Rao product M₀ ⊙ M₁ ⊙ …: column by column, the Kronecker product of the matrices' columns.
 *
 * With C-order unfoldings a CP tensor is X₍ₙ₎ = Aₙ (A₀ ⊙ … ⊙ A_{N−1}, without Aₙ)ᵀ: `skipMatrix: n`. With Kolda and
 * Bader's the matrices come in reverse: add `reverse: true`.
 *
 * @param matrices each `[m_k, rank]`, float32 or float64, all of one type.
 * @returns `[Π m_k, rank]`; the last matrix's row index runs fastest.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.6.
 * @example
 * const a = tensor([[1, 2], [3, 4]])
 * const b = tensor([[1, 0], [0, 1], [2, 2]])
 * console.log(formatTensor(khatriRao([a, b])))
 */
export function khatriRao(matrices: readonly Tensor[], options: KhatriRaoOptions = {}): Tensor {
  const what = 'khatriRao'
  const { weights, mask } = options
  checkSameReals([...matrices, ...[weights, mask].filter((tensor) => tensor !== undefined)], what)
  const rank = checkMatrices(matrices, what, true)
  if (weights && weights.shape.join() !== String(rank))
    fail(
      'SHAPE_MISMATCH',
      `${what}: weights must be [${rank}], one per column of the matrices; got ${shapeText(weights.shape)}.`,
    )
  const factors = chosen(matrices, options, what)
  const rows = sizeOf(factors.map(({ shape }) => shape[0]!))
  if (mask && mask.size !== rows)
    fail('SHAPE_MISMATCH', `${what}: the mask must have one element per row, ${rows}; got ${mask.size}.`)
  const out = unwrittenLike(factors[0]!, rows * rank)
  khatriRaoRowsInto(out, factors.map(factorRows), rank, {
    first: 0,
    count: rows,
    weights: weights && realsOf(weights, what),
  })
  if (mask) scaleRows(out, realsOf(mask, what), rank)
  return Tensor.of(out, [rows, rank])
}

/** A matrix as {@link khatriRaoRowsInto} takes it. */
export function factorRows(matrix: Tensor): FactorRows {
  return { rows: matrix.shape[0]!, data: matrix.data as Reals }
}

function scaleRows(out: Reals, factors: Reals, rank: number): void {
  for (let row = 0; row < factors.length; row++) {
    const factor = factors[row]!
    for (let at = row * rank; at < (row + 1) * rank; at++) out[at] = out[at]! * factor
  }
}

/** Throws unless all are matrices, with as many columns each when asked. @returns the columns of the first. */
function checkMatrices(matrices: readonly Tensor[], what: string, sameColumns = false): number {
  for (const [at, { shape }] of matrices.entries())
    if (shape.length !== 2)
      fail('SHAPE_MISMATCH', `${what}: all operands must be matrices; operand ${at} is ${shapeText(shape)}.`)
  const columns = matrices[0]!.shape[1]!
  for (const [at, { shape }] of matrices.entries())
    if (sameColumns && shape[1] !== columns)
      fail(
        'SHAPE_MISMATCH',
        `${what}: all matrices must have the same number of columns; matrix 0 has ${columns}, matrix ${at} has ${shape[1]}.`,
      )
  return columns
}

/** The matrices that take part, in their order. */
function chosen(
  matrices: readonly Tensor[],
  { skipMatrix, reverse = false }: KroneckerOptions,
  what: string,
): readonly Tensor[] {
  if (skipMatrix !== undefined && !(Number.isInteger(skipMatrix) && skipMatrix >= 0 && skipMatrix < matrices.length))
    fail(
      'INVALID_ARGUMENT',
      `${what}: skipMatrix must be an integer between 0 and ${matrices.length - 1}; got ${skipMatrix}.`,
    )
  const kept = matrices.filter((_, at) => at !== skipMatrix)
  if (kept.length === 0) fail('INVALID_ARGUMENT', `${what}: needs a matrix besides the one to skip; got one in all.`)
  return reverse ? kept.toReversed() : kept
}
