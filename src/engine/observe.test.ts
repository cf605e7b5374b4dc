import { describe, expect, it } from 'vitest'
import { realModels } from '../../test/support/real-models.ts'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { createNode, type Evaluator, GraphBuilder, type Model, tensorType } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'
import { inputShapesOf, randomFeeds } from './feeds.ts'
import { observeShapes } from './observe.ts'
import { cutToOutputs, valueNames, withOutputs } from './outputs.ts'

/** x [n, 3, h] → MatMul → NonZero, with a shape that depends on the data */
function dynamicModel(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', ['n', 3, 'h'])
  b.op('Transpose', [x], { perm: [0, 2, 1] }, 'turned')
  b.op('MatMul', ['turned', b.constant(randomTensor([3, 4], 1), 'w')], {}, 'y')
  b.op('NonZero', ['y'], {}, 'where')
  b.op('Size', ['y'], {}, 'size')
  b.output('where', 'int64')
  b.output('size', 'int64')
  return b.model()
}

describe('observeShapes', () => {
  it('tells element types and shapes of inputs, initializers and inner values', async () => {
    const observed = await observeShapes(evaluator, dynamicModel(), { inputShapes: { x: [2, 3, 5] } })
    expect(Object.fromEntries(observed)).toEqual({
      x: { dtype: 'float32', shape: [2, 3, 5] },
      w: { dtype: 'float32', shape: [3, 4] },
      turned: { dtype: 'float32', shape: [2, 5, 3] },
      y: { dtype: 'float32', shape: [2, 5, 4] },
      // Random input has no zeros.
      where: { dtype: 'int64', shape: [3, 40] },
      size: { dtype: 'int64', shape: [] },
    })
  })

  it('does not hand large weights to the runtime', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [1, 64, 8, 8])
    const w = b.constant(randomTensor([32, 64, 3, 3], 1), 'w')
    b.op('Conv', [x, w], {}, 'y')
    b.output('y', 'float32')
    let bytes = 0
    const counting: Evaluator = {
      load: (model, options) => {
        for (const { byteLength } of model.graph.initializers.values()) bytes += byteLength
        return evaluator.load(model, options)
      },
    }
    const observed = await observeShapes(counting, b.model())
    expect([observed.get('w')!.shape, observed.get('y')!.shape]).toEqual([
      [32, 64, 3, 3],
      [1, 32, 6, 6],
    ])
    expect(bytes).toBe(0)
  })

  it('takes an open first axis for the batch', async () => {
    const b = new GraphBuilder()
    b.op('Relu', [b.input('x', 'float32', ['n', 3])], {}, 'y')
    b.output('y', 'float32')
    expect((await observeShapes(evaluator, b.model())).get('y')!.shape).toEqual([1, 3])
    expect((await observeShapes(evaluator, b.model(), { batch: 7 })).get('y')!.shape).toEqual([7, 3])
  })

  it('does not believe what the file notes about inner values and outputs', async () => {
    const model = dynamicModel()
    model.graph.nodes.push(createNode('Transpose', ['where'], ['pairs'], { perm: [1, 0] }, 'pairs'))
    for (const [name, shape] of [['y', [9, 9, 9]] as const, ['pairs', [1, 3]] as const])
      model.graph.valueInfos.set(name, { name, type: tensorType(name === 'y' ? 'float32' : 'int64', shape) })
    model.graph.outputs[0] = { name: 'where', type: tensorType('int64', [3, 1]) }
    const observed = await observeShapes(evaluator, model, { inputShapes: { x: [2, 3, 5] } })
    expect(['y', 'where', 'pairs'].map((name) => observed.get(name)!.shape)).toEqual([
      [2, 5, 4],
      [3, 40],
      [40, 3],
    ])
  })

  it('leaves out sequences and tensors that the runtime’s JavaScript API cannot name', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [4, 2])
    b.op('SplitToSequence', [x], {}, 'sequence')
    b.op('SequenceAt', ['sequence', b.constant(Tensor.int64(1), 'one')], {}, 'first')
    b.op('Cast', ['first'], { to: 16 }, 'brain')
    b.op('Cast', ['brain'], { to: 1 }, 'y')
    b.output('y', 'float32')
    const observed = await observeShapes(evaluator, b.model())
    expect([...observed.keys()].toSorted()).toEqual(['first', 'one', 'x', 'y'])
    expect(observed.get('y')!.shape).toEqual([1, 2])
  })

  it('tries zeros where ones do not work as integers', async () => {
    const b = new GraphBuilder()
    const row = b.op('Gather', [b.input('x', 'float32', [1, 12]), b.input('index', 'int64', [1])])
    b.op('NonZero', [row], {}, 'z')
    b.output('z', 'int64')
    expect((await observeShapes(evaluator, b.model())).get('z')!.shape).toEqual([2, 12])
  })

  it('works with an evaluator that infers nothing', async () => {
    const silent: Evaluator = {
      load: async (model, options) => {
        const executable = await evaluator.load(model, options)
        return {
          inputNames: executable.inputNames,
          outputNames: executable.outputNames,
          run: (feeds, outputs) => executable.run(feeds, outputs),
          release: () => executable.release(),
        }
      },
    }
    const options = { inputShapes: { x: [2, 3, 5] } }
    const model = dynamicModel()
    expect(await observeShapes(silent, model, options)).toEqual(await observeShapes(evaluator, model, options))
  })

  it('refuses a broken model with the runtime’s reason', async () => {
    const model = dynamicModel()
    model.graph.nodes.push(createNode('Nonsense', ['y'], ['z'], {}, 'odd'))
    await expect(observeShapes(evaluator, model, { inputShapes: { x: [2, 3, 5] } })).rejects.toThrow(
      "Nonsense 'odd': ONNX Runtime cannot load the model",
    )
  })

  it.each(realModels().filter(({ heavy }) => !heavy))(
    'agrees with a run of $name',
    async ({ read, inputShapes, feeds }) => {
      const model = read()
      const observed = await observeShapes(evaluator, model, { inputShapes })
      const names = valueNames(model.graph)
      expect([...observed.keys()].toSorted()).toEqual(names.toSorted())
      const executable = await evaluator.load(withOutputs(model, names), { optimization: 'disabled' })
      const values = await executable.run(feeds())
      await executable.release()
      for (const name of names)
        expect([name, observed.get(name)!.dtype, observed.get(name)!.shape]).toEqual([
          name,
          values[name]!.dtype,
          values[name]!.shape,
        ])
    },
  )
})

describe('inputShapesOf', () => {
  const withInputs = (...shapes: ((number | string | null)[] | undefined)[]): Model => {
    const b = new GraphBuilder()
    const names = shapes.map((shape, i) => b.input(`x${i}`, 'float32', shape))
    b.op('Sum', names, {}, 'y')
    b.output('y', 'float32')
    return b.model()
  }
  const shapesOf = (model: Model, options = {}) => [...inputShapesOf(model, options).values()].map(({ shape }) => shape)

  it('gives axes of one name one length', () => {
    const model = withInputs(['n', 'h'], ['h', 'n'])
    expect(shapesOf(model, { inputShapes: { x0: [2, 5] } })).toEqual([
      [2, 5],
      [5, 2],
    ])
  })

  const refusals: [Model, object, string][] = [
    [
      withInputs(['n', 3, 'h', null]),
      {},
      "Input 'x0' [n, 3, h, ?]: every axis but the first must have a fixed length. Give the shape, e.g. --input-shape x0:1x3x224x224.",
    ],
    [
      withInputs(undefined),
      {},
      "Input 'x0' of unknown rank: every axis but the first must have a fixed length. Give the shape, e.g. --input-shape x0:1x3x224x224.",
    ],
    [
      withInputs(['n', 3]),
      { inputShapes: { x0: [1, 4] } },
      "Input shape for 'x0': must fit [n, 3], each length at least 1; got [1, 4].",
    ],
    [
      withInputs(['n', 3]),
      { inputShapes: { y0: [1, 3] } },
      "Input shape for 'y0': the model has no such input; its inputs are 'x0'.",
    ],
  ]
  it.each(refusals)('refuses what leaves a length open or does not fit', (model, options, message) => {
    expect(() => shapesOf(model, options)).toThrow(message)
  })
})

describe('randomFeeds', () => {
  it('gives the same numbers for the same seed, of every element type', () => {
    const b = new GraphBuilder()
    for (const dtype of ['float32', 'float16', 'int32', 'int64', 'bool', 'string', 'uint8'] as const)
      b.input(dtype, dtype, [2])
    const feeds = randomFeeds(b.model(), { seed: 3 })
    expect(feeds.float32!.data).toEqual(randomFeeds(b.model(), { seed: 3 }).float32!.data)
    expect(feeds.float32!.data).not.toEqual(randomFeeds(b.model(), { seed: 4 }).float32!.data)
    expect([feeds.int32!.data, feeds.int64!.data]).toEqual([Int32Array.of(1, 1), BigInt64Array.of(1n, 1n)])
    expect([feeds.bool!.data, feeds.uint8!.data]).toEqual([Uint8Array.of(1, 1), Uint8Array.of(1, 1)])
    expect(feeds.string!.strings).toHaveLength(2)
    expect(feeds.float16!.dtype).toBe('float16')
  })
})

describe('withOutputs and cutToOutputs', () => {
  it('add outputs, or keep only those given and what they need', async () => {
    const model = dynamicModel()
    const names = (each: Model) => each.graph.outputs.map((output) => output.name)
    expect(names(withOutputs(model, ['y', 'size', 'x']))).toEqual(['where', 'size', 'y', 'x'])
    const cut = cutToOutputs(model, ['turned'])
    expect([names(cut), cut.graph.nodes.length, cut.graph.initializers.size]).toEqual([['turned'], 1, 0])
    expect(names(model)).toEqual(['where', 'size'])
    const feeds = randomFeeds(model, { inputShapes: { x: [1, 3, 2] } })
    const { turned } = await (await evaluator.load(cut)).run(feeds)
    expect(turned!.shape).toEqual([1, 2, 3])
    expect(() => withOutputs(model, ['nowhere'])).toThrow(
      "Value 'nowhere': no node, input or initializer of the main graph has this name.",
    )
  })
})
