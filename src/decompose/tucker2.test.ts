import { describe, expect, it } from 'vitest'
import { norm, orthogonalityError, randomMatrix } from '../../test/support/matrices.ts'
import type { Matrix } from './matrix.ts'
import { contractInputs, contractOutputs, swapLast } from './mode-product.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { type Tucker2, tucker2 } from './tucker2.ts'

const plain = createPlainMatrixEngine()
type Reals = Float32Array | Float64Array

/** Σ core[a, b, t] output[o, a] input[i, b], as it is defined. */
function reconstruct(core: Reals, output: Matrix, input: Matrix, k: number): Float64Array {
  const [o, ro, i, ri] = [output.rows, output.cols, input.rows, input.cols]
  const half = new Float64Array(ro * i * k)
  for (let a = 0; a < ro; a++)
    for (let y = 0; y < i; y++)
      for (let b = 0; b < ri; b++)
        for (let t = 0; t < k; t++) half[(a * i + y) * k + t]! += input.data[y * ri + b]! * core[(a * ri + b) * k + t]!
  const out = new Float64Array(o * i * k)
  for (let x = 0; x < o; x++)
    for (let a = 0; a < ro; a++)
      for (let j = 0; j < i * k; j++) out[x * i * k + j]! += output.data[x * ro + a]! * half[a * i * k + j]!
  return out
}

function errorOf(data: Reals, k: number, { core, output, input }: Tucker2<Reals>): number {
  const w = reconstruct(core, output, input, k)
  return norm({ data: w.map((value, at) => value - data[at]!) }) / norm({ data })
}

/** A tensor of the given multilinear rank. */
function tensorOfRank([o, i, k]: readonly [number, number, number], ro: number, ri: number): Float64Array {
  return reconstruct(randomMatrix(ro * ri, k, 4).data, randomMatrix(o, ro, 5), randomMatrix(i, ri, 6), k)
}

describe('tucker2', () => {
  const dims = [24, 18, 9] as const

  it('recovers a tensor of known multilinear rank', async () => {
    const data = tensorOfRank(dims, 5, 4)
    const result = await tucker2(plain, { data, dims }, [5, 4])
    expect(result.core).toHaveLength(5 * 4 * 9)
    expect(await orthogonalityError(result.output)).toBeLessThan(1e-13)
    expect(await orthogonalityError(result.input)).toBeLessThan(1e-13)
    expect(errorOf(data, 9, result)).toBeLessThan(1e-13)
    expect(result.relativeError).toBeLessThan(1e-13)
  })

  it('improves with each sweep, and states the error it has', async () => {
    const data = randomMatrix(24, 18 * 9).data
    const errors: number[] = []
    for (const iterations of [0, 1, 2, 10]) {
      const result = await tucker2(plain, { data, dims }, [6, 6], { iterations })
      expect(result.relativeError).toBeCloseTo(errorOf(data, 9, result), 12)
      errors.push(result.relativeError)
    }
    for (let i = 1; i < errors.length; i++) expect(errors[i]!).toBeLessThan(errors[i - 1]!)
  })

  it('comes close to HOOI on modes that are too large to solve anew each sweep', async () => {
    const large = [600, 540, 1] as const
    const noise = randomMatrix(600, 540, 7).data
    const data = Float32Array.from(tensorOfRank(large, 20, 20), (value, at) => value + 4 * noise[at]!)
    const swept = await tucker2(plain, { data, dims: large }, [20, 20], { iterations: 2 })
    const converged = await tucker2(plain, { data, dims: large }, [20, 20], { iterations: 8 })
    expect(swept.relativeError / converged.relativeError).toBeLessThan(1.003)
    expect(swept.relativeError).toBeCloseTo(errorOf(data, 1, swept), 5)
  })

  it('reproduces a float32 tensor at full rank, and at full rank of either mode', async () => {
    const data = Float32Array.from(randomMatrix(24, 18 * 9).data)
    const full = await tucker2(plain, { data, dims }, [24, 18])
    expect(errorOf(data, 9, full)).toBeLessThan(1e-6)
    for (const ranks of [
      [24, 5],
      [5, 18],
    ] as const) {
      const result = await tucker2(plain, { data, dims }, ranks)
      expect(result.core).toBeInstanceOf(Float32Array)
      expect(result.relativeError).toBeCloseTo(errorOf(data, 9, result), 5)
      expect(result.relativeError).toBeGreaterThan(0.3)
    }
  })

  it('takes ranks beyond what the other one leaves, zeros, and a single tap', async () => {
    const data = randomMatrix(12, 20).data
    const wide = await tucker2(plain, { data, dims: [12, 20, 1] }, [3, 15])
    expect(await orthogonalityError(wide.input)).toBeLessThan(1e-13)
    expect(wide.relativeError).toBeCloseTo(errorOf(data, 1, wide), 12)
    const zero = await tucker2(plain, { data: new Float32Array(60), dims: [3, 4, 5] }, [2, 2])
    expect(zero.relativeError).toBe(0)
  })

  it('refuses what does not fit', async () => {
    await expect(tucker2(plain, { data: new Float32Array(60), dims: [3, 4, 5] }, [4, 2])).rejects.toThrow(
      'Tucker of [3, 4, 5]: the rank of mode 0 must be between 1 and 3; got 4.',
    )
    await expect(tucker2(plain, { data: new Float32Array(59), dims: [3, 4, 5] }, [1, 2])).rejects.toThrow(
      'Tucker of [3, 4, 5]: needs 60 elements; got 59.',
    )
    await expect(
      tucker2(plain, { data: new Float32Array(60).fill(Number.NaN), dims: [3, 4, 5] }, [1, 2]),
    ).rejects.toThrow('Tucker of [3, 4, 5]: all elements must be finite numbers; element 0 is NaN.')
  })
})

describe('products along modes', () => {
  const dims = [5, 7, 4] as const
  const { data } = randomMatrix(5, 28)

  it('swap the last two modes', () => {
    const out = new Float64Array(data.length)
    swapLast(data, dims, out)
    for (let o = 0; o < 5; o++)
      for (let i = 0; i < 7; i++)
        for (let k = 0; k < 4; k++) expect(out[(o * 4 + k) * 7 + i]).toBe(data[(o * 7 + i) * 4 + k])
  })

  it('contract inputs and outputs', async () => {
    const [u, v] = [randomMatrix(5, 2, 2), randomMatrix(7, 3, 3)]
    const inputs = await contractInputs(plain, { data, dims }, v)
    const outputs = await contractOutputs(plain, { data, dims }, u)
    const element = (o: number, i: number, k: number): number => data[(o * 7 + i) * 4 + k]!
    for (let o = 0; o < 5; o++)
      for (let k = 0; k < 4; k++)
        for (let r = 0; r < 3; r++) {
          const expected = Array.from({ length: 7 }, (_, i) => element(o, i, k) * v.data[i * 3 + r]!).reduce(
            (a, b) => a + b,
          )
          expect(inputs[(o * 4 + k) * 3 + r]).toBeCloseTo(expected, 12)
        }
    for (let r = 0; r < 2; r++)
      for (let i = 0; i < 7; i++)
        for (let k = 0; k < 4; k++) {
          const expected = Array.from({ length: 5 }, (_, o) => element(o, i, k) * u.data[o * 2 + r]!).reduce(
            (a, b) => a + b,
          )
          expect(outputs[(r * 7 + i) * 4 + k]).toBeCloseTo(expected, 12)
        }
  })
})
