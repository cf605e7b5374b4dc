/** Norms along one mode of a tensor. */
import { norm } from './norm.ts'
import { checkMode, realsOf, zerosLike } from './reals.ts'
import { sizeOf, Tensor } from './tensor.ts'

/**
 * The norm of every mode-n fibre.
 *
 * @param tensor `[i_0, …, i_{N−1}]`, float32 or float64.
 * @param mode n, counted from 0: what TensorLy calls axis.
 * @param order 2 (default), 1, `Infinity`, or any number from 1, as `norm` takes it.
 * @returns the tensor's shape without mode n, of its type; accumulated in float64.
 * @throws WhittleError `UNSUPPORTED`, `INVALID_ARGUMENT`.
 * @see Kolda, Bader, "Tensor decompositions and applications", SIAM Review 51(3), 2009, section 2.
 * @example
 * console.log(formatTensor(normAlong(Tensor.of(Float64Array.of(3, 4, 0, 5), [2, 2]), 1)))
 */
export function normAlong(tensor: Tensor, mode: number, order = 2): Tensor {
  const data = realsOf(tensor, 'normAlong')
  const { shape } = tensor
  checkMode(shape, mode, 'normAlong')
  const extent = shape[mode]!
  const after = sizeOf(shape.slice(mode + 1))
  const rest = shape.toSpliced(mode, 1)
  const out = zerosLike(tensor, sizeOf(rest))
  const fibre = Tensor.of(new Float64Array(extent), [extent])
  const values = fibre.data as Float64Array
  for (let at = 0; at < out.length; at++) {
    const from = Math.floor(at / after) * extent * after + (at % after)
    for (let i = 0; i < extent; i++) values[i] = data[from + i * after]!
    out[at] = norm(fibre, order)
  }
  return Tensor.of(out, rest)
}
