/**
 * NumPy's `.npy` arrays: every number type, versions 1 to 3, C and Fortran order, either byte order.
 * Source: numpy.lib.format ("NPY format"), NumPy 2.3.
 */
import { fail } from '../core/index.ts'
import { byteLengthOf, type DType, sizeOf, Tensor } from '../tensor/index.ts'
import { type ByteSource, memorySource, readRange, readRecords } from './byte-source.ts'
import type { RowArray } from './rows-dataset.ts'

/** Longer headers than this are no arrays of numbers. */
const MAX_HEADER = 65536

const DTYPES: Readonly<Record<string, DType>> = {
  b1: 'bool',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  c8: 'complex64',
  c16: 'complex128',
}

interface Header {
  readonly dtype: DType
  readonly swapped: boolean
  readonly fortran: boolean
  readonly shape: readonly number[]
  /** Where the elements begin. */
  readonly offset: number
}

function parseType(descr: string, name: string): { dtype: DType; swapped: boolean } {
  const quoted = /^'([<>|=])([a-zA-Z]\d+)'$/.exec(descr)
  const dtype = DTYPES[quoted?.[2] ?? '']
  if (!dtype)
    fail(
      'UNSUPPORTED',
      `npy array '${name}': elements must be numbers; got type ${descr}. Objects and text are never read: save the ` +
        'array as numbers, e.g. with `.astype("float32")`.',
    )
  return { dtype, swapped: quoted?.[1] === '>' }
}

/** Parses the header's Python dictionary, e.g. `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`. */
function parseHeader(text: string, name: string, offset: number): Header {
  const descr = /'descr'\s*:\s*('[^']*'|\[.*\])\s*,/s.exec(text)?.[1]
  const order = /'fortran_order'\s*:\s*(True|False)\b/.exec(text)?.[1]
  const extents = /'shape'\s*:\s*\(([\d,\sL]*)\)/.exec(text)?.[1]
  if (!descr || !order || extents === undefined)
    fail('INVALID_FILE', `npy array '${name}': its header must name descr, fortran_order and shape.`)
  const shape = extents
    .split(',')
    .map((extent) => extent.replace('L', '').trim())
    .filter((extent) => extent !== '')
    .map(Number)
  return { ...parseType(descr, name), fortran: order === 'True', shape, offset }
}

async function readHeader(file: ByteSource): Promise<Header> {
  const start = await readRange(file, 0, Math.min(12, file.size))
  const isNpy = start.length === 12 && start[0] === 0x93 && new TextDecoder().decode(start.subarray(1, 6)) === 'NUMPY'
  const version = start[6] ?? 0
  if (!isNpy || version < 1 || version > 3)
    fail('INVALID_FILE', `'${file.name}' is no npy array: it must begin with \\x93NUMPY and version 1, 2 or 3.`)
  const view = new DataView(start.buffer, start.byteOffset, 12)
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (length > MAX_HEADER) fail('INVALID_FILE', `npy array '${file.name}': a header of ${length} bytes is too long.`)
  const begin = version === 1 ? 10 : 12
  const header = parseHeader(new TextDecoder().decode(await readRange(file, begin, length)), file.name, begin + length)
  const expected = byteLengthOf(header.dtype, sizeOf(header.shape))
  if (file.size - header.offset !== expected)
    fail(
      'INVALID_FILE',
      `npy array '${file.name}': ${header.dtype} [${header.shape.join(', ')}] needs ${expected} bytes after the ` +
        `header; got ${file.size - header.offset}.`,
    )
  return header
}

/** Reverses the bytes of each element in place; of a complex one, of each half. */
function swapBytes(bytes: Uint8Array, dtype: DType): void {
  const width = byteLengthOf(dtype, 1) / (dtype.startsWith('complex') ? 2 : 1)
  for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse()
}

/** Elements in Fortran order (first axis fastest) as elements in C order (last axis fastest). */
function toRowMajor(bytes: Uint8Array, shape: readonly number[], width: number): Uint8Array {
  const out = new Uint8Array(bytes.length)
  const position = shape.map(() => 0)
  const strides = shape.map((_, axis) => sizeOf(shape.slice(0, axis)))
  const count = bytes.length / width
  let from = 0
  for (let to = 0; to < count; to++) {
    for (let byte = 0; byte < width; byte++) out[to * width + byte] = bytes[from * width + byte]!
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!
      if (++position[axis]! < shape[axis]!) break
      from -= strides[axis]! * shape[axis]!
      position[axis] = 0
    }
  }
  return out
}

async function readElements(file: ByteSource, header: Header): Promise<Uint8Array> {
  const { dtype, shape, offset } = header
  let bytes = await readRange(file, offset, file.size - offset)
  if (header.fortran && shape.length > 1) bytes = toRowMajor(bytes, shape, byteLengthOf(dtype, 1))
  if (header.swapped) {
    bytes = bytes.slice()
    swapBytes(bytes, dtype)
  }
  return bytes
}

/**
 * Opens an array for reading by rows. C order is read by ranges; Fortran order needs the whole array in memory.
 *
 * @throws WhittleError `INVALID_FILE` when it is no npy file, cut off or damaged; `UNSUPPORTED` for objects and text.
 */
export async function openNpy(file: ByteSource): Promise<RowArray> {
  const header = await readHeader(file)
  const { dtype, shape } = header
  const rowShape = shape.slice(1)
  const rowBytes = byteLengthOf(dtype, sizeOf(rowShape))
  const isPlain = !header.fortran || shape.length < 2
  const source = isPlain ? file : memorySource(file.name, await readElements(file, header))
  const offset = isPlain ? header.offset : 0
  return {
    name: file.name,
    dtype,
    shape,
    async rows(indices) {
      const bytes = await readRecords(source, offset, rowBytes, indices)
      if (isPlain && header.swapped) swapBytes(bytes, dtype)
      return Tensor.fromBytes(dtype, [indices.length, ...rowShape], bytes)
    },
  }
}

/** Reads a whole array. @throws WhittleError as {@link openNpy}. */
export async function decodeNpy(bytes: Uint8Array, name = 'array'): Promise<Tensor> {
  const file = memorySource(name, bytes)
  const header = await readHeader(file)
  return Tensor.fromBytes(header.dtype, header.shape, await readElements(file, header))
}
