import { describe, expect, it } from 'vitest'
import { outputError, runModel } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { GraphBuilder, type Model } from '../../graph/index.ts'
import { Tensor, toFloat32, toFloat64 } from '../../tensor/index.ts'
import { balanceFactors } from './balance.ts'
import { balanceModel } from './balance-model.ts'

const of = (...values: number[]): Float64Array => Float64Array.of(...values)

describe('balanceFactors', () => {
  it('follows the formula', () => {
    expect([...balanceFactors(of(4, 100), of(1, 0.25))]).toEqual([2, 20])
    const [factor] = balanceFactors(of(3), of(7), 0.3)
    expect(factor).toBeCloseTo(3 ** 0.3 / 7 ** 0.7, 12)
  })

  it('treats zeros as AMCT does', () => {
    // Channels: plain, both zero, no activation, no weight. f = 2; the outliers are 4 / 2 = 2 and 1 · 2 = 2.
    expect([...balanceFactors(of(4, 0, 0, 8), of(1, 0, 4, 0))]).toEqual([2, 1, 0.5, 4])
    expect([...balanceFactors(of(0, 0), of(1, 2))]).toEqual([1, 1])
    expect([...balanceFactors(of(1, 2), of(0, 0))]).toEqual([1, 1])
  })

  it('makes both sides equal at strength 0.5', () => {
    const [activations, weights] = [of(100, 0.1, 3), of(0.2, 0.5, 0.01)]
    const factors = balanceFactors(activations, weights)
    for (const [i, factor] of factors.entries()) expect(activations[i]! / factor).toBeCloseTo(weights[i]! * factor, 12)
  })

  it('refuses strengths, numbers and factors out of bounds', () => {
    expect(() => balanceFactors(of(1), of(1), 0.1)).toThrow('between 0.2 and 0.8; got 0.1')
    expect(() => balanceFactors(of(1, 2), of(1))).toThrow('as many channels; got 2 and 1')
    expect(() => balanceFactors(of(Number.NaN), of(1))).toThrow('channel 0 has NaN and 1')
    expect(() => balanceFactors(of(1e30), of(1e-6))).toThrow('factors must lie between 2⁻²³ and 2²³')
  })
})

/** Largest absolute value per index of an axis. */
function maxima(tensor: Tensor, axis: number): Float64Array {
  const extent = tensor.shape[axis]!
  const after = tensor.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const result = new Float64Array(extent)
  toFloat64(tensor).forEach((value, i) => {
    const at = Math.floor(i / after) % extent
    result[at] = Math.max(result[at]!, Math.abs(value))
  })
  return result
}

const weightOf = (model: Model, node: string): Tensor =>
  model.graph.initializers.get(model.graph.nodes.find(({ name }) => name === node)!.inputs[1]!)!

describe('balanceModel', () => {
  it('folds factors into the layer before, through Relu', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2, 3, 8, 8])
    const bias = b.constant(randomTensor([4], 3))
    const h = b.op('Relu', [b.op('Conv', [x, b.constant(randomTensor([4, 3, 3, 3], 1)), bias])], {}, 'h')
    b.op('Conv', [h, b.constant(randomTensor([5, 4, 3, 3], 2))], {}, 'y')
    b.output('y', 'float32')
    b.output('h', 'float32')
    const feeds = { x: randomTensor([2, 3, 8, 8], 4) }
    const seen = await runModel(b.model(), feeds)
    b.graph.outputs.pop()
    const original = b.model()
    const second = original.graph.nodes[2]!.name
    const activations = new Map([[second, maxima(seen.h!, 1)]])
    const { model, record } = balanceModel(original, activations)
    expect(record.layers).toMatchObject([{ name: second, into: 'layer', node: original.graph.nodes[0]!.name }])
    expect(model.graph.nodes).toHaveLength(3)
    expect(await outputError(original, model, feeds)).toBeLessThanOrEqual(1e-6)
    const factors = balanceFactors(activations.get(second)!, maxima(weightOf(original, second), 1))
    expect(record.layers[0]!.factors).toEqual([...factors])
    const scaled = maxima(weightOf(model, second), 1)
    for (const [i, w] of maxima(weightOf(original, second), 1).entries())
      expect(scaled[i]).toBeCloseTo(w * factors[i]!, 5)
  })

  /** LayerNormalization → three MatMuls (queries, keys, values). */
  function attentionLike(extraUser: boolean): Model {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2, 5, 6])
    const n = b.op('LayerNormalization', [x, b.constant(randomTensor([6], 1)), b.constant(randomTensor([6], 2))])
    const parts = [3, 4, 5].map((seed) => b.op('MatMul', [n, b.constant(randomTensor([6, 6], seed))]))
    b.op('Sum', extraUser ? [...parts, n] : parts, {}, 'y')
    b.output('y', 'float32')
    return b.model()
  }

  it.each([
    [false, 'normalization', 5],
    [true, 'mul', 6],
  ] as const)('gives layers of one value common factors (another user: %s)', async (extraUser, into, nodes) => {
    const original = attentionLike(extraUser)
    const names = original.graph.nodes.filter(({ opType }) => opType === 'MatMul').map(({ name }) => name)
    const largest = Float64Array.of(50, 1, 2, 3, 0.5, 20)
    const { model, record } = balanceModel(original, new Map(names.map((name) => [name, largest])))
    expect(record.layers.map(({ name, into: where }) => [name, where])).toEqual(names.map((name) => [name, into]))
    expect(new Set(record.layers.map(({ factors }) => factors.join())).size).toBe(1)
    expect(model.graph.nodes).toHaveLength(nodes)
    expect(await outputError(original, model, { x: randomTensor([2, 5, 6], 9) })).toBeLessThanOrEqual(2e-6)
  })

  const alone: [string, string, number[], number[], Record<string, number>][] = [
    ['Conv in one dimension', 'Conv', [2, 4, 9], [6, 4, 3], {}],
    ['Conv in three dimensions', 'Conv', [1, 4, 5, 5, 5], [6, 4, 2, 2, 2], {}],
    ['a depthwise Conv', 'Conv', [2, 4, 6, 6], [4, 1, 3, 3], { group: 4 }],
    ['a grouped Conv', 'Conv', [2, 4, 6, 6], [6, 2, 3, 3], { group: 2 }],
    ['ConvTranspose', 'ConvTranspose', [2, 4, 6, 6], [4, 5, 2, 2], {}],
    ['a grouped ConvTranspose', 'ConvTranspose', [2, 4, 6, 6], [4, 3, 2, 2], { group: 2 }],
    ['Gemm', 'Gemm', [3, 4], [4, 5], {}],
    ['Gemm with a transposed weight', 'Gemm', [3, 4], [5, 4], { transB: 1 }],
    ['MatMul', 'MatMul', [2, 3, 4], [4, 5], {}],
  ]
  it.each(alone)('puts a Mul before %s that reads an input', async (_, op, input, weight, attributes) => {
    const b = new GraphBuilder()
    b.op(op, [b.input('x', 'float32', input), b.constant(randomTensor(weight, 1))], attributes, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const [layer] = original.graph.nodes
    const { model, record } = balanceModel(original, new Map([[layer!.name, of(9, 1, 0.01, 4)]]))
    expect(record.layers[0]).toMatchObject({ into: 'mul' })
    expect(model.graph.nodes.map(({ opType }) => opType)).toEqual(['Mul', op])
    expect(await outputError(original, model, { x: randomTensor(input, 2) })).toBeLessThanOrEqual(1e-6)
    const product = toFloat32(model.graph.initializers.get(model.graph.nodes[0]!.inputs[1]!)!)
    expect(product[2]).toBeCloseTo(1 / record.layers[0]!.factors[2]!, 4)
  })

  it('leaves layers without a valid factor, with the reason', () => {
    const b = new GraphBuilder()
    b.op('MatMul', [b.input('x', 'float32', [1, 2]), b.constant(Tensor.of(Float32Array.of(1e-6, 1), [2, 1]))], {}, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const name = original.graph.nodes[0]!.name
    const { model, record } = balanceModel(original, new Map([[name, of(1e12, 1)]]))
    expect(record.layers).toEqual([])
    expect(record.skips[0]!.reason).toContain('channel 0 with activations up to 1000000000000')
    expect(model.graph.nodes).toHaveLength(1)
  })
})
