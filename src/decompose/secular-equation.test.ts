import { describe, expect, it } from 'vitest'
import {
  matrixOf,
  orthogonalityError,
  randomMatrix,
  relativeDistance,
  scaleColumns,
} from '../../test/support/matrices.ts'
import { createRandom } from '../core/index.ts'
import type { Matrix64 } from './matrix.ts'
import { transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { withSecularSolver } from './secular-equation.ts'

const plain = createPlainMatrixEngine()

function unit(values: readonly number[]): Float64Array {
  const length = Math.hypot(...values)
  return Float64Array.from(values, (value) => value / length)
}

/** Values, and the vectors of roots from `first` on in columns. */
function solved(
  d: Float64Array,
  z: Float64Array,
  rho: number,
  first = 0,
): Promise<{ values: Float64Array; vectors: Matrix64 }> {
  const k = d.length
  return withSecularSolver([[k, k - first]], async (solver) => {
    const values = solver.solve(d, z, rho, first)
    solver.formVectors()
    return { values, vectors: transposed(solver.vectors(first, k)) }
  })
}

const random = createRandom(3)
const evenly = (k: number): number[] => Array.from({ length: k }, (_, i) => i / k)

describe('diag(d) + ρ z zᵀ', () => {
  const cases: [string, number[], number[], number][] = [
    ['one pole', [2], [1], 3],
    ['two poles', [1, 2], [1, 1], 0.5],
    ['evenly spread poles', evenly(60), evenly(60).map(() => random.normal()), 1],
    ['a small ρ', evenly(60), evenly(60).map(() => random.normal()), 1e-9],
    ['a large ρ', evenly(60), evenly(60).map(() => random.normal()), 1e9],
    // Gaps of 10⁻¹⁰ in pairs.
    [
      'poles in close pairs',
      evenly(60).map((d, i) => (i % 2 === 0 ? d : d - 1 / 60 + 1e-10)),
      evenly(60).map(() => random.normal()),
      1,
    ],
    ['a cluster', evenly(40).map((d) => 1 + d * 1e-9), evenly(40).map(() => 1), 1e-3],
    ['components of very different size', evenly(60), evenly(60).map((_, i) => 10 ** -(i % 13)), 1],
  ]
  it.each(cases)('with %s', async (_, d, z, rho) => {
    const [poles, weights] = [Float64Array.from(d), unit(z)]
    const { values, vectors } = await solved(poles, weights, rho)
    expect(await orthogonalityError(vectors)).toBeLessThan(2e-14)
    const k = d.length
    const a = matrixOf(k, k, (i, j) => (i === j ? d[i]! : 0) + rho * weights[i]! * weights[j]!)
    const rebuilt = await plain.multiply(scaleColumns(vectors, values), vectors, { transposeB: true })
    expect(relativeDistance(rebuilt, a)).toBeLessThan(2e-14)
    // One eigenvalue in each gap, and one beyond.
    values.forEach((value, j) => {
      expect(value).toBeGreaterThanOrEqual(poles[j]!)
      expect(value).toBeLessThanOrEqual((j + 1 < k ? poles[j + 1]! : poles[j]! + rho) * (1 + 1e-15))
    })
  })

  it('has the same roots and vectors when only the last ones are wanted', async () => {
    const poles = Float64Array.from(evenly(51))
    const weights = unit(evenly(51).map(() => random.normal()))
    const all = await solved(poles, weights, 0.7)
    const last = await solved(poles, weights, 0.7, 40)
    expect(last.values).toEqual(all.values)
    expect(last.vectors).toEqual(matrixOf(51, 11, (i, j) => all.vectors.data[i * 51 + 40 + j]!))
  })

  it.each([
    [3, 5],
    [17, 9],
    [51, 60],
  ])('rotates %i of 51 rows of length %i, and rows that no component meets', async (count, length) => {
    const poles = Float64Array.from(evenly(51))
    const weights = unit(evenly(51).map(() => random.normal()))
    const rows = randomMatrix(count, length)
    const members = Int32Array.from({ length: count }, (_, q) => (q % 4 === 3 ? -1 : (7 * q) % 51))
    await withSecularSolver([[51, 51]], async (solver) => {
      solver.solve(poles, weights, 0.7, 10)
      solver.formVectors()
      const { data } = solver.vectors(20, 51)
      const left = matrixOf(31, count, (i, q) => (members[q]! < 0 ? 0 : data[i * 51 + members[q]!]!))
      const expected = await plain.multiply(left, rows)
      let called = 0
      await solver.multiply(plain, [20, 51], members, rows, (product, first) => {
        called++
        expect(first).toBe(20)
        expect(relativeDistance(product, expected)).toBeLessThan(1e-15)
      })
      expect(called).toBe(1)
    })
  })
})
