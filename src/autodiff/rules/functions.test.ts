import { describe, it } from 'vitest'
import { expectGradient, type GradientCase } from '../../../test/support/gradient-check.ts'
import { type AttributeInput, float, type GraphBuilder } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

const SHAPES = [[7], [2, 3, 4], [1, 2, 2, 3]] as const

const number = (b: GraphBuilder, value: number): string => b.constant(Tensor.of(Float64Array.of(value), []))

/** σ(αx) · x in operators that have float64 kernels. */
const swish = (alpha: number): NonNullable<GradientCase['reference']> => {
  return (b, [x]) => [b.op('Mul', [x!, b.op('Sigmoid', [b.op('Mul', [x!, number(b, alpha)])])])]
}

const softplus = (b: GraphBuilder, x: string): string => b.op('Log', [b.op('Add', [b.op('Exp', [x]), number(b, 1)])])

const halves = (b: GraphBuilder, x: string, operator: 'Add' | 'Sub'): string =>
  b.op('Mul', [b.op(operator, [b.op('Exp', [x]), b.op('Exp', [b.op('Neg', [x])])]), number(b, 0.5)])

const tanhGelu: NonNullable<GradientCase['reference']> = (b, [x]) => {
  const cube = b.op('Mul', [x!, b.op('Mul', [x!, x!])])
  const inner = b.op('Add', [x!, b.op('Mul', [cube, number(b, 0.044715)])])
  const t = b.op('Tanh', [b.op('Mul', [inner, number(b, Math.sqrt(2 / Math.PI))])])
  return [b.op('Mul', [b.op('Mul', [x!, number(b, 0.5)]), b.op('Add', [t, number(b, 1)])])]
}

interface Case extends Partial<GradientCase> {
  readonly operator: string
  readonly attributes?: Record<string, AttributeInput>
  readonly tolerance?: number
}

const within = (low: number, high: number): NonNullable<GradientCase['sample']> => {
  return (random) => low + (high - low) * random.uniform()
}

/** Without a float64 kernel and without a formula in those that have one: float32, by large steps. */
const coarse = { precision: 'float32', tolerance: 2e-4 } as const

const CASES: readonly Case[] = [
  { operator: 'Acos', sample: within(-0.8, 0.8), ...coarse },
  { operator: 'Acosh', sample: within(1.5, 3), ...coarse },
  { operator: 'Asin', sample: within(-0.8, 0.8), ...coarse },
  { operator: 'Asinh', ...coarse },
  { operator: 'Atan', ...coarse },
  { operator: 'Atanh', sample: within(-0.7, 0.7), ...coarse },
  { operator: 'Cos' },
  { operator: 'Cosh', reference: (b, [x]) => [halves(b, x!, 'Add')] },
  { operator: 'Erf', ...coarse },
  { operator: 'Exp' },
  { operator: 'Gelu', ...coarse },
  { operator: 'Gelu', attributes: { approximate: 'tanh' }, reference: tanhGelu },
  { operator: 'Identity' },
  { operator: 'Log', sample: within(0.3, 3) },
  {
    operator: 'Mish',
    opset: 18,
    reference: (b, [x]) => [b.op('Mul', [x!, b.op('Tanh', [softplus(b, x!)])])],
  },
  { operator: 'Neg' },
  { operator: 'Reciprocal', sample: within(0.3, 3) },
  { operator: 'Sigmoid' },
  { operator: 'Sin' },
  { operator: 'Sinh', reference: (b, [x]) => [halves(b, x!, 'Sub')] },
  { operator: 'Softplus', reference: (b, [x]) => [softplus(b, x!)] },
  { operator: 'Sqrt', sample: within(0.3, 3) },
  { operator: 'Swish', opset: 24, reference: swish(1) },
  { operator: 'Swish', opset: 24, attributes: { alpha: float(1.5) }, reference: swish(1.5) },
  {
    operator: 'Tan',
    sample: within(-1, 1),
    reference: (b, [x]) => [b.op('Div', [b.op('Sin', [x!]), b.op('Cos', [x!])])],
  },
  { operator: 'Tanh' },
]

describe('gradients of functions of one operand', () => {
  for (const { operator, tolerance, ...options } of CASES)
    for (const shape of SHAPES)
      it(`${operator} ${Object.keys(options.attributes ?? {})} of [${shape}]`, () =>
        expectGradient(operator, { ...options, inputs: [shape] }, tolerance ? { numeric: tolerance } : {}))

  it('Cast to another floating-point type and back', () =>
    expectGradient(
      'Cast',
      {
        inputs: [[2, 3]],
        build: (b, [x]) => {
          const single = b.op('Cast', [x!], { to: 1 })
          return [b.op('CastLike', [b.op('Mul', [single, single]), x!])]
        },
        step: 0.02,
      },
      { numeric: 2e-5 },
    ))
})
