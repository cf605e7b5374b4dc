import { expect, test } from 'vitest'
import { randomTensor } from '../../test/support/tensors.ts'
import { sumOfSquares, toFloat32, toFloat64 } from './index.ts'

test('squares of both types are summed in float64, whatever the length', () => {
  for (const length of [0, 1, 5, 2047, 2048, 8191, 8192, 20_003]) {
    const single = toFloat32(randomTensor([length], length))
    const double = toFloat64(randomTensor([length], length))
    const expected = single.reduce((sum, value) => sum + value * value, 0)
    expect(Math.abs(sumOfSquares(single) - expected)).toBeLessThanOrEqual(1e-13 * expected)
    expect(Math.abs(sumOfSquares(double) - expected)).toBeLessThanOrEqual(1e-13 * expected)
  }
})

test('a number that is not finite, wherever it is, makes the sum not finite', () => {
  for (const place of [0, 1, 4_097, 10_002])
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const data = new Float32Array(10_003)
      data[place] = value
      expect(Number.isFinite(sumOfSquares(data))).toBe(false)
      expect(Number.isFinite(sumOfSquares(Float64Array.from(data)))).toBe(false)
    }
})
