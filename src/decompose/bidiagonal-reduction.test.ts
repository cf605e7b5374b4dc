import { describe, expect, it } from 'vitest'
import { matrixOf, orthogonalityError, randomMatrix, relativeDistance } from '../../test/support/matrices.ts'
import { WhittleError } from '../core/index.ts'
import { type Reflections, reduceToBidiagonal } from './bidiagonal-reduction.ts'
import type { Matrix64 } from './matrix.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'

const plain = createPlainMatrixEngine()

/** H_0 H_1 … H_{count−1}, one reflection after the other. */
function productOf({ vectors, tau }: Reflections, count: number): Matrix64 {
  const n = vectors.rows
  const out = matrixOf(n, n, (i, j) => +(i === j))
  for (let r = count - 1; r >= 0; r--) {
    const v = vectors.data.subarray(r * n, r * n + n)
    for (let j = 0; j < n; j++) {
      let sum = 0
      for (let i = 0; i < n; i++) sum += v[i]! * out.data[i * n + j]!
      for (let i = 0; i < n; i++) out.data[i * n + j]! -= tau[r]! * sum * v[i]!
    }
  }
  return out
}

describe('reduceToBidiagonal', () => {
  it.each([1, 2, 3, 4, 5, 31, 32, 33, 66, 101])('takes a matrix of %i rows apart: A = P Bᵀ Qᵀ', async (n) => {
    const a = randomMatrix(n, n, n)
    const before = a.data.slice()
    const { diagonal, offDiagonal, p, q } = await reduceToBidiagonal(a, { scale: 0.25, vectors: true })
    expect(a.data).toEqual(before)
    const [left, right] = [productOf(p!, n - 1), productOf(q!, n)]
    for (const factor of [left, right]) expect(await orthogonalityError(factor)).toBeLessThan(1e-14)
    const lower = matrixOf(n, n, (i, j) => (i === j ? diagonal[i]! : i === j + 1 ? offDiagonal[j]! : 0))
    const product = await plain.multiply(await plain.multiply(left, lower), right, { transposeB: true })
    expect(relativeDistance(product, { ...a, data: a.data.map((x) => x / 4) })).toBeLessThan(1e-14)
    // Vectors have the zeros that block reflections count on.
    for (let i = 0; i < n; i++) {
      expect([...q!.vectors.data.subarray(i * n, i * n + i + 1)]).toEqual([...new Array(i).fill(0), 1])
      if (i + 1 < n)
        expect([...p!.vectors.data.subarray(i * n, i * n + i + 2)]).toEqual([...new Array(i + 1).fill(0), 1])
    }
  })

  it('leaves what is bidiagonal, and zeros', async () => {
    const n = 40
    const lower = matrixOf(n, n, (i, j) => (i === j ? 1 + i : i === j + 1 ? 0.5 : 0))
    const { diagonal, offDiagonal } = await reduceToBidiagonal(lower, { scale: 1, vectors: false })
    expect([...diagonal].map(Math.abs)).toEqual(Array.from({ length: n }, (_, i) => 1 + i))
    expect([...offDiagonal].map(Math.abs)).toEqual(Array.from({ length: n }, (_, i) => (i + 1 < n ? 0.5 : 0)))
    const zeros = matrixOf(n, n, () => 0)
    const empty = await reduceToBidiagonal(zeros, { scale: 1, vectors: false })
    expect([...empty.diagonal, ...empty.offDiagonal].every((x) => x === 0)).toBe(true)
  })

  it('gives the same whether or not its workspace was used before', async () => {
    const a = randomMatrix(50, 50, 9)
    const first = await reduceToBidiagonal(a, { scale: 1, vectors: true })
    await reduceToBidiagonal(randomMatrix(70, 70, 2), { scale: 1, vectors: true })
    expect(await reduceToBidiagonal(a, { scale: 1, vectors: true })).toEqual(first)
  })

  it('stops when it is cancelled', async () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort())
    const work = reduceToBidiagonal(randomMatrix(900, 900), { scale: 1, vectors: false, signal: controller.signal })
    await expect(work).rejects.toThrow(WhittleError)
  })
})
