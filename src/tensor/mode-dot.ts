/**
 * n-mode products: a tensor times a matrix or a vector along one mode.
 *
 * These run where they are called, on one thread, accumulated in float64. `modeDotWith` and `multiModeDotWith` of
 * `whittle-nn/decompose` do the same on an engine, some thirty times faster for large tensors.
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 2.5.
 */
import { fail } from '../core/index.ts'
import { columnMajor, evenRows, multiplyInto, rowMajor } from './product.ts'
import { checkMode, checkSameReals, type Reals, shapeText, zerosLike } from './reals.ts'
import { sizeOf, Tensor } from './tensor.ts'

/** Options of {@link modeDot}. */
export interface ModeDotOptions {
  /** Multiplies by the transpose of the matrix, default false; vectors have none. */
  readonly transpose?: boolean
}

/** Options of {@link multiModeDot}. */
export interface MultiModeDotOptions extends ModeDotOptions {
  /** The mode of each matrix or vector, counted in the given tensor; default 0, 1, 2 … */
  readonly modes?: readonly number[]
  /** Place in the list of a matrix or vector to leave out. */
  readonly skip?: number | undefined
}

/**
 * The mode-n product X ×ₙ M: every mode-n fibre x becomes M x.
 *
 * @param tensor `[i_0, …, i_n, …, i_{N−1}]`, float32 or float64.
 * @param matrixOrVector `[j, i_n]` (with `transpose`: `[i_n, j]`) or `[i_n]`, of the tensor's element type.
 * @param mode n, counted from 0.
 * @returns `[i_0, …, j, …, i_{N−1}]` for a matrix; without mode n for a vector.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.5.
 * @example
 * const x = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
 * const u = tensor([[1, 0], [0, 1], [1, 1]])
 * console.log(formatTensor(unfold(modeDot(x, u, 1), 1)))
 * console.log(toNested(modeDot(x, tensor([1, -1]), 2)))
 */
export function modeDot(
  tensor: Tensor,
  matrixOrVector: Tensor,
  mode: number,
  { transpose = false }: ModeDotOptions = {},
): Tensor {
  const { products, shape } = planModeProducts(tensor, [matrixOrVector], { modes: [mode], transpose }, 'modeDot')
  return timesMatrix(tensor, products[0]!, transpose).reshape(shape)
}

/**
 * Several mode products: X ×₀ M₀ ×₁ M₁ ….
 *
 * Matrices that shrink the tensor most are multiplied first; the result does not depend on that, but for rounding. A
 * mode named twice is multiplied in the order of the list.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64.
 * @param matricesOrVectors each `[j, i_mode]` (with `transpose`: `[i_mode, j]`) or `[i_mode]`.
 * @returns the tensor with each `i_mode` replaced by `j`; modes of vectors are gone.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.5.
 * @example
 * const x = randomTensor([3, 4, 5])
 * const u = [randomTensor([2, 3]), randomTensor([2, 4]), randomTensor([2, 5])]
 * console.log(multiModeDot(x, u).shape, multiModeDot(x, u, { skip: 1 }).shape)
 */
export function multiModeDot(
  tensor: Tensor,
  matricesOrVectors: readonly Tensor[],
  options: MultiModeDotOptions = {},
): Tensor {
  const { products, shape } = planModeProducts(tensor, matricesOrVectors, options, 'multiModeDot')
  return products
    .reduce((result, product) => timesMatrix(result, product, options.transpose ?? false), tensor)
    .reshape(shape)
}

/** One product of several: a matrix or vector and its mode. */
export interface ModeProduct {
  /** Counted in the tensor as it was given. */
  readonly mode: number
  readonly factor: Tensor
}

/** What {@link planModeProducts} decides. */
export interface ModeProductPlan {
  /** In the order in which they are cheapest. */
  readonly products: readonly ModeProduct[]
  /** Of the result. */
  readonly shape: readonly number[]
}

/**
 * Checks the operands of mode products and decides their order, for whoever multiplies: here, or an engine.
 *
 * @param what begins messages, e.g. `'multiModeDot'`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @internal
 */
export function planModeProducts(
  tensor: Tensor,
  matricesOrVectors: readonly Tensor[],
  { modes, skip, transpose = false }: MultiModeDotOptions,
  what: string,
): ModeProductPlan {
  checkSameReals([tensor, ...matricesOrVectors], what)
  const list = modes ?? matricesOrVectors.map((_, k) => k)
  if (list.length !== matricesOrVectors.length)
    fail(
      'INVALID_ARGUMENT',
      `${what}: each matrix or vector needs one mode; got ${matricesOrVectors.length} of them and ${list.length} modes.`,
    )
  if (skip !== undefined && !(Number.isInteger(skip) && skip >= 0 && skip < list.length))
    fail('INVALID_ARGUMENT', `${what}: skip must be a place in the list of ${list.length}; got ${skip}.`)
  for (const mode of list) checkMode(tensor.shape, mode, what, list.length === 1 ? 'mode' : 'each mode')
  const kept = list.map((mode, at) => ({ mode, factor: matricesOrVectors[at]! })).filter((_, at) => at !== skip)
  const products = byReduction(kept, transpose)
  const shape = [...tensor.shape]
  const gone = new Set<number>()
  for (const { mode, factor } of products) {
    if (gone.has(mode))
      fail('INVALID_ARGUMENT', `${what}: mode ${mode} is gone after its vector; name it once, or put the vector last.`)
    checkFactor(shape, factor.shape, mode, transpose, what)
    shape[mode] = rowsOf(factor, transpose)
    if (factor.shape.length === 1) gone.add(mode)
  }
  return { products, shape: shape.filter((_, mode) => !gone.has(mode)) }
}

/** Rows of the matrix that multiplies; a vector has one. */
function rowsOf({ shape }: Tensor, transpose: boolean): number {
  if (shape.length === 1) return 1
  return shape[transpose ? 1 : 0]!
}

/**
 * The greatest reduction first, of equal ones the last mode, whose fibres lie in one piece; products on one mode stay
 * in the order of the list.
 */
function byReduction(products: readonly ModeProduct[], transpose: boolean): ModeProduct[] {
  const growth = ({ factor }: ModeProduct): number => {
    const [rows, columns] = factor.shape
    if (columns === undefined) return 1 / rows!
    return transpose ? columns / rows! : rows! / columns
  }
  if (new Set(products.map(({ mode }) => mode)).size < products.length) return [...products]
  return products.toSorted((a, b) => growth(a) - growth(b) || b.mode - a.mode)
}

function checkFactor(
  shape: readonly number[],
  factor: readonly number[],
  mode: number,
  transpose: boolean,
  what: string,
): void {
  if (factor.length !== 1 && factor.length !== 2)
    fail(
      'SHAPE_MISMATCH',
      `${what} of ${shapeText(shape)}: multiplies by a matrix or a vector; got a tensor ${shapeText(factor)}.`,
    )
  const isVector = factor.length === 1
  const axis = isVector || transpose ? 0 : 1
  if (factor[axis] === shape[mode]) return
  const side = isVector ? 'elements of the vector' : axis === 0 ? 'rows of the matrix' : 'columns of the matrix'
  fail(
    'SHAPE_MISMATCH',
    `${what} of ${shapeText(shape)} by ${shapeText(factor)}: the ${side} must be as many as mode ${mode} has; ` +
      `got ${factor[axis]} and ${shape[mode]}.`,
  )
}

/** X ×ₙ M, a vector as a matrix of one row. */
function timesMatrix(tensor: Tensor, { factor, mode }: ModeProduct, transpose: boolean): Tensor {
  const { shape } = tensor
  const depth = shape[mode]!
  const isVector = factor.shape.length === 1
  const count = rowsOf(factor, transpose)
  const outer = sizeOf(shape.slice(0, mode))
  const inner = sizeOf(shape.slice(mode + 1))
  const out = zerosLike(tensor, outer * count * inner)
  const matrix = factor.data as Reals
  // The tensor as rows (outer, inner) of fibres, times Mᵀ [depth, count].
  const right = transpose && !isVector ? rowMajor(matrix, count) : columnMajor(matrix, depth)
  const fibres = (data: Reals, extent: number) => ({
    data,
    rows: inner === 1 ? evenRows(extent) : { inner, innerStride: 1, outerStride: extent * inner },
    columnStride: inner,
  })
  multiplyInto(fibres(out, count), fibres(tensor.data as Reals, depth), right, [outer * inner, depth, count])
  return Tensor.of(
    out,
    shape.map((extent, k) => (k === mode ? count : extent)),
  )
}
