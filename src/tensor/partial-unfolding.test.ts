import { expect, test } from 'vitest'
import { stored, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor64, relativeError } from '../../test/support/tensors.ts'
import {
  partialFold,
  partialTensorToVec,
  partialUnfold,
  partialVecToTensor,
  Tensor,
  tensorToVec,
  toFloat64,
  unfold,
} from './index.ts'

test('partial unfoldings and vectors are TensorLy’s', () => {
  for (const { x, partialUnfold: unfolded, partialVec, partialUnfoldEnd } of tensorly.operations) {
    for (const [mode, expected] of (unfolded ?? []).entries())
      expect(relativeError(stored(expected), partialUnfold(stored(x), { mode }))).toBe(0)
    if (partialVec) expect(relativeError(stored(partialVec), partialTensorToVec(stored(x)))).toBe(0)
    if (partialUnfoldEnd)
      expect(relativeError(stored(partialUnfoldEnd), partialUnfold(stored(x), { skipEnd: 1 }))).toBe(0)
  }
})

test('each sample of a partial unfolding is the unfolding of the sample, in both orders', () => {
  const x = randomTensor64([3, 2, 4, 5], 1)
  const sample = Tensor.of(toFloat64(x).slice(40, 80), [2, 4, 5])
  for (const order of ['c', 'kolda-bader'] as const) {
    const unfolded = partialUnfold(x, { mode: 1, order })
    expect(unfolded.shape).toEqual([3, 4, 10])
    expect(relativeError(unfold(sample, 1, { order }), Tensor.of(toFloat64(unfolded).slice(40, 80), [4, 10]))).toBe(0)
    const vectors = toFloat64(partialTensorToVec(x, { order }))
    expect(relativeError(tensorToVec(sample, { order }), Tensor.of(vectors.slice(40, 80), [40]))).toBe(0)
  }
})

test('folding a partial unfolding gives the tensor back', () => {
  const x = randomTensor64([2, 3, 1, 4, 2], 2)
  for (const order of ['c', 'kolda-bader'] as const)
    for (const skipBegin of [0, 1, 2])
      for (const skipEnd of [0, 1, 2]) {
        const options = { order, skipBegin, skipEnd }
        const vectors = partialTensorToVec(x, options)
        expect(relativeError(x, partialVecToTensor(vectors, x.shape, options))).toBe(0)
        for (let mode = 0; mode < 5 - skipBegin - skipEnd; mode++) {
          const unfolded = partialUnfold(x, { ...options, mode })
          expect(relativeError(x, partialFold(unfolded, x.shape, { ...options, mode }))).toBe(0)
        }
      }
})

test('modes that are left alone leave at least one to unfold', () => {
  const x = randomTensor64([2, 3], 1)
  expect(() => partialUnfold(x, { skipEnd: 1 })).toThrow(
    'partialUnfold of [2, 3]: at least one of 2 modes must be left to unfold; got skipBegin 1 and skipEnd 1.',
  )
  expect(() => partialUnfold(x, { mode: 1 })).toThrow(
    'partialUnfold of [2, 3] without its first 1 and last 0 modes: mode must be an integer between 0 and 0; got 1.',
  )
  expect(() => partialFold(x, [2, 4])).toThrow('partialFold to [2, 4]: needs [2, 4, 1] (8 elements); got [2, 3] (6).')
  expect(() => partialUnfold(x, { skipBegin: -1 })).toThrow('skipBegin must be an integer from 0; got -1.')
})
