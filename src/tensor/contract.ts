/**
 * Inner products and contractions of two tensors.
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, sections 2.1 and 2.5;
 * Bader, Kolda, "Algorithm 862: MATLAB tensor classes", ACM TOMS 32(4), 2006, section 3.3 (contraction).
 */
import { fail } from '../core/index.ts'
import { permuted } from './permute.ts'
import { multiplyInto, rowMajor } from './product.ts'
import { checkMode, checkSameReals, type Reals, realsOf, shapeText, zerosLike } from './reals.ts'
import { sizeOf, Tensor } from './tensor.ts'

/**
 * Modes of two tensors that belong together: a pair of lists (or of numbers), the first of the first tensor's modes.
 */
export type ModePairs = readonly [first: number | readonly number[], second: number | readonly number[]]

/** Options of {@link contract}. */
export interface ContractOptions {
  /** Modes that run along in both tensors without being summed: pairs, or one mode of both; default none. */
  readonly batchedModes?: ModePairs | number
}

/**
 * The inner product ⟨X, Y⟩ = Σ x y, accumulated in float64.
 *
 * @param a float32 or float64. @param b of the same shape and type.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.1.
 * @example
 * console.log(inner(tensor([1, 2, 3]), tensor([4, 5, 6])))
 * console.log(inner(randomTensor([2, 3, 4]), randomTensor([3, 4, 5]), 2).shape)
 */
export function inner(a: Tensor, b: Tensor): number
/**
 * The product over the last `modes` modes of one tensor and the first `modes` of another.
 *
 * @param a `[i…, k…]`. @param b `[k…, j…]`. @param modes how many modes k are summed, 0 … the lesser order.
 * @returns `[i…, j…]`; `[]` when nothing is left.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 */
export function inner(a: Tensor, b: Tensor, modes: number): Tensor
export function inner(a: Tensor, b: Tensor, modes?: number): number | Tensor {
  checkSameReals([a, b], 'inner')
  if (modes !== undefined) return innerOverModes(a, b, modes)
  if (a.shape.join() !== b.shape.join())
    fail(
      'SHAPE_MISMATCH',
      `inner: without a number of modes both tensors must have one shape; got ${shapeText(a.shape)} and ` +
        `${shapeText(b.shape)}.`,
    )
  return dotProduct(realsOf(a, 'inner'), realsOf(b, 'inner'))
}

/** Σ x y in float64, in four sums. */
function dotProduct(x: Reals, y: Reals): number {
  let [p, q, r, s] = [0, 0, 0, 0]
  const whole = x.length - (x.length % 4)
  for (let i = 0; i < whole; i += 4) {
    p += x[i]! * y[i]!
    q += x[i + 1]! * y[i + 1]!
    r += x[i + 2]! * y[i + 2]!
    s += x[i + 3]! * y[i + 3]!
  }
  for (let i = whole; i < x.length; i++) p += x[i]! * y[i]!
  return p + q + (r + s)
}

function innerOverModes(a: Tensor, b: Tensor, modes: number): Tensor {
  const most = Math.min(a.shape.length, b.shape.length)
  if (!(Number.isInteger(modes) && modes >= 0 && modes <= most))
    fail(
      'INVALID_ARGUMENT',
      `inner of ${shapeText(a.shape)} and ${shapeText(b.shape)}: modes must be an integer between 0 and ${most}; ` +
        `got ${modes}.`,
    )
  const first = a.shape.length - modes
  return contract(a, b, [
    Array.from({ length: modes }, (_, k) => first + k),
    Array.from({ length: modes }, (_, k) => k),
  ])
}

/**
 * The contraction of two tensors over pairs of modes, TensorLy's `tensordot`.
 *
 * @param a float32 or float64. @param b of the same type.
 * @param modes pairs of modes to sum over, or a number n: the last n of `a` with the first n of `b`.
 * @returns the modes of `a` that are not summed (batched ones among them, at their place), then those of `b` that are
 *   neither summed nor batched.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const x = randomTensor([3, 4, 5])
 * const y = randomTensor([5, 3, 6])
 * console.log(contract(x, y, [[0, 2], [1, 0]]).shape)
 */
export function contract(
  a: Tensor,
  b: Tensor,
  modes: ModePairs | number,
  { batchedModes = [[], []] }: ContractOptions = {},
): Tensor {
  const what = 'contract'
  checkSameReals([a, b], what)
  if (typeof modes === 'number') return innerOverModes(a, b, modes)
  const [sumA, sumB] = pairsOf(a, b, modes, 'contracted')
  const [batchA, batchB] = pairsOf(
    a,
    b,
    typeof batchedModes === 'number' ? [batchedModes, batchedModes] : batchedModes,
    'batched',
  )
  const freeA = others(a, [...sumA, ...batchA])
  const freeB = others(b, [...sumB, ...batchB])
  const extents = (tensor: Tensor, list: readonly number[]): number[] => list.map((mode) => tensor.shape[mode]!)
  const [samples, m, k, n] = [
    sizeOf(extents(a, batchA)),
    sizeOf(extents(a, freeA)),
    sizeOf(extents(a, sumA)),
    sizeOf(extents(b, freeB)),
  ] as const
  const left = permuted(a, [...batchA, ...freeA, ...sumA], what).data as Reals
  const right = permuted(b, [...batchB, ...sumB, ...freeB], what).data as Reals
  const out = zerosLike(a, samples * m * n)
  for (let s = 0; s < samples; s++)
    multiplyInto(rowMajor(out, n, s * m * n), rowMajor(left, k, s * m * k), rowMajor(right, n, s * k * n), [m, k, n])
  const product = Tensor.of(out, [...extents(a, batchA), ...extents(a, freeA), ...extents(b, freeB)])
  // The product has the batched modes first; they go back to where they were among the modes of a.
  const place = [...batchA, ...freeA]
  const order = place.map((_, at) => at).sort((x, y) => place[x]! - place[y]!)
  return permuted(product, [...order, ...freeB.map((_, at) => place.length + at)], what)
}

function others(tensor: Tensor, taken: readonly number[]): number[] {
  if (new Set(taken).size < taken.length)
    fail(
      'INVALID_ARGUMENT',
      `contract of ${shapeText(tensor.shape)}: a mode may be contracted or batched once; got ${shapeText(taken)}.`,
    )
  return tensor.shape.map((_, mode) => mode).filter((mode) => !taken.includes(mode))
}

function pairsOf(a: Tensor, b: Tensor, pairs: ModePairs, kind: string): [readonly number[], readonly number[]] {
  const [first, second] = pairs.map((list) => (typeof list === 'number' ? [list] : list)) as [number[], number[]]
  if (first.length !== second.length)
    fail(
      'INVALID_ARGUMENT',
      `contract: both tensors must have the same number of ${kind} modes; got ${first.length} and ${second.length}.`,
    )
  for (const mode of first) checkMode(a.shape, mode, 'contract', `each ${kind} mode`)
  for (const mode of second) checkMode(b.shape, mode, 'contract', `each ${kind} mode`)
  for (const [at, mode] of first.entries()) {
    const other = second[at]!
    if (a.shape[mode] !== b.shape[other])
      fail(
        'SHAPE_MISMATCH',
        `contract of ${shapeText(a.shape)} and ${shapeText(b.shape)}: ${kind} modes must have the same extent; ` +
          `mode ${mode} of the first has ${a.shape[mode]}, mode ${other} of the second has ${b.shape[other]}.`,
      )
  }
  return [first, second]
}
