/** Factors that a caller gives: as a beginning, or to be kept. */
import { fail } from '../../core/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import { leastSquares } from '../least-squares.ts'
import type { Matrix, Matrix64, MatrixEngine } from '../matrix.ts'
import { toMatrix64, toTypeOf, zeros64 } from '../matrix-layout.ts'
import { thinQr } from '../qr.ts'
import { checkTensor, type Reals, shapeText } from '../real-tensor.ts'

/** An orthonormal basis of a factor's columns. */
export interface FactorBasis {
  /** `[extent, rank]` */
  readonly basis: Matrix<Reals>
  /** R `[rank, rank]` with factor = basis @ R. */
  readonly triangle: Matrix64
}

/** Columns nearer than this to the span of those before them are dependent. */
const DEPENDENT = 1e-6

/**
 * A basis of the columns of a given factor.
 *
 * @param factor must be `[extent, rank]` of the type of `like`.
 * @param options.independent whether columns must be independent; those that are not are replaced in the basis.
 * @throws WhittleError `SHAPE_MISMATCH`, `INVALID_ARGUMENT`, `UNSUPPORTED`, `NOT_FINITE`.
 */
export async function basisOfFactor(
  engine: MatrixEngine,
  factor: Tensor,
  expected: readonly [extent: number, rank: number],
  like: Reals,
  { what, independent }: { readonly what: string; readonly independent: boolean },
): Promise<FactorBasis> {
  if (factor.shape.join() !== expected.join())
    fail('SHAPE_MISMATCH', `${what}: the factor must be ${shapeText(expected)}; got ${shapeText(factor.shape)}.`)
  const { data } = checkTensor(factor, what)
  const [rows, cols] = expected
  const { q, r } = await thinQr(engine, toMatrix64({ rows, cols, data }))
  let largest = 0
  for (let j = 0; j < cols; j++) largest = Math.max(largest, Math.abs(r.data[j * cols + j]!))
  for (let j = 0; independent && j < cols; j++)
    if (!(Math.abs(r.data[j * cols + j]!) > DEPENDENT * largest))
      fail('INVALID_ARGUMENT', `${what}: columns of a fixed factor must be independent; column ${j} is not.`)
  return { basis: toTypeOf(q, like), triangle: r }
}

/** R⁻¹ in the type of `like`: turns the core of a basis into that of the factor. */
export async function inverseTriangle(engine: MatrixEngine, triangle: Matrix64, like: Reals): Promise<Matrix<Reals>> {
  const identity = zeros64(triangle.rows, triangle.rows)
  for (let j = 0; j < triangle.rows; j++) identity.data[j * (triangle.rows + 1)] = 1
  return toTypeOf(await leastSquares(engine, triangle, identity), like)
}
