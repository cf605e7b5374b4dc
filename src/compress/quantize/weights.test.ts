import { describe, expect, test } from 'vitest'
import { randomTensor } from '../../../test/support/small-network.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { affineParameters } from './affine.ts'
import {
  dequantizeWeight,
  integersOf,
  integerTensor,
  quantizeWeight,
  weightError,
  weightQuantization,
  weightRanges,
} from './weights.ts'

const floats = (values: number[], shape: number[]): Tensor => Tensor.of(Float32Array.from(values), shape)

describe('scales of weights', () => {
  test('symmetric ones are the greatest magnitude over 127, for each index of the axis', () => {
    const weight = floats([1, -2, 0.5, 4, 0, -8], [2, 3])
    const rows = weightQuantization(weight, { type: 'int8', axis: 0 })
    expect(rows).toEqual({
      type: 'int8',
      bits: 8,
      scale: [Math.fround(2 / 127), Math.fround(8 / 127)],
      zeroPoint: [0, 0],
      axis: 0,
    })
    const columns = weightQuantization(weight, { type: 'int8', axis: 1 })
    expect(columns.scale).toEqual([4, 2, 8].map((most) => Math.fround(most / 127)))
    expect(weightQuantization(weight, { type: 'int8', axis: null }).scale).toEqual([Math.fround(8 / 127)])
  })

  test('seven bits divide by 63, four by 7', () => {
    const weight = floats([-1, 0.25], [2])
    expect(weightQuantization(weight, { type: 'int8', bits: 7, axis: null }).scale).toEqual([Math.fround(1 / 63)])
    expect(weightQuantization(weight, { type: 'int4', axis: null }).scale).toEqual([Math.fround(1 / 7)])
  })

  test('unsigned weights have a zero point: −1 … 3 in uint8 has scale 4 / 255 and zero at 64', () => {
    const found = weightQuantization(floats([-1, 3], [2]), { type: 'uint8', axis: null })
    expect(found.scale).toEqual([Math.fround(4 / 255)])
    expect(found.zeroPoint).toEqual([64])
  })

  test('ARQ divides by 128 where the negative side is the greater, else by 127', () => {
    const weight = floats([-4, 2, -1, 4], [2, 2])
    const { scale } = weightQuantization(weight, { type: 'int8', axis: 0, algorithm: 'arq' })
    expect(scale).toEqual([Math.fround(4 / 128), Math.fround(4 / 127)])
    const found = weightQuantization(weight, { type: 'int8', axis: 0, algorithm: 'arq' })
    expect([...integersOf(quantizeWeight(weight, found))]).toEqual([-128, 64, -32, 127])
    const tiny = floats([1e-9, 0], [2])
    expect(weightQuantization(tiny, { type: 'int8', axis: null, algorithm: 'arq' }).scale).toEqual([1])
  })

  test('the MSE-optimal scale loses less than that of the extremes, on every channel', () => {
    const weight = randomTensor(3, [8, 200])
    for (const type of ['int8', 'int4'] as const) {
      const errors = (['minmax', 'mse'] as const).map((algorithm) => {
        const found = weightQuantization(weight, { type, axis: 0, algorithm })
        const restored = toFloat32(dequantizeWeight(quantizeWeight(weight, found), found))
        return Array.from({ length: 8 }, (_, row) =>
          toFloat32(weight)
            .slice(200 * row, 200 * row + 200)
            .reduce((sum, value, i) => sum + (value - restored[200 * row + i]!) ** 2, 0),
        )
      })
      for (const [row, error] of errors[0]!.entries()) expect(errors[1]![row]!).toBeLessThanOrEqual(error)
      if (type === 'int4')
        expect(errors[1]!.reduce((a, b) => a + b)).toBeLessThan(0.8 * errors[0]!.reduce((a, b) => a + b))
    }
  })

  test('a weight of zeros keeps zeros', () => {
    const weight = floats([0, 0, 0], [3])
    const found = weightQuantization(weight, { type: 'int8', axis: null })
    expect(found.scale).toEqual([1])
    expect([...integersOf(quantizeWeight(weight, found))]).toEqual([0, 0, 0])
  })

  test('NaN, infinity and axes that are not there are errors', () => {
    expect(() => weightRanges(floats([1, Number.NaN], [2]), null)).toThrow('must be of finite numbers; found NaN')
    expect(() => weightRanges(floats([1, Number.POSITIVE_INFINITY], [2]), 0)).toThrow('found Infinity')
    expect(() => weightRanges(floats([1, 2], [2]), 1)).toThrow('axis must be 0 to 0; got 1')
  })
})

describe('weights as integers', () => {
  test('are rounded to the nearest, halves to even, and clamped', () => {
    const quantization = { type: 'int8', bits: 8, scale: [1], zeroPoint: [0], axis: null } as const
    const weight = floats([0.5, 1.5, 2.5, -0.5, -1.5, 300, -300, 0.49], [8])
    expect([...integersOf(quantizeWeight(weight, quantization))]).toEqual([0, 2, 2, 0, -2, 127, -128, 0])
  })

  test('seven bits are clamped at −64 and 63', () => {
    const quantization = { type: 'int8', bits: 7, scale: [1], zeroPoint: [0], axis: null } as const
    expect([...integersOf(quantizeWeight(floats([100, -100], [2]), quantization))]).toEqual([63, -64])
  })

  test('four bits are packed two in a byte, the first in the low half', () => {
    const packed = integerTensor([1, -2, 7, -8, -1], [5], 'int4')
    expect([...packed.bytes]).toEqual([0xe1, 0x87, 0x0f])
    expect([...integersOf(packed)]).toEqual([1, -2, 7, -8, -1])
    expect([...integersOf(integerTensor([15, 1, 8], [3], 'uint4'))]).toEqual([15, 1, 8])
  })

  test('come back within half a step, on any axis', () => {
    const weight = randomTensor(1, [4, 6, 3, 3])
    for (const axis of [0, 1, 3, null])
      for (const type of ['int8', 'uint8', 'int16', 'int4'] as const) {
        const quantization = weightQuantization(weight, { type, axis })
        const restored = toFloat32(dequantizeWeight(quantizeWeight(weight, quantization), quantization))
        const inner = axis === null ? 216 : [54, 9, 3, 1][axis]!
        for (const [i, value] of toFloat32(weight).entries()) {
          const scale = quantization.scale[Math.floor(i / inner) % quantization.scale.length]!
          // Both ends of an asymmetric range are half a step beyond the last integer at most.
          expect(Math.abs(restored[i]! - value)).toBeLessThanOrEqual(
            scale * (type === 'uint8' ? 1.001 : 0.5001) + 1e-6 * Math.abs(value),
          )
        }
      }
  })

  test('need as many scales as the axis has indices', () => {
    const quantization = { type: 'int8', bits: 8, scale: [1, 1], zeroPoint: [0, 0], axis: 0 } as const
    expect(() => quantizeWeight(floats([1, 2, 3], [3]), quantization)).toThrow(
      'its 3 channels need as many scales and zero points; got 2 and 2',
    )
  })

  test('the error is relative and in decibels', () => {
    const error = weightError(floats([3, 4], [2]), floats([3, 3.5], [2]))
    expect(error.relativeError).toBeCloseTo(0.1, 6)
    expect(error.sqnr).toBeCloseTo(20, 5)
    expect(weightError(floats([3, 4], [2]), floats([3, 4], [2]))).toEqual({ relativeError: 0, sqnr: null })
  })
})

describe('affine parameters', () => {
  // Hand-computed by onnxruntime.quantization's formula: scale (max − min) / 255, zero point round(−min / scale).
  test.each([
    [0, 6, 'uint8', 6 / 255, 0],
    [-1, 1, 'uint8', 2 / 255, 128],
    [-1, 3, 'int8', 4 / 255, -64],
    [2, 6, 'uint8', 6 / 255, 0],
    [-6, -2, 'uint8', 6 / 255, 255],
  ] as const)('of %f … %f in %s', (min, max, type, scale, zeroPoint) => {
    expect(affineParameters({ min, max }, { type })).toEqual({ scale: Math.fround(scale), zeroPoint })
  })
})
