import { describe, expect, it } from 'vitest'
import { matrixOf, randomMatrix, relativeDistance, single } from '../../test/support/matrices.ts'
import { maybeCholesky, solveLower, solveLowerTransposed, solveSymmetricPositive } from './cholesky.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'

const plain = createPlainMatrixEngine()
const SIZES = [1, 2, 5, 127, 128, 129, 300]

describe('Cholesky', () => {
  it.each(SIZES)('factors a positive definite matrix of %i rows and solves with it', async (n) => {
    const a = await plain.gram(randomMatrix(n, n + 10))
    const factor = (await maybeCholesky(plain, a))!
    const { lower } = factor
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) if (lower.data[i * n + j] !== 0) expect.unreachable()
    expect(relativeDistance(await plain.multiply(lower, lower, { transposeB: true }), a)).toBeLessThan(1e-14)

    const b = randomMatrix(n, 3, 5)
    const before = b.data.slice()
    expect(relativeDistance(await plain.multiply(lower, await solveLower(plain, factor, b)), b)).toBeLessThan(1e-11)
    const back = await plain.multiply(lower, await solveLowerTransposed(plain, factor, b), { transposeA: true })
    expect(relativeDistance(back, b)).toBeLessThan(1e-11)
    expect(b.data).toEqual(before)
    const { data } = await solveLower(plain, factor, single(b))
    expect(data).toBeInstanceOf(Float32Array)
  })

  it('reads the lower triangle only', async () => {
    const a = matrixOf(3, 3, (i, j) => (i === j ? 4 : j < i ? 1 : Number.NaN))
    expect(await maybeCholesky(plain, a)).toBeDefined()
  })

  it('says no to matrices that are not positive definite', async () => {
    const singular = await plain.gram(randomMatrix(150, 140))
    const indefinite = matrixOf(4, 4, (i, j) => (i === j ? (i === 3 ? -1 : 1) : 0))
    expect(await maybeCholesky(plain, singular)).toBeUndefined()
    expect(await maybeCholesky(plain, indefinite)).toBeUndefined()
    expect(
      await maybeCholesky(
        plain,
        matrixOf(2, 2, () => 0),
      ),
    ).toBeUndefined()
    const nearly = matrixOf(2, 2, (i, j) => (i === j ? 1 : 1 - 1e-7))
    expect(await maybeCholesky(plain, nearly)).toBeDefined()
    expect(await maybeCholesky(plain, nearly, { tolerance: 1e-5 })).toBeUndefined()
  })
})

describe('solveSymmetricPositive', () => {
  it.each(SIZES)('solves %i equations', async (n) => {
    const a = await plain.gram(randomMatrix(n, 2 * n + 1))
    const x = randomMatrix(n, 4, 9)
    const { solution, ridge } = await solveSymmetricPositive(plain, a, await plain.multiply(a, x))
    expect(ridge).toBe(0)
    expect(relativeDistance(solution, x)).toBeLessThan(1e-9)
  })

  it('adds the smallest ridge that helps when the matrix is only semidefinite', async () => {
    const a = await plain.gram(randomMatrix(60, 20))
    const b = await plain.multiply(a, randomMatrix(60, 2, 3))
    const { solution, ridge } = await solveSymmetricPositive(plain, a, b)
    expect(ridge).toBeGreaterThan(0)
    expect(ridge).toBeLessThan(1e-8)
    expect(relativeDistance(await plain.multiply(a, solution), b)).toBeLessThan(1e-6)
    const zero = await solveSymmetricPositive(
      plain,
      matrixOf(3, 3, () => 0),
      matrixOf(3, 1, () => 0),
    )
    expect([...zero.solution.data]).toEqual([0, 0, 0])
  })

  it('refuses what no ridge can help, and shapes that do not fit', async () => {
    const negative = matrixOf(2, 2, (i, j) => (i === j ? 1 - 3 * i : 0))
    await expect(
      solveSymmetricPositive(
        plain,
        negative,
        matrixOf(2, 1, () => 1),
      ),
    ).rejects.toThrow(
      'Solving A X = B: A [2, 2] must be positive semidefinite; it has eigenvalues far below zero. Use another solver.',
    )
    await expect(
      solveSymmetricPositive(
        plain,
        negative,
        matrixOf(3, 1, () => 1),
      ),
    ).rejects.toThrow("Solving A X = B: A must be square with B's rows; got [2, 2] and [3, 1].")
  })
})
