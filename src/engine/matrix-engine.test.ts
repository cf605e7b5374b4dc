import * as ort from 'onnxruntime-node'
import * as web from 'onnxruntime-web'
import { describe, expect, it } from 'vitest'
import { matrixOf, randomMatrix, relativeDistance, single } from '../../test/support/matrices.ts'
import { createPlainMatrixEngine, type Matrix } from '../decompose/index.ts'
import { createMatrixEngine } from './matrix-engine.ts'

const engine = createMatrixEngine(ort, { threads: 2 })
const inWeb = createMatrixEngine(web)
const plain = createPlainMatrixEngine()

const SHAPES = [
  [3, 4, 5],
  [1, 200_000, 1],
  [300, 1, 400],
  [97, 210, 130],
] as const

describe.each([
  // A sum of 200,000 products of either sign is some √k times smaller than its terms together.
  ['float64', 1e-13],
  ['float32', 1e-5],
] as const)('products in %s', (dtype, tolerance) => {
  it.each(SHAPES)('of [%i, %i] and [.., %i] are right in every orientation', async (m, k, n) => {
    for (const transposeA of [false, true])
      for (const transposeB of [false, true]) {
        const a = transposeA ? randomMatrix(k, m) : randomMatrix(m, k)
        const b = transposeB ? randomMatrix(n, k, 2) : randomMatrix(k, n, 2)
        const expected = await plain.multiply(a, b, { transposeA, transposeB })
        const [left, right]: Matrix[] = dtype === 'float64' ? [a, b] : [single(a), single(b)]
        const before = left!.data.slice()
        for (const of of [engine, inWeb]) {
          const product = await of.multiply(left!, right!, { transposeA, transposeB })
          expect(product.data).toBeInstanceOf(dtype === 'float64' ? Float64Array : Float32Array)
          expect(relativeDistance(product, expected)).toBeLessThan(tolerance)
          expect(left!.data).toEqual(before)
        }
      }
  })

  it('take and give empty matrices', async () => {
    const empty = (rows: number, cols: number): Matrix =>
      dtype === 'float64' ? matrixOf(rows, cols, () => 1) : single(matrixOf(rows, cols, () => 1))
    expect(await engine.multiply(empty(0, 3), empty(3, 2))).toMatchObject({ rows: 0, cols: 2 })
    expect([...(await engine.multiply(empty(2, 0), empty(0, 2))).data]).toEqual([0, 0, 0, 0])
  })
})

describe('products of slices', () => {
  it.each([
    [1, 70, 80, 60],
    [70, 40, 80, 1],
    [30, 40, 50, 20],
    [3, 2, 4, 5],
    [5, 3, 0, 2],
  ] as const)('%i slices, [%i, %i] @ [.., %i], are those of each slice', async (outer, m, n, inner) => {
    const tensor = randomMatrix(outer * n, inner, 3)
    const dims = [outer, n, inner] as const
    for (const of of [plain, engine])
      for (const transposeA of [false, true]) {
        const a = transposeA ? randomMatrix(n, m) : randomMatrix(m, n)
        const product = await of.multiplySlices(a, { dims, data: tensor.data }, { transposeA })
        expect(product.dims).toEqual([outer, m, inner])
        const narrow = await of.multiplySlices(single(a), { dims, data: single(tensor).data }, { transposeA })
        expect(narrow.data).toBeInstanceOf(Float32Array)
        for (let o = 0; o < outer; o++) {
          const slice = { rows: n, cols: inner, data: tensor.data.subarray(o * n * inner, (o + 1) * n * inner) }
          const expected = await plain.multiply(a, slice, { transposeA })
          const part = { rows: m, cols: inner, data: product.data.subarray(o * m * inner, (o + 1) * m * inner) }
          expect(relativeDistance(part, expected)).toBeLessThan(1e-14)
          const single = { ...part, data: narrow.data.subarray(o * m * inner, (o + 1) * m * inner) }
          expect(relativeDistance(single, expected)).toBeLessThan(1e-6)
        }
      }
  })

  it('are cut where the result is too large to be made at once', async () => {
    const slices = { dims: [5000, 2, 2000] as const, data: new Float32Array(5000 * 2 * 2000).fill(1) }
    slices.data[4998 * 4000] = 3
    const a = { rows: 3, cols: 2, data: Float32Array.of(1, 2, 3, 4, 5, 6) }
    const { data } = await engine.multiplySlices(a, slices)
    expect([data[0], data[2000], data[4000], data[4998 * 6000]]).toEqual([3, 7, 11, 5])
    expect(data).toHaveLength(5000 * 3 * 2000)
  })

  it('want inner lengths to agree', async () => {
    const slices = { dims: [2, 3, 4] as const, data: new Float64Array(24) }
    for (const of of [plain, engine])
      await expect(of.multiplySlices(randomMatrix(5, 4), slices)).rejects.toThrow(
        'Product of slices: inner lengths must agree; got [5, 4] @ [2, 3, 4].',
      )
  })
})

describe('the matrix engine', () => {
  it('multiplies views on larger arrays', async () => {
    const whole = randomMatrix(100, 90)
    const part = { rows: 60, cols: 90, data: whole.data.subarray(20 * 90, 80 * 90) }
    const expected = await plain.multiply(part, whole, { transposeB: true })
    expect(relativeDistance(await engine.multiply(part, whole, { transposeB: true }), expected)).toBeLessThan(1e-14)
  })

  it('cuts results that are too large to be made at once', async () => {
    const a = matrixOf(5000, 2, (i, j) => i + j)
    const b = matrixOf(2, 4000, (i, j) => (i ? 1 : j % 7))
    const { data } = await engine.multiply(single(a), single(b))
    for (const [i, j] of [
      [0, 0],
      [4193, 3999],
      [4194, 0],
      [4999, 3],
    ] as const)
      expect(data[i * 4000 + j]).toBe(i * (j % 7) + i + 1)
  })

  it('gives Gram matrices of both sides', async () => {
    const a = single(randomMatrix(80, 600))
    const rows = await plain.gram(a)
    expect(relativeDistance(await engine.gram(a), rows)).toBeLessThan(1e-14)
    expect(
      relativeDistance(await engine.gram(a, { transpose: true }), await plain.gram(a, { transpose: true })),
    ).toBeLessThan(1e-13)
  })

  it('serves many products at once', async () => {
    const inputs = Array.from({ length: 6 }, (_, i) => randomMatrix(70 + i, 90, i))
    const together = await Promise.all(inputs.map((a) => engine.multiply(a, a, { transposeB: true })))
    for (const [i, product] of together.entries())
      expect(
        relativeDistance(product, await plain.multiply(inputs[i]!, inputs[i]!, { transposeB: true })),
      ).toBeLessThan(1e-14)
  })

  it('refuses shapes that do not fit', async () => {
    await expect(engine.multiply(randomMatrix(2, 3), randomMatrix(2, 3))).rejects.toThrow(
      'Matrix product: inner lengths must agree; got [2, 3] @ [2, 3].',
    )
  })
})
