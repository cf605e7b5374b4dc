import { describe, expect, it } from 'vitest'
import { outputError } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { fromNumbers, Tensor, toFloat32 } from '../../tensor/index.ts'
import { type AttributeInput, float } from '../attributes.ts'
import { GraphBuilder } from '../builder.ts'
import { checkModel } from '../check.ts'
import type { Model } from '../model.ts'
import { foldBatchNorm } from './fold-batch-norm.ts'

interface Layer {
  readonly op: string
  readonly input: number[]
  readonly weight: number[]
  readonly bias?: number[]
  readonly attributes?: Record<string, AttributeInput>
}

const positive = (size: number, seed: number): Tensor =>
  Tensor.of(
    toFloat32(randomTensor([size], seed)).map((value) => Math.abs(value) + 0.1),
    [size],
  )

/** Adds `layer`, then what `follow` adds to its output. */
function model(layer: Layer, follow: (b: GraphBuilder, value: string) => string): Model {
  const b = new GraphBuilder()
  const inputs = [b.input('x', 'float32', layer.input), b.constant(randomTensor(layer.weight, 1), 'layer.weight')]
  if (layer.bias) inputs.push(b.constant(randomTensor(layer.bias, 2), 'layer.bias'))
  const value = follow(b, b.op(layer.op, inputs, layer.attributes, 'middle'))
  b.op('Relu', [value], {}, 'y')
  b.output('y', 'float32')
  return b.model()
}

const batchNorm = (channels: number) => (b: GraphBuilder, value: string) =>
  b.op(
    'BatchNormalization',
    [
      value,
      b.constant(randomTensor([channels], 3)),
      b.constant(randomTensor([channels], 4)),
      b.constant(randomTensor([channels], 5)),
      b.constant(positive(channels, 6)),
    ],
    { epsilon: float(0.01) },
  )

const elementwise =
  (op: string, shape: number[], constantFirst = false) =>
  (b: GraphBuilder, value: string) => {
    const constant = b.constant(randomTensor(shape, 8))
    return b.op(op, constantFirst ? [constant, value] : [value, constant])
  }

const conv: Layer = { op: 'Conv', input: [2, 3, 6, 6], weight: [4, 3, 3, 3], bias: [4] }

describe('foldBatchNorm', () => {
  const folds: [string, Layer, ReturnType<typeof batchNorm>, number][] = [
    ['Conv with bias', conv, batchNorm(4), 1],
    ['Conv without bias', { op: 'Conv', input: [2, 3, 6, 6], weight: [4, 3, 3, 3] }, batchNorm(4), 1],
    ['a grouped Conv', { op: 'Conv', input: [2, 4, 6], weight: [6, 2, 3], attributes: { group: 2 } }, batchNorm(6), 1],
    ['ConvTranspose', { op: 'ConvTranspose', input: [2, 3, 5, 5], weight: [3, 4, 2, 2], bias: [4] }, batchNorm(4), 1],
    [
      'a grouped ConvTranspose',
      { op: 'ConvTranspose', input: [2, 6, 5], weight: [6, 2, 3], attributes: { group: 3 } },
      batchNorm(6),
      1,
    ],
    ['Gemm', { op: 'Gemm', input: [5, 3], weight: [3, 4], bias: [4] }, batchNorm(4), 1],
    [
      'Gemm with factors and a transposed weight',
      {
        op: 'Gemm',
        input: [5, 3],
        weight: [4, 3],
        bias: [1, 4],
        attributes: { transB: 1, alpha: float(0.5), beta: float(3) },
      },
      batchNorm(4),
      1,
    ],
    ['a bias added after a Conv', conv, elementwise('Add', [1, 4, 1, 1]), 1],
    ['a constant before the plus', conv, elementwise('Add', [4, 1, 1], true), 1],
    ['a scalar factor', conv, elementwise('Mul', []), 1],
    ['a quotient', conv, elementwise('Div', [4, 1, 1]), 1],
    ['a difference', conv, elementwise('Sub', [4, 1, 1]), 1],
    ['one after the other', conv, (b, value) => batchNorm(4)(b, elementwise('Mul', [4, 1, 1])(b, value)), 2],
    ['a constant that varies along the width', conv, elementwise('Add', [4]), 0],
    ['a constant of full size', conv, elementwise('Mul', [4, 4, 4]), 0],
    ['a constant that is divided', conv, elementwise('Div', [4, 1, 1], true), 0],
    ['a Gemm bias per row', { op: 'Gemm', input: [5, 3], weight: [3, 4], bias: [5, 1] }, batchNorm(4), 0],
    ['one that adds axes', { op: 'Gemm', input: [5, 3], weight: [3, 4] }, elementwise('Add', [1, 1, 4]), 0],
  ]
  it.each(folds)('%s', async (_, layer, follow, folded) => {
    const original = model(layer, follow)
    const { model: result, changes } = await foldBatchNorm.run(original, {})
    expect(changes).toHaveLength(folded)
    expect(result.graph.nodes).toHaveLength(original.graph.nodes.length - folded)
    expect(checkModel(result)).toEqual([])
    expect(await outputError(original, result, { x: randomTensor(layer.input, 9) })).toBeLessThanOrEqual(1e-6)
  })

  it('keeps the names of parameters, and gives a new bias the name its layer would give it', async () => {
    const { model: result, changes } = await foldBatchNorm.run(
      model({ op: 'Conv', input: [2, 3, 6, 6], weight: [4, 3, 3, 3] }, batchNorm(4)),
      {},
    )
    expect(changes[0]).toMatch(/^BatchNormalization '.*' folded into Conv '.*'\.$/)
    expect(result.graph.nodes[0]!.inputs).toEqual(['x', 'layer.weight', 'layer.bias'])
  })

  it('copies a weight that another layer uses too', async () => {
    const b = new GraphBuilder()
    const weight = b.constant(randomTensor([4, 4, 3, 3], 1), 'shared')
    const x = b.input('x', 'float32', [1, 4, 8, 8])
    const first = batchNorm(4)(b, b.op('Conv', [x, weight]))
    b.op('Conv', [first, weight], {}, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const { model: result } = await foldBatchNorm.run(original, {})
    expect(result.graph.initializers.get('shared')).toBe(original.graph.initializers.get('shared'))
    expect(result.graph.nodes.map((node) => node.inputs[1])).toEqual(['shared_folded', 'shared'])
    expect(await outputError(original, result, { x: randomTensor([1, 4, 8, 8], 9) })).toBeLessThanOrEqual(1e-6)
  })

  it('leaves a layer whose output is used elsewhere, or is an output', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [1, 3, 6, 6])
    const one = b.op('Conv', [x, b.constant(randomTensor([4, 3, 3, 3], 1))])
    const two = b.op('Conv', [x, b.constant(randomTensor([4, 3, 3, 3], 2))])
    b.op('Add', [batchNorm(4)(b, one), batchNorm(4)(b, two)], {}, 'y')
    b.op('Relu', [one], {}, 'z')
    for (const name of ['y', 'z', two]) b.output(name, 'float32')
    expect((await foldBatchNorm.run(b.model(), {})).changes).toEqual([])
  })

  it('leaves batch normalisation in training mode, and parameters that come from outside', async () => {
    const train = (b: GraphBuilder, value: string) => {
      const parameters = [3, 4, 5, 6].map((seed) => b.constant(positive(4, seed)))
      return b.ops('BatchNormalization', [value, ...parameters], { training_mode: 1 }, ['out', 'm', 'v'])[0]!
    }
    const outside = (b: GraphBuilder, value: string) => b.op('Mul', [value, b.input('scale', 'float32', [4, 1, 1])])
    for (const follow of [train, outside])
      expect((await foldBatchNorm.run(model(conv, follow), {})).changes).toEqual([])
  })

  it('leaves a layer whose weight would overflow float16', async () => {
    const b = new GraphBuilder()
    const half = (values: number[], shape: number[]) =>
      b.constant(fromNumbers(Float32Array.from(values), shape, 'float16'))
    const value = b.op('Conv', [b.input('x', 'float16', [1, 1, 2]), half([300, 2], [2, 1, 1])])
    b.op('Mul', [value, half([300, 2], [2, 1])], {}, 'y')
    b.output('y', 'float16')
    expect((await foldBatchNorm.run(b.model(), {})).changes).toEqual([])
  })
})
