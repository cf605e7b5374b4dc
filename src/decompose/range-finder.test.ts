import { describe, expect, it } from 'vitest'
import {
  matrixOf,
  norm,
  orthogonalityError,
  randomMatrix,
  relativeDistance,
  single,
  withSingularValues,
} from '../../test/support/matrices.ts'
import { leadingLeftSubspace } from './leading-subspace.ts'
import type { Matrix } from './matrix.ts'
import { transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { rangeFinder, refineRows } from './range-finder.ts'
import { relativeErrorCurve } from './rank-policies.ts'

const plain = createPlainMatrixEngine()
/** A few strong values over a plateau, as trained weights have them. */
const spectrum = Array.from({ length: 120 }, (_, i) => 20 * (i + 1) ** -0.9 + 1 - i / 200)
const RANK = 30

/** ‖A − Q Qᵀ A‖ / ‖A‖ */
async function errorOf(a: Matrix, q: Matrix): Promise<number> {
  const [wide, basis] = [a, q].map((m) => ({ ...m, data: Float64Array.from(m.data) })) as [Matrix, Matrix]
  return relativeDistance(await plain.multiply(basis, await plain.multiply(basis, wide, { transposeA: true })), wide)
}

describe('rangeFinder', () => {
  it('comes closer to the best subspace with each iteration, and closer than powers do', async () => {
    const a = await withSingularValues(120, 160, spectrum)
    const best = relativeErrorCurve(spectrum)[RANK]!
    const excess: number[] = []
    for (const iterations of [0, 1, 2, 3, 5]) {
      const q = await rangeFinder(plain, a, RANK, { iterations })
      expect(await orthogonalityError(q)).toBeLessThan(1e-13)
      excess.push((await errorOf(a, q)) / best - 1)
    }
    for (let i = 1; i < excess.length; i++) expect(excess[i]!).toBeLessThan(excess[i - 1]!)
    expect(excess[2]!).toBeLessThan(0.04)
    expect(excess[4]!).toBeLessThan(0.005)

    // Plain subspace iteration: Q ← orth(A Aᵀ Q) from the same start.
    let q = await rangeFinder(plain, a, RANK, { iterations: 0 })
    for (let i = 0; i < 2; i++) {
      const power = await plain.multiply(a, await plain.multiply(a, q, { transposeA: true }))
      q = await rangeFinder(plain, power, RANK, { iterations: 0 })
    }
    const plainExcess = (await errorOf(a, q)) / best - 1
    expect(excess[2]!).toBeLessThan(plainExcess)
  })

  it('works on float32 as well, and for the right subspace', async () => {
    const a = single(await withSingularValues(160, 120, spectrum))
    const best = relativeErrorCurve(spectrum)[RANK]!
    const q = await rangeFinder(plain, a, RANK, { transpose: true, iterations: 3 })
    expect(q).toMatchObject({ rows: 120, cols: RANK })
    expect(q.data).toBeInstanceOf(Float32Array)
    expect(await orthogonalityError(q)).toBeLessThan(1e-6)
    expect((await errorOf(transposed(a), q)) / best).toBeLessThan(1.02)
  })

  it('gives the same basis for the same seed and another for another', async () => {
    const a = randomMatrix(30, 40)
    const [x, y, z] = [
      await rangeFinder(plain, a, 5, { seed: 1 }),
      await rangeFinder(plain, a, 5, { seed: 1 }),
      await rangeFinder(plain, a, 5, { seed: 2 }),
    ]
    expect(x.data).toEqual(y.data)
    expect(x.data).not.toEqual(z.data)
  })

  it('captures a matrix of lower rank entirely, in both precisions', async () => {
    const a = await withSingularValues(60, 80, [5, 1, 1e-3])
    for (const [matrix, tolerance] of [
      [a, 1e-12],
      [single(a), 1e-6],
    ] as const)
      for (const rank of [3, 12, 60]) {
        const q = await rangeFinder<Float32Array | Float64Array>(plain, matrix, rank)
        expect(await orthogonalityError(q)).toBeLessThan(tolerance)
        expect(await errorOf(matrix, q)).toBeLessThan(tolerance)
      }
  })

  it('keeps weak directions beside very strong ones in float32', async () => {
    const s = [1e4, 3e3, ...Array.from({ length: 30 }, (_, i) => 1 - i / 60), ...Array<number>(40).fill(0.05)]
    const a = single(await withSingularValues(100, 110, s))
    const rest = { ...a, data: new Float32Array(a.data) }
    const q = await rangeFinder(plain, rest, 32, { iterations: 3 })
    const left = await plain.multiply(q, await plain.multiply(q, a, { transposeA: true }))
    const missed = norm({ data: left.data.map((value, i) => value - a.data[i]!) })
    // The best possible is 0.05 · √40 = 0.32; rounding of the strong ones is 10⁴ · 10⁻⁷ per element and direction.
    expect(missed).toBeLessThan(0.33)
  })

  it('takes a zero matrix', async () => {
    const q = await rangeFinder(
      plain,
      matrixOf(8, 9, () => 0),
      3,
    )
    expect(await orthogonalityError(q)).toBeLessThan(1e-13)
  })

  it('refuses ranks out of range', async () => {
    await expect(rangeFinder(plain, randomMatrix(4, 6), 5)).rejects.toThrow(
      'Rank of a matrix [4, 6] must be an integer between 1 and 4; got 5.',
    )
  })
})

describe('refineRows', () => {
  it('improves a basis of a similar matrix more than a random one', async () => {
    const a = await withSingularValues(120, 160, spectrum)
    const similar = { ...a, data: a.data.map((value, i) => value + 0.02 * Math.sin(i * i)) }
    const best = relativeErrorCurve(spectrum)[RANK]!
    const start = await leadingLeftSubspace(plain, similar, RANK)
    const rows = await refineRows(plain, a, transposed(start), { iterations: 2 })
    expect((await errorOf(a, transposed(rows))) / best).toBeLessThan(1.001)
  })
})

describe('leadingLeftSubspace', () => {
  it('is the best one by the Gram matrix, sorted', async () => {
    const a = await withSingularValues(120, 160, spectrum)
    const q = await leadingLeftSubspace(plain, a, RANK)
    expect((await errorOf(a, q)) / relativeErrorCurve(spectrum)[RANK]!).toBeLessThan(1 + 1e-12)
    const { data } = await plain.multiply(q, a, { transposeA: true })
    for (let i = 0; i < RANK; i++)
      expect(norm({ data: data.subarray(i * 160, (i + 1) * 160) })).toBeCloseTo(spectrum[i]!, 9)
  })

  it('comes from the range finder when asked', async () => {
    const a = await withSingularValues(60, 80, spectrum.slice(0, 60))
    const q = await leadingLeftSubspace(plain, a, 10, { method: 'range', seed: 3 })
    expect(q.data).toEqual((await rangeFinder(plain, a, 10, { seed: 3 })).data)
  })
})
