import { expect, test } from 'vitest'
import { stored, tensorly } from '../../test/support/tensorly.ts'
import { norm, Tensor } from './index.ts'

const of64 = (...values: number[]): Tensor => Tensor.of(Float64Array.from(values), [values.length])

test('norms are TensorLy’s', () => {
  for (const { x, norms } of tensorly.operations) {
    const tensor = stored(x)
    expect(norm(tensor, 1)).toBe(norms[0])
    expect(Math.abs(norm(tensor) - norms[1])).toBeLessThanOrEqual(1e-15 * norms[1])
    expect(norm(tensor, Number.POSITIVE_INFINITY)).toBe(norms[2])
  }
})

test('squares that overflow or vanish do not lose the norm', () => {
  for (const scale of [1e200, 1e-200, 1e-308, 2 ** 1020])
    for (const order of [2, 3]) {
      const expected = order === 2 ? 5 : (27 + 64) ** (1 / 3)
      expect(norm(of64(3 * scale, -4 * scale, 0), order) / scale / expected).toBeCloseTo(1, 12)
    }
})

test('zeros, no elements, infinities and NaN have the norm one expects', () => {
  for (const order of [1, 2, 3, Number.POSITIVE_INFINITY]) {
    expect(norm(of64(0, 0), order)).toBe(0)
    expect(norm(of64(), order)).toBe(0)
    expect(norm(of64(1, Number.NEGATIVE_INFINITY), order)).toBe(Number.POSITIVE_INFINITY)
    expect(norm(of64(1, Number.NaN, 2), order)).toBeNaN()
  }
})

test('float32 elements are summed in float64', () => {
  const values = new Float32Array(3_000_000).fill(0.1)
  const exact = Math.sqrt(3_000_000) * Math.fround(0.1)
  expect(Math.abs(norm(Tensor.of(values, [1000, 3000])) - exact) / exact).toBeLessThan(1e-10)
})

test('orders below 1 are refused', () => {
  expect(() => norm(of64(1), 0.5)).toThrow('norm of [1]: order must be 1 or more; got 0.5.')
  expect(() => norm(of64(1), Number.NaN)).toThrow('order must be 1 or more; got NaN.')
})
