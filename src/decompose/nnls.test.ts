import { expect, test } from 'vitest'
import { randomMatrix } from '../../test/support/matrices.ts'
import { createPlainMatrixEngine, type Matrix64, nnls } from './index.ts'

const engine = createPlainMatrixEngine()

/** Throws unless x ≥ 0, Aᵀ(b − A x) ≤ 0 and their products are 0: what makes x a minimum. */
function expectMinimum(a: Matrix64, b: Matrix64, x: Matrix64, tolerance: number): void {
  const [m, n, p] = [a.rows, a.cols, b.cols]
  for (let c = 0; c < p; c++) {
    const residual = Float64Array.from({ length: m }, (_, i) => {
      let value = b.data[i * p + c]!
      for (let j = 0; j < n; j++) value -= a.data[i * n + j]! * x.data[j * p + c]!
      return value
    })
    const size = Math.hypot(...Array.from({ length: m }, (_, i) => b.data[i * p + c]!))
    for (let j = 0; j < n; j++) {
      let [gradient, length] = [0, 0]
      for (let i = 0; i < m; i++) {
        gradient += a.data[i * n + j]! * residual[i]!
        length += a.data[i * n + j]! ** 2
      }
      const value = x.data[j * p + c]!
      const scale = Math.sqrt(length) * size
      expect(value).toBeGreaterThanOrEqual(0)
      expect(gradient).toBeLessThanOrEqual(tolerance * scale)
      if (value > 0) expect(Math.abs(gradient)).toBeLessThanOrEqual(tolerance * scale)
    }
  }
}

for (const [m, n, p] of [
  [20, 5, 7],
  [60, 40, 20],
  [10, 10, 5],
  [5, 12, 6],
  [1, 1, 1],
  [30, 1, 3],
] as const)
  test(`the conditions of a minimum hold for [${m}, ${n}] and ${p} right-hand sides`, async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const [a, b] = [randomMatrix(m, n, seed), randomMatrix(m, p, seed + 100)]
      const { solution, residuals, converged } = await nnls(engine, a, b)
      expect(converged).toBe(true)
      expectMinimum(a, b, solution, 1e-12)
      const product = (await engine.multiply(a, solution)).data
      for (let c = 0; c < p; c++) {
        const distance = Math.hypot(...Array.from({ length: m }, (_, i) => product[i * p + c]! - b.data[i * p + c]!))
        expect(residuals[c]).toBeCloseTo(distance, 10)
      }
      // Right-hand sides do not know of each other.
      const alone = await nnls(engine, a, { rows: m, cols: 1, data: b.data.filter((_, at) => at % p === p - 1) })
      for (let j = 0; j < n; j++) expect(alone.solution.data[j]).toBe(solution.data[j * p + p - 1])
    }
  })

test('a known non-negative solution is found, ill-conditioned columns and all', async () => {
  const [m, n] = [40, 12]
  const a = randomMatrix(m, n, 3)
  // Columns nearly parallel to their neighbours: condition 1e4, its square 1e8.
  for (let i = 0; i < m; i++)
    for (let j = 1; j < n; j += 2) a.data[i * n + j] = a.data[i * n + j - 1]! + 1e-4 * a.data[i * n + j]!
  const x = Float64Array.from({ length: n }, (_, j) => (j % 3 === 2 ? 0 : j + 1))
  const b = (await engine.multiply(a, { rows: n, cols: 1, data: x })).data
  const { solution } = await nnls(engine, a, { rows: m, cols: 1, data: b })
  for (let j = 0; j < n; j++) expect(Math.abs(solution.data[j]! - x[j]!)).toBeLessThan(1e-9)
})

test('where the unconstrained solution is not negative, it is that', async () => {
  const eye = { rows: 3, cols: 3, data: Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1) }
  const { solution } = await nnls(engine, eye, { rows: 3, cols: 2, data: Float64Array.of(1, -1, 2, 5, -3, 0) })
  expect([...solution.data]).toEqual([1, 0, 2, 5, 0, 0])
})

test('columns twice, columns of zeros, and no columns', async () => {
  const a = { rows: 3, cols: 4, data: Float64Array.of(1, 1, 0, 0, 2, 2, 0, 1, 3, 3, 0, 0) }
  const b = { rows: 3, cols: 1, data: Float64Array.of(2, 5, 6) }
  const { solution, residuals, converged } = await nnls(engine, a, b)
  expect(converged).toBe(true)
  expectMinimum(a, b, solution, 1e-12)
  expect(residuals[0]).toBeLessThan(1e-12)
  expect(solution.data[0]! + solution.data[1]!).toBeCloseTo(2, 12)
  const none = await nnls(engine, { rows: 3, cols: 0, data: new Float64Array(0) }, b, { maxIterations: 1 })
  expect(none.solution.data).toHaveLength(0)
  expect(none.residuals[0]).toBeCloseTo(Math.sqrt(65), 12)
})

test('operands that do not fit, and aborted work', async () => {
  const a = randomMatrix(3, 2)
  await expect(nnls(engine, a, randomMatrix(4, 1))).rejects.toThrow(
    'Non-negative least squares: A and B must have the same number of rows; got [3, 2] and [4, 1].',
  )
  await expect(nnls(engine, a, { rows: 3, cols: 1, data: Float64Array.of(1, Number.NaN, 2) })).rejects.toMatchObject({
    code: 'NOT_FINITE',
  })
  await expect(nnls(engine, a, randomMatrix(3, 1), { maxIterations: 0 })).rejects.toThrow(
    'Non-negative least squares: maxIterations must be a whole number from 1; got 0.',
  )
  const signal = AbortSignal.abort()
  await expect(nnls(engine, a, randomMatrix(3, 1), { signal })).rejects.toMatchObject({ code: 'ABORTED' })
})
