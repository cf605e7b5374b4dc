import { describe, it } from 'vitest'
import { expectGradient } from '../../../test/support/gradient-check.ts'
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

describe('gradients of binary elementwise operators', () => {
  const positive = { sample: (random: { uniform(): number }) => 0.5 + random.uniform() }
  for (const [a, b] of BROADCASTS)
    for (const operator of ['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Pow', 'Sum', 'Mean'])
      it(`${operator} of [${a}] and [${b}]`, () =>
        expectGradient(operator, {
          inputs: [a, b],
          ...(operator === 'Pow' || operator === 'Div' ? positive : {}),
        }))
})

describe('gradients of elementwise operators of several operands', () => {
  for (const operator of ['Max', 'Min', 'Sum', 'Mean'])
    it(`${operator} of four, one of them constant`, () =>
      expectGradient(operator, {
        inputs: [[2, 3, 4], [3, 1], Tensor.of(Float32Array.of(0.1, -0.2, 0.3, 0), [4]), [1, 1, 4]],
      }))

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
    it(`PRelu of [${x}] with slopes [${slope}]`, () => expectGradient('PRelu', { inputs: [x, slope] }))

  for (const [a, b] of BROADCASTS.slice(0, 3))
    it(`Where of [${a}] and [${b}]`, () =>
      expectGradient('Where', { inputs: [Tensor.of(Uint8Array.of(1, 0, 1), [3, 1], 'bool'), a, b] }))
})
