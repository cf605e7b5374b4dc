import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import {
  matrixOf,
  norm,
  orthogonalityError,
  randomMatrix,
  relativeDistance,
  scaleColumns,
  symmetrized,
} from '../../test/support/matrices.ts'
import { WhittleError } from '../core/index.ts'
import { createMatrixEngine } from '../engine/index.ts'
import type { Matrix64, MatrixEngine } from './matrix.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { symmetricEigen } from './symmetric-eigen.ts'

const plain = createPlainMatrixEngine()
const TOLERANCE = 1e-12

/** Random Gram matrix of n rows of length k. */
async function randomGram(n: number, k: number, seed = 1): Promise<Matrix64> {
  return plain.gram(randomMatrix(n, k, seed))
}

async function expectEigenpairs(a: Matrix64, engine: MatrixEngine = plain, count = a.rows): Promise<void> {
  const { values, vectors } = await symmetricEigen(engine, a, { count })
  expect(values).toHaveLength(count)
  expect([...values]).toEqual([...values].sort((x, y) => y - x))
  // The largest element is brought to 1 first: products of 1e200 would overflow in the check itself.
  const scale = a.data.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0) || 1
  const unit = { ...a, data: a.data.map((x) => x / scale) }
  const image = await engine.multiply(unit, vectors!)
  const expected = scaleColumns(
    vectors!,
    values.map((x) => x / scale),
  )
  const residual = norm({ data: image.data.map((x, i) => x - expected.data[i]!) }) / (norm(unit) || 1)
  expect(residual).toBeLessThan(TOLERANCE)
  expect(await orthogonalityError(vectors!)).toBeLessThan(TOLERANCE)
}

const plus = (a: Matrix64, diagonal: number): Matrix64 =>
  matrixOf(a.rows, a.rows, (i, j) => a.data[i * a.rows + j]! + (i === j ? diagonal : 0))
const times = (a: Matrix64, factor: number): Matrix64 => ({ ...a, data: a.data.map((x) => x * factor) })

describe('eigenpairs of', () => {
  const hard: [string, () => Promise<Matrix64> | Matrix64][] = [
    ['a rank-deficient matrix', () => randomGram(150, 20)],
    ['the identity plus rank 5', async () => plus(await randomGram(150, 5), 1)],
    ['the identity', () => matrixOf(100, 100, (i, j) => +(i === j))],
    ['zeros', () => matrixOf(80, 80, () => 0)],
    ['ones', () => matrixOf(120, 120, () => 1)],
    ['two clusters 10⁻¹² apart', async () => plus(times(await randomGram(150, 30), 1e-13), 1)],
    [
      'two equal blocks',
      async () => {
        const { data } = await randomGram(70, 90)
        return matrixOf(140, 140, (i, j) => (i < 70 === j < 70 ? data[(i % 70) * 70 + (j % 70)]! : 0))
      },
    ],
    ['elements of 10⁻²⁰⁰', async () => times(await randomGram(90, 100), 1e-200)],
    ['elements of 10²⁰⁰', async () => times(await randomGram(90, 100), 1e200)],
    ['elements of 10⁻³⁰⁶', async () => times(await randomGram(90, 100), 1e-308)],
    ['Wilkinson’s W201', () => matrixOf(201, 201, (i, j) => (i === j ? Math.abs(i - 100) : +(Math.abs(i - j) === 1)))],
    ['a discrete Laplacian', () => matrixOf(160, 160, (i, j) => (i === j ? 2 : -Number(Math.abs(i - j) === 1)))],
    ['an indefinite matrix', () => symmetrized(randomMatrix(133, 133))],
    [
      'a matrix graded downwards by 10³⁰',
      async () => {
        const { data } = await randomGram(120, 150)
        return matrixOf(120, 120, (i, j) => data[i * 120 + j]! * 10 ** (-(i + j) / 8))
      },
    ],
    [
      'a matrix graded upwards by 10³⁰',
      async () => {
        const { data } = await randomGram(120, 150)
        return matrixOf(120, 120, (i, j) => data[i * 120 + j]! * 10 ** ((i + j - 238) / 8))
      },
    ],
  ]
  it.each(hard)('%s', async (_, matrix) => {
    await expectEigenpairs(await matrix())
  })

  it.each([0, 1, 2, 3, 4, 7, 31, 32, 33, 48, 49, 63, 64, 65, 97, 130])('a random matrix of %i rows', async (n) => {
    await expectEigenpairs(symmetrized(randomMatrix(n, n, n)))
  })

  it('a large matrix, with products on ONNX Runtime, all and the leading ones', async () => {
    const engine = createMatrixEngine(ort, { threads: 2 })
    const a = await engine.gram(randomMatrix(700, 900))
    await expectEigenpairs(a, engine)
    await expectEigenpairs(a, engine, 100)
  })
})

describe('symmetricEigen', () => {
  it('finds eigenvalues known in closed form', async () => {
    const n = 300
    const laplacian = matrixOf(n, n, (i, j) => (i === j ? 2 : -Number(Math.abs(i - j) === 1)))
    for (const vectors of [true, false]) {
      const { values } = await symmetricEigen(plain, laplacian, { vectors })
      const expected = Float64Array.from({ length: n }, (_, k) => 2 + 2 * Math.cos((Math.PI * (k + 1)) / (n + 1)))
      expect(relativeDistance({ rows: n, cols: 1, data: values }, { rows: n, cols: 1, data: expected })).toBeLessThan(
        1e-14,
      )
    }
  })

  it('gives the same values without vectors, and all of them', async () => {
    for (const a of [await randomGram(100, 130), symmetrized(randomMatrix(40, 40)), matrixOf(9, 9, () => 0)]) {
      const [full, alone] = [await symmetricEigen(plain, a), await symmetricEigen(plain, a, { vectors: false })]
      expect(alone.vectors).toBeUndefined()
      expect(alone.values).toHaveLength(a.rows)
      const worst = Math.max(...full.values.map((value, i) => Math.abs(value - alone.values[i]!)))
      expect(worst).toBeLessThanOrEqual(1e-13 * Math.abs(full.values[0]!))
    }
  })

  it('gives the leading pairs only, when asked', async () => {
    const a = await randomGram(90, 120)
    const all = await symmetricEigen(plain, a)
    const some = await symmetricEigen(plain, a, { count: 7 })
    expect(some.vectors).toMatchObject({ rows: 90, cols: 7 })
    some.values.forEach((value, i) => {
      expect(Math.abs(value - all.values[i]!)).toBeLessThan(1e-12 * all.values[0]!)
    })
    expect((await symmetricEigen(plain, a, { count: 0 })).vectors).toMatchObject({ rows: 90, cols: 0 })
  })

  it('gives all values whatever the count', async () => {
    const a = symmetrized(randomMatrix(90, 90))
    const { values: expected } = await symmetricEigen(plain, a)
    for (const options of [{ count: 0 }, { count: 7 }, { count: 90 }, { vectors: false }]) {
      const { values, allValues } = await symmetricEigen(plain, a, options)
      expect(
        relativeDistance({ rows: 90, cols: 1, data: allValues }, { rows: 90, cols: 1, data: expected }),
      ).toBeLessThan(1e-14)
      expect(values).toEqual(allValues.subarray(0, options.count ?? 90))
    }
    const small = await symmetricEigen(plain, symmetrized(randomMatrix(5, 5)), { count: 2 })
    expect([small.values.length, small.allValues.length, small.vectors?.cols]).toEqual([2, 5, 2])
  })

  it('reads the lower triangle and writes nothing', async () => {
    const a = symmetrized(randomMatrix(60, 60))
    const lower = matrixOf(60, 60, (i, j) => (j <= i ? a.data[i * 60 + j]! : 12345))
    const before = lower.data.slice()
    expect((await symmetricEigen(plain, lower)).values).toEqual((await symmetricEigen(plain, a)).values)
    expect(lower.data).toEqual(before)
  })

  it('solves several matrices at once', async () => {
    const matrices = [200, 50, 120].map((n) => symmetrized(randomMatrix(n, n, n)))
    const alone: (Float64Array | undefined)[] = []
    for (const a of matrices) alone.push((await symmetricEigen(plain, a)).vectors?.data)
    // Some begin when others are half-way: their workspaces must not be shared.
    const later = async (a: Matrix64, turns: number): Promise<Float64Array | undefined> => {
      for (let turn = 0; turn < turns; turn++) await null
      return (await symmetricEigen(plain, a)).vectors?.data
    }
    const starts = [0, 5, 12, 30].flatMap((turns, round) => matrices.map((_, i) => ({ turns, at: (i + round) % 3 })))
    const together = await Promise.all(starts.map(({ turns, at }) => later(matrices[at]!, turns)))
    starts.forEach(({ at }, i) => {
      expect(together[i]).toEqual(alone[at])
    })
  })

  it('refuses what is not a finite square matrix, or a wrong count', async () => {
    const messageOf = (a: Matrix64, count?: number): Promise<string> =>
      symmetricEigen(plain, a, count === undefined ? {} : { count }).then(
        () => '',
        (error: WhittleError) => `${error.code}: ${error.message}`,
      )
    expect(await messageOf(matrixOf(2, 3, () => 0))).toBe(
      'SHAPE_MISMATCH: Symmetric eigenproblem: the matrix must be square; got [2, 3].',
    )
    expect(await messageOf(matrixOf(2, 2, (i) => (i ? Number.NaN : 1)))).toBe(
      'NOT_FINITE: Symmetric eigenproblem: matrix [2, 2]: all elements must be finite numbers; element 2 is NaN. Check where the values come from.',
    )
    expect(
      await messageOf(
        matrixOf(2, 2, () => 1),
        3,
      ),
    ).toBe('INVALID_ARGUMENT: Symmetric eigenproblem [2, 2]: count must be in 0 … 2; got 3.')
  })

  it('stops when it is cancelled, and reports how far it is', async () => {
    const controller = new AbortController()
    const a = await randomGram(200, 220)
    const stages: number[] = []
    const onProgress = ({ done }: { done: number }): void => {
      stages.push(done)
      controller.abort()
    }
    await expect(symmetricEigen(plain, a, { signal: controller.signal, onProgress })).rejects.toThrow(WhittleError)
    expect(stages).toEqual([1])
  })
})
