/** Orthonormal bases for the modes of a tensor: found from nothing, and improved when they are nearly right. */
import { createRandom } from '../../core/index.ts'
import { modeGram } from '../gram.ts'
import { gramSubspaceRows } from '../gram-subspace.ts'
import { chooseSubspaceMethod } from '../leading-subspace.ts'
import type { Matrix, Matrix64, MatrixEngine } from '../matrix.ts'
import { arrayLike, toMatrix64, toTypeOf, transposed, zeros64 } from '../matrix-layout.ts'
import { swapLast } from '../mode-product.ts'
import { thinQr } from '../qr.ts'
import { rangeFinder, refineRows } from '../range-finder.ts'
import type { Reals } from '../real-tensor.ts'
import { symmetricEigen } from '../symmetric-eigen.ts'
import { aroundMode, type Dense } from './mode-products.ts'

/** How bases are found. */
export interface SubspaceOptions {
  readonly seed: number
  readonly signal: AbortSignal | undefined
  /** Whether sweeps will improve the basis: an approximate one will do. */
  readonly approximate: boolean
}

/** Up to this extent the eigenproblem of a Gram matrix takes less than what it would start. */
const LARGEST_EXACT_START = 256
/** From this many elements on, what crosses between here and the engine costs more than another graph. */
const LARGE = 2 ** 20

/** The leading left singular subspace of a mode's unfolding, `[extent, rank]`, rank < extent. */
export async function leadingSubspace(
  engine: MatrixEngine,
  { shape, data }: Dense,
  mode: number,
  rank: number,
  { seed, signal, approximate }: SubspaceOptions,
): Promise<Matrix<Reals>> {
  const [before, extent, after] = aroundMode(shape, mode)
  const exact = approximate
    ? extent <= LARGEST_EXACT_START || rank > extent / 3
    : chooseSubspaceMethod(extent, rank) === 'gram'
  if (!exact && rank <= before * after) {
    const { matrix, transpose } = unfolded({ shape, data }, mode)
    return rangeFinder(engine, matrix, rank, { transpose, seed, signal, iterations: approximate ? 1 : 2 })
  }
  // In one piece a tensor of float32 needs neither copies nor conversion.
  const quick = approximate && data instanceof Float32Array
  const products = quick ? ({ products: 'float32', chunk: data.length } as const) : {}
  const gram = await modeGram(engine, data, [before, extent, after], { ...products, signal })
  const vectors = approximate
    ? await nearlyLeading(engine, gram, rank, { seed, signal })
    : (await symmetricEigen(engine, gram, { count: rank, signal })).vectors!
  return toTypeOf(vectors, data)
}

/** Whether {@link contractedSubspace} can be asked for, and pays. */
export function canContract(
  engine: MatrixEngine,
  { shape, data }: Dense,
  rank: number,
  { approximate }: SubspaceOptions,
): boolean {
  const isSmall = shape[1]! <= LARGEST_EXACT_START || rank > shape[1]! / 3
  return approximate && isSmall && data.length >= LARGE && data instanceof Float32Array && !!engine.contractedGram
}

/** The tensor projected on a basis of mode 0, and nearly the leading subspace of mode 1 of the result. */
export async function contractedSubspace(
  engine: MatrixEngine,
  { shape, data }: Dense,
  first: Matrix<Reals>,
  rank: number,
  { seed, signal }: SubspaceOptions,
): Promise<{ readonly projected: Dense; readonly subspace: Matrix<Reals> }> {
  const [p, q] = shape as [number, number]
  const tensor = { dims: [p, q, data.length / (p * q)], data } as const
  const { gram, contracted } = await engine.contractedGram!(tensor, transposed(first), 1, { keep: true })
  const vectors = await nearlyLeading(engine, toMatrix64(gram), rank, { seed, signal })
  return {
    projected: { shape: shape.with(0, first.cols), data: contracted! },
    subspace: toTypeOf(vectors, data),
  }
}

/** Below this extent all eigenvectors cost less than finding some of them, */
const SMALL_EIGEN = 48
/** and where more than this share of them is wanted. */
const FEW = 1 / 6

/** Nearly the leading eigenvectors of a positive semidefinite matrix `[n, n]`, as columns. */
async function nearlyLeading(
  engine: MatrixEngine,
  gram: Matrix64,
  rank: number,
  { seed, signal }: { readonly seed: number; readonly signal: AbortSignal | undefined },
): Promise<Matrix64> {
  if (gram.rows <= SMALL_EIGEN || rank > gram.rows * FEW)
    return (await symmetricEigen(engine, gram, { count: rank, signal })).vectors!
  return transposed(await gramSubspaceRows(engine, gram, rank, { seed, signal }))
}

/** Up to this extent eigenvectors are cheaper than multiplying and orthonormalising twice. */
const LARGEST_EIGEN = 32
/** Up to this extent the Gram matrix of a projected tensor is formed. */
const LARGEST_GRAM = 512
/** Multiplications by A Aᵀ: more would improve on a subspace that is about to change. */
const IMPROVEMENTS = 2

/**
 * A better basis for a mode of a small tensor, near a given one. Every improvement multiplies by A Aᵀ, which never lowers
 * ‖basisᵀ A‖, so that sweeps descend.
 */
export async function improvedSubspace(
  engine: MatrixEngine,
  tensor: Dense,
  mode: number,
  previous: Matrix<Reals>,
  signal: AbortSignal | undefined,
): Promise<Matrix<Reals>> {
  const [before, extent, after] = aroundMode(tensor.shape, mode)
  const { data } = tensor
  if (extent > LARGEST_GRAM) {
    const { matrix, transpose } = unfolded(tensor, mode)
    const options = { transpose, iterations: IMPROVEMENTS, signal }
    return transposed(await refineRows(engine, matrix, transposed(previous), options))
  }
  const gram = await modeGram(engine, data, [before, extent, after], { signal })
  if (extent <= LARGEST_EIGEN) {
    const { vectors } = await symmetricEigen(engine, gram, { count: previous.cols, signal })
    return toTypeOf(vectors!, data)
  }
  let basis: Matrix64 = toMatrix64(previous)
  for (let i = 0; i < IMPROVEMENTS; i++)
    basis = (await thinQr(engine, await engine.multiply(gram, basis), { signal })).q
  return toTypeOf(basis, data)
}

/** A mode's unfolding as a matrix or as the transpose of one, a view where one of them lies in memory. */
function unfolded({ shape, data }: Dense, mode: number): { matrix: Matrix<Reals>; transpose: boolean } {
  const [before, extent, after] = aroundMode(shape, mode)
  if (before === 1) return { matrix: { rows: extent, cols: after, data }, transpose: false }
  const matrix = { rows: before * after, cols: extent, data }
  if (after === 1) return { matrix, transpose: true }
  const copy = arrayLike(data, data.length)
  swapLast(data, [before, extent, after], copy)
  return { matrix: { ...matrix, data: copy }, transpose: true }
}

/** A random orthonormal basis `[extent, rank]` of the type of `like`. */
export async function randomSubspace(
  engine: MatrixEngine,
  extent: number,
  rank: number,
  seed: number,
  like: Reals,
): Promise<Matrix<Reals>> {
  const random = createRandom(seed)
  const columns = zeros64(extent, rank)
  for (let at = 0; at < columns.data.length; at++) columns.data[at] = random.normal()
  return toTypeOf((await thinQr(engine, columns)).q, like)
}
