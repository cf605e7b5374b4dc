/** One network with every kind of layer that a compression method may meet, those it must leave alone included. */
import { type Graph, GraphBuilder, type Model, tensorType } from '../../src/graph/index.ts'
import { Tensor } from '../../src/tensor/index.ts'
import { randomTensor } from './small-network.ts'

/** Shape of the input `x`. */
export const ZOO_INPUT = [1, 8, 12, 12]

/**
 * x → conv → grouped → depthwise → shared twice → pointwise → transposed → If(conv) → pool → Gemm → MatMul → MatMul of two
 * activations → MatMul with a left constant; one layer's weight is also an output, another's is computed from the input.
 */
export function layerZoo(): Model {
  const b = new GraphBuilder('zoo')
  const same = { pads: [1, 1, 1, 1] }
  const weight = (seed: number, shape: readonly number[], name: string): string =>
    b.constant(randomTensor(seed, shape), name)
  const named = (
    name: string,
    op: string,
    ...rest: [readonly string[], Parameters<GraphBuilder['op']>[2]?]
  ): string => {
    const output = b.op(op, rest[0], rest[1] ?? {}, `${name}:out`)
    b.graph.nodes.at(-1)!.name = name
    return output
  }
  let x = b.input('x', 'float32', ZOO_INPUT)
  x = named('conv', 'Conv', [x, weight(1, [24, 8, 3, 3], 'conv.weight'), weight(2, [24], 'conv.bias')], same)
  x = named('grouped', 'Conv', [x, weight(3, [24, 12, 3, 3], 'grouped.weight')], { ...same, group: 2 })
  x = named('depthwise', 'Conv', [x, weight(4, [24, 1, 3, 3], 'depthwise.weight')], { ...same, group: 24 })
  const shared = weight(5, [24, 24, 3, 3], 'shared.weight')
  x = named('shared a', 'Conv', [x, shared, weight(6, [24], 'shared.bias')], same)
  x = named('shared b', 'Conv', [x, shared, 'shared.bias'], { ...same, strides: [2, 2] })
  x = named('pointwise', 'Conv', [x, weight(7, [32, 24, 1, 1], 'pointwise.weight')])
  x = named('transposed', 'ConvTranspose', [x, weight(8, [32, 16, 3, 3], 'transposed.weight')])
  const published = weight(9, [16, 16, 3, 3], 'published.weight')
  x = named('published', 'Conv', [x, published], same)
  b.output('published.weight', 'float32', [16, 16, 3, 3])
  x = named('branch', 'If', [b.constant(Tensor.of(Uint8Array.of(1), [], 'bool'))], {
    then_branch: branch('then', x, weight(10, [16, 16, 3, 3], 'inner.weight')),
    else_branch: branch('else', x, 'inner.weight'),
  })
  x = named('flatten', 'Flatten', [named('pool', 'GlobalAveragePool', [x])])
  x = named('gemm', 'Gemm', [x, weight(11, [40, 16], 'gemm.weight'), weight(12, [40], 'gemm.bias')], { transB: 1 })
  x = named('matmul', 'MatMul', [x, weight(13, [40, 30], 'matmul.weight')])
  const turned = named('turn', 'Transpose', [x], { perm: [1, 0] })
  x = named('activations', 'MatMul', [turned, x])
  x = named('left', 'MatMul', [weight(14, [20, 30], 'left.weight'), x])
  b.output(x, 'float32', [20, 30])
  return b.model()
}

function branch(name: string, value: string, weight: string): Graph {
  const b = new GraphBuilder(name)
  b.op('Conv', [value, weight], { pads: [1, 1, 1, 1] }, `${name}:out`)
  b.graph.nodes[0]!.name = `${name} conv`
  b.graph.outputs.push({ name: `${name}:out`, type: tensorType('float32', undefined) })
  return b.graph
}
