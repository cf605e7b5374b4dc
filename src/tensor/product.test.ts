import { expect, test } from 'vitest'
import { relativeErrorOf } from '../../test/support/tensors.ts'
import { createRandom } from '../core/index.ts'
import { columnMajor, multiplyInto, rowMajor } from './product.ts'

function numbers(count: number, seed: number): Float64Array {
  const random = createRandom(seed)
  return Float64Array.from({ length: count }, () => random.normal())
}

/** From the definition. */
function product(a: Float64Array, b: Float64Array, m: number, k: number, n: number): Float64Array {
  return Float64Array.from({ length: m * n }, (_, at) => {
    let sum = 0
    for (let p = 0; p < k; p++) sum += a[Math.floor(at / n) * k + p]! * b[p * n + (at % n)]!
    return sum
  })
}

function transposed(a: Float64Array, rows: number, columns: number): Float64Array {
  return a.map((_, at) => a[(at % rows) * columns + Math.floor(at / rows)]!)
}

const SIZES = [
  [1, 1, 1],
  [3, 5, 7],
  [4, 4, 4],
  [129, 300, 5],
  [5, 513, 259],
  [2, 0, 3],
  [0, 2, 3],
] as const

for (const [m, k, n] of SIZES)
  test(`[${m}, ${k}] times [${k}, ${n}] is the product, whatever the layout and across blocks`, () => {
    const [a, b] = [numbers(m * k, 1), numbers(k * n, 2)]
    const expected = product(a, b, m, k, n)
    const layouts = [
      [rowMajor(a, k), rowMajor(b, n)],
      [columnMajor(transposed(a, m, k), m), rowMajor(b, n)],
      [rowMajor(a, k), columnMajor(transposed(b, k, n), k)],
    ] as const
    for (const [left, right] of layouts) {
      const out = new Float64Array(m * n)
      multiplyInto(rowMajor(out, n), left, right, [m, k, n])
      expect(relativeErrorOf(expected, out)).toBeLessThan(1e-14)
      multiplyInto(rowMajor(out, n), left, right, [m, k, n], true)
      expect(
        relativeErrorOf(
          expected.map((x) => 2 * x),
          out,
        ),
      ).toBeLessThan(1e-14)
    }
  })

test('sums of float32 products are accumulated in float64', () => {
  // 2²⁴ + 1 + … + 1: each 1 would be lost in float32.
  const a = new Float32Array(1001).fill(1)
  a[0] = 2 ** 24
  const out = new Float32Array(1)
  multiplyInto(rowMajor(out, 1), rowMajor(a, 1001), rowMajor(new Float32Array(1001).fill(1), 1), [1, 1001, 1])
  expect(out[0]).toBe(2 ** 24 + 1000)
})
