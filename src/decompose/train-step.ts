/** One truncation of a tensor train: a matrix as an orthonormal basis of its columns times the rest. */
import { modeGram } from './gram.ts'
import { chooseSubspaceMethod } from './leading-subspace.ts'
import type { Matrix, MatrixEngine } from './matrix.ts'
import { arrayLike, columnRange, toMatrix64, toTypeOf } from './matrix-layout.ts'
import { thinQr } from './qr.ts'
import { rangeFinder } from './range-finder.ts'
import type { Reals } from './real-tensor.ts'
import { truncatedSvd } from './svd.ts'
import { symmetricEigen } from './symmetric-eigen.ts'

/** How much of a matrix a step keeps. */
export interface StepRule {
  /** Most columns of the basis. */
  readonly rank: number
  /** ‖what may be left out‖²; default 0: as many columns as `rank` allows. */
  readonly slack?: number
}

/** How a step finds its basis. */
export interface StepOptions {
  /** `'gram'`, `'exact'` (also where singular values below 10⁻⁸ of the largest matter) or `'randomized'`. */
  readonly method: 'gram' | 'exact' | 'randomized'
  readonly seed: number
  readonly signal: AbortSignal | undefined
}

/** matrix ≈ basis @ rest. */
export interface TrainStep<T extends Reals> {
  /** `[m, rank]`, orthonormal columns. */
  readonly basis: Matrix<T>
  /** basisᵀ @ matrix, `[rank, n]`. */
  readonly rest: Matrix<T>
  /** About ‖matrix − basis · rest‖², from the singular values; 0 for `'gram'` steps of given rank, which do not know it. */
  readonly leftOut: number
}

/**
 * The fewest leading values, from 1 to `rank`, such that the others sum to at most `slack` (with a negative one: `rank`
 * values); and the sum of the others.
 */
function sufficientRank(squares: Float64Array, { rank: most, slack = 0 }: StepRule): { rank: number; leftOut: number } {
  let leftOut = 0
  let rank = squares.length
  while (rank > 1) {
    const square = Math.max(0, squares[rank - 1]!)
    if (rank <= most && leftOut + square > slack) break
    leftOut += square
    rank--
  }
  return { rank, leftOut }
}

/**
 * Basis and rest of a matrix `[m, n]` by a rule. Without slack a basis of m columns is the identity and the rest the
 * matrix itself.
 */
export async function trainStep<T extends Reals>(
  engine: MatrixEngine,
  matrix: Matrix<T>,
  rule: StepRule,
  options: StepOptions,
): Promise<TrainStep<T>> {
  const { rows, cols, data } = matrix
  const { method, seed, signal } = options
  const full = Math.min(rows, cols)
  const limit = Math.min(rule.rank, full)
  const given = rule.slack === undefined
  if (given && limit === rows) return { basis: identityLike(data, rows), rest: matrix, leftOut: 0 }
  if (method === 'randomized' && given && chooseSubspaceMethod(full, limit) === 'range')
    return project(engine, matrix, await rangeFinder(engine, matrix, limit, { seed, signal }), 0)
  if (method === 'exact') {
    const { u, s } = await truncatedSvd(engine, matrix, full, { method: 'exact', signal })
    const squares = s.map((value) => value * value)
    const { rank, leftOut } = sufficientRank(squares, given ? { rank: limit, slack: -1 } : rule)
    return project(engine, matrix, columnRange(u, 0, rank), leftOut)
  }
  return gramStep(engine, matrix, rule, signal)
}

async function gramStep<T extends Reals>(
  engine: MatrixEngine,
  matrix: Matrix<T>,
  rule: StepRule,
  signal: AbortSignal | undefined,
): Promise<TrainStep<T>> {
  const { rows, cols, data } = matrix
  const full = Math.min(rows, cols)
  const given = rule.slack === undefined
  const count = given ? Math.min(rule.rank, full) : full
  const gram = await modeGram(engine, data, rows <= cols ? [1, rows, cols] : [rows, cols, 1], { signal })
  const { values, vectors } = await symmetricEigen(engine, gram, { count, signal })
  const { rank, leftOut } = given ? { rank: count, leftOut: 0 } : sufficientRank(values, rule)
  const leading = toTypeOf(columnRange(vectors!, 0, rank), data)
  if (rows <= cols) return project(engine, matrix, leading, leftOut)
  // Right vectors V: matrix V Vᵀ = Q (R Vᵀ).
  const { q } = await thinQr(engine, toMatrix64(await engine.multiply(matrix, leading)), { signal })
  return project(engine, matrix, toTypeOf(q, data), leftOut)
}

async function project<T extends Reals>(
  engine: MatrixEngine,
  matrix: Matrix<T>,
  basis: Matrix<T>,
  leftOut: number,
): Promise<TrainStep<T>> {
  return { basis, rest: await engine.multiply(basis, matrix, { transposeA: true }), leftOut }
}

function identityLike<T extends Reals>(like: T, n: number): Matrix<T> {
  const data = arrayLike(like, n * n)
  for (let j = 0; j < n; j++) data[j * (n + 1)] = 1
  return { rows: n, cols: n, data }
}
