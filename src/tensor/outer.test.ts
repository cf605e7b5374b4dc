import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { batchedOuter, cpToTensor, outer, Tensor, toFloat64 } from './index.ts'

test('outer products are TensorLy’s, in both types', () => {
  for (const one of tensorly.operations)
    for (const read of [stored, stored32])
      expect(relativeError(read(one.outer), outer([read(one.x), read(one.vectors[0]!)]))).toBe(0)
})

test('the outer product of vectors is the CP tensor of rank 1', () => {
  const vectors = [3, 1, 4, 2].map((extent, seed) => randomTensor64([extent], seed))
  const factors = vectors.map((vector) => vector.reshape([vector.size, 1]))
  expect(relativeError(cpToTensor({ factors }), outer(vectors))).toBeLessThan(1e-15)
})

test('a batched outer product is that of each sample', () => {
  const [x, y] = [randomTensor64([3, 2, 2], 1), randomTensor64([3, 4], 2)]
  const product = batchedOuter([x, y])
  expect(product.shape).toEqual([3, 2, 2, 4])
  const expected = outer([Tensor.of(toFloat64(x).slice(4, 8), [2, 2]), Tensor.of(toFloat64(y).slice(4, 8), [4])])
  expect(relativeError(expected, Tensor.of(toFloat64(product).slice(16, 32), [2, 2, 4]))).toBe(0)
  expect(() => batchedOuter([x, randomTensor64([2, 4], 1)])).toThrow(
    'batchedOuter: all tensors must have the same first extent, the samples; tensor 0 is [3, 2, 2], tensor 1 is [2, 4].',
  )
  expect(() => outer([x, randomTensor([4], 1)])).toThrow('got float64 and float32')
})
