import { expect, test } from 'vitest'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  contract,
  cpToTensor,
  factoredMatrixNorm,
  factoredMatrixParameterCount,
  factoredMatrixToTensor,
  factoredMatrixToUnfolded,
  factoredMatrixToVec,
  norm,
  tensorToVec,
  transposeTensor,
  validateFactoredMatrix,
  validateFactoredMatrixRank,
} from './index.ts'

const matrix = { left: randomTensor64([7, 3], 1), right: randomTensor64([3, 5], 2) }

test('a factored matrix is the contraction of its factors, and a CP tensor of two modes', () => {
  const full = factoredMatrixToTensor(matrix)
  expect(validateFactoredMatrix(matrix)).toEqual({ shape: [7, 5], rank: 3 })
  expect(relativeError(contract(matrix.left, matrix.right, [1, 0]), full)).toBe(0)
  expect(relativeError(cpToTensor({ factors: [matrix.left, transposeTensor(matrix.right)] }), full)).toBeLessThan(1e-15)
  expect(relativeError(transposeTensor(full), factoredMatrixToUnfolded(matrix, 1))).toBe(0)
  for (const order of ['c', 'kolda-bader'] as const)
    expect(relativeError(tensorToVec(full, { order }), factoredMatrixToVec(matrix, { order }))).toBe(0)
  expect(Math.abs(factoredMatrixNorm(matrix) - norm(full))).toBeLessThan(1e-14 * norm(full))
})

test('ranks follow the parameters that are asked for', () => {
  expect(validateFactoredMatrixRank([100, 300])).toBe(75)
  expect(validateFactoredMatrixRank([100, 300], 0.5, { rounding: 'floor' })).toBe(37)
  expect(validateFactoredMatrixRank([100, 300], 0.5, { rounding: 'ceil' })).toBe(38)
  expect(validateFactoredMatrixRank([100, 300], 0.001)).toBe(1)
  expect(validateFactoredMatrixRank([100, 300], 12)).toBe(12)
  expect(factoredMatrixParameterCount([100, 300], 75)).toBe(30000)
})

test('factors that do not fit are refused with both numbers', () => {
  expect(() => factoredMatrixToTensor({ left: randomTensor([2, 3], 1), right: randomTensor([4, 5], 1) })).toThrow(
    'Factored matrix: the left factor must have as many columns as the right has rows; got 3 and 4.',
  )
  expect(() => factoredMatrixNorm({ left: randomTensor([2], 1), right: randomTensor([2, 5], 1) })).toThrow(
    'Factored matrix: both factors must be matrices; got [2] and [2, 5].',
  )
  expect(() => factoredMatrixToUnfolded(matrix, 2)).toThrow('mode must be an integer between 0 and 1; got 2.')
})
