import { describe, expect, it } from 'vitest'
import { relativeErrorOf } from '../../test/support/tensors.ts'
import { GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'
import { gainOf, initialize } from './initialize.ts'

const ones = (shape: readonly number[]): Tensor =>
  Tensor.of(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(7), shape)

/** Conv [64, 8, 3, 3] → BN → ConvTranspose [64, 16, 2, 2] → …, Gemm [in 100, out 50], MatMul [in 40, out 60] */
function layers(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [1, 8, 4, 4])
  const y = b.op('Conv', [x, b.constant(ones([64, 8, 3, 3]), 'conv'), b.constant(ones([64]), 'conv.bias')])
  const stats = ['scale', 'shift', 'mean', 'variance'].map((name) => b.constant(ones([64]), name))
  b.op('ConvTranspose', [b.op('BatchNormalization', [y, ...stats]), b.constant(ones([64, 16, 2, 2]), 'up')], {}, 'z')
  b.op('Gemm', ['u', b.constant(ones([100, 50]), 'gemm')], {}, 'v')
  b.op('Gemm', ['u', b.constant(ones([50, 100]), 'gemmT')], { transB: 1 }, 'w')
  b.op('MatMul', ['u', b.constant(ones([40, 60]), 'matmul')], {}, 'q')
  b.op('Add', ['q', b.constant(ones([60]), 'offset')], {}, 'r')
  return b.model()
}

const valuesOf = (model: Model, name: string): Float64Array => toFloat64(model.graph.initializers.get(name)!)
const deviation = (values: Float64Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length)

describe('initialize', () => {
  // Kaiming: gain / √fan with gain √2; fans as torch.nn.init counts them for [64, 8, 3, 3]: in 72, out 576.
  it.each([
    [
      'kaiming',
      'fan_in',
      { conv: Math.sqrt(2 / 72), up: Math.sqrt(2 / 64), gemm: Math.sqrt(2 / 100), matmul: Math.sqrt(2 / 40) },
    ],
    [
      'kaiming',
      'fan_out',
      { conv: Math.sqrt(2 / 576), up: Math.sqrt(2 / 256), gemm: Math.sqrt(2 / 50), gemmT: Math.sqrt(2 / 50) },
    ],
    [
      'xavier',
      'fan_in',
      { conv: Math.sqrt(2 / 648), up: Math.sqrt(2 / 320), gemm: Math.sqrt(2 / 150), gemmT: Math.sqrt(2 / 150) },
    ],
  ] as const)('gives the standard deviation of %s, %s', (scheme, mode, expected) => {
    for (const distribution of ['normal', 'uniform'] as const) {
      const model = initialize(layers(), { scheme, mode, distribution, seed: 3 })
      for (const [name, std] of Object.entries(expected)) {
        const values = valuesOf(model, name)
        expect(Math.abs(deviation(values) / std - 1), `${distribution} ${name}`).toBeLessThan(0.05)
        if (distribution === 'uniform') expect(Math.max(...values.map(Math.abs))).toBeLessThan(Math.sqrt(3) * std)
      }
    }
  })

  it('makes biases 0 and batch normalisations neutral, and leaves other constants', () => {
    const model = initialize(layers())
    const firsts = ['conv.bias', 'scale', 'shift', 'mean', 'variance', 'offset'].map((name) => valuesOf(model, name)[0])
    expect(firsts).toEqual([0, 1, 0, 0, 1, 7])
  })

  it('gives equal weights for equal seeds, others for others, and leaves its argument', () => {
    const source = layers()
    const [a, b, c] = [1, 1, 2].map((seed) => valuesOf(initialize(source, { seed }), 'conv'))
    expect(relativeErrorOf(a!, b!)).toBe(0)
    expect(relativeErrorOf(a!, c!)).toBeGreaterThan(1)
    expect(valuesOf(source, 'conv')[0]).toBe(7)
  })

  it('has the gains of torch.nn.init.calculate_gain', () => {
    const gains = (['linear', 'sigmoid', 'tanh', 'relu', 'leaky_relu', 'selu'] as const).map((name) => gainOf(name))
    expect(relativeErrorOf(gains, [1, 1, 1.6666666666666667, Math.SQRT2, 1.4141428569978354, 0.75])).toBeLessThan(1e-15)
  })

  it('refuses unknown choices', () => {
    expect(() => initialize(layers(), { scheme: 'he' as never })).toThrow(
      "Option scheme: must be one of kaiming, xavier; got 'he'.",
    )
    expect(() => initialize(layers(), { nonlinearity: 'gelu' as never })).toThrow(
      "Option nonlinearity: must be one of linear, sigmoid, tanh, relu, leaky_relu, selu; got 'gelu'.",
    )
  })
})
