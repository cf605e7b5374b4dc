import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { contract, modeDot, multiModeDot, Tensor, transposeTensor, unfold } from './index.ts'

test('mode products are TensorLy’s, in both types', () => {
  for (const one of tensorly.operations)
    for (const read of [stored, stored32]) {
      const x = read(one.x)
      for (const mode of one.x.shape.keys()) {
        const [matrix, vector] = [read(one.matrices[mode]!), read(one.vectors[mode]!)]
        const transpose = transposeTensor(matrix)
        expect(relativeError(read(one.modeDot[mode]!), modeDot(x, matrix, mode))).toBe(0)
        const product = modeDot(x, transpose, mode, { transpose: true })
        expect(relativeError(read(one.modeDotTranspose[mode]!), product)).toBe(0)
        expect(relativeError(read(one.modeDotVector[mode]!), modeDot(x, vector, mode))).toBe(0)
        expect(product.dtype).toBe(x.dtype)
      }
    }
})

test('products over several modes are TensorLy’s: all, all but one, vectors, transposed', () => {
  for (const one of tensorly.operations) {
    const [x, matrices, vectors] = [stored(one.x), one.matrices.map(stored), one.vectors.map(stored)]
    expect(relativeError(stored(one.multiModeDot), multiModeDot(x, matrices))).toBe(0)
    const projected = multiModeDot(x, one.factors.map(stored), { transpose: true })
    expect(relativeError(stored(one.multiModeDotTranspose), projected)).toBe(0)
    for (const skip of one.x.shape.keys()) {
      expect(relativeError(stored(one.multiModeDotSkip[skip]!), multiModeDot(x, matrices, { skip }))).toBe(0)
      expect(relativeError(stored(one.multiModeDotVectors[skip]!), multiModeDot(x, vectors, { skip }))).toBe(0)
    }
  }
})

test('the unfolding of a mode product is the matrix times the unfolding, in both orders and across blocks', () => {
  const x = randomTensor64([7, 130, 3, 11], 1)
  for (const mode of [0, 1, 2, 3])
    for (const order of ['c', 'kolda-bader'] as const) {
      const matrix = randomTensor64([6, x.shape[mode]!], 2)
      const expected = contract(matrix, unfold(x, mode, { order }), [1, 0])
      expect(relativeError(expected, unfold(modeDot(x, matrix, mode), mode, { order }))).toBeLessThan(1e-14)
    }
})

test('modes may be given in any order and twice; skip counts in the list', () => {
  const x = randomTensor64([3, 4, 5], 1)
  const [a, b, c] = [randomTensor64([2, 3], 2), randomTensor64([6, 5], 3), randomTensor64([5, 6], 4)]
  const expected = modeDot(modeDot(modeDot(x, b, 2), c, 2), a, 0)
  expect(relativeError(expected, multiModeDot(x, [b, a, c], { modes: [2, 0, 2] }))).toBeLessThan(1e-14)
  const skipped = multiModeDot(x, [b, a], { modes: [2, 0], skip: 0 })
  expect(relativeError(modeDot(x, a, 0), skipped)).toBeLessThan(1e-14)
})

test('float32 products are float64 ones rounded once', () => {
  const x = randomTensor([20, 300, 9], 1)
  const matrix = randomTensor([8, 300], 2)
  const wide = (tensor: Tensor): Tensor => Tensor.of(Float64Array.from(tensor.data as Float32Array), tensor.shape)
  const exact = modeDot(wide(x), wide(matrix), 1)
  const rounded = Tensor.of(Float32Array.from(exact.data as Float64Array), exact.shape)
  expect(relativeError(rounded, modeDot(x, matrix, 1))).toBe(0)
})

test('operands that do not fit are refused with both numbers', () => {
  const x = randomTensor([3, 4, 2], 1)
  expect(() => modeDot(x, randomTensor([5, 3], 1), 1)).toThrow(
    'modeDot of [3, 4, 2] by [5, 3]: the columns of the matrix must be as many as mode 1 has; got 3 and 4.',
  )
  expect(() => modeDot(x, randomTensor([5, 4], 1), 1, { transpose: true })).toThrow(
    'the rows of the matrix must be as many as mode 1 has; got 5 and 4.',
  )
  expect(() => modeDot(x, randomTensor([3], 1), 1)).toThrow(
    'the elements of the vector must be as many as mode 1 has; got 3 and 4.',
  )
  expect(() => modeDot(x, randomTensor([3, 4, 1], 1), 1)).toThrow(
    'multiplies by a matrix or a vector; got a tensor [3, 4, 1].',
  )
  expect(() => modeDot(x, randomTensor64([5, 4], 1), 1)).toThrow(
    'modeDot: all operands must have one element type; got float32 and float64. Convert one of them.',
  )
  expect(() => multiModeDot(x, [randomTensor([3, 3], 1)], { modes: [0, 1] })).toThrow('got 1 of them and 2 modes.')
  expect(() => multiModeDot(x, [randomTensor([3, 3], 1)], { skip: 1 })).toThrow(
    'skip must be a place in the list of 1; got 1.',
  )
  const vector = randomTensor([3], 1)
  expect(() => multiModeDot(x, [vector, vector], { modes: [0, 0] })).toThrow('mode 0 is gone after its vector')
})
