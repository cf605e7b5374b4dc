/**
 * Products of large tensors with matrices along modes, through the engine and without rearranging the tensor: every mode
 * is the middle one of a tensor `[before, n, after]`.
 */
import type { Matrix, MatrixEngine } from '../matrix.ts'
import { rowRange, transposed } from '../matrix-layout.ts'
import type { Reals } from '../real-tensor.ts'

/** A tensor while it is worked on, row-major. */
export interface Dense {
  readonly shape: readonly number[]
  readonly data: Reals
}

/** A matrix `[extent, rank]` for one mode of a tensor. */
export interface ModeFactor {
  readonly mode: number
  readonly matrix: Matrix<Reals>
}

/** The tensor as `[before, extent, after]` around a mode. */
export function aroundMode(shape: readonly number[], mode: number): [before: number, extent: number, after: number] {
  const product = (extents: readonly number[]): number => extents.reduce((size, extent) => size * extent, 1)
  return [product(shape.slice(0, mode)), shape[mode]!, product(shape.slice(mode + 1))]
}

/** X ×ₙ Aᵀ: an extent shrinks to a rank. */
export function projectMode(engine: MatrixEngine, tensor: Dense, factor: ModeFactor): Promise<Dense> {
  return timesMode(engine, tensor, factor, true)
}

/** X ×ₙ A: a rank grows to an extent. */
export function expandMode(engine: MatrixEngine, tensor: Dense, factor: ModeFactor): Promise<Dense> {
  return timesMode(engine, tensor, factor, false)
}

async function timesMode(
  engine: MatrixEngine,
  { shape, data }: Dense,
  { mode, matrix }: ModeFactor,
  transposeA: boolean,
): Promise<Dense> {
  const product = await engine.multiplySlices(matrix, { dims: aroundMode(shape, mode), data }, { transposeA })
  return { shape: shape.with(mode, product.dims[1]), data: product.data }
}

/**
 * A product along the first or the last mode is one matrix product; along another it is many small ones, which take
 * about four times as long (200 × 200 × 200 by 200 × 20).
 */
const MIDDLE_PENALTY = 4

/** X ×ₙ Aᵀ for several modes, what is cheap and shrinks most first. */
export async function projectModes(
  engine: MatrixEngine,
  tensor: Dense,
  factors: readonly ModeFactor[],
): Promise<Dense> {
  const left = [...factors]
  const ordered: ModeFactor[] = []
  let shape = tensor.shape
  const cost = ({ mode, matrix }: ModeFactor): number => {
    const [before, , after] = aroundMode(shape, mode)
    return (matrix.cols / matrix.rows) * (before === 1 || after === 1 ? 1 : MIDDLE_PENALTY)
  }
  while (left.length > 0) {
    const next = left.reduce((best, factor) => (cost(factor) < cost(best) ? factor : best))
    left.splice(left.indexOf(next), 1)
    ordered.push(next)
    shape = shape.with(next.mode, next.matrix.cols)
  }
  const chained = tensor.data.length >= LEAST_CHAIN && (await maybeChained(engine, tensor, ordered))
  if (chained) return chained
  let result = tensor
  for (const factor of ordered) result = await projectMode(engine, result, factor)
  return result
}

/** Elements from which what lies between two products is worth keeping inside the engine. */
const LEAST_CHAIN = 2 ** 16

/** Several projections in one call of the engine, where it can. */
async function maybeChained(
  engine: MatrixEngine,
  tensor: Dense,
  factors: readonly ModeFactor[],
): Promise<Dense | undefined> {
  if (factors.length < 2) return undefined
  let { shape } = tensor
  const steps = factors.map(({ mode, matrix }) => {
    const dims = aroundMode(shape, mode)
    shape = shape.with(mode, matrix.cols)
    return { matrix: transposed(matrix), dims }
  })
  const data = await engine.maybeMultiplyModes?.(tensor.data, steps)
  return data && { shape, data }
}

/** G ×ₙ A for several modes, what grows least first. */
export async function expandModes(engine: MatrixEngine, core: Dense, factors: readonly ModeFactor[]): Promise<Dense> {
  const growth = ({ matrix }: ModeFactor): number => matrix.rows / matrix.cols
  let result = core
  for (const factor of factors.toSorted((a, b) => growth(a) - growth(b)))
    result = await expandMode(engine, result, factor)
  return result
}

/** Elements of a reconstruction that exist at once. */
const CHUNK = 4 * 1024 * 1024

/** ‖X − G ×ₙ A …‖² in float64, reconstructing a part at a time. */
export async function squaredResidual(
  engine: MatrixEngine,
  tensor: Dense,
  core: Dense,
  factors: readonly ModeFactor[],
): Promise<number> {
  const [first, ...others] = factors.toSorted((a, b) => a.mode - b.mode)
  if (!first) return squaredDifference(tensor.data, 0, core.data)
  const { data, shape } = await expandModes(engine, core, others)
  const [before, rank, after] = aroundMode(shape, first.mode)
  const extent = first.matrix.rows
  const rowStep = Math.max(1, Math.min(extent, Math.floor(CHUNK / after)))
  const sliceStep = rowStep < extent ? 1 : Math.max(1, Math.floor(CHUNK / (extent * after)))
  let sum = 0
  for (let slice = 0; slice < before; slice += sliceStep) {
    const count = Math.min(sliceStep, before - slice)
    const part = data.subarray(slice * rank * after, (slice + count) * rank * after)
    for (let row = 0; row < extent; row += rowStep) {
      const rows = rowRange(first.matrix, row, Math.min(extent, row + rowStep))
      const product = await engine.multiplySlices(rows, { dims: [count, rank, after], data: part })
      sum += squaredDifference(tensor.data, (slice * extent + row) * after, product.data)
    }
  }
  return sum
}

/** Σ (x[from + i] − y[i])² */
function squaredDifference(x: Reals, from: number, y: Reals): number {
  let sum = 0
  for (let i = 0; i < y.length; i++) sum += (x[from + i]! - y[i]!) ** 2
  return sum
}
