import { describe, it } from 'vitest'
import { expectGradient, type GradientCase } from '../../../test/support/gradient-check.ts'
import { Tensor } from '../../tensor/index.ts'

const BROADCASTS: readonly (readonly [readonly number[], readonly number[]])[] = [
  [
    [2, 3, 4],
    [2, 3, 4],
  ],
  [
    [2, 1, 4],
    [3, 1],
  ],
  [[3], [2, 2, 3]],
  [[], [2, 3]],
]

/** The mean of operands, for which ONNX Runtime has no float64 kernel. */
const mean: NonNullable<GradientCase['reference']> = (b, inputs) => {
  const sum = b.op('Sum', inputs)
  return [b.op('Div', [sum, b.constant(Tensor.of(Float64Array.of(inputs.length), []))])]
}

describe('gradients of binary elementwise operators', () => {
  for (const [a, b] of BROADCASTS) {
    for (const operator of ['Add', 'Sub', 'Mul', 'Max', 'Min', 'Sum'])
      it(`${operator} of [${a}] and [${b}]`, () => expectGradient(operator, { inputs: [a, b] }))
    for (const operator of ['Div', 'Pow'])
      it(`${operator} of [${a}] and [${b}]`, () =>
        expectGradient(operator, { inputs: [a, b], sample: (random) => 0.5 + random.uniform() }))
    it(`Mean of [${a}] and [${b}]`, () => expectGradient('Mean', { inputs: [a, b], reference: mean }))
  }
})

describe('gradients of elementwise operators of several operands', () => {
  const inputs = [[2, 3, 4], [3, 1], Tensor.of(Float32Array.of(0.1, -0.2, 0.3, 0), [4]), [1, 1, 4]]
  for (const operator of ['Max', 'Min', 'Sum'])
    it(`${operator} of four, one of them constant`, () => expectGradient(operator, { inputs, seed: 6 }))
  it('Mean of four, one of them constant', () => expectGradient('Mean', { inputs, reference: mean }))

  for (const exponent of [1, 2, 3, 0.5, -1.5, 4])
    it(`Pow by the constant ${exponent}`, () =>
      expectGradient('Pow', {
        inputs: [[2, 5], Tensor.of(Float32Array.of(exponent), [])],
        sample: (random) => 0.5 + random.uniform(),
      }))

  it('Pow of negative numbers by whole ones', () =>
    expectGradient('Pow', { inputs: [[4, 3], Tensor.of(BigInt64Array.of(0n, 2n, 3n), [3])] }))

  for (const [x, slope] of [
    [[2, 3, 4], [1]],
    [
      [2, 3, 4, 2],
      [3, 1, 1],
    ],
    [
      [5, 2],
      [5, 2],
    ],
  ] as const)
    it(`PRelu of [${x}] with slopes [${slope}]`, () =>
      expectGradient('PRelu', {
        inputs: [x, slope],
        reference: (b, [data, slopes]) => {
          const zero = b.constant(Tensor.of(Float64Array.of(0), []))
          const negative = b.op('Mul', [b.op('Min', [data!, zero]), slopes!])
          return [b.op('Add', [b.op('Max', [data!, zero]), negative])]
        },
      }))

  for (const [a, b] of BROADCASTS.slice(0, 2))
    it(`Where of [${a}] and [${b}]`, () =>
      expectGradient('Where', { inputs: [Tensor.of(Uint8Array.of(1, 0, 1), [3, 1], 'bool'), a, b] }))
  it('Where of a condition that adds an axis', () =>
    expectGradient('Where', { inputs: [Tensor.of(Uint8Array.of(1, 0), [2, 1, 1], 'bool'), [3, 1], [4]] }))
})
