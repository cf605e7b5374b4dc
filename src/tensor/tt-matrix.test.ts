import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  kronecker,
  norm,
  ttMatrixNorm,
  ttMatrixParameterCount,
  ttMatrixToMatrix,
  ttMatrixToTensor,
  ttMatrixToUnfolded,
  ttMatrixToVec,
  unfold,
  validateTtMatrix,
  validateTtMatrixRank,
} from './index.ts'

test('full tensors, matrices, unfoldings, vectors and norms are TensorLy’s', () => {
  for (const one of tensorly.trainMatrix)
    for (const read of [stored, stored32]) {
      const matrix = { factors: one.factors.map(read) }
      expect(relativeError(read(one.tensor), ttMatrixToTensor(matrix))).toBe(0)
      expect(relativeError(read(one.matrix), ttMatrixToMatrix(matrix))).toBe(0)
      expect(relativeError(read(one.vec), ttMatrixToVec(matrix))).toBe(0)
      for (const [mode, expected] of one.unfolded.entries())
        expect(relativeError(read(expected), ttMatrixToUnfolded(matrix, mode))).toBe(0)
      expect(Math.abs(ttMatrixNorm(matrix) - one.norm)).toBeLessThanOrEqual(1e-14 * one.norm)
    }
})

test('with all ranks 1 the matrix is the Kronecker product of its cores', () => {
  const matrices = [
    [2, 3],
    [4, 1],
    [3, 5],
  ].map((shape, seed) => randomTensor64(shape, seed))
  const train = { factors: matrices.map((matrix) => matrix.reshape([1, ...matrix.shape, 1])) }
  expect(validateTtMatrix(train)).toEqual({
    shape: [2, 4, 3, 3, 1, 5],
    leftShape: [2, 4, 3],
    rightShape: [3, 1, 5],
    rank: [1, 1, 1, 1],
  })
  expect(relativeError(kronecker(matrices), ttMatrixToMatrix(train))).toBeLessThan(1e-15)
})

test('the norm needs no matrix; unfoldings take both orders', () => {
  const matrix = { factors: [randomTensor64([1, 3, 4, 2], 1), randomTensor64([2, 5, 2, 1], 2)] }
  const full = ttMatrixToTensor(matrix)
  expect(Math.abs(ttMatrixNorm(matrix) - norm(full))).toBeLessThan(1e-14 * norm(full))
  const order = 'kolda-bader'
  expect(relativeError(unfold(full, 2, { order }), ttMatrixToUnfolded(matrix, 2, { order }))).toBe(0)
})

test('ranks and parameter counts are TensorLy’s', () => {
  let compared = 0
  for (const { shape, rule, ttMatrix, ttMatrixParameters } of tensorly.ranks) {
    if (!ttMatrix) continue
    const tensorized = [...shape, ...shape]
    expect(validateTtMatrixRank(tensorized, rule)).toEqual(ttMatrix)
    expect(ttMatrixParameterCount(tensorized, ttMatrix)).toBe(ttMatrixParameters)
    compared++
  }
  expect(compared).toBeGreaterThan(10)
})

test('shapes and cores that do not fit are refused with both numbers', () => {
  expect(() => validateTtMatrixRank([2, 2, 2, 3, 3])).toThrow(
    'Tensor-train matrix rank of [2, 2, 2, 3, 3]: rows and columns must be split into the same number of modes, e.g. a ' +
      'matrix [8, 9] into [2, 4, 3, 3]; got 5 modes in all.',
  )
  expect(() => ttMatrixParameterCount([], [1])).toThrow('got 0 modes in all.')
  expect(() => validateTtMatrix({ factors: [randomTensor([1, 2, 1], 1)] })).toThrow(
    'Tensor-train matrix: factors must have 4 modes; factor 0 is [1, 2, 1].',
  )
  const factors = [randomTensor([1, 2, 2, 3], 1), randomTensor([2, 2, 2, 1], 2)]
  expect(() => ttMatrixNorm({ factors })).toThrow(
    'Tensor-train matrix: consecutive factors must have matching ranks; factor 0 ends with 3, factor 1 begins with 2.',
  )
})
