import { describe, expect, it } from 'vitest'
import { realModels } from '../../test/support/real-models.ts'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { observeShapes } from '../engine/index.ts'
import { fromNumbers, Tensor } from '../tensor/index.ts'
import type { AttributeInput } from './attributes.ts'
import { createNode, GraphBuilder } from './builder.ts'
import { modelCost } from './cost.ts'
import { createGraph, type Model, tensorType } from './model.ts'

async function costOf(model: Model) {
  return modelCost(model, await observeShapes(evaluator, model))
}

/** y = op(x, weights…) */
function layer(
  opType: string,
  shape: readonly number[],
  weights: readonly (readonly number[] | undefined)[],
  attributes: Record<string, AttributeInput> = {},
): Model {
  const b = new GraphBuilder()
  const inputs = weights.map((weight, seed) => (weight ? b.constant(randomTensor(weight, seed)) : ''))
  b.op(opType, [b.input('x', 'float32', shape), ...inputs], attributes, 'y')
  b.graph.outputs.push({ name: 'y', type: undefined })
  return b.model()
}

describe('modelCost', () => {
  const layers: [string, Model, number, number][] = [
    [
      'Conv',
      layer('Conv', [1, 6, 10, 12], [[8, 6, 3, 3], [8]], { strides: [2, 2], pads: [1, 1, 1, 1] }),
      440,
      8 * 5 * 6 * 54,
    ],
    ['a depthwise Conv', layer('Conv', [1, 6, 9], [[6, 1, 3]], { group: 6 }), 18, 6 * 7 * 3],
    [
      'ConvTranspose',
      layer('ConvTranspose', [1, 6, 5, 4], [[6, 2, 2, 2], [4]], { group: 2, strides: [2, 2] }),
      52,
      6 * 20 * 8,
    ],
    ['Gemm', layer('Gemm', [3, 5], [[7, 5], [7]], { transB: 1 }), 42, 3 * 5 * 7],
    ['Gemm with a transposed input', layer('Gemm', [5, 3], [[5, 7]], { transA: 1 }), 35, 3 * 5 * 7],
    ['MatMul', layer('MatMul', [2, 3, 5], [[5, 7]]), 35, 2 * 3 * 5 * 7],
    ['Einsum', layer('Einsum', [2, 3, 5], [[5, 7]], { equation: 'bij,jk->bik' }), 35, 2 * 3 * 5 * 7],
    [
      'LSTM',
      layer(
        'LSTM',
        [4, 2, 3],
        [
          [2, 20, 3],
          [2, 20, 5],
          [2, 40],
        ],
        { hidden_size: 5, direction: 'bidirectional' },
      ),
      120 + 200 + 80,
      4 * 2 * 2 * 20 * 8,
    ],
    [
      'GRU',
      layer(
        'GRU',
        [4, 2, 3],
        [
          [1, 15, 3],
          [1, 15, 5],
        ],
        { hidden_size: 5 },
      ),
      45 + 75,
      4 * 2 * 15 * 8,
    ],
    ['BatchNormalization', layer('BatchNormalization', [1, 3, 4], [[3], [3], [3], [3]]), 6, 0],
    ['PRelu with one slope', layer('PRelu', [1, 3, 4], [[1]]), 1, 0],
    ['an elementwise constant', layer('Mul', [1, 3, 4], [[3, 1]]), 3, 0],
    ['a scalar factor', layer('Mul', [1, 3, 4], [[]]), 0, 0],
    ['Clip', layer('Clip', [1, 3, 4], [[], []]), 0, 0],
  ]
  it.each(layers)('counts %s', async (_, model, parameters, macs) => {
    const cost = await costOf(model)
    expect(cost).toMatchObject({ parameters, bytes: 4 * parameters, macs })
    expect(cost.perNode.get(model.graph.nodes[0]!.name)).toEqual({ parameters, bytes: 4 * parameters, macs })
  })

  it('counts a shared weight once, but for each node that uses it', async () => {
    const b = new GraphBuilder()
    const weight = b.constant(randomTensor([4, 4], 1))
    const first = b.op('MatMul', [b.input('x', 'float32', [2, 4]), weight])
    b.op('MatMul', [first, weight], {}, 'y')
    b.output('y', 'float32')
    const { parameters, perNode } = await costOf(b.model())
    expect(parameters).toBe(16)
    expect([...perNode.values()].map((cost) => cost.parameters)).toEqual([16, 16])
  })

  it('gives weights to the node behind Constant, Reshape and DequantizeLinear, with the bytes they are stored in', async () => {
    const b = new GraphBuilder()
    const weight = b.op('Constant', [], { value: Tensor.of(new Int8Array(12).fill(3), [12]) })
    const scale = b.constant(Tensor.of(Float32Array.of(0.1), []))
    const real = b.op('DequantizeLinear', [weight, scale])
    const matrix = b.op('Reshape', [real, b.constant(Tensor.int64([4, 3]))])
    const half = b.op('Cast', [b.constant(fromNumbers(new Float32Array(3), [3], 'float16'))], { to: 1 })
    const x = b.op('Reshape', [b.input('x', 'float32', [2, 4]), b.constant(Tensor.int64([2, 4]))])
    b.op('Gemm', [x, matrix, half], {}, 'y')
    b.output('y', 'float32')
    const { parameters, bytes, perNode } = await costOf(b.model())
    expect([parameters, bytes]).toEqual([15, 12 + 6])
    const counted = [...perNode.values()].filter((cost) => cost.parameters > 0)
    expect(counted).toEqual([{ parameters: 15, bytes: 18, macs: 24 }])
  })

  it('does not know products in subgraphs, but their weights', () => {
    const graph = createGraph('branch')
    graph.nodes.push(createNode('MatMul', ['x', 'w'], ['o'], {}, 'inside'))
    graph.outputs.push({ name: 'o', type: tensorType('float32', undefined) })
    const b = new GraphBuilder()
    b.input('x', 'float32', [2, 4])
    b.constant(randomTensor([4, 3], 1), 'w')
    b.op('If', [b.input('c', 'bool', [])], { then_branch: graph, else_branch: graph }, 'y')
    b.output('y', 'float32')
    const cost = modelCost(b.model(), new Map())
    expect([cost.parameters, cost.macs]).toEqual([12, null])
    expect(cost.perNode.get('inside')).toEqual({ parameters: 12, bytes: 48, macs: null })
  })

  it('knows no MACs without shapes', () => {
    expect(modelCost(layer('Relu', [2], []), new Map()).macs).toBe(0)
    expect(modelCost(layer('MatMul', [2, 4], [[4, 3]]), new Map()).macs).toBeNull()
    const { macs } = modelCost(
      layer(
        'Einsum',
        [2, 3],
        [
          [3, 4],
          [4, 5],
        ],
        { equation: 'ij,jk,kl->il' },
      ),
      new Map(),
    )
    expect(macs).toBeNull()
  })

  // Parameters as PyTorch counts them, MACs as published for the architecture.
  const known = new Map([
    ['resnet20-cifar10', [269722, 40551040]],
    ['resnet56-cifar10', [853018, 125485696]],
    ['squeezenet1_f32', [1235496, 349151936]],
    ['squeezenet1_fp16', [1235496, 349151936]],
  ])
  it.each(realModels().filter(({ name }) => known.has(name)))(
    'agrees with what is known of $name',
    async ({ name, read }) => {
      const { parameters, macs } = await costOf(read())
      expect([parameters, macs]).toEqual(known.get(name))
    },
  )
})
