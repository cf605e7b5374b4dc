import { describe, expect, it } from 'vitest'
import { expectGradient, type GradientCase, gradientErrors } from '../../../test/support/gradient-check.ts'
import { evaluator } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { observeShapes, withOutputs } from '../../engine/index.ts'
import { type AttributeInput, float, GraphBuilder } from '../../graph/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { gradient } from '../gradient.ts'

const SHAPES = [[9], [2, 3, 4], [1, 2, 2, 3]] as const

interface Case {
  readonly operator: string
  readonly attributes?: Record<string, AttributeInput>
  readonly reference?: GradientCase['reference']
}

const number = (b: GraphBuilder, value: number): string => b.constant(Tensor.of(Float64Array.of(value), []))
const positive = (b: GraphBuilder, x: string): string => b.op('Max', [x, number(b, 0)])
const negative = (b: GraphBuilder, x: string): string => b.op('Min', [x, number(b, 0)])
const clamp = (b: GraphBuilder, x: string): string => b.op('Min', [positive(b, x), number(b, 1)])
const affine = (b: GraphBuilder, x: string, scale: number, shift: number): string =>
  b.op('Add', [b.op('Mul', [x, number(b, scale)]), number(b, shift)])

/** γ·(max(x, 0) + α·(e^(min(x, 0)/d) − 1)) */
const exponential = (alpha: number, gamma = 1, divisor = 1): NonNullable<GradientCase['reference']> => {
  return (b, [x]) => {
    const power = b.op('Exp', [b.op('Div', [negative(b, x!), number(b, divisor)])])
    return [b.op('Mul', [b.op('Add', [positive(b, x!), affine(b, power, alpha, -alpha)]), number(b, gamma)])]
  }
}

const CASES: readonly Case[] = [
  { operator: 'Abs' },
  { operator: 'Celu', reference: exponential(1) },
  { operator: 'Celu', attributes: { alpha: float(0.5) }, reference: exponential(0.5, 1, 0.5) },
  { operator: 'Elu', reference: exponential(1) },
  { operator: 'Elu', attributes: { alpha: float(0.5) }, reference: exponential(0.5) },
  {
    operator: 'HardSigmoid',
    attributes: { alpha: float(0.75), beta: float(0.25) },
    reference: (b, [x]) => [clamp(b, affine(b, x!, 0.75, 0.25))],
  },
  {
    operator: 'HardSwish',
    reference: (b, [x]) => [b.op('Mul', [x!, clamp(b, affine(b, x!, 1 / 6, 0.5))])],
  },
  {
    operator: 'LeakyRelu',
    attributes: { alpha: float(0.25) },
    reference: (b, [x]) => [b.op('Add', [positive(b, x!), b.op('Mul', [negative(b, x!), number(b, 0.25)])])],
  },
  { operator: 'Relu' },
  {
    operator: 'Selu',
    reference: exponential(1.6732632423543772, 1.0507009873554805),
  },
  {
    operator: 'Shrink',
    attributes: { lambd: float(0.75), bias: float(0.5) },
    // Its float64 kernel computes in float32.
    reference: (b, [x]) => {
      const outside = b.op('Greater', [b.op('Abs', [x!]), number(b, 0.75)])
      return [b.op('Where', [outside, x!, number(b, 0)])]
    },
  },
  {
    operator: 'Softsign',
    reference: (b, [x]) => [b.op('Div', [x!, b.op('Add', [b.op('Abs', [x!]), number(b, 1)])])],
  },
  {
    operator: 'ThresholdedRelu',
    attributes: { alpha: float(0.5) },
    reference: (b, [x]) => [b.op('Where', [b.op('Greater', [x!, number(b, 0.5)]), x!, number(b, 0)])],
  },
]

describe('gradients of activations with kinks', () => {
  for (const { operator, ...options } of CASES)
    for (const shape of SHAPES)
      it(`${operator} ${Object.keys(options.attributes ?? {})} of [${shape}]`, () =>
        expectGradient(operator, {
          ...options,
          inputs: [shape],
          // HardSwish bends at ±3 only.
          sample: (random) => 0.1 + (operator === 'HardSwish' ? 3 : 1) * random.normal(),
          seed: 2,
        }))

  for (const [name, bounds] of [
    ['both bounds', [-0.5, 0.75]],
    ['a lower bound', [-0.25, undefined]],
    ['an upper bound', [undefined, 0.25]],
  ] as const)
    it(`Clip with ${name}`, () =>
      expectGradient('Clip', {
        inputs: [
          [3, 4],
          ...bounds.map((bound) => (bound === undefined ? undefined : Tensor.of(Float32Array.of(bound), []))),
        ],
      }))

  it('Clip by bounds that are differentiated too', () =>
    expectGradient('Clip', {
      inputs: [[20], [], []],
      sample: (random, input) => [random.normal(), -0.6, 0.7][input]!,
    }))

  it('Clip by a lower bound above the upper one, which wins', () =>
    expectGradient('Clip', {
      inputs: [randomTensor([20], 1), Tensor.of(Float32Array.of(0.5), []), []],
      sample: () => -0.4,
    }))

  it('takes zero for the slope of Relu at zero, one above the smallest normal number', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [5])
    const y = b.op('ReduceSum', [b.op('Relu', [x])], { keepdims: 0 })
    b.output(y, 'float32')
    const model = b.model()
    const result = gradient(model, { loss: y, withRespectTo: ['x'], types: await observeShapes(evaluator, model) })
    const name = result.gradients.get('x')!
    const executable = await evaluator.load(withOutputs(result.model, [name]))
    const outputs = await executable.run({ x: Tensor.of(Float32Array.of(-1, 0, 1.2e-38, 3, 1e30), [5]) })
    await executable.release()
    expect([...toFloat32(outputs[name]!)]).toEqual([0, 0, 1, 1, 1])
  })
})

describe('the gradient of Dropout', () => {
  const inputs = (ratio: number | undefined, training: boolean | undefined): GradientCase['inputs'] => [
    [3, 4],
    ratio === undefined ? undefined : Tensor.of(Float32Array.of(ratio), []),
    training === undefined ? undefined : Tensor.of(Uint8Array.of(training ? 1 : 0), [], 'bool'),
  ]
  it('is the identity in inference', async () => {
    await expectGradient('Dropout', { inputs: inputs(0.4, undefined).slice(0, 2) })
    await expectGradient('Dropout', { inputs: inputs(0.4, false) })
    await expectGradient('Dropout', { inputs: [[3, 4]], attributes: { seed: 1 } })
  })

  it('follows the mask of the forward pass in training', async () => {
    for (const ratio of [0.25, undefined]) {
      const b = new GraphBuilder()
      const x = b.input('x', 'float32', [8, 8])
      const training = b.input('training', 'bool', [])
      const rate = ratio === undefined ? '' : b.constant(Tensor.of(Float32Array.of(ratio), []))
      const [y] = b.ops('Dropout', [x, rate, training], { seed: 7 }, ['y'])
      b.op('ReduceSumSquare', [y!], { keepdims: 0 }, 'loss')
      b.output('loss', 'float32')
      const model = b.model(18)
      const types = await observeShapes(evaluator, model)
      const result = gradient(model, { loss: 'loss', withRespectTo: ['x'], types })
      const name = result.gradients.get('x')!
      const executable = await evaluator.load(withOutputs(result.model, [name, 'y']))
      const values = Float32Array.from({ length: 64 }, (_, at) => 1 + at / 64)
      for (const on of [true, false]) {
        const flag = Tensor.of(Uint8Array.of(on ? 1 : 0), [], 'bool')
        const outputs = await executable.run({ x: Tensor.of(values, [8, 8]), training: flag })
        const [out, slope] = [toFloat32(outputs.y!), toFloat32(outputs[name]!)]
        const scale = on ? 1 / (1 - (ratio ?? 0.5)) : 1
        const kept = out.filter((value) => value !== 0).length
        expect(on ? kept > 8 && kept < 64 : kept === 64).toBe(true)
        for (const [at, value] of out.entries()) expect(slope[at]).toBeCloseTo(value === 0 ? 0 : 2 * value * scale, 3)
      }
      await executable.release()
    }
  })
})

describe('the check itself', () => {
  it('sees a gradient that is zero, and one that is partial', async () => {
    // Floor has no gradient: nothing reaches x by it.
    const partial: GradientCase = {
      inputs: [[6]],
      build: (b, [x]) => [b.op('Mul', [x!, b.op('Floor', [x!])])],
      step: 0.3,
    }
    expect((await gradientErrors('Floor', partial)).numeric).toBeGreaterThan(0.05)
  })
})
