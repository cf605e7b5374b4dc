import { describe, it } from 'vitest'
import { expectGradient, type GradientCase } from '../../../test/support/gradient-check.ts'
import type { AttributeInput } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

const ints = (...values: number[]): Tensor => Tensor.int64(values)

const CASES: readonly [string, GradientCase['inputs'], Record<string, AttributeInput>?, Partial<GradientCase>?][] = [
  ['Reshape', [[2, 6], ints(3, -1)]],
  ['Reshape', [[2, 3, 4], ints(0, -1)]],
  ['Reshape', [[4], ints(2, 1, 2)]],
  ['Flatten', [[2, 3, 4]], { axis: 2 }],
  ['Flatten', [[2, 3, 4]], { axis: 0 }],
  ['Flatten', [[2, 3]]],
  ['Squeeze', [[1, 3, 1, 2], ints(0, 2)]],
  ['Squeeze', [[1, 3, 1]]],
  ['Squeeze', [[2, 1], ints(-1)]],
  ['Unsqueeze', [[2, 3], ints(0, -1)]],
  ['Unsqueeze', [[], ints(0)]],
  ['Unsqueeze', [[2, 3], ints(1)]],
  ['Transpose', [[2, 3, 4]], { perm: [2, 0, 1] }],
  ['Transpose', [[2, 3]]],
  ['Transpose', [[1, 2, 3, 2]], { perm: [0, 3, 1, 2] }],
  ['Expand', [[3, 1], ints(2, 3, 4)]],
  ['Expand', [[1], ints(5)]],
  ['Expand', [[2, 3], ints(1, 3)]],
  ['Tile', [[2, 3], ints(2, 1)]],
  ['Tile', [[2, 1, 3], ints(1, 4, 2)]],
  ['Tile', [[3], ints(3)]],
  [
    'Concat',
    [
      [2, 3],
      [2, 1],
      [2, 2],
    ],
    { axis: -1 },
  ],
  ['Concat', [[1, 3], Tensor.of(new Float32Array(6), [2, 3])], { axis: 0 }],
  ['Concat', [[2, 2, 2], Tensor.of(new Float32Array(4), [2, 1, 2]), [2, 3, 2]], { axis: 1 }],
  ['Split', [[6, 2], ints(1, 3, 2)], {}, { outputs: 3 }],
  ['Split', [[2, 7]], { axis: -1, num_outputs: 2 }, { outputs: 2 }],
  ['Split', [[2, 6]], { axis: 1, num_outputs: 3 }, { outputs: 3 }],
  ['DepthToSpace', [[1, 8, 2, 3]], { blocksize: 2 }],
  ['DepthToSpace', [[2, 4, 1, 2]], { blocksize: 2, mode: 'CRD' }],
  ['DepthToSpace', [[1, 18, 2, 2]], { blocksize: 3, mode: 'CRD' }],
  ['SpaceToDepth', [[1, 2, 4, 6]], { blocksize: 2 }],
  ['SpaceToDepth', [[2, 1, 3, 3]], { blocksize: 3 }],
  ['SpaceToDepth', [[2, 3, 2, 2]], { blocksize: 2 }],
  ['Trilu', [[3, 4]]],
  ['Trilu', [[2, 3, 3], Tensor.int64(1)], { upper: 0 }],
  ['Trilu', [[4, 3], Tensor.int64(-1)]],
  ['CumSum', [[2, 5], Tensor.int64(1)]],
  ['CumSum', [[4, 2], Tensor.int64(0)], { exclusive: 1 }],
  ['CumSum', [[2, 3, 2], Tensor.int64(-2)], { reverse: 1 }],
  ['ReverseSequence', [[4, 3], ints(1, 2, 4)], { time_axis: 0, batch_axis: 1 }],
  ['ReverseSequence', [[2, 4, 2], ints(3, 4)], { time_axis: 1, batch_axis: 0 }],
  ['ReverseSequence', [[3, 2], ints(2, 3)], {}],
]

describe('gradients of movements', () => {
  for (const [operator, inputs, attributes = {}, more = {}] of CASES) {
    const shapes = inputs.map((input) => (input instanceof Tensor ? `(${[...input.data]})` : `[${input}]`)).join(', ')
    const settings = Object.entries(attributes).map(([name, value]) => ` ${name} ${value}`)
    it(`${operator} of ${shapes}${settings}`, () => expectGradient(operator, { inputs, attributes, ...more }))
  }

  for (const used of [[0], [2], [0, 2], [1, 2]])
    it(`Split of which parts ${used} are used`, () =>
      expectGradient('Split', {
        inputs: [[3, 6]],
        build: (b, [x]) => {
          const names = ['a', 'b', 'c']
          b.ops('Split', [x!, b.constant(ints(1, 2, 3))], { axis: 1 }, names)
          return used.map((at) => b.op('Mul', [names[at]!, names[at]!]))
        },
      }))
})
