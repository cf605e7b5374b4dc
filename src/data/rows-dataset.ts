/** Datasets of rows: tensors in memory and NumPy arrays, read by rows of the first axis. */
import { fail } from '../core/index.ts'
import { byteLengthOf, type DType, sizeOf, Tensor, toFloat64 } from '../tensor/index.ts'
import { memorySource, readRecords } from './byte-source.ts'
import type { Dataset } from './dataset.ts'
import { createDataset } from './sample-source.ts'

/** An array that is read by rows of its first axis. */
export interface RowArray {
  /** For messages. */
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  /** The rows with these numbers, as `[indices.length, ...shape without its first axis]`. */
  rows(indices: ArrayLike<number>): Promise<Tensor>
}

/** Inputs and labels that share their first axis. */
export interface RowsOptions {
  readonly name: string
  /** One array per model input, `[N, …]`. */
  readonly inputs: readonly RowArray[]
  /** Class indices `[N]` or `[N, 1]`, of any number type, whole. */
  readonly labels?: RowArray | undefined
  /** Names of the model inputs; absent: by position. */
  readonly inputNames?: readonly string[] | undefined
}

function checkRows({ name, inputs, labels }: RowsOptions): number {
  const count = inputs[0]?.shape[0]
  if (count === undefined) fail('INVALID_DATA', `Dataset '${name}': the inputs need a first axis for the samples.`)
  const all = labels ? [...inputs, labels] : inputs
  const odd = all.find((array) => array.shape[0] !== count)
  if (odd)
    fail(
      'INVALID_DATA',
      `Dataset '${name}': all arrays must have the same number of samples; '${inputs[0]!.name}' has ${count}, ` +
        `'${odd.name}' has shape [${odd.shape.join(', ')}].`,
    )
  const empty = inputs.find((array) => count > 0 && sizeOf(array.shape) === 0)
  if (empty)
    fail('INVALID_DATA', `Dataset '${name}': samples of '${empty.name}' are empty, shape [${empty.shape.join(', ')}].`)
  if (labels && sizeOf(labels.shape) !== count)
    fail(
      'INVALID_DATA',
      `Dataset '${name}': labels must be one class index per sample, [${count}]; got [${labels.shape.join(', ')}].`,
    )
  return count
}

function toLabels(tensor: Tensor, name: string): Int32Array {
  const labels = Int32Array.from(toFloat64(tensor))
  toFloat64(tensor).forEach((value, i) => {
    if (value !== labels[i] || value < 0)
      fail('INVALID_DATA', `Dataset '${name}': labels must be whole numbers of 0 or more; got ${value}.`)
  })
  return labels
}

/**
 * A dataset of arrays, one row per sample. Rows keep their element type and values.
 *
 * @throws WhittleError `INVALID_DATA` when the arrays have no samples or different numbers of them, or labels are not
 *   one whole number per sample.
 */
export function rowsDataset(options: RowsOptions): Dataset {
  const { name, inputs, labels, inputNames } = options
  return createDataset({
    name,
    size: checkRows(options),
    sampleShapes: inputs.map(({ shape }) => shape.slice(1)),
    hasLabels: labels !== undefined,
    ...(inputNames && { inputNames }),
    async read(indices) {
      const tensors = await Promise.all(inputs.map((array) => array.rows(indices)))
      const classes = labels && toLabels(await labels.rows(indices), name)
      return { inputs: tensors, labels: classes, size: indices.length }
    },
  })
}

/** A tensor as an array that is read by rows. */
export function tensorRows(name: string, tensor: Tensor): RowArray {
  const { dtype, shape } = tensor
  const rowShape = shape.slice(1)
  return {
    name,
    dtype,
    shape,
    async rows(indices) {
      const source = memorySource(name, tensor.bytes)
      const bytes = await readRecords(source, 0, byteLengthOf(dtype, sizeOf(rowShape)), indices)
      return Tensor.fromBytes(dtype, [indices.length, ...rowShape], bytes)
    },
  }
}

/**
 * A dataset of tensors in memory, e.g. a calibration set made by the caller.
 *
 * @param inputs one tensor per model input, `[N, …]`.
 * @param labels class indices, N of them.
 * @throws WhittleError `INVALID_DATA` as {@link rowsDataset}.
 */
export function tensorDataset(inputs: readonly Tensor[], labels?: Int32Array, name = 'tensors'): Dataset {
  return rowsDataset({
    name,
    inputs: inputs.map((tensor, i) => tensorRows(`input ${i}`, tensor)),
    labels: labels && tensorRows('labels', Tensor.of(labels, [labels.length])),
  })
}
