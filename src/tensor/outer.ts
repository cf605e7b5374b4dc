/**
 * Outer products of tensors.
 *
 * Source: Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 2.1.
 */
import { fail } from '../core/index.ts'
import { checkSameReals, type Reals, realsOf, shapeText, zerosLike } from './reals.ts'
import { sizeOf, Tensor } from './tensor.ts'

/**
 * The outer product of tensors: every product of one element of each.
 *
 * @param tensors `[i…]`, `[j…]`, …, float32 or float64, all of one type; scalars scale.
 * @returns `[i…, j…, …]`. One tensor is returned as it is.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader 2009, section 2.1.
 * @example
 * console.log(formatTensor(outer([tensor([1, 2]), tensor([1, 10, 100])])))
 */
export function outer(tensors: readonly Tensor[]): Tensor {
  checkSameReals(tensors, 'outer')
  return tensors.reduce((a, b) => batched(a, b, 0, 'outer'))
}

/**
 * The outer products of each sample's tensors.
 *
 * @param tensors `[samples, i…]`, `[samples, j…]`, …, float32 or float64, all of one type.
 * @returns `[samples, i…, j…, …]`.
 * @throws WhittleError `SHAPE_MISMATCH`, `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @example
 * const a = tensor([[1, 2], [3, 4]])
 * const b = tensor([[1, 10], [1, 100]])
 * console.log(toNested(batchedOuter([a, b])))
 */
export function batchedOuter(tensors: readonly Tensor[]): Tensor {
  checkSameReals(tensors, 'batchedOuter')
  const samples = tensors[0]!.shape[0]
  for (const [at, { shape }] of tensors.entries())
    if (samples === undefined || shape[0] !== samples)
      fail(
        'SHAPE_MISMATCH',
        `batchedOuter: all tensors must have the same first extent, the samples; tensor 0 is ` +
          `${shapeText(tensors[0]!.shape)}, tensor ${at} is ${shapeText(shape)}.`,
      )
  return tensors.reduce((a, b) => batched(a, b, 1, 'batchedOuter'))
}

/** Outer products that share the first `shared` modes. */
function batched(a: Tensor, b: Tensor, shared: number, what: string): Tensor {
  const left = realsOf(a, what)
  const right = realsOf(b, what)
  const samples = sizeOf(a.shape.slice(0, shared))
  const m = sizeOf(a.shape.slice(shared))
  const n = sizeOf(b.shape.slice(shared))
  const out = zerosLike(a, samples * m * n)
  for (let sample = 0; sample < samples; sample++)
    for (let i = 0; i < m; i++) scaled(out, (sample * m + i) * n, left[sample * m + i]!, right, sample * n, n)
  return Tensor.of(out, [...a.shape, ...b.shape.slice(shared)])
}

function scaled(out: Reals, start: number, factor: number, from: Reals, fromStart: number, count: number): void {
  for (let j = 0; j < count; j++) out[start + j] = factor * from[fromStart + j]!
}
