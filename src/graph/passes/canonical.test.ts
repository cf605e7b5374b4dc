import { describe, expect, it } from 'vitest'
import { outputError } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { Tensor } from '../../tensor/index.ts'
import { type AttributeInput, float, makeAttribute } from '../attributes.ts'
import { createNode, GraphBuilder } from '../builder.ts'
import { checkModel } from '../check.ts'
import { createGraph, type Model, tensorType } from '../model.ts'
import { canonical, liftOpset } from './canonical.ts'

const floats = (...values: number[]) => values.map(float)

/** y (and further outputs) = op(x) at an old opset. */
function oneNode(
  opset: number,
  opType: string,
  shape: readonly number[],
  attributes: Record<string, AttributeInput>,
  options: { outputs?: number; constants?: Tensor[]; rank?: false } = {},
): Model {
  const b = new GraphBuilder()
  // Softmax cannot see the rank of a value that a node produces.
  const x = b.input('x', 'float32', shape)
  const data = options.rank === false ? b.op('Abs', [x]) : x
  const outputs = Array.from({ length: options.outputs ?? 1 }, (_, i) => `y${i}`)
  b.ops(opType, [data, ...(options.constants ?? []).map((tensor) => b.constant(tensor))], attributes, outputs)
  for (const name of outputs) b.graph.outputs.push({ name, type: undefined })
  return b.model(opset)
}

const lift = async (model: Model) => canonical.run(model, {})

describe('lifting to opset 17 leaves the function of an operator unchanged', () => {
  const cases: [string, Model][] = [
    ['Clip with both bounds', oneNode(7, 'Clip', [3, 4], { min: float(-0.5), max: float(0.25) })],
    ['Clip with an upper bound', oneNode(10, 'Clip', [3, 4], { max: float(0.25) })],
    ['Pad with a value', oneNode(7, 'Pad', [2, 3], { pads: [1, 0, 2, 1], value: float(0.5) })],
    ['Pad by reflection', oneNode(10, 'Pad', [4, 4], { pads: [1, 2, 0, 1], mode: 'reflect' })],
    ['Slice with axes', oneNode(9, 'Slice', [4, 5, 6], { starts: [1, -3], ends: [3, 100], axes: [0, 2] })],
    ['Slice without axes', oneNode(7, 'Slice', [4, 5], { starts: [1, 0], ends: [3, -1] })],
    ['TopK', oneNode(9, 'TopK', [3, 7], { k: 3, axis: 1 }, { outputs: 2 })],
    ['Upsample nearest', oneNode(7, 'Upsample', [1, 2, 3, 4], { scales: floats(1, 1, 2, 3), mode: 'nearest' })],
    ['Upsample linear', oneNode(8, 'Upsample', [1, 2, 3, 4], { scales: floats(1, 1, 2, 2), mode: 'linear' })],
    [
      'Upsample with scales as input',
      oneNode(9, 'Upsample', [1, 2, 3, 4], {}, { constants: [Tensor.of(Float32Array.of(1, 1, 1.5, 2.5), [4])] }),
    ],
    [
      'Resize that shrinks',
      oneNode(10, 'Resize', [1, 2, 7, 9], {}, { constants: [Tensor.of(Float32Array.of(1, 1, 0.5, 0.4), [4])] }),
    ],
    [
      'Resize that shrinks linearly',
      oneNode(
        10,
        'Resize',
        [1, 2, 7, 9],
        { mode: 'linear' },
        { constants: [Tensor.of(Float32Array.of(1, 1, 0.5, 1.7), [4])] },
      ),
    ],
    ['Softmax over several axes', oneNode(9, 'Softmax', [2, 3, 4, 2], {})],
    ['Softmax over the last axis', oneNode(9, 'Softmax', [2, 3, 4], { axis: 2 })],
    ['Softmax over a value of unknown rank', oneNode(11, 'Softmax', [2, 3, 4], { axis: 1 }, { rank: false })],
    ['Softmax with a negative axis', oneNode(11, 'Softmax', [2, 3, 4], { axis: -2 }, { rank: false })],
    ['LogSoftmax', oneNode(12, 'LogSoftmax', [2, 3, 4], { axis: 1 })],
    ['Hardmax', oneNode(12, 'Hardmax', [2, 3, 4], { axis: 1 })],
    ['Squeeze with axes', oneNode(11, 'Squeeze', [2, 1, 3, 1], { axes: [1] })],
    ['Squeeze without axes', oneNode(11, 'Squeeze', [2, 1, 3, 1], {})],
    ['Unsqueeze', oneNode(7, 'Unsqueeze', [2, 3], { axes: [0, 2] })],
    ['ReduceSum with axes', oneNode(7, 'ReduceSum', [2, 3, 4], { axes: [0, 2], keepdims: 0 })],
    ['ReduceSum over everything', oneNode(7, 'ReduceSum', [2, 3, 4], {})],
    ['Split in given parts', oneNode(7, 'Split', [2, 5], { axis: 1, split: [2, 3] }, { outputs: 2 })],
    ['Split in equal parts', oneNode(7, 'Split', [2, 6], { axis: 1 }, { outputs: 3 })],
    ['Dropout', oneNode(7, 'Dropout', [2, 6], { ratio: float(0.4) })],
    [
      'BatchNormalization',
      oneNode(
        8,
        'BatchNormalization',
        [2, 3, 4],
        { spatial: 1, epsilon: float(0.01) },
        { constants: [1, 2, 3, 4].map((seed) => Tensor.of(Float32Array.of(seed, 0.5, 1 / seed), [3])) },
      ),
    ],
    [
      'Scatter',
      oneNode(
        10,
        'Scatter',
        [3, 3],
        { axis: 0 },
        { constants: [Tensor.of(BigInt64Array.of(1n, 0n, 2n), [1, 3]), randomTensor([1, 3], 4)] },
      ),
    ],
    [
      'RoiAlign',
      oneNode(
        10,
        'RoiAlign',
        [1, 2, 6, 6],
        { output_height: 2, output_width: 2, sampling_ratio: 2 },
        { constants: [Tensor.of(Float32Array.of(0.3, 0.6, 4.2, 5.1), [1, 4]), Tensor.int64([0])] },
      ),
    ],
  ]
  it.each(cases)('%s', async (_, model) => {
    const { model: lifted, changes } = await lift(model)
    expect(changes[0]).toMatch(/^Lifted from opset \d+ to 17\.$/)
    expect(lifted.opsets.get('')).toBe(17)
    expect(checkModel(lifted)).toEqual([])
    const { shape = [] } = model.graph.inputs[0]!.type?.kind === 'tensor' ? model.graph.inputs[0]!.type : {}
    expect(await outputError(model, lifted, { x: randomTensor(shape as number[], 7) })).toBeLessThanOrEqual(1e-7)
    expect((await lift(lifted)).changes).toEqual([])
  })

  it('also inside subgraphs', async () => {
    // y = x > 0 everywhere ? Unsqueeze(x) : Unsqueeze(-x), at opset 11
    const branch = (name: string, negate: boolean) => {
      const graph = createGraph(name)
      graph.nodes.push(
        createNode(negate ? 'Neg' : 'Relu', ['x'], [`${name}_0`]),
        createNode('Unsqueeze', [`${name}_0`], [`${name}_1`], { axes: [0] }),
      )
      graph.outputs.push({ name: `${name}_1`, type: tensorType('float32', undefined) })
      return graph
    }
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [3])
    const condition = b.op('Greater', [
      b.op('ReduceMin', [x], { keepdims: 0 }),
      b.constant(Tensor.of(Float32Array.of(0), [])),
    ])
    b.op('If', [condition], { then_branch: branch('then', false), else_branch: branch('else', true) }, 'y')
    b.output('y', 'float32')
    const model = b.model(11)
    const { model: lifted } = await lift(model)
    expect(lifted.opsets.get('')).toBe(17)
    for (const x of [Float32Array.of(1, 2, 3), Float32Array.of(-1, 2, 3)])
      expect(await outputError(model, lifted, { x: Tensor.of(x, [3]) })).toBe(0)
  })
})

describe('a model stays at its opset, with the reason', () => {
  const cases: [string, Model][] = [
    [
      "Kept at opset 7: ImageScaler 'node_ImageScaler_0' is not an operator of opset 17.",
      oneNode(7, 'ImageScaler', [1], {}),
    ],
    [
      "Kept at opset 8: BatchNormalization 'node_BatchNormalization_0': statistics per position (spatial = 0) ended.",
      oneNode(8, 'BatchNormalization', [1], { spatial: 0 }),
    ],
    [
      "Kept at opset 9: Dropout 'node_Dropout_0': its mask changed from numbers to booleans.",
      oneNode(9, 'Dropout', [1], {}, { outputs: 2 }),
    ],
    ['Kept at opset 6: operators before opset 7 broadcast by other rules.', oneNode(6, 'Relu', [1], {})],
    [
      "Kept at opset 10: Resize 'node_Resize_1': it enlarges one axis and shrinks another, which rounded differently.",
      oneNode(10, 'Resize', [2, 2], {}, { constants: [Tensor.of(Float32Array.of(0.5, 2), [2])] }),
    ],
  ]
  it.each(cases)('%s', async (reason, model) => {
    const { model: same, changes } = await lift(model)
    expect(changes).toEqual([reason])
    expect(same.opsets).toEqual(model.opsets)
    expect(same.graph.nodes.map((node) => node.opType)).toEqual(model.graph.nodes.map((node) => node.opType))
  })

  it('when bounds need an element type that is not told', async () => {
    const b = new GraphBuilder()
    const half = b.op('Cast', [b.input('x', 'float32', [2])], { to: 10 })
    b.op('Clip', [half], { max: float(1) }, 'y')
    b.output('y', 'float16')
    const { changes } = await lift(b.model(10))
    expect(changes[0]).toContain("Clip 'node_Clip_2': its bounds become inputs of the type of 'Cast_0'")
  })
})

describe('canonical', () => {
  it('writes out what convolutions leave to defaults, and turns VALID into pads', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [1, 2, 8, 8])
    const weight = b.constant(randomTensor([3, 2, 3, 5], 1))
    b.op('Conv', [x, weight], {}, 'plain')
    b.op('Conv', [x, weight], { auto_pad: 'VALID', strides: [2, 1] }, 'valid')
    b.op('Conv', [x, weight], { auto_pad: 'SAME_UPPER' }, 'same')
    for (const name of ['plain', 'valid', 'same']) b.output(name, 'float32')
    const model = b.model()
    const { model: result, changes } = await canonical.run(model, {})
    expect(changes).toEqual(['Default attributes of 3 convolutions written out.'])
    const [plain, valid, same] = result.graph.nodes
    expect(Object.fromEntries(plain!.attributes)).toEqual({
      kernel_shape: makeAttribute([3, 5]),
      strides: makeAttribute([1, 1]),
      dilations: makeAttribute([1, 1]),
      group: makeAttribute(1),
      pads: makeAttribute([0, 0, 0, 0]),
    })
    expect(valid!.attributes.has('auto_pad')).toBe(false)
    expect(valid!.attributes.get('strides')).toEqual(makeAttribute([2, 1]))
    expect(same!.attributes.get('auto_pad')).toEqual(makeAttribute('SAME_UPPER'))
    expect(same!.attributes.has('pads')).toBe(false)
    expect(await outputError(model, result, { x: randomTensor([1, 2, 8, 8], 2) })).toBe(0)
    expect(model.graph.nodes[0]!.attributes.size).toBe(0)
  })

  it('sorts nodes and calls the standard domain by one name', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [2])
    b.op('ai.onnx::Relu', ['middle'], {}, 'y')
    b.op('Neg', [x], {}, 'middle')
    b.output('y', 'float32')
    const { model, changes } = await canonical.run(b.model(), {})
    expect(changes).toEqual(['Nodes sorted.'])
    expect(model.graph.nodes.map((node) => [node.domain, node.opType])).toEqual([
      ['', 'Neg'],
      ['', 'Relu'],
    ])
  })
})

describe('lifting to opset 18 leaves the function of an operator unchanged', () => {
  const reductions = ['L1', 'L2', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'SumSquare'].map(
    (name): [string, Model] => [
      `Reduce${name}`,
      oneNode(13, `Reduce${name}`, [2, 3, 4], { axes: [-1, 0], keepdims: 0 }),
    ],
  )
  const cases: [string, Model][] = [
    ...reductions,
    ['Split into equal parts', oneNode(13, 'Split', [2, 6], { axis: 1 }, { outputs: 3 })],
    ['Split of opset 7', oneNode(7, 'Split', [2, 6], { axis: 1, split: [2, 4] }, { outputs: 2 })],
    [
      'Resize by sizes, with empty scales',
      oneNode(
        11,
        'Resize',
        [1, 2, 3, 4],
        {},
        {
          constants: [
            Tensor.of(new Float32Array(), [0]),
            Tensor.of(new Float32Array(), [0]),
            Tensor.int64([1, 2, 6, 6]),
          ],
        },
      ),
    ],
  ]
  for (const [name, model] of cases)
    it(name, async () => {
      const lifted = liftOpset(model, 18)
      expect(lifted.opsets.get('')).toBe(18)
      expect(checkModel(lifted)).toEqual([])
      const type = model.graph.inputs[0]!.type
      const shape = type?.kind === 'tensor' ? (type.shape as number[]) : []
      expect(await outputError(model, lifted, { x: randomTensor(shape, 1) })).toBeLessThan(1e-6)
    })

  it('models of later opsets stay as they are', () => {
    expect(liftOpset(oneNode(21, 'Relu', [2], {}), 18).opsets.get('')).toBe(21)
  })

  it('says why a model cannot be lifted', () => {
    expect(() => liftOpset(oneNode(6, 'Relu', [2], {}), 18)).toThrow(
      "Model 'graph': opset 18 or later is needed; it has opset 6 and cannot be lifted: operators before opset 7 broadcast by other rules.",
    )
  })
})
