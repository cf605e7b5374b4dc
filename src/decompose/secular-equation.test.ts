import { describe, expect, it } from 'vitest'
import { matrixOf, orthogonalityError, relativeDistance, scaleColumns } from '../../test/support/matrices.ts'
import { createRandom } from '../core/index.ts'
import type { Matrix64 } from './matrix.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { solveSecular } from './secular-equation.ts'

const plain = createPlainMatrixEngine()

function unit(values: readonly number[]): Float64Array {
  const length = Math.hypot(...values)
  return Float64Array.from(values, (value) => value / length)
}

/** Eigenvectors in columns, as divide and conquer forms them. */
function vectorsOf({ delta, z }: ReturnType<typeof solveSecular>): Matrix64 {
  const k = z.length
  const vectors = matrixOf(k, k, (i, j) => z[i]! / delta[j * k + i]!)
  const lengths = Array.from({ length: k }, (_, j) =>
    Math.hypot(...Array.from({ length: k }, (_, i) => vectors.data[i * k + j]!)),
  )
  return scaleColumns(
    vectors,
    lengths.map((length) => 1 / length),
  )
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
    const solution = solveSecular(poles, weights, rho)
    const vectors = vectorsOf(solution)
    expect(await orthogonalityError(vectors)).toBeLessThan(2e-14)
    const k = d.length
    const a = matrixOf(k, k, (i, j) => (i === j ? d[i]! : 0) + rho * weights[i]! * weights[j]!)
    const rebuilt = await plain.multiply(scaleColumns(vectors, solution.values), vectors, { transposeB: true })
    expect(relativeDistance(rebuilt, a)).toBeLessThan(2e-14)
    // One eigenvalue in each gap, and one beyond.
    solution.values.forEach((value, j) => {
      expect(value).toBeGreaterThanOrEqual(poles[j]!)
      expect(value).toBeLessThanOrEqual((j + 1 < k ? poles[j + 1]! : poles[j]! + rho) * (1 + 1e-15))
    })
  })
})
