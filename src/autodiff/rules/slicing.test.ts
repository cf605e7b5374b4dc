import { describe, expect, it } from 'vitest'
import { expectGradient, type GradientCase, gradientErrors } from '../../../test/support/gradient-check.ts'
import { Tensor } from '../../tensor/index.ts'

const ints = (...values: number[]): Tensor => Tensor.int64(values)
const BIG = 2 ** 40

describe('gradients of Slice', () => {
  const cases: readonly [string, GradientCase['inputs']][] = [
    ['one axis', [[4, 5], ints(1), ints(3), ints(1)]],
    ['all axes', [[4, 5], ints(1, 0), ints(-1, BIG)]],
    ['steps', [[7, 5], ints(1, 0), ints(7, 5), ints(0, 1), ints(3, 2)]],
    ['steps that do not end at the border', [[8], ints(0), ints(6), ints(0), ints(3)]],
    ['a negative axis and negative bounds', [[2, 6, 2], ints(-5), ints(-1), ints(-2)]],
    ['a whole axis backwards', [[3, 5], ints(-1), ints(-BIG), ints(1), ints(-1)]],
    ['backwards by steps', [[9], ints(7), ints(0), ints(0), ints(-3)]],
    ['backwards from beyond the end', [[6, 2], ints(BIG), ints(1), ints(0), ints(-2)]],
    ['forwards and backwards', [[4, 6], ints(1, 4), ints(4, 0), ints(0, 1), ints(2, -2)]],
  ]
  for (const [name, inputs] of cases) it(name, () => expectGradient('Slice', { inputs }))

  it('bounds that are computed', () =>
    expectGradient('Slice', {
      inputs: [[5, 6]],
      build: (b, [x]) => {
        const shape = b.op('Shape', [x!])
        const half = b.op('Div', [shape, b.constant(ints(2))])
        return [b.op('Slice', [x!, half, shape, b.constant(ints(0, 1)), b.constant(ints(1, 2))])]
      },
    }))
})

describe('gradients of Pad', () => {
  const cases: readonly [string, GradientCase['inputs'], string?][] = [
    ['zeros', [[2, 3], ints(1, 0, 0, 2)]],
    ['zeros on named axes', [[1, 2, 3, 3], ints(1, 2, 0, 1), undefined, ints(2, -1)]],
    ['a value that is differentiated', [[2, 3], ints(1, 0, 0, 2), []]],
    ['negative pads', [[4, 5], ints(-1, 2, 0, -2)]],
    ['reflection', [[4, 5], ints(1, 2, 3, 4)], 'reflect'],
    ['reflection of one axis', [[2, 5], ints(2, 1), undefined, ints(1)], 'reflect'],
    ['edges', [[3, 2], ints(2, 0, 1, 3)], 'edge'],
    ['edges of images', [[1, 2, 3, 3], ints(0, 0, 1, 2, 0, 0, 1, 0)], 'edge'],
    ['the other side', [[4, 3], ints(2, 0, 1, 3)], 'wrap'],
  ]
  for (const [name, inputs, mode = 'constant'] of cases)
    it(name, () => expectGradient('Pad', { inputs, attributes: { mode } }))

  const computed = (mode: string): GradientCase => ({
    inputs: [[2, 3]],
    build: (b, [x]) => {
      const shape = b.op('Div', [b.op('Shape', [x!]), b.constant(ints(2))])
      return [b.op('Pad', [x!, b.op('Concat', [shape, shape], { axis: 0 })], { mode })]
    },
  })
  it('pads that are computed', () => expectGradient('Pad', computed('constant')))
  it('reflection by pads that are computed is refused', () =>
    expect(gradientErrors('Pad', computed('reflect'))).rejects.toThrow(
      /^Pad '.*': with mode 'reflect' its pads must be constant; 'Concat_.*' is computed\. Fold constants first\.$/,
    ))
})
