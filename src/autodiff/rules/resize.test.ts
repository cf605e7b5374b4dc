import { describe, it } from 'vitest'
import { expectGradient } from '../../../test/support/gradient-check.ts'
import { type AttributeInput, float } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

/** No float64 kernel; linear, so that float32 differences of any width are exact but for rounding. */
const LINEAR = { precision: 'float32', step: 1, opset: 19 } as const
const TOLERANCE = { numeric: 1e-5 }

const floats = (...values: number[]): Tensor => Tensor.of(Float32Array.from(values), [values.length])

type Attributes = Record<string, AttributeInput>

const COORDINATES = ['half_pixel', 'half_pixel_symmetric', 'pytorch_half_pixel', 'align_corners', 'asymmetric']
const ROUNDINGS = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil']
const SCALES: readonly (readonly number[])[] = [
  [1, 1, 2, 3],
  [1, 1, 1.7, 2.5],
  [1, 1, 0.6, 0.5],
]

const resized = (shape: readonly number[], scales: readonly number[], attributes: Attributes): Promise<void> =>
  expectGradient('Resize', { inputs: [shape, undefined, floats(...scales)], attributes, ...LINEAR }, TOLERANCE)

describe('gradients of Resize', () => {
  for (const coordinate of COORDINATES)
    for (const rounding of ROUNDINGS)
      for (const scales of SCALES)
        it(`nearest, ${coordinate}, ${rounding}, scales ${scales}`, () =>
          resized([1, 2, 4, 5], scales, {
            mode: 'nearest',
            coordinate_transformation_mode: coordinate,
            nearest_mode: rounding,
          }))

  for (const mode of ['linear', 'cubic'])
    for (const coordinate of COORDINATES)
      for (const scales of SCALES)
        it(`${mode}, ${coordinate}, scales ${scales}`, () =>
          resized([1, 2, 4, 5], scales, { mode, coordinate_transformation_mode: coordinate }))

  it('by sizes', () =>
    expectGradient(
      'Resize',
      {
        inputs: [[2, 2, 5, 4], undefined, undefined, Tensor.int64([2, 2, 7, 9])],
        attributes: { mode: 'linear' },
        ...LINEAR,
      },
      TOLERANCE,
    ))
  it('of the axes named', () =>
    expectGradient(
      'Resize',
      { inputs: [[1, 2, 3, 4], undefined, floats(2, 1.5)], attributes: { mode: 'linear', axes: [3, 2] }, ...LINEAR },
      TOLERANCE,
    ))
  for (const policy of ['not_larger', 'not_smaller'])
    it(`by sizes, ${policy}`, () =>
      expectGradient(
        'Resize',
        {
          inputs: [[1, 1, 5, 4], undefined, undefined, Tensor.int64([8, 9])],
          attributes: { mode: 'linear', axes: [2, 3], keep_aspect_ratio_policy: policy },
          ...LINEAR,
        },
        TOLERANCE,
      ))
  for (const mode of ['linear', 'cubic'])
    it(`${mode}, smoothed`, () => resized([1, 2, 8, 7], [1, 1, 0.5, 0.6], { mode, antialias: 1 }))
  it('cubic with other coefficients, weights outside left out', () =>
    resized([1, 1, 5, 4], [1, 1, 1.6, 2], { mode: 'cubic', cubic_coeff_a: float(-0.5), exclude_outside: 1 }))
  it('linear of one axis', () => resized([2, 2, 5], [1, 1, 2.4], { mode: 'linear' }))
  it('linear of three axes', () => resized([1, 1, 3, 2, 3], [1, 1, 2, 1.5, 2], { mode: 'linear' }))
  it('nearest of two axes without channels', () => resized([3, 4], [2, 2], { mode: 'nearest' }))
  for (const mode of ['nearest', 'linear'])
    it(`${mode} of a crop that reaches over the edge`, () =>
      expectGradient(
        'Resize',
        {
          inputs: [[1, 1, 4, 5], floats(0, 0, 0.1, -0.2, 1, 1, 0.8, 1.1), undefined, Tensor.int64([1, 1, 3, 7])],
          attributes: { mode, coordinate_transformation_mode: 'tf_crop_and_resize' },
          ...LINEAR,
        },
        TOLERANCE,
      ))
})
