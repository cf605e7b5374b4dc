import { expect, test } from 'vitest'
import { stored, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { contract, inner, norm, outer, sizeOf, Tensor, transposeTensor } from './index.ts'

test('inner products and contractions are TensorLy’s', () => {
  const { a, b, cases, innerTwo } = tensorly.contractions
  for (const { modes, batched, result } of cases)
    expect(relativeError(stored(result), contract(stored(a), stored(b), modes, { batchedModes: batched }))).toBe(0)
  expect(relativeError(stored(innerTwo), inner(stored(a), stored(b), 2))).toBe(0)
  expect(relativeError(stored(innerTwo), contract(stored(a), stored(b), 2))).toBe(0)
  for (const one of tensorly.operations) expect(inner(stored(one.x), stored(one.innerWith))).toBe(one.inner)
})

test('the inner product of a tensor with itself is its squared norm; over all modes it is a scalar', () => {
  const x = randomTensor64([3, 5, 7], 1)
  expect(inner(x, x)).toBeCloseTo(norm(x) ** 2, 11)
  const scalar = inner(x, x, 3)
  expect(scalar.shape).toEqual([])
  expect(relativeError(Tensor.of(Float64Array.of(inner(x, x)), []), scalar)).toBeLessThan(1e-14)
})

test('an inner product over no modes is the outer product', () => {
  const [x, y] = [randomTensor64([2, 3], 1), randomTensor64([4], 2)]
  expect(relativeError(outer([x, y]), inner(x, y, 0))).toBe(0)
})

test('contracting is the same with the operands exchanged and transposed', () => {
  const [x, y] = [randomTensor64([2, 3, 4], 1), randomTensor64([4, 2, 5], 2)]
  const expected = contract(x, y, [
    [0, 2],
    [1, 0],
  ])
  expect(expected.shape).toEqual([3, 5])
  expect(
    relativeError(
      expected,
      transposeTensor(
        contract(y, x, [
          [1, 0],
          [0, 2],
        ]),
      ),
    ),
  ).toBeLessThan(1e-14)
  const ones = contract(x, Tensor.of(new Float64Array(sizeOf([3])).fill(1), [3]), [1, 0])
  expect(ones.shape).toEqual([2, 4])
})

test('batched modes may be given in any order', () => {
  const [x, y] = [randomTensor64([2, 3, 4], 1), randomTensor64([4, 2, 3], 2)]
  const expected = contract(x, y, [1, 2], {
    batchedModes: [
      [0, 2],
      [1, 0],
    ],
  })
  expect(expected.shape).toEqual([2, 4])
  expect(
    relativeError(
      expected,
      contract(x, y, [1, 2], {
        batchedModes: [
          [2, 0],
          [0, 1],
        ],
      }),
    ),
  ).toBe(0)
  const first = contract(
    x,
    x,
    [
      [1, 2],
      [1, 2],
    ],
    { batchedModes: 0 },
  )
  expect(relativeError(inner(x, x, 3), contract(first, Tensor.of(Float64Array.of(1, 1), [2]), 1))).toBeLessThan(1e-14)
})

test('operands that do not fit are refused with both numbers', () => {
  const [x, y] = [randomTensor([2, 3], 1), randomTensor([4, 3], 2)]
  expect(() => inner(x, y)).toThrow(
    'inner: without a number of modes both tensors must have one shape; got [2, 3] and [4, 3].',
  )
  expect(() => inner(x, y, 3)).toThrow('modes must be an integer between 0 and 2; got 3.')
  expect(() => contract(x, y, [1, 0])).toThrow(
    'contract of [2, 3] and [4, 3]: contracted modes must have the same extent; mode 1 of the first has 3, mode 0 of ' +
      'the second has 4.',
  )
  expect(() => contract(x, y, [[0, 1], 1])).toThrow(
    'contract: both tensors must have the same number of contracted modes; got 2 and 1.',
  )
  expect(() => contract(x, y, [1, 1], { batchedModes: [1, 1] })).toThrow(
    'contract of [2, 3]: a mode may be contracted or batched once; got [1, 1].',
  )
  expect(() => contract(x, y, [2, 1])).toThrow(
    'contract of [2, 3]: each contracted mode must be an integer between 0 and 1; got 2.',
  )
})
