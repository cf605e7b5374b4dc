/**
 * The least squares problems of alternating sweeps: A G = M with G the elementwise product of the other factors' Gram
 * matrices (Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, equation 3.7).
 *
 * G is scaled to a diagonal of ones before it is factored. Where it is singular to working precision, as it is for a
 * rank above what the other modes can tell apart, the step stays near the factor there is: (G + εI)(A − A₀) = M − A₀G.
 * That never raises the error and ends at the same factors (Navasca, De Lathauwer, Kindermann, "Swamp reducing technique
 * for tensor decomposition", EUSIPCO 2008).
 */
import { maybeCholesky, solveLower, solveLowerTransposed } from '../cholesky.ts'
import type { Matrix64, MatrixEngine } from '../matrix.ts'
import { transposed, zeros64 } from '../matrix-layout.ts'
import type { Reals } from './cp-options.ts'

/** The ridge of singular problems, relative to a diagonal of ones: squares of the precision of the tensor's type. */
const RIDGES = { float32: 1e-9, float64: 1e-14 } as const

/** AᵀA of a factor `[rows, rank]`, in float64. */
export async function gramOfFactor(engine: MatrixEngine, factor: Reals, rank: number): Promise<Float64Array> {
  const gram = await engine.gram({ rows: factor.length / rank, cols: rank, data: factor }, { transpose: true })
  return gram.data
}

/** The elementwise product of Gram matrices, without that of one mode. */
export function hadamard(grams: readonly Float64Array[], rank: number, without = -1): Float64Array {
  const out = new Float64Array(rank * rank).fill(1)
  for (const [mode, gram] of grams.entries())
    if (mode !== without) for (let at = 0; at < out.length; at++) out[at]! *= gram[at]!
  return out
}

/** The factor A with A G = M, or nearest to `previous` where that does not determine it. `[rows, rank]` */
export async function solveFactor<T extends Reals>(
  engine: MatrixEngine,
  gram: Float64Array,
  mttkrp: T,
  previous: T,
): Promise<T> {
  const rank = Math.sqrt(gram.length)
  const rows = mttkrp.length / rank
  const scale = Float64Array.from({ length: rank }, (_, r) => {
    const diagonal = gram[r * (rank + 1)]!
    return diagonal > 0 ? 1 / Math.sqrt(diagonal) : 1
  })
  const scaled = zeros64(rank, rank)
  for (let r = 0; r < rank; r++)
    for (let s = 0; s < rank; s++) scaled.data[r * rank + s] = gram[r * rank + s]! * scale[r]! * scale[s]!
  const least = RIDGES[mttkrp instanceof Float32Array ? 'float32' : 'float64']
  let factor = await maybeCholesky(engine, scaled, { tolerance: least })
  const singular = factor === undefined
  for (let ridge = least; !factor; ridge *= 100) {
    const shifted = { ...scaled, data: scaled.data.slice() }
    for (let r = 0; r < rank; r++) shifted.data[r * (rank + 1)]! += ridge
    factor = await maybeCholesky(engine, shifted, { tolerance: ridge / 10 })
  }
  const right = Float64Array.from(mttkrp)
  if (singular) subtractProduct(right, previous, gram, rank)
  for (let at = 0; at < right.length; at++) right[at]! *= scale[at % rank]!
  const solved = await solveRows(engine, factor, { rows, cols: rank, data: right })
  const out = mttkrp.slice() as T
  for (let at = 0; at < out.length; at++)
    out[at] = solved.data[at]! * scale[at % rank]! + (singular ? previous[at]! : 0)
  return out
}

/** M −= A G */
function subtractProduct(m: Float64Array, a: Reals, gram: Float64Array, rank: number): void {
  for (let i = 0; i < m.length; i += rank)
    for (let s = 0; s < rank; s++) {
      const value = a[i + s]!
      if (value !== 0) for (let r = 0; r < rank; r++) m[i + r]! -= value * gram[s * rank + r]!
    }
}

async function solveRows(
  engine: MatrixEngine,
  factor: NonNullable<Awaited<ReturnType<typeof maybeCholesky>>>,
  right: Matrix64,
): Promise<Matrix64> {
  const columns = transposed(right)
  return transposed(await solveLowerTransposed(engine, factor, await solveLower(engine, factor, columns)))
}
