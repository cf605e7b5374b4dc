import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { randomMatrix, single, withSingularValues } from '../../test/support/matrices.ts'
import { createMatrixEngine } from '../engine/index.ts'
import { amctRank } from './amct-rank.ts'
import { amctRankOfMatrix } from './amct-rank-of-matrix.ts'
import { evbmf } from './evbmf.ts'
import { transposed } from './matrix-layout.ts'
import { createPlainMatrixEngine } from './plain-matrix-engine.ts'
import { relativeErrorCurve } from './rank-policies.ts'
import { estimateSingularValues } from './spectrum-estimate.ts'
import { singularValues } from './svd.ts'

const plain = createPlainMatrixEngine()
const engine = createMatrixEngine(ort, { threads: 2 })

describe('estimateSingularValues', () => {
  it('gives leading values, error curve and EVBMF rank of a signal in noise within a few percent', async () => {
    const noise = randomMatrix(320, 500, 3)
    const signal = await withSingularValues(
      320,
      500,
      Array.from({ length: 60 }, (_, i) => 400 * (i + 1) ** -0.6),
      4,
    )
    const a = single({ ...noise, data: noise.data.map((value, i) => value + signal.data[i]!) })
    const exact = await singularValues(engine, a)
    for (const matrix of [a, transposed(a)]) {
      const s = await estimateSingularValues(engine, matrix)
      expect(s).toHaveLength(320)
      expect([...s]).toEqual([...s].sort((x, y) => y - x))
      for (let i = 0; i < 10; i++) expect(Math.abs(s[i]! / exact[i]! - 1)).toBeLessThan(1e-3)
      const [curve, expected] = [relativeErrorCurve(s), relativeErrorCurve(exact)]
      for (const rank of [20, 60, 100, 200]) expect(Math.abs(curve[rank]! / expected[rank]! - 1)).toBeLessThan(0.03)
      const [found, true_] = [evbmf(s, 320, 500), evbmf(exact, 320, 500)]
      expect(Math.abs(found.rank - true_.rank)).toBeLessThanOrEqual(4)
      expect(Math.abs(found.noiseVariance / true_.noiseVariance - 1)).toBeLessThan(0.05)
    }
  })

  it('is not disturbed by very strong leading values, in float32', async () => {
    const s = Array.from({ length: 200 }, (_, i) => (i < 10 ? 1e4 / (i + 1) : 1 + i / 400)).sort((x, y) => y - x)
    const a = single(await withSingularValues(200, 260, s))
    const found = await estimateSingularValues(plain, a)
    for (const i of [0, 9, 50, 100, 180]) expect(Math.abs(found[i]! / s[i]! - 1)).toBeLessThan(0.03)
  })

  it('keeps the energy, whatever the matrix', async () => {
    const cases = [
      randomMatrix(40, 60),
      await withSingularValues(30, 50, [3, 2, 1]),
      { rows: 1, cols: 3, data: Float64Array.of(1, 2, 2) },
      { rows: 3, cols: 2, data: new Float32Array(6) },
    ]
    for (const a of cases) {
      const s = await estimateSingularValues(plain, a)
      const total = Array.from(a.data).reduce((sum, value) => sum + value * value, 0)
      expect(s).toHaveLength(Math.min(a.rows, a.cols))
      expect(s.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(total, 6)
    }
  })
})

describe('amctRankOfMatrix', () => {
  it('is AMCT’s rank from the exact spectrum where that is quick', async () => {
    const kernel = { outputChannels: 80, inputChannels: 64, kernelHeight: 3, kernelWidth: 3 }
    const a = single(randomMatrix(192, 240))
    const expected = amctRank(await singularValues(plain, a), kernel)
    expect(await amctRankOfMatrix(plain, a, kernel)).toEqual({ ...expected, estimated: false })
  })

  it('is decided by an estimate for large layers, unless the window leaves a doubt', async () => {
    const side = 7
    const kernel = { outputChannels: 300, inputChannels: 300, kernelHeight: side, kernelWidth: side }
    const a = single(randomMatrix(300 * side, 300 * side))
    // Pure noise: the raw rank is far below the window.
    const found = await amctRankOfMatrix(engine, a, kernel)
    expect(found).toMatchObject({ rank: 416, low: 420, high: 525, estimated: true })
  })
})
