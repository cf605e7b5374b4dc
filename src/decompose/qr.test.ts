import { describe, expect, it } from 'vitest'
import { matrixOf, orthogonalityError, randomMatrix, relativeDistance } from '../../test/support/matrices.ts'
import { leastSquares } from './least-squares.ts'
import type { Matrix64 } from './matrix.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { thinQr } from './qr.ts'

const plain = createPlainMatrixEngine()

async function expectQr(a: Matrix64): Promise<void> {
  const { q, r } = await thinQr(plain, a)
  const k = Math.min(a.rows, a.cols)
  expect([q.rows, q.cols, r.rows, r.cols]).toEqual([a.rows, k, k, a.cols])
  expect(relativeDistance(await plain.multiply(q, r), a)).toBeLessThan(1e-14)
  expect(await orthogonalityError(q)).toBeLessThan(1e-14)
  for (let i = 1; i < k; i++) for (let j = 0; j < i; j++) if (r.data[i * r.cols + j] !== 0) expect.unreachable()
}

describe('thinQr', () => {
  const shapes = [
    [1, 1],
    [5, 3],
    [3, 5],
    [40, 33],
    [200, 64],
    [150, 150],
    [64, 150],
    [7, 0],
  ] as const
  it.each(shapes)('factors a random matrix [%i, %i]', async (rows, cols) => {
    await expectQr(randomMatrix(rows, cols))
  })

  it('gives orthonormal columns for dependent ones', async () => {
    await expectQr(await plain.multiply(randomMatrix(90, 10), randomMatrix(10, 70, 2)))
    await expectQr(matrixOf(20, 8, () => 0))
    await expectQr(matrixOf(20, 8, () => 1))
  })

  it('survives extreme scales', async () => {
    for (const scale of [1e-300, 1e300]) await expectQr(matrixOf(30, 10, (i, j) => scale * Math.sin(i * 3.7 + j * j)))
    await expectQr(matrixOf(6, 3, (i, j) => (i === j ? 1 : 1e-320)))
  })
})

describe('leastSquares', () => {
  it('recovers what was put in', async () => {
    const a = randomMatrix(80, 30)
    const x = randomMatrix(30, 4, 7)
    expect(relativeDistance(await leastSquares(plain, a, await plain.multiply(a, x)), x)).toBeLessThan(1e-13)
  })

  it('leaves a residual orthogonal to the columns', async () => {
    const a = randomMatrix(80, 30)
    const b = randomMatrix(80, 2, 8)
    const { data } = await plain.multiply(a, await leastSquares(plain, a, b))
    const residual = { ...b, data: b.data.map((value, i) => value - data[i]!) }
    const { data: projection } = await plain.multiply(a, residual, { transposeA: true })
    expect(Math.max(...projection.map(Math.abs))).toBeLessThan(1e-12)
  })

  it('is not thrown off by columns that squaring would make dependent', async () => {
    // Läuchli's matrix: the normal equations of it are singular in float64.
    const a = matrixOf(4, 3, (i, j) => (i === 0 ? 1 : i === j + 1 ? 1e-9 : 0))
    const x = matrixOf(3, 1, (i) => i + 1)
    expect(relativeDistance(await leastSquares(plain, a, await plain.multiply(a, x)), x)).toBeLessThan(1e-6)
  })

  it('gives dependent columns no weight', async () => {
    const column = randomMatrix(10, 1)
    const a = matrixOf(10, 2, (i) => column.data[i]!)
    const x = await leastSquares(plain, a, column)
    expect(Math.abs(x.data[0]! - 1)).toBeLessThan(1e-12)
    expect(x.data[1]).toBe(0)
  })

  it('wants at least as many rows as columns', async () => {
    await expect(leastSquares(plain, randomMatrix(2, 3), randomMatrix(2, 1))).rejects.toThrow(
      'Least squares: A must have at least as many rows as columns, and B as many rows as A; got [2, 3] and [2, 1].',
    )
  })
})
