import { describe, expect, it } from 'vitest'
import { expectGradient, type GradientCase, gradientErrors } from '../../../test/support/gradient-check.ts'
import { Tensor } from '../../tensor/index.ts'

const OPERATORS = 'L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare'.split(' ').map((name) => `Reduce${name}`)

const axes = (...values: number[]): Tensor => Tensor.int64(values)

const CASES: readonly [string, GradientCase['inputs'], Record<string, number>][] = [
  ['the last axis', [[2, 3, 4], axes(-1)], {}],
  ['outer axes, dropped', [[2, 3, 4], axes(0, 1)], { keepdims: 0 }],
  ['all axes', [[2, 3]], { keepdims: 0 }],
  ['spatial axes', [[2, 2, 3, 2], axes(2, 3)], { keepdims: 1 }],
  ['no axis', [[2, 3]], { noop_with_empty_axes: 1 }],
]

describe('gradients of reductions', () => {
  for (const operator of OPERATORS)
    for (const [name, inputs, attributes] of CASES) {
      // ONNX Runtime applies the operators' elementwise part or not when nothing is reduced; only sums are alike.
      if (name === 'no axis' && operator !== 'ReduceSum') continue
      it(`${operator} over ${name}`, () =>
        expectGradient(operator, {
          inputs,
          attributes,
          ...(operator === 'ReduceLogSum' ? { sample: (random) => 0.5 + random.uniform() } : {}),
        }))
    }

  it('ReduceProd with zeros: one in a row, two in a row, none', () =>
    expectGradient('ReduceProd', {
      inputs: [[3, 3], axes(1)],
      sample: (() => {
        const values = [0, 2, 3, 0, 0, 1.5, 1.25, 2, -1]
        let at = 0
        return () => values[at++ % values.length]!
      })(),
    }))

  it('equal extremes share the gradient', () =>
    expectGradient('ReduceMax', {
      inputs: [[4], axes(0)],
      // A symmetric difference moves one of two equal maxima up or not at all: half of the slope.
      sample: (() => {
        const values = [1, 1, 0, -1]
        let at = 0
        return () => values[at++ % values.length]!
      })(),
    }))

  it('axes that are computed follow from the shapes', async () => {
    const build =
      (keepdims: number): NonNullable<GradientCase['build']> =>
      (b, [x]) => {
        const last = b.op('Sub', [b.op('Size', [b.op('Shape', [x!])]), b.constant(Tensor.int64(1))])
        return [b.op('ReduceMean', [x!, b.op('Reshape', [last, b.constant(axes(1))])], { keepdims })]
      }
    await expectGradient('ReduceMean', { inputs: [[2, 3]], build: build(1) })
    await expect(gradientErrors('ReduceMean', { inputs: [[2, 3]], build: build(0) })).rejects.toThrow(
      'its axes must be constant or kept (keepdims = 1)',
    )
  })
})
