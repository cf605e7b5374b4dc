/** Tensors from nested arrays, back, and as text: for small ones, by hand and by eye. */
import { fail } from '../core/index.ts'
import type { DType } from './dtype.ts'
import { shapeText } from './reals.ts'
import { fromNumbers, sizeOf, type Tensor, toFloat64 } from './tensor.ts'

/** A number, or lists of lists of numbers of equal lengths. */
export type Nested = number | readonly Nested[]

/**
 * A tensor from nested lists, as `tl.tensor` and `np.array` make it.
 *
 * @param values a number or nested lists, outermost axis first; all lists of one depth have one length.
 * @param dtype a floating-point type, default `'float64'`.
 * @returns of the lists' shape; `[]` for a number.
 * @throws WhittleError `SHAPE_MISMATCH` for lists of unequal lengths.
 * @example
 * const x = tensor([[1, 2, 3], [4, 5, 6]])
 * console.log(x.shape, x.dtype)
 */
export function tensor(values: Nested, dtype: DType = 'float64'): Tensor {
  const shape: number[] = []
  for (let level = values; typeof level !== 'number'; level = level[0] ?? 0) {
    shape.push(level.length)
    if (level.length === 0) break
  }
  const numbers = new Float64Array(sizeOf(shape))
  let at = 0
  const read = (level: Nested, depth: number): void => {
    const found = typeof level === 'number' ? undefined : level.length
    if (found !== shape[depth])
      fail(
        'SHAPE_MISMATCH',
        `tensor: all lists at depth ${depth} must be alike; one has ${shape[depth] ?? 'no'} elements, ` +
          `another ${found ?? 'is a number'}.`,
      )
    if (typeof level === 'number') numbers[at++] = level
    else for (const item of level) read(item, depth + 1)
  }
  read(values, 0)
  return fromNumbers(numbers, shape, dtype)
}

/**
 * The elements as nested lists, outermost axis first; a number for a scalar.
 *
 * @throws WhittleError `UNSUPPORTED` for types that are no numbers.
 * @example
 * console.log(toNested(unfold(tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), 1)))
 */
export function toNested(values: Tensor): Nested {
  const numbers = toFloat64(values)
  const { shape } = values
  const level = (depth: number, from: number): Nested => {
    if (depth === shape.length) return numbers[from]!
    const stride = sizeOf(shape.slice(depth + 1))
    return Array.from({ length: shape[depth]! }, (_, i) => level(depth + 1, from + i * stride))
  }
  return level(0, 0)
}

/** Options of {@link formatTensor}. */
export interface FormatTensorOptions {
  /** Significant digits, default 4. */
  readonly digits?: number
  /** Axes longer than this are shown by their first and last three elements; default 12. */
  readonly most?: number
}

const EDGE = 3

/**
 * A tensor as text: its type and shape, then the elements, the last axis in lines, columns aligned.
 *
 * @throws WhittleError `UNSUPPORTED` for types that are no numbers.
 * @example
 * console.log(formatTensor(tensor([[1, 2.5], [-3, 1000]])))
 */
export function formatTensor(values: Tensor, { digits = 4, most = 12 }: FormatTensorOptions = {}): string {
  const numbers = toFloat64(values)
  const { shape } = values
  const text = (value: number): string => String(Number(value.toPrecision(digits)) + 0)
  const shown = (extent: number): readonly number[] => {
    const all = [...Array(extent).keys()]
    return extent > most ? [...all.slice(0, EDGE), -1, ...all.slice(-EDGE)] : all
  }
  const cells: string[] = []
  const visit = (depth: number, from: number, show: (value: number) => string): string => {
    if (depth === shape.length) return show(numbers[from]!)
    const stride = sizeOf(shape.slice(depth + 1))
    const parts = shown(shape[depth]!).map((i) => (i < 0 ? '…' : visit(depth + 1, from + i * stride, show)))
    const last = depth === shape.length - 1
    return `[${parts.join(last ? ' ' : '\n'.repeat(shape.length - 1 - depth) + ' '.repeat(depth + 1))}]`
  }
  visit(0, 0, (value) => {
    cells.push(text(value))
    return ''
  })
  const width = Math.max(0, ...cells.map((cell) => cell.length))
  const body = visit(0, 0, (value) => text(value).padStart(shape.length > 0 ? width : 0))
  return `${values.dtype} ${shapeText(shape)}\n${body}`
}
