import { describe, expect, it } from 'vitest'
import { createRandom } from '../../../core/index.ts'
import { type AffineOptions, affineParameters, integerLimits, roundHalfToEven } from '../affine.ts'
import type { Range } from '../scheme.ts'
import {
  CALIBRATION_METHODS,
  type CalibrationMethod,
  type CalibratorOptions,
  calibrate,
  statisticNeeds,
} from './calibrate.ts'
import { Density, roundingError } from './density.ts'
import { Histogram } from './histogram.ts'
import { quantizationError } from './mse.ts'
import { TensorStatistics } from './statistics.ts'

function normals(count: number, seed: number, relu = false): Float32Array {
  const { normal } = createRandom(seed)
  return Float32Array.from({ length: count }, () => (relu ? Math.max(normal(), 0) : normal()))
}

function statisticsFor(options: CalibratorOptions, ...batches: Float32Array[]): TensorStatistics {
  const statistics = new TensorStatistics(statisticNeeds(options))
  for (const batch of batches) statistics.add(batch)
  return statistics
}

/** Mean squared error of quantizing number by number, from ONNX's definition. */
function measuredError(data: Float32Array, range: Range, target: AffineOptions): number {
  const { scale, zeroPoint } = affineParameters(range, target)
  const { least, most } = integerLimits(target.type, 8, target.symmetric)
  let sum = 0
  for (const x of data) {
    const q = Math.min(Math.max(roundHalfToEven(x / scale) + zeroPoint, least), most)
    sum += ((q - zeroPoint) * scale - x) ** 2
  }
  return sum / data.length
}

/** numpy.percentile: linear between order statistics. */
function percentileOf(data: Float32Array, percentile: number): number {
  const sorted = data.slice().sort()
  const place = (percentile / 100) * (data.length - 1)
  const [a, b] = [sorted[Math.floor(place)]!, sorted[Math.min(Math.floor(place) + 1, data.length - 1)]!]
  return a + (place - Math.floor(place)) * (b - a)
}

describe('calibrate', () => {
  it('minmax takes least and greatest of all batches', () => {
    const statistics = statisticsFor({ method: 'minmax' }, Float32Array.of(-1, 2), Float32Array.of(0, 3, 0.5))
    expect(calibrate(statistics, { method: 'minmax' }, { type: 'uint8' })).toEqual({ min: -1, max: 3 })
  })

  it('moving-average moves by its constant toward the range of each batch', () => {
    const batches = [Float32Array.of(-1, 2), Float32Array.of(-3, 6), Float32Array.of(-1, 1)]
    const options = { method: 'moving-average', averagingConstant: 0.25 } as const
    // −1 → −1 + ¼(−3 + 1) = −1.5 → −1.5 + ¼(−1 + 1.5) = −1.375; 2 → 3 → 2.5.
    expect(calibrate(statisticsFor(options, ...batches), options, { type: 'uint8' })).toEqual({ min: -1.375, max: 2.5 })
    // The default constant is ONNX Runtime's 0.01.
    const plain = { method: 'moving-average' } as const
    expect(calibrate(statisticsFor(plain, ...batches.slice(0, 2)), plain, { type: 'uint8' }).max).toBeCloseTo(2.04, 12)
  })

  it('percentile is that of the numbers, on each side or of magnitudes', () => {
    const batches = [normals(30_000, 1), normals(50_000, 2)]
    const data = Float32Array.from(batches.flatMap((batch) => [...batch]))
    const options = { method: 'percentile', percentile: 99.9 } as const
    const statistics = statisticsFor(options, ...batches)
    const range = calibrate(statistics, options, { type: 'uint8' })
    expect(range.min).toBeCloseTo(percentileOf(data, 0.05), 6)
    expect(range.max).toBeCloseTo(percentileOf(data, 99.95), 6)
    const even = calibrate(statistics, options, { type: 'int8', symmetric: true })
    expect(even.max).toBeCloseTo(percentileOf(data.map(Math.abs), 99.9), 6)
    expect(even.min).toBe(-even.max)
    // Deeper than the extremes reach: from the histogram, to a bin.
    const deep = calibrate(statistics, { method: 'percentile', percentile: 80 }, { type: 'uint8' })
    expect(Math.abs(deep.max / percentileOf(data, 90) - 1)).toBeLessThan(1 / 2048)
    expect(Math.abs(deep.min / percentileOf(data, 10) - 1)).toBeLessThan(1 / 2048)
    const magnitude = calibrate(statistics, { method: 'percentile', percentile: 80 }, { type: 'int8', symmetric: true })
    expect(Math.abs(magnitude.max / percentileOf(data.map(Math.abs), 80) - 1)).toBeLessThan(1 / 2048)
  })

  it('percentile is exact for few numbers too, where both ends hold the same ones', () => {
    for (const count of [1, 2, 5, 3000]) {
      const data = normals(count, 3 + count)
      const options = { method: 'percentile', percentile: 90 } as const
      const statistics = statisticsFor(options, data)
      expect(calibrate(statistics, options, { type: 'uint8' }).max).toBeCloseTo(percentileOf(data, 95), 6)
      const { max } = calibrate(statistics, options, { type: 'int8', symmetric: true })
      expect(max).toBeCloseTo(percentileOf(data.map(Math.abs), 90), 6)
    }
  })

  it.each([
    [{ type: 'uint8' }, false],
    [{ type: 'uint8' }, true],
    [{ type: 'int8', symmetric: true }, false],
    [{ type: 'uint8', bits: 4 }, false],
  ] as const)('mse is within a hundredth of the least error of all ranges, to %j, after a Relu %s', (target, relu) => {
    const data = normals(20_000, 4, relu)
    const statistics = statisticsFor({ method: 'mse' }, data)
    const { min, max } = statistics
    const found = quantizationError(statistics.histogram!, calibrate(statistics, { method: 'mse' }, target), target)
    let least = Number.POSITIVE_INFINITY
    for (let i = 20; i <= 100; i += 4)
      for (let j = 20; j <= 100; j += relu ? 100 : 4)
        least = Math.min(
          least,
          quantizationError(statistics.histogram!, { min: (min * j) / 100, max: (max * i) / 100 }, target),
        )
    expect(found).toBeLessThan(1.01 * least)
  })

  it('integrates the error of quantization to within a hundredth of what number by number gives', () => {
    const data = normals(50_000, 5)
    const histogram = new Histogram()
    histogram.add(data)
    for (const target of [{ type: 'uint8' }, { type: 'int8', symmetric: true }] as const)
      for (const range of [
        { min: -2, max: 3 },
        { min: -4.2, max: 4.1 },
        { min: -0.5, max: 0.5 },
      ]) {
        const measured = measuredError(data, range, target)
        expect(Math.abs(quantizationError(histogram, range, target) / measured - 1)).toBeLessThan(0.01)
      }
  })

  it('integrates many levels at once as well as one by one', () => {
    const histogram = new Histogram()
    histogram.add(normals(50_000, 6))
    const density = new Density(histogram)
    const fine = { scale: 4 / 1025, least: -513, most: 513 }
    const one = roundingError(density, { ...fine, least: -512, most: 511 })
    const many = roundingError(density, fine)
    expect(Math.abs(many / one - 1)).toBeLessThan(0.02)
  })

  const outlierTarget = { type: 'uint8' } as const
  const bulk = new Float32Array(2_400_000)
  for (let at = 0; at < bulk.length; at += 300_000) bulk.set(normals(300_000, 7 + at, true), at)
  const most = bulk.reduce((a, b) => Math.max(a, b))

  it.each([
    ['percentile', 100, 2],
    ['entropy', 100, 2],
    ['ifmr', 100, 2],
    // These count the outlier's own error, a square of which is as much as that of all others: they find a middle.
    ['mse', 10, 20],
    ['hfmg', 10, 20],
  ] as const)('%s loses little to a planted outlier %i times the rest, which ruins minmax', (method, factor, limit) => {
    const planted = bulk.slice()
    planted[1234] = factor * most
    const errorWith = (name: CalibrationMethod): number => {
      const options: CalibratorOptions = { method: name }
      const statistics = statisticsFor(options, planted.subarray(0, 1_000_000), planted.subarray(1_000_000))
      return measuredError(bulk, calibrate(statistics, options, outlierTarget), outlierTarget)
    }
    const clean = measuredError(bulk, { min: 0, max: most }, outlierTarget)
    expect(errorWith('minmax') / clean).toBeGreaterThan(0.9 * factor ** 2)
    expect(errorWith(method) / clean).toBeLessThan(limit)
  })

  it('says what is wrong with statistics or options', () => {
    const empty = new TensorStatistics()
    expect(() => calibrate(empty, { method: 'minmax' }, { type: 'uint8' })).toThrow(
      "Calibration 'minmax': needs at least one number; the tensor was empty in every batch.",
    )
    const ranges = statisticsFor({ method: 'minmax' }, Float32Array.of(1, 2))
    for (const method of CALIBRATION_METHODS.slice(2))
      expect(() => calibrate(ranges, { method }, { type: 'uint8' })).toThrow(/statistics lack|needs a histogram/)
    const full = statisticsFor({ method: 'percentile' }, Float32Array.of(1, 2))
    expect(() => calibrate(full, { method: 'percentile', percentile: 50 }, { type: 'uint8' })).toThrow(
      "Calibration 'percentile': must be over 50 and up to 100; got 50.",
    )
    expect(() => calibrate(full, { method: 'entropy', levels: 1 }, { type: 'uint8' })).toThrow('got 1.')
    const unknown = { method: 'median' as CalibrationMethod }
    expect(() => statisticNeeds(unknown)).toThrow(
      "Calibration: the method must be one of minmax, moving-average, percentile, entropy, mse, ifmr, hfmg; got 'median'.",
    )
  })
})
