import { describe, it } from 'vitest'
import { expectGradient, type GradientCase } from '../../../test/support/gradient-check.ts'
import { float, type GraphBuilder } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

type Reference = NonNullable<GradientCase['reference']>

const number = (b: GraphBuilder, value: number): string => b.constant(Tensor.of(Float64Array.of(value), []))

/** (x − mean) / √(variance + ε) over axes, of operators with float64 kernels. */
function standardized(b: GraphBuilder, x: string, axes: readonly number[], epsilon: number): string {
  const mean = (value: string): string => b.op('ReduceMean', [value, b.constant(Tensor.int64(axes))])
  const centered = b.op('Sub', [x, mean(x)])
  const variance = mean(b.op('Mul', [centered, centered]))
  return b.op('Div', [centered, b.op('Sqrt', [b.op('Add', [variance, number(b, epsilon)])])])
}

describe('gradients of layer normalisation', () => {
  for (const [x, axis] of [
    [[3, 5], -1],
    [[2, 3, 4], 1],
    [[2, 3, 2, 4], 2],
    [[6], 0],
  ] as const) {
    const rest = x.slice(axis < 0 ? axis + x.length : axis)
    it(`LayerNormalization of [${x}] from axis ${axis}`, () =>
      expectGradient('LayerNormalization', { inputs: [x, rest, rest], attributes: { axis, epsilon: float(0.01) } }))
    it(`LayerNormalization of [${x}] from axis ${axis}, no bias`, () =>
      expectGradient('LayerNormalization', { inputs: [x, rest], attributes: { axis } }))
    it(`LayerNormalization of [${x}] from axis ${axis}, all outputs`, () =>
      expectGradient('LayerNormalization', {
        inputs: [x, rest, rest],
        attributes: { axis, epsilon: float(0.01) },
        outputs: 3,
        reference: (b, [data, scale, bias]) => {
          const axes = rest.map((_, at) => x.length - rest.length + at)
          const mean = b.op('ReduceMean', [data!, b.constant(Tensor.int64(axes))])
          const centered = b.op('Sub', [data!, mean])
          const square = b.op('ReduceMean', [b.op('Mul', [centered, centered]), b.constant(Tensor.int64(axes))])
          const deviation = b.op('Sqrt', [b.op('Add', [square, number(b, 0.01)])])
          const value = b.op('Div', [centered, deviation])
          return [b.op('Add', [b.op('Mul', [value, scale!]), bias!]), mean, b.op('Reciprocal', [deviation])]
        },
      }))
    it(`RMSNormalization of [${x}] from axis ${axis}`, () =>
      expectGradient('RMSNormalization', { inputs: [x, rest], attributes: { axis }, opset: 23 }))
  }
})

const perChannel = (b: GraphBuilder, value: string, rank: number): string =>
  b.op('Reshape', [value, b.constant(Tensor.int64([-1, ...new Array<number>(rank - 2).fill(1)]))])

describe('gradients of normalisations of planes and groups', () => {
  for (const x of [
    [2, 3, 4, 5],
    [1, 2, 6],
    [2, 2, 3, 2, 2],
  ]) {
    const channels = [x[1]!]
    const reference: Reference = (b, [data, scale, bias]) => {
      const axes = x.map((_, axis) => axis).slice(2)
      const scaled = b.op('Mul', [standardized(b, data!, axes, 0.01), perChannel(b, scale!, x.length)])
      return [b.op('Add', [scaled, perChannel(b, bias!, x.length)])]
    }
    it(`InstanceNormalization of [${x}]`, () =>
      expectGradient('InstanceNormalization', {
        inputs: [x, channels, channels],
        attributes: { epsilon: float(0.01) },
        reference,
      }))
  }

  for (const x of [
    [2, 6, 3, 2],
    [1, 4, 5],
    [2, 4, 2, 3, 2],
  ]) {
    it(`GroupNormalization of [${x}], a scale per channel`, () =>
      expectGradient('GroupNormalization', {
        inputs: [x, [x[1]!], [x[1]!]],
        attributes: { num_groups: 2, epsilon: float(0.01) },
        opset: 21,
        // The operator's statistics are float32 unless told otherwise, in a graph of float64 too.
        reference: (b, [data, scale, bias]) => {
          const rows = b.op('Reshape', [data!, b.constant(Tensor.int64([x[0]!, 2, -1]))])
          const value = b.op('Reshape', [standardized(b, rows, [2], 0.01), b.constant(Tensor.int64(x))])
          const scaled = b.op('Mul', [value, perChannel(b, scale!, x.length)])
          return [b.op('Add', [scaled, perChannel(b, bias!, x.length)])]
        },
      }))
    it(`GroupNormalization of [${x}], a scale per group`, () =>
      expectGradient('GroupNormalization', { inputs: [x, [2], [2]], attributes: { num_groups: 2 }, opset: 18 }))
  }

  for (const [x, axes] of [
    [[2, 3, 4, 3], undefined],
    [
      [3, 4, 2],
      [2, 0],
    ],
    [[3, 5], [-1]],
  ] as const)
    it(`MeanVarianceNormalization of [${x}] over [${axes ?? 'default'}]`, () =>
      expectGradient('MeanVarianceNormalization', {
        inputs: [x],
        attributes: { axes },
        reference: (b, [data]) => [standardized(b, data!, axes ?? [0, 2, 3], 0)],
      }))

  for (const [x, axis] of [
    [[3, 5], -1],
    [[2, 4, 3], 1],
    [[4, 2, 2], 0],
  ] as const)
    for (const p of [1, 2])
      it(`LpNormalization of [${x}] along ${axis}, p = ${p}`, () =>
        expectGradient('LpNormalization', { inputs: [x], attributes: { axis, p } }))

  for (const [x, size] of [
    [[2, 5, 3, 2], 3],
    [[1, 6, 2, 2], 1],
    [[1, 3, 2, 3], 5],
  ] as const)
    it(`LRN of [${x}] over ${size} channels`, () => {
      const attributes = { size, alpha: float(0.5), beta: float(0.6), bias: float(1.5) }
      const [below, above] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)]
      return expectGradient('LRN', {
        inputs: [x],
        attributes,
        reference: (b, [data]) => {
          const square = b.op('Mul', [data!, data!])
          const plane = (from: number, to: number): string => {
            const ends = [from, to].map((at) => b.constant(Tensor.int64([at])))
            return b.op('ReduceSum', [
              b.op('Slice', [square, ...ends, b.constant(Tensor.int64([1]))]),
              b.constant(Tensor.int64([1])),
            ])
          }
          const sums = Array.from({ length: x[1] }, (_, c) =>
            plane(Math.max(0, c - below), Math.min(x[1], c + above + 1)),
          )
          const sum = b.op('Concat', sums, { axis: 1 })
          const base = b.op('Add', [b.op('Mul', [sum, number(b, 0.5 / size)]), number(b, 1.5)])
          return [b.op('Div', [data!, b.op('Pow', [base, number(b, Math.fround(0.6))])])]
        },
      })
    })
})
