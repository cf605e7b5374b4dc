import { describe, it } from 'vitest'
import { expectGradient, type GradientCase } from '../../../test/support/gradient-check.ts'
import type { AttributeInput } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

describe('gradients of softmax', () => {
  for (const operator of ['Softmax', 'LogSoftmax'])
    for (const [shape, axis] of [
      [[5], 0],
      [[2, 3, 4], -1],
      [[2, 3, 4], 1],
      [[2, 3, 2, 2], 0],
    ] as const)
      it(`${operator} of [${shape}] over axis ${axis}`, () =>
        expectGradient(operator, { inputs: [shape], attributes: { axis } }))
})

/** Labels of [2, 2] positions among three classes. */
const LABELS = Tensor.of(BigInt64Array.of(0n, 2n, 1n, 2n), [2, 2])
const FLAT = Tensor.of(BigInt64Array.of(1n, 0n, 2n, 2n), [4])
const WEIGHTS = Tensor.of(Float32Array.of(0.5, 1, 2), [3])

describe('gradients of classification losses', () => {
  const cases: readonly [string, GradientCase['inputs'], Record<string, AttributeInput>][] = [
    ['mean', [[4, 3], FLAT], {}],
    ['sum', [[4, 3], FLAT], { reduction: 'sum' }],
    ['none', [[4, 3], FLAT], { reduction: 'none' }],
    ['weighted mean', [[4, 3], FLAT, WEIGHTS], {}],
    ['weighted mean with an ignored class', [[4, 3], FLAT, WEIGHTS], { ignore_index: 2 }],
    ['mean over positions with an ignored class', [[2, 3, 2], LABELS], { ignore_index: 0 }],
    ['each position, weighted', [[2, 3, 2], LABELS, WEIGHTS], { reduction: 'none' }],
  ]
  for (const operator of ['NegativeLogLikelihoodLoss', 'SoftmaxCrossEntropyLoss'])
    for (const [name, inputs, attributes] of cases)
      it(`${operator}, ${name}`, () => expectGradient(operator, { inputs, attributes }))

  it('SoftmaxCrossEntropyLoss with both outputs, and int32 labels', () =>
    expectGradient('SoftmaxCrossEntropyLoss', {
      inputs: [[4, 3], Tensor.of(Int32Array.of(1, 0, 2, 2), [4])],
      attributes: { ignore_index: 1 },
      outputs: 2,
    }))
})
