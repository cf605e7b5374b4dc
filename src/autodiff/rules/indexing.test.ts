import { describe, expect, it } from 'vitest'
import { expectGradient, type GradientCase, gradientErrors } from '../../../test/support/gradient-check.ts'
import type { AttributeInput } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

const ints = (shape: readonly number[], ...values: number[]): Tensor =>
  Tensor.of(BigInt64Array.from(values, BigInt), shape)

const CASES: readonly [
  string,
  string,
  GradientCase['inputs'],
  Record<string, AttributeInput>?,
  Partial<GradientCase>?,
][] = [
  ['Gather', 'rows, some twice', [[5, 3], ints([2, 2], 0, 3, 3, -1)]],
  ['Gather', 'columns, some twice', [[2, 4, 3], ints([3], 1, 1, 2)], { axis: 1 }],
  ['Gather', 'one place', [[2, 4], ints([], 2)], { axis: 1 }],
  ['Gather', 'a range', [[2, 5, 2], ints([2], 2, 3)], { axis: 1 }],
  ['Gather', 'some places', [[6, 2], ints([3], 5, 0, -3)]],
  ['Gather', 'a permutation', [[2, 4], ints([2, 2], 2, 0, 3, 1)], { axis: -1 }],
  ['GatherElements', 'rows', [[3, 2], ints([4, 2], 0, 1, 0, 2, -1, 2, 1, 1)]],
  ['GatherElements', 'columns', [[2, 3], ints([2, 2], 0, 2, 1, 1)], { axis: -1 }],
  ['GatherElements', 'three axes', [[2, 2, 3], ints([1, 2, 2], 0, 2, 1, 1)], { axis: 2 }],
  ['GatherND', 'elements', [[3, 4], ints([3, 2], 0, 1, 2, 3, 0, 1)]],
  ['GatherND', 'rows', [[3, 4], ints([2, 2, 1], 0, -1, 2, 0)]],
  ['GatherND', 'per batch', [[2, 3, 2], ints([2, 2, 1], 0, 2, 1, 1)], { batch_dims: 1 }],
  ['GatherND', 'per batch, elements', [[2, 2, 3], ints([2, 1, 2], 0, 2, -1, 1)], { batch_dims: 1 }],
  ['ScatterElements', 'rows', [[3, 3], ints([2, 3], 1, 0, 2, 0, 2, 1), [2, 3]]],
  ['ScatterElements', 'columns', [[2, 4], ints([2, 2], 0, -1, 2, 1), [2, 2]], { axis: 1 }],
  ['ScatterElements', 'sums', [[2, 3], ints([2, 2], 0, 0, 2, 1), [2, 2]], { axis: 1, reduction: 'add' }],
  ['ScatterND', 'elements', [[3, 4], ints([2, 2], 0, 1, 2, 3), [2]]],
  ['ScatterND', 'rows', [[3, 4], ints([2, 1], 2, 0), [2, 4]]],
  ['ScatterND', 'sums', [[3, 4], ints([2, 1], 2, 2), [2, 4]], { reduction: 'add' }],
  ['TopK', 'largest', [[2, 5], ints([1], 3)], {}, { outputs: 2 }],
  ['TopK', 'smallest of the first axis', [[5, 2], ints([1], 2)], { axis: 0, largest: 0 }, { outputs: 2 }],
  ['TopK', 'in any order', [[2, 3, 4], ints([1], 2)], { axis: 1, sorted: 0 }, { outputs: 2 }],
]

describe('gradients of indexing', () => {
  for (const [operator, name, inputs, attributes = {}, more = {}] of CASES)
    it(`${operator}: ${name}`, () => expectGradient(operator, { inputs, attributes, ...more }))

  it('Gather by indices that are computed', () =>
    expectGradient('Gather', {
      inputs: [[4, 3]],
      build: (b, [x]) => {
        const best = b.op('ArgMax', [x!], { axis: 1, keepdims: 0 })
        return [b.op('Gather', [x!, best], { axis: 0 }), b.op('Gather', [x!, best], { axis: 1 })]
      },
    }))

  it('a scatter by product is refused', () =>
    expect(
      gradientErrors('ScatterElements', {
        inputs: [[3], ints([1], 0), [1]],
        attributes: { reduction: 'mul' },
      }),
    ).rejects.toThrow("only the reductions 'none' and 'add' have a gradient rule; it has 'mul'."))
})
