import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { matrixOf, randomMatrix, relativeDistance, single } from '../../test/support/matrices.ts'
import { createPlainMatrixEngine, type Matrix, tucker2 } from '../decompose/index.ts'
import { createMatrixEngine } from './matrix-engine.ts'

const engine = createMatrixEngine(ort, { threads: 2 })
const plain = createPlainMatrixEngine()

/** The unfolding `[n, …]` of the middle mode of `[outer, n, inner]`. */
function middleUnfolding(data: Float64Array, [outer, n, inner]: readonly [number, number, number]): Matrix {
  return matrixOf(n, outer * inner, (j, column) => {
    const [o, t] = [Math.floor(column / inner), column % inner]
    return data[(o * n + j) * inner + t]!
  })
}

describe.each([
  ['float64', 1e-13],
  ['float32', 1e-5],
] as const)('Gram matrices of contracted tensors in %s', (dtype, tolerance) => {
  const cast = <T extends Matrix>(matrix: T): Matrix => (dtype === 'float64' ? matrix : single(matrix))

  it.each([
    [20, 30, 9, 7],
    [5, 4, 1, 3],
    [1, 6, 5, 2],
  ] as const)('of [%i, %i, %i] with %i vectors are those of the contracted tensor', async (o, i, k, r) => {
    const dims = [o, i, k] as const
    const tensor = randomMatrix(o, i * k)
    const data = cast(tensor).data
    const [inputs, outputs] = [randomMatrix(r, i, 2), randomMatrix(r, o, 3)]

    const first = await plain.multiplySlices(inputs, { dims, data: tensor.data })
    const found = await engine.contractedGram!({ dims, data }, cast(inputs), 0, { keep: true })
    const unfolded = { rows: o, cols: r * k, data: first.data }
    expect(relativeDistance(found.gram, await plain.multiply(unfolded, unfolded, { transposeB: true }))).toBeLessThan(
      tolerance,
    )
    expect(relativeDistance({ ...unfolded, data: found.contracted! }, unfolded)).toBeLessThan(tolerance)

    const projected = await plain.multiply(outputs, tensor)
    const middle = await engine.contractedGram!({ dims, data }, cast(outputs), 1, { keep: true })
    const rows = middleUnfolding(projected.data, [r, i, k])
    expect(relativeDistance(middle.gram, await plain.multiply(rows, rows, { transposeB: true }))).toBeLessThan(
      tolerance,
    )
    expect(relativeDistance({ ...projected, data: middle.contracted! }, projected)).toBeLessThan(tolerance)
    expect((await engine.contractedGram!({ dims, data }, cast(outputs), 1)).contracted).toBeUndefined()
  })
})

describe('tucker2 on this engine', () => {
  const [o, i, k] = [300, 280, 9] as const
  /** Of rank (6, 5), with a hundredth of noise or none. */
  const tensorOf = async (noise: number): Promise<Float32Array> => {
    const inner = await plain.multiply(randomMatrix(6, 5 * k, 4), { rows: 5 * k, cols: 5 * k, data: identity(5 * k) })
    const { data } = await plain.multiplySlices(randomMatrix(i, 5, 5), { dims: [6, 5, k], data: inner.data })
    const signal = (await plain.multiply(randomMatrix(o, 6, 6), { rows: 6, cols: i * k, data })).data
    const disturbance = randomMatrix(o, i * k, 7).data
    return Float32Array.from(signal, (value, at) => value + noise * disturbance[at]!)
  }
  const identity = (n: number): Float64Array => {
    const data = new Float64Array(n * n)
    for (let j = 0; j < n; j++) data[j * (n + 1)] = 1
    return data
  }

  it('is as good as on plain products, and the same for the same seed', async () => {
    const data = await tensorOf(1)
    const tensor = { data, dims: [o, i, k] as const }
    const found = await tucker2(engine, tensor, [6, 5])
    const again = await tucker2(engine, tensor, [6, 5])
    const expected = await tucker2(plain, tensor, [6, 5], { iterations: 4 })
    expect(found.relativeError / expected.relativeError).toBeLessThan(1.001)
    expect(again.core).toEqual(found.core)
    expect(again.output.data).toEqual(found.output.data)
  })

  it('finds what is of low rank to the rounding of its elements', async () => {
    const { relativeError } = await tucker2(engine, { data: await tensorOf(0), dims: [o, i, k] }, [6, 5])
    expect(relativeError).toBeLessThan(1e-6)
  })
})
