import { describe, expect, it } from 'vitest'
import { outputError } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { Tensor } from '../../tensor/index.ts'
import { float } from '../attributes.ts'
import { createNode, GraphBuilder } from '../builder.ts'
import { checkModel } from '../check.ts'
import { createGraph, type Model, tensorType } from '../model.ts'
import { constantsToInitializers } from './constants-to-initializers.ts'
import { freezeInitializers } from './freeze-initializers.ts'
import type { Pass } from './pass.ts'
import { removeIdentity } from './remove-identity.ts'
import { removeUnused } from './remove-unused.ts'

const operators = (model: Model) => model.graph.nodes.map((node) => node.opType)

/** Applies a pass and checks what every pass has to keep. */
async function apply(pass: Pass, model: Model, x: Tensor): Promise<Model> {
  const before = JSON.stringify(operators(model))
  const { model: result } = await pass.run(model, {})
  expect(JSON.stringify(operators(model))).toBe(before)
  expect(checkModel(result)).toEqual([])
  expect(result.graph.outputs).toEqual(model.graph.outputs)
  expect(await outputError(model, result, { x })).toBe(0)
  return result
}

describe('removeIdentity', () => {
  const constant = (b: GraphBuilder, values: number[]) => b.constant(Tensor.int64(values))
  const cases: [string, (b: GraphBuilder, x: string) => string, string[]][] = [
    ['Identity', (b, x) => b.op('Identity', [x]), []],
    ['a chain', (b, x) => b.op('Identity', [b.op('Identity', [b.op('Dropout', [x])])]), []],
    ['Dropout with a ratio', (b, x) => b.op('Dropout', [x, b.constant(Tensor.of(Float32Array.of(0.3), []))]), []],
    ['Cast to the same type', (b, x) => b.op('Cast', [x], { to: 1 }), []],
    ['Cast to another type', (b, x) => b.op('Cast', [b.op('Cast', [x], { to: 11 })], { to: 1 }), ['Cast', 'Cast']],
    ['Transpose that keeps the order', (b, x) => b.op('Transpose', [x], { perm: [0, 1, 2] }), []],
    ['Transpose that does not', (b, x) => b.op('Transpose', [x], { perm: [0, 2, 1] }), ['Transpose']],
    [
      'Transposes that cancel',
      (b, x) => b.op('Transpose', [b.op('Transpose', [x], { perm: [1, 2, 0] })], { perm: [2, 0, 1] }),
      ['Transpose'],
    ],
    [
      'Transposes that do not',
      (b, x) => b.op('Transpose', [b.op('Transpose', [x], { perm: [1, 2, 0] })], { perm: [1, 2, 0] }),
      ['Transpose', 'Transpose'],
    ],
    ['Pad by nothing', (b, x) => b.op('Pad', [x, constant(b, [0, 0, 0, 0, 0, 0])]), []],
    ['Pad by something', (b, x) => b.op('Pad', [x, constant(b, [0, 0, 0, 0, 0, 1])]), ['Pad']],
    [
      'Slice of everything',
      (b, x) => b.op('Slice', [x, constant(b, [0]), constant(b, [2 ** 31 - 1]), constant(b, [1])]),
      [],
    ],
    [
      'Slice of every second',
      (b, x) => b.op('Slice', [x, constant(b, [0]), constant(b, [2 ** 31 - 1]), constant(b, [1]), constant(b, [2])]),
      ['Slice'],
    ],
    [
      'Slice of a part',
      (b, x) => b.op('Slice', [x, constant(b, [1]), constant(b, [2 ** 31 - 1]), constant(b, [1])]),
      ['Slice'],
    ],
    ['Concat of one', (b, x) => b.op('Concat', [x], { axis: 0 }), []],
    ['multiplication by one', (b, x) => b.op('Mul', [x, b.constant(Tensor.of(Float32Array.of(1), []))]), []],
    ['multiplication by two', (b, x) => b.op('Mul', [x, b.constant(Tensor.of(Float32Array.of(2), []))]), ['Mul']],
    [
      'multiplication by a one that adds axes',
      (b, x) => b.op('Mul', [x, b.constant(Tensor.of(Float32Array.of(1), [1, 1, 1, 1]))]),
      ['Mul'],
    ],
  ]
  it.each(cases)('%s', async (_, follow, left) => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2, 3, 4])
    b.op('Relu', [follow(b, x)], {}, 'y')
    b.output('y', 'float32')
    const result = await apply(removeIdentity, b.model(), randomTensor([2, 3, 4], 1))
    // The first of two transposes that cancel is left to removeUnused.
    expect(operators(result)).toEqual([...left, 'Relu'])
  })

  it('keeps Dropout with a mask that is used, and in training', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [4])
    const [value = '', mask = ''] = b.ops('Dropout', [x], {}, ['value', 'mask'])
    const training = b.constant(Tensor.of(Uint8Array.of(1), [], 'bool'))
    const dropped = b.op('Dropout', [value, b.constant(Tensor.of(Float32Array.of(0), [])), training])
    b.op('Where', [mask, dropped, x], {}, 'y')
    b.output('y', 'float32')
    expect(operators(await apply(removeIdentity, b.model(), randomTensor([4], 1)))).toEqual([
      'Dropout',
      'Dropout',
      'Where',
    ])
  })

  it('lets the producer take over the name of an output, and keeps what cannot', async () => {
    // y1 = y2 = Identity(Relu(x)), y3 = Identity(x)
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [4])
    const value = b.op('Relu', [x])
    b.op('Identity', [value], {}, 'y1')
    b.op('Identity', [value], {}, 'y2')
    b.op('Identity', [x], {}, 'y3')
    b.op('Neg', [value], {}, 'y4')
    for (const name of ['y1', 'y2', 'y3', 'y4']) b.output(name, 'float32')
    const result = await apply(removeIdentity, b.model(), randomTensor([4], 1))
    expect(result.graph.nodes.map((node) => [node.opType, node.inputs, node.outputs])).toEqual([
      ['Relu', ['x'], ['y1']],
      ['Identity', ['y1'], ['y2']],
      ['Identity', ['x'], ['y3']],
      ['Neg', ['y1'], ['y4']],
    ])
  })

  it('follows values into subgraphs, and cleans these too', async () => {
    const inner = (name: string, op: string) => {
      const graph = createGraph(name)
      graph.nodes.push(
        createNode('Identity', ['outer'], [`${name}_same`]),
        createNode(op, [`${name}_same`], [`${name}_value`]),
        createNode('Identity', [`${name}_value`], [`${name}_out`]),
      )
      graph.outputs.push({ name: `${name}_out`, type: tensorType('float32', undefined) })
      return graph
    }
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [4])
    const value = b.op('Relu', [x])
    b.op('Identity', [value], {}, 'outer')
    const condition = b.constant(Tensor.of(Uint8Array.of(1), [], 'bool'))
    b.op('If', [condition], { then_branch: inner('a', 'Neg'), else_branch: inner('b', 'Abs') }, 'y')
    b.output('y', 'float32')
    const result = await apply(removeIdentity, b.model(), randomTensor([4], 1))
    expect(operators(result)).toEqual(['Relu', 'If'])
    const branch = result.graph.nodes[1]!.attributes.get('then_branch')
    if (branch?.kind !== 'graph') throw new Error('no branch')
    expect(branch.value.nodes.map((node) => [node.opType, node.inputs, node.outputs])).toEqual([
      ['Neg', [value], ['a_out']],
    ])
  })
})

describe('removeUnused', () => {
  it('removes nodes, initializers, notes and functions that no output needs', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [4])
    b.op('Relu', [x], {}, 'y')
    b.op('Neg', [b.op('Add', [x, b.constant(randomTensor([4], 1), 'dead_weight')], {}, 'dead')])
    b.output('y', 'float32')
    const model = b.model()
    model.graph.valueInfos.set('dead', { name: 'dead', type: tensorType('float32', [4]) })
    model.functions.push({
      name: 'Unused',
      domain: 'local',
      overload: '',
      inputs: ['a'],
      outputs: ['b'],
      attributes: [],
      attributeDefaults: new Map(),
      nodes: [createNode('Relu', ['a'], ['b'])],
      opsets: new Map([['', 17]]),
    })
    const { changes } = await removeUnused.run(model, {})
    expect(changes).toEqual(['2 unused nodes removed.', '1 unused initializer removed.', '1 unused function removed.'])
    const result = await apply(removeUnused, model, randomTensor([4], 1))
    expect(operators(result)).toEqual(['Relu'])
    expect([result.graph.initializers.size, result.graph.valueInfos.size, result.functions.length]).toEqual([0, 0, 0])
  })

  it('keeps what only subgraphs read, and inputs', async () => {
    const graph = createGraph('branch')
    graph.nodes.push(createNode('Add', ['needed', 'weight'], ['out']), createNode('Neg', ['needed'], ['dead']))
    graph.outputs.push({ name: 'out', type: tensorType('float32', undefined) })
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [4])
    b.input('spare', 'float32', [4])
    b.graph.initializers.set('spare', randomTensor([4], 2))
    b.op('Relu', [x], {}, 'needed')
    b.constant(randomTensor([4], 1), 'weight')
    const condition = b.constant(Tensor.of(Uint8Array.of(1), [], 'bool'), 'condition')
    b.op('If', [condition], { then_branch: graph, else_branch: graph }, 'y')
    b.output('y', 'float32')
    const result = await apply(removeUnused, b.model(), randomTensor([4], 1))
    expect(operators(result)).toEqual(['Relu', 'If'])
    expect([...result.graph.initializers.keys()].toSorted()).toEqual(['condition', 'spare', 'weight'])
    const branch = result.graph.nodes[1]!.attributes.get('then_branch')
    expect(branch?.kind === 'graph' && branch.value.nodes.map((node) => node.opType)).toEqual(['Add'])
  })
})

describe('constantsToInitializers', () => {
  it('takes every form of Constant, and leaves those that are outputs', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2])
    const values = [
      b.op('Constant', [], { value: randomTensor([2], 1) }),
      b.op('Constant', [], { value_float: float(0.5) }),
      b.op('Constant', [], { value_floats: [float(1), float(2)] }),
      b.op('Cast', [b.op('Constant', [], { value_int: 3 })], { to: 1 }),
      b.op('Cast', [b.op('Constant', [], { value_ints: [4, 5] })], { to: 1 }),
    ]
    b.op('Sum', [x, ...values], {}, 'y')
    b.op('Constant', [], { value_float: float(7) }, 'z')
    b.output('y', 'float32')
    b.output('z', 'float32')
    const result = await apply(constantsToInitializers, b.model(), randomTensor([2], 2))
    expect(operators(result)).toEqual(['Cast', 'Cast', 'Sum', 'Constant'])
    expect([...result.graph.initializers.values()].map(({ dtype, shape }) => [dtype, shape])).toEqual([
      ['float32', [2]],
      ['float32', []],
      ['float32', [2]],
      ['int64', []],
      ['int64', [2]],
    ])
  })
})

describe('freezeInitializers', () => {
  it('removes inputs that only rename initializers', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2])
    b.op('Add', [x, b.constant(randomTensor([2], 1), 'weight')], {}, 'y')
    b.input('weight', 'float32', [2])
    b.output('y', 'float32')
    const model = b.model()
    model.irVersion = 3
    const result = await apply(freezeInitializers, model, randomTensor([2], 2))
    expect(result.graph.inputs.map((input) => input.name)).toEqual(['x'])
    expect(result.irVersion).toBe(4)
  })
})
