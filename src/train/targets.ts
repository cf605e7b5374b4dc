/** Labels as rows of class shares, which is what losses take: hard labels, smoothed and mixed ones are all such rows. */
import { fail } from '../core/index.ts'
import { Tensor } from '../tensor/index.ts'

/**
 * One-hot rows.
 *
 * @param labels class indices, N of them.
 * @param classes C.
 * @returns float32 `[N, C]`.
 * @throws WhittleError `INVALID_DATA` for a label that is not 0 … C − 1.
 */
export function targetRows(labels: Int32Array, classes: number): Tensor {
  const rows = new Float32Array(labels.length * classes)
  labels.forEach((label, at) => {
    if (!(label >= 0 && label < classes))
      fail(
        'INVALID_DATA',
        `Sample ${at} of the batch: labels must be 0 … ${classes - 1} because the model has ${classes} classes; got ${label}. The data do not belong to this model.`,
      )
    rows[at * classes + label] = 1
  })
  return Tensor.of(rows, [labels.length, classes])
}
