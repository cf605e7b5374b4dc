/**
 * The large products of tensor algebra on a {@link MatrixEngine}: what `modeDot`, `multiModeDot` and
 * `unfoldingDotKhatriRao` of `whittle-nn/tensor` compute, at the speed of a matrix library instead of plain TypeScript.
 *
 * Tensors are multiplied as they lie; no mode is ever moved. Sums are in the element type, as the engine makes them.
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, sections 2.5, 2.6 and 3.4.
 */
import {
  khatriRao,
  type ModeDotOptions,
  type ModeProduct,
  type MultiModeDotOptions,
  modeDot,
  planModeProducts,
  sizeOf,
  Tensor,
  unfoldingDotKhatriRao,
  validateWeightedFactors,
  type WeightedFactors,
} from '../tensor/index.ts'
import type { Matrix, MatrixEngine, Slices } from './matrix.ts'
import { arrayLike, transposed } from './matrix-layout.ts'

type Reals = Float32Array | Float64Array

/**
 * The mode-n product X ×ₙ M on an engine; see `modeDot`.
 *
 * @param tensor `[i_0, …, i_n, …, i_{N−1}]`, float32 or float64.
 * @param matrixOrVector `[j, i_n]` (with `transpose`: `[i_n, j]`) or `[i_n]`, of the tensor's element type.
 * @param mode n, counted from 0.
 * @returns `[i_0, …, j, …, i_{N−1}]` for a matrix; without mode n for a vector.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`; `ENGINE` from the engine.
 * @see Kolda, Bader 2009, section 2.5.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = randomTensor([3, 4, 5])
 * console.log((await modeDotWith(engine, x, randomTensor([2, 4]), 1)).shape)
 */
export async function modeDotWith(
  engine: MatrixEngine,
  tensor: Tensor,
  matrixOrVector: Tensor,
  mode: number,
  { transpose = false }: ModeDotOptions = {},
): Promise<Tensor> {
  const { products, shape } = planModeProducts(tensor, [matrixOrVector], { modes: [mode], transpose }, 'modeDotWith')
  return (await timesMatrix(engine, tensor, products[0]!, transpose)).reshape(shape)
}

/**
 * Several mode products X ×₀ M₀ ×₁ M₁ … on an engine; see `multiModeDot`.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64.
 * @param matricesOrVectors each `[j, i_mode]` (with `transpose`: `[i_mode, j]`) or `[i_mode]`.
 * @returns the tensor with each `i_mode` replaced by `j`; modes of vectors are gone.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`; `ENGINE` from the engine.
 * @see Kolda, Bader 2009, section 2.5.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = randomTensor([3, 4, 5])
 * const factors = [randomTensor([2, 3]), randomTensor([2, 4]), randomTensor([2, 5])]
 * console.log((await multiModeDotWith(engine, x, factors)).shape)
 */
export async function multiModeDotWith(
  engine: MatrixEngine,
  tensor: Tensor,
  matricesOrVectors: readonly Tensor[],
  options: MultiModeDotOptions = {},
): Promise<Tensor> {
  const { products, shape } = planModeProducts(tensor, matricesOrVectors, options, 'multiModeDotWith')
  const { transpose = false } = options
  const chained = await maybeChained(engine, tensor, products, transpose)
  if (chained) return Tensor.of(chained, shape)
  let result = tensor
  for (const product of products) result = await timesMatrix(engine, result, product, transpose)
  return result.reshape(shape)
}

/** Elements from which calls of the engine are what products cost. */
const LEAST_CHAIN = 2 ** 16

/** All products in one call of the engine; `undefined` where that does not pay or cannot be. */
async function maybeChained(
  engine: MatrixEngine,
  tensor: Tensor,
  products: readonly ModeProduct[],
  transpose: boolean,
): Promise<Reals | undefined> {
  if (products.length < 2 || tensor.size < LEAST_CHAIN || products.some(({ factor }) => factor.size === 0))
    return undefined
  const shape = [...tensor.shape]
  const steps = products.map(({ mode, factor }) => {
    const [rows, cols] = factor.shape.length === 1 ? [1, factor.size] : [factor.shape[0]!, factor.shape[1]!]
    const given = { rows, cols, data: factor.data as Reals }
    const matrix = transpose && factor.shape.length === 2 ? transposed(given) : given
    const dims = [sizeOf(shape.slice(0, mode)), shape[mode]!, sizeOf(shape.slice(mode + 1))] as const
    shape[mode] = matrix.rows
    return { matrix, dims }
  })
  return engine.maybeMultiplyModes?.(tensor.data as Reals, steps)
}

/** X ×ₙ M with mode n kept, of extent 1 for a vector. */
async function timesMatrix(
  engine: MatrixEngine,
  tensor: Tensor,
  { mode, factor }: ModeProduct,
  transpose: boolean,
): Promise<Tensor> {
  const { shape } = tensor
  const isVector = factor.shape.length === 1
  const rows = isVector ? 1 : factor.shape[0]!
  const cols = isVector ? factor.size : factor.shape[1]!
  const isTransposed = transpose && !isVector
  const extents = shape.map((extent, k) => (k === mode ? (isTransposed ? cols : rows) : extent))
  if (tensor.size === 0 || factor.size === 0)
    return modeDot(tensor, factor.reshape([rows, cols]), mode, { transpose: isTransposed })
  const outer = sizeOf(shape.slice(0, mode))
  const inner = sizeOf(shape.slice(mode + 1))
  const matrix: Matrix<Reals> = { rows, cols, data: factor.data as Reals }
  const slices: Slices<Reals> = { dims: [outer, shape[mode]!, inner], data: tensor.data as Reals }
  const product = await engine.multiplySlices(matrix, slices, { transposeA: isTransposed })
  return Tensor.of(product.data, extents)
}

/**
 * MTTKRP on an engine, X₍ₙ₎ (A₀ ⊙ … ⊙ A_{N−1}, without Aₙ) · diag(weights); see `unfoldingDotKhatriRao`.
 *
 * The tensor is seen as one of order 3; neither its unfolding nor the Khatri–Rao product of all modes is formed. Extra
 * memory: rank numbers for each element of two of the three modes.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64, N ≥ 1.
 * @param cp weights and factors of the tensor's type. @param mode n, counted from 0.
 * @returns `[i_n, rank]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`; `ENGINE` from the engine.
 * @see Kolda, Bader 2009, section 3.4.
 * @example
 * const engine = createPlainMatrixEngine()
 * const x = randomTensor([3, 4, 5])
 * console.log((await unfoldingDotKhatriRaoWith(engine, x, randomCp([3, 4, 5], 2), 1)).shape)
 */
export async function unfoldingDotKhatriRaoWith(
  engine: MatrixEngine,
  tensor: Tensor,
  cp: WeightedFactors,
  mode: number,
): Promise<Tensor> {
  const rank = validateWeightedFactors(tensor, cp, mode, 'unfoldingDotKhatriRaoWith')
  const { shape } = tensor
  if (shape.length === 1 || tensor.size === 0 || rank === 0) return unfoldingDotKhatriRao(tensor, cp, mode)
  const product = await productOf(engine, tensor, cp.factors, mode)
  if (!cp.weights) return Tensor.of(product.data, [shape[mode]!, rank])
  const scale = cp.weights.data as Reals
  const scaled = arrayLike(product.data, product.data.length)
  for (let at = 0; at < scaled.length; at++) scaled[at] = product.data[at]! * scale[at % rank]!
  return Tensor.of(scaled, [shape[mode]!, rank])
}

function productOf(
  engine: MatrixEngine,
  tensor: Tensor,
  factors: readonly Tensor[],
  mode: number,
): Promise<Matrix<Reals>> {
  const { shape } = tensor
  const data = tensor.data as Reals
  const last = shape.length - 1
  const side = (from: number, to: number): Matrix<Reals> => {
    const { shape: extents, data: rows } = to === from + 1 ? factors[from]! : khatriRao(factors.slice(from, to))
    return { rows: extents[0]!, cols: extents[1]!, data: rows as Reals }
  }
  if (last === 1) {
    const matrix = { rows: shape[0]!, cols: shape[1]!, data }
    return engine.multiply(matrix, side(1 - mode, 2 - mode), { transposeA: mode === 1 })
  }
  // As order 3: [i_0, i_1, rest], [before, i_n, after] or [i_0, rest, i_{N−1}].
  const [p, q] = mode === 0 ? [1, 2] : mode === last ? [1, last] : [mode, mode + 1]
  const dims = [sizeOf(shape.slice(0, p)), sizeOf(shape.slice(p, q)), sizeOf(shape.slice(q))] as const
  const place = mode === 0 ? 0 : mode === last ? 2 : 1
  const sides = [side(0, p), side(p, q), side(q, last + 1)].filter((_, k) => k !== place)
  const others = [sides[0]!, sides[1]!] as const
  return engine.mttkrp
    ? engine.mttkrp({ data, dims }, others, place)
    : byProducts(engine, { data, dims }, others, place)
}

/** MTTKRP of order 3 by one matrix product and a weighted sum in float64. */
async function byProducts(
  engine: MatrixEngine,
  { data, dims: [p, q, r] }: { readonly data: Reals; readonly dims: readonly [number, number, number] },
  [a, b]: readonly [Matrix<Reals>, Matrix<Reals>],
  mode: 0 | 1 | 2,
): Promise<Matrix<Reals>> {
  const rank = a.cols
  // Modes 0 and 1: [p, q, rank] is left; mode 2: [q, r, rank].
  const { data: partial } =
    mode === 2
      ? await engine.multiply({ rows: p, cols: q * r, data }, a, { transposeA: true })
      : await engine.multiply({ rows: p * q, cols: r, data }, b)
  const weights = mode === 2 ? b : a
  const [outer, inner] = mode === 2 ? [q, r] : [p, q]
  const rows = mode === 0 ? outer : inner
  const sums = new Float64Array(rows * rank)
  for (let i = 0; i < outer; i++)
    for (let j = 0; j < inner; j++) {
      const to = (mode === 0 ? i : j) * rank
      const by = (mode === 0 ? j : i) * rank
      const from = (i * inner + j) * rank
      for (let k = 0; k < rank; k++) sums[to + k]! += partial[from + k]! * weights.data[by + k]!
    }
  const out = arrayLike(data, sums.length)
  out.set(sums)
  return { rows, cols: rank, data: out }
}
