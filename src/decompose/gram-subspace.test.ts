import { describe, expect, it } from 'vitest'
import { matrixOf, orthogonalityError, single, withSingularValues } from '../../test/support/matrices.ts'
import { gramSubspaceRows } from './gram-subspace.ts'
import type { Matrix64 } from './matrix.ts'
import { toMatrix64, trace, transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'

const plain = createPlainMatrixEngine()
/** A few strong values over a plateau, as Gram matrices of trained weights have them: spread 10⁴. */
const spectrum = Array.from({ length: 120 }, (_, i) => (20 * (i + 1) ** -0.9 + 0.2 - i / 1000) ** 2)
const RANK = 30
const total = spectrum.reduce((a, b) => a + b)
const least = spectrum.slice(RANK).reduce((a, b) => a + b)

async function gramOf(values: readonly number[]): Promise<Matrix64> {
  const root = await withSingularValues(values.length, values.length, values.map(Math.sqrt))
  return plain.multiply(root, root, { transposeB: true })
}

/** What of the trace lies outside the span of orthonormal rows. */
async function outside(gram: Matrix64, rows: Matrix64): Promise<number> {
  return trace(gram) - trace(await plain.multiply(await plain.multiply(rows, gram), rows, { transposeB: true }))
}

describe('gramSubspaceRows', () => {
  it('comes closer to the leading eigenvectors with each step, also from a start that is given', async () => {
    const gram = await gramOf(spectrum)
    const excess: number[] = []
    for (const steps of [0, 1, 2, 3]) {
      const rows = await gramSubspaceRows(plain, gram, RANK, { steps })
      expect(rows).toMatchObject({ rows: RANK, cols: 120 })
      expect(await orthogonalityError(transposed(rows))).toBeLessThan(1e-13)
      excess.push((await outside(gram, rows)) / least - 1)
    }
    for (let i = 1; i < excess.length; i++) expect(excess[i]!).toBeLessThan(0.6 * excess[i - 1]!)
    expect(excess[2]!).toBeLessThan(0.004)
    const start = await gramSubspaceRows(plain, gram, RANK, { steps: 1 })
    const before = start.data.slice()
    const improved = await gramSubspaceRows(plain, gram, RANK, { start })
    expect(start.data).toEqual(before)
    expect((await outside(gram, improved)) / least - 1).toBeLessThan(excess[1]! / 2)
  })

  it('gives the same rows for the same seed and others for another', async () => {
    const gram = await gramOf(spectrum)
    const [x, y, z] = [
      await gramSubspaceRows(plain, gram, 5, { seed: 1 }),
      await gramSubspaceRows(plain, gram, 5, { seed: 1 }),
      await gramSubspaceRows(plain, gram, 5, { seed: 2 }),
    ]
    expect(x.data).toEqual(y.data)
    expect(x.data).not.toEqual(z.data)
  })

  it('takes spreads that products in float64 cannot hold, fewer eigenvalues than rows, and nothing at all', async () => {
    const steep = await gramOf(Array.from({ length: 60 }, (_, i) => 0.5 ** i))
    expect((await outside(steep, await gramSubspaceRows(plain, steep, 20))) / trace(steep)).toBeLessThan(1e-5)
    for (const gram of [await gramOf([4, 1, 1e-3, ...Array<number>(57).fill(0)]), matrixOf(60, 60, () => 0)]) {
      const rows = await gramSubspaceRows(plain, gram, 20)
      expect(await orthogonalityError(transposed(rows))).toBeLessThan(1e-12)
      expect(await outside(gram, rows)).toBeLessThan(1e-12 * Math.max(trace(gram), 1))
    }
  })

  it('takes float32, also of spreads that its products cannot hold', async () => {
    const gram = await gramOf(spectrum)
    const rows = await gramSubspaceRows(plain, single(gram), RANK)
    expect(rows.data).toBeInstanceOf(Float32Array)
    expect(await orthogonalityError(transposed(toMatrix64(rows)))).toBeLessThan(3e-6)
    expect((await outside(gram, toMatrix64(rows))) / least - 1).toBeLessThan(0.004)
    const steep = await gramOf(Array.from({ length: 60 }, (_, i) => 0.5 ** i))
    const found = await gramSubspaceRows(plain, single(steep), 20)
    expect(await orthogonalityError(transposed(toMatrix64(found)))).toBeLessThan(3e-6)
    expect((await outside(steep, toMatrix64(found))) / trace(steep)).toBeLessThan(1e-5)
  })

  it('spans everything at full rank', async () => {
    const gram = await gramOf(spectrum)
    const rows = await gramSubspaceRows(plain, gram, 120)
    expect(await orthogonalityError(transposed(rows))).toBeLessThan(1e-12)
    expect(Math.abs(await outside(gram, rows))).toBeLessThan(1e-12 * total)
  })
})
