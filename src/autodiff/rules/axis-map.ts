/** Fixed linear maps along single axes, as products with constant matrices. */
import { fromNumbers, sizeOf } from '../../tensor/index.ts'
import type { Emitter } from '../emitter.ts'

/**
 * `y[…, i, …] = Σ over j of M[i, j] x[…, j, …]` along one axis.
 *
 * @param matrix the name of M, of shape [new extent, extent].
 */
export function mapAxis(emit: Emitter, x: string, axis: number, matrix: string): string {
  const shape = emit.shape(x)
  const [extent, to] = [shape[axis]!, emit.shape(matrix)[0]!]
  const [outer, inner] = [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis + 1))]
  const mapped = shape.map((length, at) => (at === axis ? to : length))
  if (inner === 1) {
    const rows = emit.matmul(emit.reshape(x, [outer, extent]), emit.transpose(matrix, [1, 0]))
    return emit.reshape(rows, mapped)
  }
  return emit.reshape(emit.matmul(matrix, emit.reshape(x, [outer, extent, inner])), mapped)
}

/** A constant matrix of the element type of `like`. @param at gives its elements. */
export function constantMatrix(
  emit: Emitter,
  rows: number,
  columns: number,
  like: string,
  at: (row: number, column: number) => number,
): string {
  const values = Float64Array.from({ length: rows * columns }, (_, i) => at(Math.floor(i / columns), i % columns))
  return emit.tensor(fromNumbers(values, [rows, columns], emit.type(like).dtype))
}

/** Every element of the axes from the third on repeated `times[axis]` times in a row; float32 only. */
export function repeatSpatial(emit: Emitter, x: string, times: readonly number[]): string {
  if (times.every((count) => count === 1)) return x
  const [batch, channels, ...spatial] = emit.shape(x)
  const scales = emit.tensor(fromNumbers(Float64Array.of(1, 1, ...times), [times.length + 2], 'float32'))
  const shape = [batch!, channels!, ...spatial.map((extent, axis) => extent * times[axis]!)]
  return emit.op('Resize', [x, '', scales], shape, {
    mode: 'nearest',
    coordinate_transformation_mode: 'asymmetric',
    nearest_mode: 'floor',
  })
}
