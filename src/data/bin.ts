/**
 * Raw tensors without header, as AMCT's calibration command reads them: one folder per model input, each file one batch
 * in C order and little-endian, files taken in the order of their names; `--input_shape "input:16,3,224,224"` includes
 * the batch axis.
 */
import { fail } from '../core/index.ts'
import { byteLengthOf, DTYPES, type DType, sizeOf, Tensor } from '../tensor/index.ts'
import { type ByteSource, readRecords } from './byte-source.ts'
import type { Dataset } from './dataset.ts'
import { type RowArray, rowsDataset } from './rows-dataset.ts'

/** The shape of one named model input, batch axis included. */
export interface InputShape {
  readonly name: string
  readonly shape: readonly number[]
}

const EXAMPLE = "e.g. 'input:16,3,224,224' or 'ids:8,128;mask:8,128'"

/**
 * Parses `name:d0,d1,…;name2:…`. A name may itself hold colons: the last one counts.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when a part has no name, no shape or an extent below 1.
 */
export function parseInputShapes(text: string): InputShape[] {
  const parts = text.split(';').filter((part) => part.trim() !== '')
  if (parts.length === 0) fail('INVALID_ARGUMENT', `Input shape '${text}' is empty; write it as ${EXAMPLE}.`)
  return parts.map((part) => {
    const colon = part.lastIndexOf(':')
    const name = part.slice(0, Math.max(colon, 0)).trim()
    const extents = part.slice(colon + 1).split(',')
    const isWhole = extents.every((extent) => /^\s*[1-9]\d*\s*$/.test(extent))
    const shape = extents.map(Number)
    if (!name || !isWhole || !Number.isSafeInteger(sizeOf(shape)))
      fail('INVALID_ARGUMENT', `Input shape '${part.trim()}' must be a name and whole extents; write it as ${EXAMPLE}.`)
    return { name, shape }
  })
}

/**
 * Parses element types, `float32` or one per input: `float32;int64`.
 *
 * @param count number of inputs; a single type serves all of them.
 * @throws WhittleError `INVALID_ARGUMENT` for an unknown type or another number of types.
 */
export function parseDataTypes(text: string, count: number): DType[] {
  const names = text
    .split(';')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  const known = Object.keys(DTYPES).filter((name) => /^(float\d+|bfloat16|u?int(8|16|32|64)|bool)$/.test(name))
  const wrong = names.find((name) => !known.includes(name))
  if (wrong !== undefined || names.length === 0)
    fail('INVALID_ARGUMENT', `Data type '${wrong ?? text}' is not known; use one of ${known.join(', ')}.`)
  if (names.length !== 1 && names.length !== count)
    fail('INVALID_ARGUMENT', `Data types '${text}': give one, or one for each of the ${count} inputs.`)
  return Array.from({ length: count }, (_, i) => (names[i] ?? names[0]) as DType)
}

/** The files of one input as one array of all their samples. */
function filesAsRows(files: readonly ByteSource[], { name, shape }: InputShape, dtype: DType): RowArray {
  const expected = byteLengthOf(dtype, sizeOf(shape))
  const odd = files.find((file) => file.size !== expected)
  if (odd)
    fail(
      'INVALID_FILE',
      `Raw file '${odd.name}': ${dtype} [${shape.join(', ')}] of input '${name}' needs ${expected} bytes; got ` +
        `${odd.size}. Check --input-shape and --data-type.`,
    )
  const perFile = shape[0]!
  const rowBytes = expected / perFile
  return {
    name,
    dtype,
    shape: [files.length * perFile, ...shape.slice(1)],
    async rows(indices) {
      const bytes = new Uint8Array(indices.length * rowBytes)
      for (let start = 0; start < indices.length; ) {
        const file = Math.floor(indices[start]! / perFile)
        const rows: number[] = []
        let end = start
        while (end < indices.length && Math.floor(indices[end]! / perFile) === file)
          rows.push(indices[end++]! % perFile)
        bytes.set(await readRecords(files[file]!, 0, rowBytes, rows), start * rowBytes)
        start = end
      }
      return Tensor.fromBytes(dtype, [indices.length, ...shape.slice(1)], bytes)
    },
  }
}

/**
 * A dataset of raw files, without labels. Values and type are kept; samples may be batched otherwise than in the files.
 *
 * @param folders the files of each input, in the order in which they are to be taken.
 * @param shapes one per folder, batch axis included; every input has the same batch.
 * @throws WhittleError `INVALID_ARGUMENT` when folders and shapes differ in number; `INVALID_FILE` when a file has
 *   another size than its shape and type say; `INVALID_DATA` when the inputs have different numbers of samples or none.
 */
export function binDataset(
  folders: readonly (readonly ByteSource[])[],
  shapes: readonly InputShape[],
  dtypes: readonly DType[],
  name = 'bin',
): Dataset {
  if (folders.length !== shapes.length || dtypes.length !== shapes.length)
    fail(
      'INVALID_ARGUMENT',
      `Raw data: one folder, one shape and one type per input are needed; got ${folders.length} folders, ` +
        `${shapes.length} shapes, ${dtypes.length} types.`,
    )
  return rowsDataset({
    name,
    inputs: shapes.map((shape, i) => filesAsRows(folders[i]!, shape, dtypes[i]!)),
    inputNames: shapes.map((shape) => shape.name),
  })
}
