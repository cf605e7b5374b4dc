import { expect, test } from 'vitest'
import { stored, stored32, tensorly } from '../../test/support/tensorly.ts'
import { randomTensor, randomTensor64, relativeError } from '../../test/support/tensors.ts'
import { contract, khatriRao, unfold, unfoldingDotKhatriRao } from './index.ts'

test('MTTKRP is TensorLy’s, with and without weights, in both types', () => {
  for (const one of tensorly.operations)
    for (const read of [stored, stored32]) {
      const [x, factors, weights] = [read(one.x), one.factors.map(read), read(one.weights)]
      for (const [mode, expected] of one.mttkrp.entries())
        expect(relativeError(read(expected), unfoldingDotKhatriRao(x, { weights, factors }, mode))).toBe(0)
      for (const [mode, expected] of one.mttkrpPlain.entries())
        expect(relativeError(read(expected), unfoldingDotKhatriRao(x, { factors }, mode))).toBe(0)
    }
})

// Sides longer than a chunk of the Khatri–Rao product, either side the longer, extents of 1.
const SHAPES = [
  [1500, 3],
  [3, 1500],
  [40, 30, 5],
  [5, 40, 30],
  [6, 5, 4, 3, 2],
  [1, 50, 1, 41],
  [4, 1, 1],
  [36, 2, 36],
]

for (const shape of SHAPES)
  test(`MTTKRP of [${shape}] equals the unfolding times the explicit product, in both orders`, () => {
    const x = randomTensor64(shape, 1)
    const factors = shape.map((extent, mode) => randomTensor64([extent, 5], 2 + mode))
    const weights = randomTensor64([5], 9)
    for (const mode of shape.keys())
      for (const order of ['c', 'kolda-bader'] as const) {
        const product = khatriRao(factors, { skipMatrix: mode, reverse: order === 'kolda-bader', weights })
        const expected = contract(unfold(x, mode, { order }), product, [1, 0])
        expect(relativeError(expected, unfoldingDotKhatriRao(x, { weights, factors }, mode))).toBeLessThan(1e-13)
      }
  })

test('MTTKRP of a vector is the vector in every column', () => {
  const x = randomTensor([4], 1)
  const result = unfoldingDotKhatriRao(x, { factors: [randomTensor([4, 2], 2)] }, 0)
  expect([...result.data]).toEqual([...(x.data as Float32Array)].flatMap((value) => [value, value]))
})

test('factors that do not fit are refused with both numbers', () => {
  const x = randomTensor([3, 4, 2], 1)
  const factors = [3, 4, 2].map((extent) => randomTensor([extent, 5], 1))
  expect(() => unfoldingDotKhatriRao(x, { factors: factors.slice(1) }, 0)).toThrow(
    'unfoldingDotKhatriRao of [3, 4, 2]: needs one factor per mode, 3; got 2.',
  )
  expect(() => unfoldingDotKhatriRao(x, { factors: factors.toReversed() }, 0)).toThrow(
    'unfoldingDotKhatriRao of [3, 4, 2]: factor 0 must be [3, 5]; got [2, 5].',
  )
  expect(() => unfoldingDotKhatriRao(x, { factors, weights: randomTensor([4], 1) }, 0)).toThrow(
    'unfoldingDotKhatriRao: weights must be [5]; got [4].',
  )
})
