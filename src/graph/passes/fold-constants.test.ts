import { describe, expect, it } from 'vitest'
import { evaluator, outputError } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { createNode, GraphBuilder } from '../builder.ts'
import { checkModel } from '../check.ts'
import { createGraph, tensorType } from '../model.ts'
import { foldConstants } from './fold-constants.ts'

const operators = (model: { graph: { nodes: { opType: string }[] } }) => model.graph.nodes.map((node) => node.opType)

describe('foldConstants', () => {
  it('computes what depends on constants alone and leaves the rest', async () => {
    // y = x @ transpose(reshape(w)), z = w + w
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['n', 4])
    const w = b.constant(randomTensor([12], 1), 'w')
    const matrix = b.op('Transpose', [b.op('Reshape', [w, b.constant(Tensor.int64([3, 4]))])], { perm: [1, 0] })
    b.op('MatMul', [x, matrix], {}, 'y')
    b.op('Add', [w, w], {}, 'z')
    b.output('y', 'float32')
    b.output('z', 'float32')
    const model = b.model()
    const { model: result, changes } = await foldConstants.run(model, { evaluator })
    expect(changes).toEqual(['3 nodes computed in advance.'])
    expect(operators(result)).toEqual(['MatMul'])
    expect(checkModel(result)).toEqual([])
    expect(await outputError(model, result, { x: randomTensor([2, 4], 2) })).toBe(0)
    expect((await foldConstants.run(result, { evaluator })).changes).toEqual([])
  })

  it('does nothing without an evaluator', async () => {
    const b = new GraphBuilder()
    b.op('Neg', [b.constant(randomTensor([2], 1))], {}, 'y')
    b.output('y', 'float32')
    expect(operators((await foldConstants.run(b.model(), {})).model)).toEqual(['Neg'])
  })

  it('makes shapes that cannot vary constant, one after the other, and leaves those that can', async () => {
    // The padded size follows from a shape that is itself computed.
    const b = new GraphBuilder()
    const fixed = b.input('fixed', 'float32', [2, 3])
    const open = b.input('open', 'float32', ['n', 3])
    const shape = b.op('Shape', [fixed])
    const doubled = b.op('Expand', [fixed, b.op('Concat', [b.constant(Tensor.int64([4])), shape], { axis: 0 })])
    b.op(
      'Reshape',
      [doubled, b.op('Concat', [b.op('Shape', [doubled]), b.constant(Tensor.int64([1]))], { axis: 0 })],
      {},
      'y',
    )
    b.op('Reshape', [open, b.op('Shape', [open], { start: 0, end: 2 })], {}, 'z')
    b.output('y', 'float32')
    b.output('z', 'float32')
    const model = b.model()
    const { model: result } = await foldConstants.run(model, { evaluator })
    expect(operators(result)).toEqual(['Expand', 'Reshape', 'Shape', 'Reshape'])
    const feeds = { fixed: randomTensor([2, 3], 1), open: randomTensor([5, 3], 2) }
    expect(await outputError(model, result, feeds)).toBe(0)
  })

  it('takes the part of a fixed shape that is asked for', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2, 3, 4])
    b.op(
      'Reshape',
      [x, b.op('Concat', [b.constant(Tensor.int64([-1])), b.op('Shape', [x], { start: -1 })], { axis: 0 })],
      {},
      'y',
    )
    b.output('y', 'float32')
    const model = b.model()
    const { model: result } = await foldConstants.run(model, { evaluator })
    expect(operators(result)).toEqual(['Reshape'])
    expect(await outputError(model, result, { x: randomTensor([2, 3, 4], 1) })).toBe(0)
  })

  it('does not believe what a file notes about inner values', async () => {
    const b = new GraphBuilder()
    const value = b.op('Reshape', [b.input('x', 'float32', ['n']), b.input('shape', 'int64', [2])], {}, 'value')
    b.op('Shape', [value], {}, 'seen')
    b.op('Identity', ['seen'], {}, 'y')
    b.output('y', 'int64')
    const model = b.model()
    model.graph.valueInfos.set('value', { name: 'value', type: tensorType('float32', [1, 3]) })
    expect(operators((await foldConstants.run(model, { evaluator })).model)).toEqual(['Reshape', 'Shape', 'Identity'])
  })

  it('leaves values that would be much larger than what they come from', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [1])
    const large = b.op('ConstantOfShape', [b.constant(Tensor.int64([1000, 1000]))])
    const small = b.op('ConstantOfShape', [b.constant(Tensor.int64([10, 10]))])
    b.op('Add', [x, b.op('Neg', [large])], {}, 'y')
    b.op('Add', [x, b.op('Neg', [small])], {}, 'z')
    b.output('y', 'float32')
    b.output('z', 'float32')
    const model = b.model()
    const { model: result, changes } = await foldConstants.run(model, { evaluator })
    expect(changes).toEqual(['2 nodes computed in advance.'])
    expect(operators(result)).toEqual(['ConstantOfShape', 'Neg', 'Add', 'Add'])
    expect(await outputError(model, result, { x: randomTensor([1], 1) })).toBe(0)
  })

  it('leaves random numbers, quantised weights, sequences and inputs with defaults', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2])
    const scale = b.constant(Tensor.of(Float32Array.of(0.5), []))
    const weight = b.op('DequantizeLinear', [b.constant(Tensor.of(Int8Array.of(1, 2), [2])), scale])
    const random = b.op('RandomNormalLike', [b.constant(randomTensor([2], 1))])
    const first = b.op('SequenceAt', [
      b.op('SequenceConstruct', [b.constant(randomTensor([2], 2))]),
      b.constant(Tensor.int64(0)),
    ])
    const given = b.op('Neg', [b.input('given', 'float32', [2])])
    b.graph.initializers.set('given', randomTensor([2], 3))
    b.op('Sum', [x, weight, random, first, given], {}, 'y')
    b.output('y', 'float32')
    const before = operators(b.model())
    expect(operators((await foldConstants.run(b.model(), { evaluator })).model)).toEqual(before)
  })

  it('computes a node with subgraphs only when they capture nothing that varies', async () => {
    const branch = (name: string, captured: string) => {
      const graph = createGraph(name)
      graph.nodes.push(createNode('Neg', [captured], [`${name}_out`]))
      graph.outputs.push({ name: `${name}_out`, type: tensorType('float32', undefined) })
      return graph
    }
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2])
    const constant = b.constant(randomTensor([2], 1), 'constant')
    const yes = b.constant(Tensor.of(Uint8Array.of(1), [], 'bool'))
    const free = b.op('If', [yes], { then_branch: branch('a', constant), else_branch: branch('b', constant) })
    const bound = b.op('If', [yes], { then_branch: branch('c', constant), else_branch: branch('d', x) })
    b.op('Add', [x, free], {}, 'y')
    b.op('Add', [x, bound], {}, 'z')
    b.output('y', 'float32')
    b.output('z', 'float32')
    const model = b.model()
    const { model: result } = await foldConstants.run(model, { evaluator })
    expect(operators(result)).toEqual(['If', 'Add', 'Add'])
    expect(await outputError(model, result, { x: randomTensor([2], 2) })).toBe(0)
  })

  it('leaves what fails, and computes the rest', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2])
    // The index is out of range, which shows only when it runs.
    const bad = b.op('Gather', [b.constant(randomTensor([2], 1)), b.constant(Tensor.int64([5]))])
    const good = b.op('Neg', [b.constant(Tensor.of(Float32Array.of(1, 2), [2]))])
    b.op('Add', [x, bad], {}, 'y')
    b.op('Add', [x, good], {}, 'z')
    b.output('y', 'float32')
    b.output('z', 'float32')
    const { model } = await foldConstants.run(b.model(), { evaluator })
    expect(operators(model)).toEqual(['Gather', 'Add', 'Add'])
    const folded = model.graph.initializers.get(good)!
    expect(toFloat32(folded)).toEqual(Float32Array.of(-1, -2))
  })
})
