import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { fold, matricize, Tensor, tensorToVec, toFloat64, transposeTensor, unfold, vecToTensor } from './index.ts'

const ORDERS = ['c', 'kolda-bader'] as const
const SHAPES = [[5], [4, 3], [3, 4, 2], [2, 1, 3], [1, 1, 1], [2, 3, 1, 4], [33, 1, 40, 3], [3, 2, 2, 1, 2]]

/** Kolda and Bader's example: x[i, j, k] = 1 + i + 3j + 12k. */
const example = Tensor.of(
  Float64Array.from({ length: 24 }, (_, at) => 1 + Math.floor(at / 8) + 3 * (Math.floor(at / 2) % 4) + 12 * (at % 2)),
  [3, 4, 2],
)
const doc = readFileSync(new URL('../../docs/numerics.md', import.meta.url), 'utf8')

/** The lines below a call in the documentation, down to an empty line or the end of the block. */
function documented(call: string): string[] {
  const lines = doc.split('\n')
  const start = lines.indexOf(call)
  if (start < 0) throw new Error(`docs/numerics.md has no line '${call}'.`)
  const end = lines.findIndex((line, at) => at > start && (line === '' || line.startsWith('```')))
  return lines.slice(start + 1, end)
}

const numbersIn = (line: string): number[] => [...line.matchAll(/-?\d+/g)].map(([digits]) => Number(digits))

const callOf = (name: string, order: string): string => (order === 'c' ? `${name})` : `${name}, { order: '${order}' })`)

for (const order of ORDERS)
  for (const mode of [0, 1, 2])
    test(`the documented unfolding of the (3, 4, 2) example along mode ${mode}, ${order}, is what unfold gives`, () => {
      const lines = documented(callOf(`unfold(X, ${mode}`, order))
      const unfolded = unfold(example, mode, { order })
      const [rows, columns] = unfolded.shape as [number, number]
      // Two lines of column indices, then a row each, which begins with its index.
      expect(lines).toHaveLength(2 + rows)
      const table = lines.slice(2).map((line) => numbersIn(line.slice(3)))
      expect(table.flat()).toEqual([...toFloat64(unfolded)])
      const names = ['i', 'j', 'k']
      const header = lines.slice(0, 2).map((line) => ({ mode: names.indexOf(line.trim()[0]!), at: numbersIn(line) }))
      const data = toFloat64(example)
      for (let row = 0; row < rows; row++) {
        expect(lines[2 + row]!.startsWith(`${names[mode]}=${row}`)).toBe(true)
        for (let column = 0; column < columns; column++) {
          const index = [row, row, row]
          for (const line of header) index[line.mode] = line.at[column]!
          expect(table[row]![column]).toBe(data[index[0]! * 8 + index[1]! * 2 + index[2]!])
        }
      }
    })

test('the documented slices and vectors of the (3, 4, 2) example are its elements', () => {
  const at = (i: number, j: number, k: number): number => toFloat64(example)[i * 8 + j * 2 + k]!
  const lines = documented('X[:, :, 0]              X[:, :, 1]')
  for (const i of [0, 1, 2]) {
    const expected = [0, 1].flatMap((k) => [i, ...[0, 1, 2, 3].map((j) => at(i, j, k))])
    expect(numbersIn(lines[1 + i]!)).toEqual(expected)
  }
  for (const order of ORDERS) {
    const lines = documented(callOf('tensorToVec(X', order))
    expect(numbersIn(lines.join(' '))).toEqual([...toFloat64(tensorToVec(example, { order }))])
  }
})

for (const [at, shape] of SHAPES.entries())
  for (const order of ORDERS)
    test(`unfolding and folding [${shape}] in ${order} order gives the tensor back, in both types`, () => {
      for (const x of [randomTensor(shape, at), randomTensor64(shape, at)]) {
        for (const mode of shape.keys()) {
          const back = fold(unfold(x, mode, { order }), mode, shape, { order })
          expect(relativeError(x, back)).toBe(0)
          expect(back.dtype).toBe(x.dtype)
        }
        expect(relativeError(x, vecToTensor(tensorToVec(x, { order }), shape, { order }))).toBe(0)
      }
    })

test('unfoldings, vectors and matrices in C order are TensorLy’s', () => {
  for (const { x, unfold: unfolded, vec, matricize: matrix } of tensorly.operations)
    for (const read of [stored, stored32]) {
      const tensor = read(x)
      for (const [mode, expected] of unfolded.entries())
        expect(relativeError(read(expected), unfold(tensor, mode))).toBe(0)
      expect(relativeError(read(vec), tensorToVec(tensor))).toBe(0)
      if (matrix) expect(relativeError(read(matrix), matricize(tensor, [x.shape.length - 1, 0]))).toBe(0)
    }
})

test('a Kolda–Bader unfolding is the C-order one of the tensor with its modes reversed', () => {
  const x = randomTensor64([3, 5, 2, 4], 3)
  for (const mode of [0, 1, 2, 3])
    expect(relativeError(unfold(transposeTensor(x), 3 - mode), unfold(x, mode, { order: 'kolda-bader' }))).toBe(0)
})

test('matricize puts modes where it is told', () => {
  const x = randomTensor64([2, 3, 4], 5)
  expect(relativeError(unfold(x, 1), matricize(x, [1]))).toBe(0)
  expect(relativeError(unfold(x, 1, { order: 'kolda-bader' }), matricize(x, [1], [2, 0]))).toBe(0)
  expect(() => matricize(x, [1], [1, 2])).toThrow(
    'matricize of [2, 3, 4]: rows and columns must name each of 3 modes once; got rows [1] and columns [1, 2].',
  )
})

test('wrong modes, shapes, orders and types are refused with both numbers', () => {
  const x = randomTensor([3, 4, 2], 1)
  expect(() => unfold(x, 3)).toThrow('unfold of [3, 4, 2]: mode must be an integer between 0 and 2; got 3.')
  expect(() => unfold(x.reshape([24]).reshape([24]), -1)).toThrow('mode must be an integer between 0 and 0; got -1.')
  expect(() => unfold(randomTensor([], 1), 0)).toThrow('unfold of []: a scalar has no modes; got 0.')
  expect(() => fold(unfold(x, 1), 0, [3, 4, 2])).toThrow(
    'fold to [3, 4, 2]: needs [3, 8] (24 elements); got [4, 6] (24).',
  )
  expect(() => vecToTensor(tensorToVec(x), [5, 5])).toThrow(
    'vecToTensor to [5, 5]: needs [25] (25 elements); got [24] (24).',
  )
  expect(() => fold(unfold(x, 1), 1, [3, 4, 2.5])).toThrow('extents must be integers from 0; got 2.5.')
  expect(() => unfold(x, 1, { order: 'fortran' as 'c' })).toThrow("order must be 'c' or 'kolda-bader'; got 'fortran'.")
  expect(() => unfold(Tensor.of(new Int8Array(6), [2, 3]), 1)).toThrow(
    'unfold of [2, 3]: elements must be float32 or float64; got int8. Convert the tensor first.',
  )
})
