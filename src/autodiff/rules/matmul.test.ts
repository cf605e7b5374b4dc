import { describe, expect, it } from 'vitest'
import { expectGradient, gradientErrors } from '../../../test/support/gradient-check.ts'
import { float } from '../../graph/index.ts'

describe('gradients of MatMul', () => {
  const cases: readonly (readonly [readonly number[], readonly number[]])[] = [
    [
      [3, 4],
      [4, 2],
    ],
    [
      [2, 3, 4],
      [4, 5],
    ],
    [
      [2, 3, 4],
      [2, 4, 5],
    ],
    [
      [2, 1, 3, 4],
      [3, 4, 2],
    ],
    [
      [3, 4],
      [2, 4, 5],
    ],
    [
      [2, 3, 4],
      [1, 4, 2],
    ],
    [[4], [4]],
    [[4], [4, 3]],
    [[3, 4], [4]],
    [[2, 3, 4], [4]],
    [[4], [2, 4, 3]],
    [[4], [2, 3, 4, 2]],
  ]
  for (const [a, b] of cases) it(`of [${a}] and [${b}]`, () => expectGradient('MatMul', { inputs: [a, b] }))
})

describe('gradients of Gemm', () => {
  for (const transA of [0, 1])
    for (const transB of [0, 1])
      for (const [scale, c] of [
        [1, [2]],
        [0.5, [3, 2]],
        [-1.5, [3, 1]],
      ] as const)
        it(`transA ${transA}, transB ${transB}, alpha ${scale}, C [${c}]`, () =>
          expectGradient('Gemm', {
            inputs: [transA ? [4, 3] : [3, 4], transB ? [2, 4] : [4, 2], c],
            attributes: { transA, transB, alpha: float(scale), beta: float(2 * scale) },
          }))
  it('without C', () =>
    expectGradient('Gemm', {
      inputs: [
        [3, 4],
        [2, 4],
      ],
      attributes: { transB: 1 },
    }))
})

describe('gradients of Einsum', () => {
  const cases: readonly (readonly [string, ...(readonly number[])[]])[] = [
    ['ij,jk->ik', [3, 4], [4, 2]],
    ['bij,bkj->bik', [2, 3, 4], [2, 5, 4]],
    ['bhid,bhjd->bhij', [2, 2, 3, 4], [2, 2, 5, 4]],
    ['...ij,jk', [2, 3, 4], [4, 5]],
    ['...ij,...jk->...ik', [2, 1, 3, 4], [2, 5, 4, 2]],
    ['i...,ij...->j...', [3, 2], [3, 4, 2]],
    ['ij,ik->j', [3, 4], [3, 2]],
    ['ij->ji', [3, 4]],
    ['ij->i', [3, 4]],
    ['i,j->ij', [3], [4]],
    ['ij,ij->', [3, 4], [3, 4]],
    ['ij,jk,kl->il', [2, 3], [3, 4], [4, 2]],
    ['ij, jk', [1, 3], [3, 1]],
  ]
  for (const [equation, ...inputs] of cases)
    it(`${equation} of ${inputs.map((shape) => `[${shape}]`).join(', ')}`, () =>
      expectGradient('Einsum', { inputs, attributes: { equation } }))

  it('a diagonal is refused', () =>
    expect(gradientErrors('Einsum', { inputs: [[3, 3]], attributes: { equation: 'ii->i' } })).rejects.toThrow(
      "Einsum 'node_Einsum_0': a letter twice in one operand has no gradient rule; it has 'ii->i'.",
    ))
})
