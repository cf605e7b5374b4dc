import { describe, expect, it } from 'vitest'
import { evaluator, outputError, runModel } from '../../../../test/support/run-model.ts'
import { randomTensor, relativeError } from '../../../../test/support/tensors.ts'
import { observeShapes } from '../../../engine/index.ts'
import {
  checkModel,
  createGraph,
  createNode,
  float,
  GraphBuilder,
  type Model,
  tensorType,
} from '../../../graph/index.ts'
import { float16ToNumber, Tensor, toFloat64 } from '../../../tensor/index.ts'
import type { Range } from '../scheme.ts'
import { applyFloat16, findFloat16Islands, toHalf } from './float16.ts'

async function convert(model: Model, ranges?: ReadonlyMap<string, Range>, keepIo = true) {
  const types = await observeShapes(evaluator, model)
  const islands = findFloat16Islands(model, types, { ranges })
  const half = applyFloat16(model, { types, islands: new Set(islands.map(({ node }) => node)), keepIo })
  expect(checkModel(half)).toEqual([])
  return { half, islands }
}

const typesOf = (model: Model): Record<string, string> =>
  Object.fromEntries([...model.graph.initializers].map(([name, { dtype }]) => [name, dtype]))

/** x → MatMul(w) → Add(b) → Relu */
function layer(weight: Tensor, bias: Tensor): Model {
  const b = new GraphBuilder()
  const product = b.op('MatMul', [b.input('x', 'float32', [2, 8]), b.constant(weight, 'w')], {}, 'product')
  b.output(b.op('Relu', [b.op('Add', [product, b.constant(bias, 'b')], {}, 'sum')], {}, 'y'), 'float32')
  return b.model()
}

describe('toHalf', () => {
  it('rounds half to even, clamps finite numbers and keeps what is not zero from becoming zero', () => {
    const numbers = Float32Array.of(1, 2049, 2051, 1e6, -1e6, 1e-12, -1e-12, 0, Number.POSITIVE_INFINITY, 0.1)
    const restored = Array.from(toHalf(Tensor.of(numbers, [10])).data as Uint16Array, float16ToNumber)
    // 2049 lies between 2048 and 2050, 2051 between 2050 and 2052: the even fractions are 2048 and 2052.
    expect(restored).toEqual([
      1,
      2048,
      2052,
      65504,
      -65504,
      2 ** -24,
      -(2 ** -24),
      0,
      Number.POSITIVE_INFINITY,
      0.0999755859375,
    ])
  })
})

describe('applyFloat16', () => {
  it('keeps inputs and outputs in float32 and everything between in float16', async () => {
    const model = layer(randomTensor([8, 4], 1), randomTensor([4], 2))
    const { half, islands } = await convert(model)
    expect(islands).toEqual([])
    expect(typesOf(half)).toEqual({ w: 'float16', b: 'float16' })
    expect(half.graph.nodes.map(({ opType }) => opType)).toEqual(['Cast', 'MatMul', 'Add', 'Relu', 'Cast'])
    const error = await outputError(model, half, { x: randomTensor([2, 8], 3) })
    expect(error).toBeLessThan(2e-3)
    expect(error).toBeGreaterThan(0)
  })

  it('gives inputs and outputs in float16 where that is asked for', async () => {
    const model = layer(randomTensor([8, 4], 1), randomTensor([4], 2))
    const { half } = await convert(model, undefined, false)
    expect(half.graph.nodes.map(({ opType }) => opType)).toEqual(['MatMul', 'Add', 'Relu'])
    const x = randomTensor([2, 8], 3)
    const { y } = await runModel(half, { x: toHalf(x) })
    expect(y!.dtype).toBe('float16')
    const expected = await runModel(model, { x })
    expect(relativeError(expected.y!, y!)).toBeLessThan(2e-3)
  })

  it('leaves nodes in float32 whose weights are beyond float16', async () => {
    const large = Tensor.of(new Float32Array(4).fill(1e5), [4])
    const model = layer(randomTensor([8, 4], 1), large)
    const { half, islands } = await convert(model)
    expect(islands).toEqual([{ node: 'node_Add_1', reason: "'b' holds 100000, beyond float16's ±65504." }])
    expect(typesOf(half)).toEqual({ w: 'float16', b: 'float32' })
  })

  it('leaves nodes in float32 that read or produce what overflows on data', async () => {
    const model = layer(randomTensor([8, 4], 1), randomTensor([4], 2))
    const feeds = { x: Tensor.of(new Float32Array(16).fill(40000), [2, 8]) }
    const blind = await convert(model)
    expect(blind.islands).toEqual([])
    const ranges = new Map([
      ['product', { min: -3e5, max: 3e5 }],
      ['sum', { min: -3e5, max: 3e5 }],
      ['y', { min: 0, max: 3e5 }],
    ])
    const { half, islands } = await convert(model, ranges)
    expect(islands.map(({ node }) => node)).toEqual(['node_MatMul_0', 'node_Add_1', 'node_Relu_2'])
    // Everything is in float32 now, and nothing was rounded.
    expect(await outputError(model, half, feeds)).toBe(0)
  })

  it('leaves operators in float32 that take no float16 in the opset at hand', async () => {
    const b = new GraphBuilder()
    const scaled = b.op(
      'Mul',
      [b.input('x', 'float32', [3]), b.constant(Tensor.of(Float32Array.of(2), []), 'two')],
      {},
      's',
    )
    b.output(b.op('CumSum', [scaled, b.constant(Tensor.int64(0), 'axis')], {}, 'y'), 'float32')
    const { islands, half } = await convert(b.model(13))
    expect(islands).toEqual([
      { node: 'node_CumSum_1', reason: 'Operator CumSum takes float16 from opset 14 on; this is 13.' },
    ])
    const feeds = { x: Tensor.of(Float32Array.of(1, 2, 3), [3]) }
    expect([...toFloat64((await runModel(half, feeds)).y!)]).toEqual([2, 6, 12])
  })

  it('turns casts to float32, constants and settings of an operator the way they have to be', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [1, 1, 2, 2])
    const scales = b.constant(Tensor.of(Float32Array.of(1, 1, 2, 2), [4]), 'scales')
    const large = b.op('Resize', [x, '', scales], { mode: 'nearest' }, 'large')
    const shape = b.op('Cast', [b.op('Shape', [large])], { to: 1 })
    const zeros = b.op('ConstantOfShape', [b.op('Shape', [large])], {})
    const sum = b.op('Add', [b.op('Mul', [large, b.op('ReduceMax', [shape], { keepdims: 0 })]), zeros])
    b.output(b.op('LeakyRelu', [sum], { alpha: float(0.5) }, 'y'), 'float32')
    const model = b.model()
    const { half } = await convert(model)
    expect(typesOf(half).scales).toBe('float32')
    expect(await outputError(model, half, { x: Tensor.of(Float32Array.of(1, -2, 3, 4), [1, 1, 2, 2]) })).toBe(0)
  })

  it('keeps values in float32 that subgraphs read', async () => {
    const branch = (name: string, op: string) => {
      const graph = createGraph(name)
      graph.nodes.push(createNode(op, ['sum'], [`${name}_out`], {}, `${name}_node`))
      graph.outputs.push({ name: `${name}_out`, type: tensorType('float32', undefined) })
      return graph
    }
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [4])
    b.op('Add', [x, b.constant(Tensor.of(Float32Array.of(1, 2, 3, 4), [4]), 'c')], {}, 'sum')
    const condition = b.constant(Tensor.fromBytes('bool', [], Uint8Array.of(1)), 'condition')
    const chosen = b.op(
      'If',
      [condition],
      { then_branch: branch('yes', 'Neg'), else_branch: branch('no', 'Abs') },
      'chosen',
    )
    b.output(b.op('Mul', [chosen, 'sum'], {}, 'y'), 'float32')
    const model = b.model()
    const { half, islands } = await convert(model)
    expect(islands.map(({ node }) => node)).toEqual(['node_If_1'])
    const error = await outputError(model, half, { x: Tensor.of(Float32Array.of(1, 0.5, 2, 4), [4]) })
    expect(error).toBe(0)
  })
})
