/**
 * The least squares problems of alternating sweeps: A G = M with G the elementwise product of the other factors' Gram
 * matrices (Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, equation 3.7).
 *
 * Here factors have components in rows, `[rank, extent]`, so that it is G A = M. G is scaled to a diagonal of ones before
 * it is factored. Where it is singular to working precision, as it is for a rank above what the other modes can tell
 * apart, the step stays near the factor A₀ there is: with D the scaled diagonal, (G + εD) A = M + εD A₀. That never
 * raises the error and ends at the same factors (Navasca, De Lathauwer, Kindermann, "Swamp reducing technique for tensor
 * decomposition", EUSIPCO 2008).
 */
import { fail } from '../../core/index.ts'
import { columnMajor, multiplyInto, rowMajor } from '../../tensor/index.ts'
import { maybeInverseCholesky } from '../cholesky.ts'
import type { SolvedUpdate, UpdateEquations } from '../contraction.ts'
import type { MatrixEngine } from '../matrix.ts'
import { arrayLike, toTypeOf, zeros64 } from '../matrix-layout.ts'
import type { Reals } from './cp-options.ts'

/** The ridge ε of singular problems: above the rounding of G for factors of either type. */
const RIDGES = { float32: 1e-9, float64: 1e-14 } as const

/** Multiply-adds from which one call of the engine is faster than the products of tensor algebra, here. */
const LEAST_CALL = 96 ** 3

/** A Aᵀ of a factor `[rank, extent]`, in float64. */
export async function gramOfFactor(engine: MatrixEngine, factor: Reals, rank: number): Promise<Float64Array> {
  const wide = { rows: rank, cols: factor.length / rank, data: Float64Array.from(factor) }
  return (await engine.multiply(wide, wide, { transposeB: true })).data
}

/** The elementwise product of Gram matrices, without that of one mode. */
export function hadamard(grams: readonly Float64Array[], without = -1): Float64Array {
  const out = new Float64Array(grams[0]!.length).fill(1)
  for (const [mode, gram] of grams.entries())
    if (mode !== without) for (let at = 0; at < out.length; at++) out[at] = out[at]! * gram[at]!
  return out
}

/**
 * Prepares an update.
 *
 * @param gram G `[rank, rank]`. @param previous the factor there is, `[rank, extent]`.
 */
export async function updateEquations(gram: Float64Array, previous: Reals): Promise<UpdateEquations> {
  const rank = Math.sqrt(gram.length)
  const scale = Float64Array.from({ length: rank }, (_, r) => {
    const diagonal = gram[r * (rank + 1)]!
    return diagonal > 0 ? 1 / Math.sqrt(diagonal) : 1
  })
  const scaled = zeros64(rank, rank)
  for (let r = 0; r < rank; r++)
    for (let s = 0; s < rank; s++) scaled.data[r * rank + s] = gram[r * rank + s]! * scale[r]! * scale[s]!
  const least = RIDGES[previous instanceof Float32Array ? 'float32' : 'float64']
  let inverse = await maybeInverseCholesky(scaled, least)
  let ridge = 0
  while (!inverse) {
    // A diagonal of ones makes any Gram matrix positive definite long before: only overflow gets here.
    if (ridge > rank)
      fail(
        'NOT_FINITE',
        'CP decomposition: factors grew beyond what their type holds. Scale the tensor to elements near 1, or use float64.',
      )
    const next = ridge === 0 ? least : ridge * 100
    for (let r = 0; r < rank; r++) scaled.data[r * (rank + 1)]! += next - ridge
    ridge = next
    inverse = await maybeInverseCholesky(scaled, ridge / 10)
  }
  const whitening = inverse.data
  for (let r = 0; r < rank; r++)
    for (let s = 0; s <= r; s++) whitening[r * rank + s] = whitening[r * rank + s]! * scale[s]!
  if (ridge === 0) return { whitening }
  const extent = previous.length / rank
  const pull = Float64Array.from(previous)
  for (let at = 0; at < pull.length; at++) pull[at]! *= ridge / scale[Math.floor(at / extent)]! ** 2
  return { whitening, pull }
}

/** The factor that equations give for an MTTKRP `[rank, extent]`, and its Gram matrix. */
export async function solveUpdate<T extends Reals>(
  engine: MatrixEngine,
  equations: UpdateEquations,
  mttkrp: T,
): Promise<SolvedUpdate<T>> {
  const { whitening, pull } = equations
  const rank = Math.sqrt(whitening.length)
  const isLarge = rank * mttkrp.length >= LEAST_CALL
  if (engine.solveUpdate && isLarge) return engine.solveUpdate(equations, mttkrp)
  const right = Float64Array.from(mttkrp)
  if (pull) for (let at = 0; at < right.length; at++) right[at]! += pull[at]!
  if (!isLarge) return solvedHere(whitening, right, mttkrp)
  const w = { rows: rank, cols: rank, data: whitening }
  const white = await engine.multiply(w, { rows: rank, cols: right.length / rank, data: right })
  const factor = toTypeOf(await engine.multiply(w, white, { transposeA: true }), mttkrp).data
  return { factor, gram: await gramOfFactor(engine, factor, rank) }
}

/** A = Wᵀ W right and A Aᵀ, by the products of tensor algebra. */
function solvedHere<T extends Reals>(whitening: Float64Array, right: Float64Array, like: T): SolvedUpdate<T> {
  const rank = Math.sqrt(whitening.length)
  const extent = right.length / rank
  const white = new Float64Array(right.length)
  multiplyInto(rowMajor(white, extent), rowMajor(whitening, rank), rowMajor(right, extent), [rank, rank, extent])
  const factor = arrayLike(like, right.length)
  multiplyInto(rowMajor(factor, extent), columnMajor(whitening, rank), rowMajor(white, extent), [rank, rank, extent])
  const gram = new Float64Array(rank * rank)
  multiplyInto(rowMajor(gram, rank), rowMajor(factor, extent), columnMajor(factor, extent), [rank, extent, rank])
  return { factor, gram }
}
