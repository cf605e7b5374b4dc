import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { khatriRao, kronecker, Tensor, toFloat64 } from './index.ts'

test('Kronecker and Khatri–Rao products are TensorLy’s, in both types', () => {
  for (const one of tensorly.operations)
    for (const read of [stored, stored32]) {
      if (!one.khatriRao || !one.kronecker || !one.kroneckerReverse) continue
      const [factors, matrices] = [one.factors.map(read), one.matrices.map(read)]
      expect(relativeError(read(one.khatriRao), khatriRao(factors, { weights: read(one.weights) }))).toBe(0)
      for (const [skipMatrix, expected] of one.khatriRaoSkip!.entries())
        expect(relativeError(read(expected), khatriRao(factors, { skipMatrix }))).toBe(0)
      expect(relativeError(read(one.kronecker), kronecker(matrices))).toBe(0)
      expect(relativeError(read(one.kroneckerReverse), kronecker(matrices, { reverse: true }))).toBe(0)
    }
})

test('each column of a Khatri–Rao product is the Kronecker product of the columns', () => {
  const matrices = [
    [4, 3],
    [1, 3],
    [5, 3],
    [2, 3],
  ].map((shape, seed) => randomTensor64(shape, seed))
  const column = (matrix: Tensor, r: number): Tensor => {
    const [rows, columns] = matrix.shape as [number, number]
    const data = toFloat64(matrix)
    return Tensor.of(
      Float64Array.from({ length: rows }, (_, i) => data[i * columns + r]!),
      [rows, 1],
    )
  }
  for (const reverse of [false, true])
    for (const skipMatrix of [undefined, 0, 2]) {
      const product = khatriRao(matrices, { reverse, skipMatrix })
      for (const r of [0, 1, 2]) {
        const columns = matrices.map((matrix) => column(matrix, r))
        expect(relativeError(kronecker(columns, { reverse, skipMatrix }), column(product, r))).toBeLessThan(1e-15)
      }
    }
})

test('weights scale the columns, a mask the rows', () => {
  const matrices = [randomTensor64([2, 2], 1), randomTensor64([3, 2], 2)]
  const plain = toFloat64(khatriRao(matrices))
  const weights = Tensor.of(Float64Array.of(2, -4), [2])
  const mask = Tensor.of(Float64Array.of(1, 0, 1, 0, 8, 1), [2, 3])
  const product = toFloat64(khatriRao(matrices, { weights, mask }))
  const expected = plain.map((x, at) => x * [2, -4][at % 2]! * [1, 0, 1, 0, 8, 1][Math.floor(at / 2)]!)
  expect([...product.map((x) => x + 0)]).toEqual([...expected.map((x) => x + 0)])
})

test('operands that do not fit are refused with both numbers', () => {
  const [a, b] = [randomTensor([2, 3], 1), randomTensor([4, 2], 2)]
  expect(() => khatriRao([a, b])).toThrow(
    'khatriRao: all matrices must have the same number of columns; matrix 0 has 3, matrix 1 has 2.',
  )
  expect(() => khatriRao([a, randomTensor([3], 1)])).toThrow('all operands must be matrices; operand 1 is [3].')
  expect(() => khatriRao([a, a], { weights: randomTensor([2], 1) })).toThrow(
    'khatriRao: weights must be [3], one per column of the matrices; got [2].',
  )
  expect(() => khatriRao([a, a], { mask: randomTensor([5], 1) })).toThrow(
    'khatriRao: the mask must have one element per row, 4; got 5.',
  )
  expect(() => khatriRao([a, a], { skipMatrix: 2 })).toThrow('skipMatrix must be an integer between 0 and 1; got 2.')
  expect(() => kronecker([a], { skipMatrix: 0 })).toThrow('needs a matrix besides the one to skip; got one in all.')
  expect(() => kronecker([])).toThrow('kronecker: needs at least one tensor; got none.')
})

test.each([
  [3, 4, 5],
  [2, 700, 1],
  [3, 12_000, 7],
  [2, 20_000, 7],
])('float32 products of [%i, %i] rows are those of float64, rounded once, at every length', (m, n, rank) => {
  const [a, b] = [randomTensor([m, rank], 1), randomTensor([n, rank], 2)]
  const { data } = khatriRao([a, b])
  const wide = khatriRao([a, b].map((one) => Tensor.of(toFloat64(one), one.shape)))
  expect(data).toHaveLength(m * n * rank)
  expect(data.findIndex((value, at) => value !== Math.fround(Number(wide.data[at])))).toBe(-1)
})

test('products of float32 matrices are rounded once, however many matrices and weights there are', () => {
  const matrices = [
    [3, 50],
    [7, 50],
    [40, 50],
  ].map((shape, seed) => randomTensor(shape, seed))
  const weights = randomTensor([50], 9)
  for (const [chosen, scale] of [
    [matrices.slice(1), undefined],
    [matrices.slice(1), weights],
    [matrices, undefined],
  ] as const) {
    const { data } = khatriRao(chosen, { weights: scale })
    let wrong = 0
    for (let at = 0; at < data.length; at++) {
      let product = scale ? Number(scale.data[at % 50]) : 1
      let row = Math.floor(at / 50)
      const factors = chosen.toReversed().map((matrix) => {
        const value = Number(matrix.data[(row % matrix.shape[0]!) * 50 + (at % 50)])
        row = Math.floor(row / matrix.shape[0]!)
        return value
      })
      for (const factor of factors.toReversed()) product *= factor
      if (data[at] !== Math.fround(product)) wrong++
    }
    expect(wrong).toBe(0)
  }
})
