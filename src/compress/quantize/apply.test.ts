// What an applied plan computes: exact where the numbers are, and near where they are not.
import { describe, expect, test } from 'vitest'
import { calibratedPlan, leastSqnr, NamedGraph, planOf } from '../../../test/support/quantized.ts'
import { runModel } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/small-network.ts'
import { createRandom } from '../../core/index.ts'
import { randomFeeds } from '../../engine/index.ts'
import { assertModel, float, type Model } from '../../graph/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { applyQuantize, fakeQuantize } from './apply.ts'
import { integersOf } from './weights.ts'

const STEP = 2 ** -4

/** Small whole numbers, the first of each channel 127, times 2⁻⁷: their scale is 2⁻⁷ exactly. */
function exactWeight(shape: readonly number[], channelOf: (i: number) => number): Tensor {
  const random = createRandom(11)
  const size = shape.reduce((product, extent) => product * extent, 1)
  const seen = new Set<number>()
  const values = Float32Array.from({ length: size }, (_, i) => {
    const channel = channelOf(i)
    if (seen.has(channel)) return random.integer(3) * 2 ** -7
    seen.add(channel)
    return 127 * 2 ** -7
  })
  return Tensor.of(values, shape)
}

/** Zeros and ones times the step of the input's scale. */
function exactInput(shape: readonly number[], density: number): Tensor {
  const random = createRandom(12)
  const size = shape.reduce((product, extent) => product * extent, 1)
  return Tensor.of(
    Float32Array.from({ length: size }, () => (random.uniform() < density ? STEP : 0)),
    shape,
  )
}

interface ExactCase {
  readonly name: string
  readonly op: string
  readonly input: readonly number[]
  readonly weight: readonly number[]
  readonly channelOf: (i: number) => number
  readonly bias: number
  readonly attributes: Parameters<NamedGraph['named']>[3]
}

const CASES: readonly ExactCase[] = [
  {
    name: 'Conv of one axis',
    op: 'Conv',
    input: [2, 3, 9],
    weight: [4, 3, 3],
    channelOf: (i) => Math.floor(i / 9),
    bias: 4,
    attributes: { pads: [1, 1] },
  },
  {
    name: 'Conv of two axes with strides and dilations',
    op: 'Conv',
    input: [1, 4, 9, 9],
    weight: [6, 4, 3, 3],
    channelOf: (i) => Math.floor(i / 36),
    bias: 6,
    attributes: { strides: [2, 2], dilations: [2, 2], pads: [2, 2, 2, 2] },
  },
  {
    name: 'Conv of three axes',
    op: 'Conv',
    input: [1, 2, 4, 5, 4],
    weight: [4, 2, 2, 2, 2],
    channelOf: (i) => Math.floor(i / 16),
    bias: 4,
    attributes: {},
  },
  {
    name: 'depthwise Conv',
    op: 'Conv',
    input: [1, 8, 6, 6],
    weight: [8, 1, 3, 3],
    channelOf: (i) => Math.floor(i / 9),
    bias: 8,
    attributes: { group: 8, pads: [1, 1, 1, 1] },
  },
  {
    name: 'ConvTranspose',
    op: 'ConvTranspose',
    input: [1, 4, 5, 5],
    weight: [4, 6, 2, 2],
    channelOf: (i) => Math.floor(i / 4) % 6,
    bias: 6,
    attributes: { strides: [2, 2] },
  },
  {
    name: 'grouped ConvTranspose, whose groups share their scales',
    op: 'ConvTranspose',
    input: [1, 4, 5, 5],
    weight: [4, 3, 2, 2],
    channelOf: (i) => Math.floor(i / 4) % 3,
    bias: 6,
    attributes: { strides: [2, 2], group: 2 },
  },
  {
    name: 'Gemm with the outputs first',
    op: 'Gemm',
    input: [3, 12],
    weight: [5, 12],
    channelOf: (i) => Math.floor(i / 12),
    bias: 5,
    attributes: { transB: 1 },
  },
  {
    name: 'Gemm with the inputs first',
    op: 'Gemm',
    input: [3, 12],
    weight: [12, 5],
    channelOf: (i) => i % 5,
    bias: 5,
    attributes: {},
  },
  {
    name: 'MatMul of stacked rows',
    op: 'MatMul',
    input: [2, 3, 12],
    weight: [12, 5],
    channelOf: (i) => i % 5,
    bias: 0,
    attributes: {},
  },
]

function exactModel({ op, input, weight, channelOf, bias, attributes }: ExactCase): Model {
  const b = new NamedGraph('exact')
  const inputs = [b.input('x', 'float32', input), b.constant(exactWeight(weight, channelOf), 'w')]
  // Multiples of the bias's scale, which is the product of both others.
  const values = Float32Array.from({ length: bias }, (_, i) => (i - 1) * 5 * STEP * 2 ** -7)
  if (bias > 0) inputs.push(b.constant(Tensor.of(values, [bias]), 'b'))
  b.output(b.named('y', op, inputs, attributes), 'float32')
  return b.model()
}

/** Whole numbers −128 … 127 of a scale 2ᵏ. */
const around = (scale: number) => ({ min: -128 * scale, max: 127 * scale })

describe('numbers that integers stand for exactly come out exactly', () => {
  test.each(CASES)('$name', async (subject) => {
    const model = exactModel(subject)
    const x = exactInput(subject.input, 0.3)
    // uint8 steps of 2⁻⁴ for x, and for y steps of 2⁻¹¹ up to some hundred: 16 bits hold them, 8 would not.
    const ranges = { x: { min: 0, max: 255 * STEP }, y: { min: -8192 * 2 ** -11, max: (65535 - 8192) * 2 ** -11 } }
    model.opsets.set('', 21)
    model.irVersion = 10
    const wide = new Map([['y', { type: 'uint16' } as const]])
    const plan = await planOf(model, ranges, { tensors: wide })
    expect(plan.steps[0]!.weight!.quantization.scale.every((scale) => scale === 2 ** -7)).toBe(true)
    const expected = await runModel(model, { x })
    const deployed = await runModel(applyQuantize(model, plan).model, { x })
    const fake = await runModel(fakeQuantize(model, plan).model, { x })
    expect([...toFloat32(deployed.y!)]).toEqual([...toFloat32(expected.y!)])
    expect([...toFloat32(fake.y!)]).toEqual([...toFloat32(expected.y!)])
  })

  test('also the sum of two values, with a Relu that is cut off by the integers', async () => {
    const b = new NamedGraph('sum')
    const shape = [1, 3, 4, 4]
    const x = b.input('x', 'float32', shape)
    const one = Tensor.of(
      Float32Array.of(127, 0, 0, 0, 127, 0, 0, 0, 127).map((v) => v / 127),
      [3, 3, 1, 1],
    )
    const a = b.named('a', 'Conv', [x, b.constant(one, 'w')])
    const relu = b.named('relu', 'Relu', [a])
    const sum = b.named('sum', 'Add', [relu, x])
    b.output(b.named('y', 'Conv', [sum, 'w']), 'float32')
    const model = b.model()
    const ranges = { x: around(1), relu: { min: 0, max: 255 }, sum: around(2), y: around(2) }
    const plan = await planOf(model, ranges)
    const random = createRandom(4)
    const input = Tensor.of(
      Float32Array.from({ length: 48 }, () => 2 * random.integer(50) - 50),
      shape,
    )
    const expected = Array.from(toFloat32(input), (value) => value + Math.max(0, value))
    const { model: deployed } = applyQuantize(model, plan)
    expect(deployed.graph.nodes.map(({ opType }) => opType)).not.toContain('Relu')
    const { y } = await runModel(deployed, { x: input })
    // 1 is 127 steps of 1/127, whose float32 is not exact.
    for (const [i, value] of toFloat32(y!).entries()) expect(value).toBeCloseTo(expected[i]!, 4)
  })
})

test('constants are shared by nodes that agree, biases are not', async () => {
  const b = new NamedGraph('shared')
  const x = b.input('x', 'float32', [1, 4, 5, 5])
  const weight = b.constant(randomTensor(1, [4, 4, 3, 3]), 'w')
  const bias = b.constant(randomTensor(2, [4]), 'b')
  const same = { pads: [1, 1, 1, 1] }
  const first = b.named('first', 'Conv', [x, weight, bias], same)
  b.output(b.named('second', 'Conv', [first, weight, bias], same), 'float32')
  const { model, plan } = await calibratedPlan(b.model())
  const quantized = applyQuantize(model, plan).model
  const { initializers } = quantized.graph
  expect([...initializers.keys()].filter((name) => name.endsWith('_quantized')).sort()).toEqual([
    'b_quantized',
    'b_second_quantized',
    'w_quantized',
  ])
  expect(initializers.has('w')).toBe(false)
  const feeds = randomFeeds(model)
  expect(leastSqnr(await runModel(model, feeds), await runModel(quantized, feeds))).toBeGreaterThan(25)
})

test('a bias that its scale is too small for raises the weight’s scale, with a warning', async () => {
  const b = new NamedGraph('overflow')
  const x = b.input('x', 'float32', [1, 4, 5, 5])
  const weight = randomTensor(1, [4, 4, 1, 1])
  const tiny = Tensor.of(
    toFloat32(weight).map((value) => value * 1e-7),
    weight.shape,
  )
  const bias = Tensor.of(Float32Array.of(3000, -2000, 1, 0), [4])
  b.output(b.named('y', 'Conv', [x, b.constant(tiny, 'w'), b.constant(bias, 'b')]), 'float32')
  const { model, plan } = await calibratedPlan(b.model())
  expect(plan.warnings).toEqual(["The weight of 'y' has larger scales, so that its bias fits into 32 bits."])
  const integers = integersOf(applyQuantize(model, plan).model.graph.initializers.get('b_quantized')!)
  // 3000 of 3000 · 1.0001 is 2³¹ / 1.0001.
  expect(Math.abs(integers[0]! / (2 ** 31 / 1.0001) - 1)).toBeLessThan(1e-6)
  const feeds = randomFeeds(model)
  expect(
    leastSqnr(await runModel(model, feeds), await runModel(applyQuantize(model, plan).model, feeds)),
  ).toBeGreaterThan(40)
})

test('an output that is also read goes on in integers and comes out dequantized under its own name', async () => {
  const b = new NamedGraph('outputs')
  const x = b.input('x', 'float32', [1, 4, 5, 5])
  const a = b.named('a', 'Conv', [x, b.constant(randomTensor(1, [4, 4, 1, 1]), 'w')])
  b.output(a, 'float32', [1, 4, 5, 5])
  b.output(b.named('c', 'Conv', [a, b.constant(randomTensor(2, [4, 4, 1, 1]), 'v')]), 'float32')
  const { model, plan } = await calibratedPlan(b.model())
  const quantized = applyQuantize(model, plan).model
  assertModel(quantized)
  const pair = quantized.graph.nodes.find(({ name }) => name === 'a_QuantizeLinear')!
  expect(pair.inputs).toEqual(['a_QuantizeLinear_Input', 'a_scale', 'a_zero_point'])
  expect(quantized.graph.nodes.find(({ name }) => name === 'a_DequantizeLinear')!.outputs).toEqual(['a'])
  const feeds = randomFeeds(model)
  expect(leastSqnr(await runModel(model, feeds), await runModel(quantized, feeds))).toBeGreaterThan(30)
})

test('a value made in float stays in float for those who read it so', async () => {
  const b = new NamedGraph('mixed')
  const x = b.input('x', 'float32', [1, 4, 5, 5])
  b.output(b.named('a', 'Conv', [x, b.constant(randomTensor(1, [4, 4, 1, 1]), 'w')]), 'float32')
  b.output(b.named('t', 'Tanh', [x]), 'float32')
  const { model, plan } = await calibratedPlan(b.model())
  const quantized = applyQuantize(model, plan).model
  expect(quantized.graph.nodes.find(({ name }) => name === 't')!.inputs).toEqual(['x'])
  const feeds = randomFeeds(model)
  const [before, after] = [await runModel(model, feeds), await runModel(quantized, feeds)]
  expect([...toFloat32(after.t!)]).toEqual([...toFloat32(before.t!)])
})

test('fewer bits of activations are cut off: four bits in uint8 have 16 values', async () => {
  const b = new NamedGraph('bits')
  const x = b.input('x', 'float32', [1, 4, 5, 5])
  b.output(b.named('a', 'Conv', [x, b.constant(randomTensor(1, [4, 4, 1, 1]), 'w')]), 'float32')
  const range = { min: -1, max: 1 }
  const model = b.model()
  const plan = await planOf(model, { x: range, a: range }, { activationBits: 4 })
  for (const form of [applyQuantize, fakeQuantize]) {
    const { a } = await runModel(form(model, plan).model, randomFeeds(model))
    expect(new Set(toFloat32(a!)).size).toBeLessThanOrEqual(16)
    expect(Math.max(...toFloat32(a!))).toBeLessThanOrEqual(1.07)
  }
})

test('Gemm’s factors and the bias after a MatMul go into the layer', async () => {
  const b = new NamedGraph('linear')
  const x = b.input('x', 'float32', [3, 8])
  const w = b.constant(randomTensor(1, [8, 6]), 'w')
  const bias = b.constant(randomTensor(2, [6]), 'b')
  const first = b.named('first', 'Gemm', [x, w, bias], { alpha: float(0.5), beta: float(3) })
  const product = b.named('second', 'MatMul', [first, b.constant(randomTensor(3, [6, 4]), 'v')])
  b.output(b.named('sum', 'Add', [b.constant(randomTensor(4, [1, 4]), 'c'), product]), 'float32')
  const original = b.model()
  const { model, plan } = await calibratedPlan(original)
  expect(plan.steps.map(({ node, op }) => `${node} ${op}`)).toEqual(['first Gemm', 'second Gemm'])
  const feeds = randomFeeds(original)
  const expected = await runModel(original, feeds)
  expect(leastSqnr(expected, await runModel(model, feeds))).toBeGreaterThan(120)
  expect(leastSqnr(expected, await runModel(applyQuantize(model, plan).model, feeds))).toBeGreaterThan(30)
})

describe('every operator with an integer form computes what it does in float', () => {
  const image = [1, 8, 6, 6]
  // x → Conv → operator → Conv, so that the operator is between integers.
  const cases: readonly (readonly [string, number, (b: NamedGraph, x: string) => string])[] = [
    ['Add', 35, (b, x) => b.named('op', 'Add', [x, 'second'])],
    ['Mul', 30, (b, x) => b.named('op', 'Mul', [x, 'second'])],
    ['Mul with a constant', 30, (b, x) => b.named('op', 'Mul', [x, b.constant(randomTensor(7, [8, 1, 1]), 'c')])],
    ['Concat', 30, (b, x) => b.named('op', 'Concat', [x, 'second'], { axis: 1 })],
    ['AveragePool', 30, (b, x) => b.named('op', 'AveragePool', [x], { kernel_shape: [2, 2] })],
    ['GlobalAveragePool', 28, (b, x) => b.named('op', 'GlobalAveragePool', [x])],
    ['LeakyRelu', 30, (b, x) => b.named('op', 'LeakyRelu', [x], { alpha: float(0.1) })],
    ['Sigmoid', 30, (b, x) => b.named('op', 'Sigmoid', [x])],
    ['Softmax', 30, (b, x) => b.named('op', 'Softmax', [x], { axis: 1 })],
    ['Relu', 30, (b, x) => b.named('op', 'Relu', [x])],
    ['Clip', 30, (b, x) => b.named('op', 'Clip', [x, b.constant(scalar(0)), b.constant(scalar(1))])],
    ['MaxPool', 30, (b, x) => b.named('op', 'MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2] })],
    ['GlobalMaxPool', 28, (b, x) => b.named('op', 'GlobalMaxPool', [x])],
    ['Transpose', 30, (b, x) => b.named('op', 'Transpose', [x], { perm: [0, 1, 3, 2] })],
    ['Reshape', 30, (b, x) => b.named('op', 'Reshape', [x, b.constant(Tensor.int64([1, 8, 4, 9]))])],
    ['Slice', 30, (b, x) => b.named('op', 'Slice', [x, ...[0, 4, 2].map((v) => b.constant(Tensor.int64([v])))])],
    ['Gather', 30, (b, x) => b.named('op', 'Gather', [x, b.constant(Tensor.int64([2, 0, 5]))], { axis: 2 })],
    ['Split', 30, (b, x) => b.ops('Split', [x], { axis: 2 }, ['op', 'rest'])[0]!],
    ['Expand', 30, (b, x) => b.named('op', 'Expand', [x, b.constant(Tensor.int64([2, 8, 6, 6]))])],
    ['Tile', 30, (b, x) => b.named('op', 'Tile', [x, b.constant(Tensor.int64([1, 1, 2, 1]))])],
    ['Pad', 30, (b, x) => b.named('op', 'Pad', [x, b.constant(Tensor.int64([0, 0, 1, 1, 0, 0, 1, 1]))])],
    [
      'Resize to the nearest',
      30,
      (b, x) => b.named('op', 'Resize', [x, '', b.constant(scales())], { mode: 'nearest' }),
    ],
    ['Resize linearly', 30, (b, x) => b.named('op', 'Resize', [x, '', b.constant(scales())], { mode: 'linear' })],
    [
      'DepthToSpace and SpaceToDepth',
      30,
      (b, x) => b.named('op', 'SpaceToDepth', [b.named('d', 'DepthToSpace', [x], { blocksize: 2 })], { blocksize: 2 }),
    ],
    [
      'Squeeze and Unsqueeze',
      30,
      (b, x) =>
        b.named('op', 'Unsqueeze', [b.named('s', 'Squeeze', [x, b.constant(Tensor.int64([0]), 'axis')]), 'axis']),
    ],
  ]
  const scalar = (value: number): Tensor => Tensor.of(Float32Array.of(value), [])
  const scales = (): Tensor => Tensor.of(Float32Array.of(1, 1, 2, 2), [4])

  test.each(cases)('%s (at least %d dB)', async (name, bound, operator) => {
    const b = new NamedGraph('operator')
    const x = b.input('x', 'float32', image)
    const first = b.named('first', 'Conv', [x, b.constant(randomTensor(1, [8, 8, 1, 1]), 'w')])
    b.named('second', 'Conv', [x, b.constant(randomTensor(2, [8, 8, 1, 1]), 'v')])
    const y = operator(b, first)
    const channels = name === 'Concat' ? 16 : 8
    b.output(b.named('last', 'Conv', [y, b.constant(randomTensor(3, [8, channels, 1, 1]), 'u')]), 'float32')
    const { model, plan } = await calibratedPlan(b.model())
    expect(plan.steps.map(({ node }) => node)).toContain('last')
    const feeds = randomFeeds(model)
    const [expected, deployed] = [await runModel(model, feeds), await runModel(applyQuantize(model, plan).model, feeds)]
    expect(leastSqnr(expected, deployed)).toBeGreaterThan(bound)
    const fake = await runModel(fakeQuantize(model, plan).model, feeds)
    // The integer kernel of Softmax looks exponentials up in a table.
    expect(leastSqnr(fake, deployed)).toBeGreaterThan(name === 'Softmax' ? 35 : 45)
  })
})

test('a product of two activations', async () => {
  const b = new NamedGraph('product')
  const x = b.input('x', 'float32', [2, 5, 8])
  const q = b.named('q', 'MatMul', [x, b.constant(randomTensor(1, [8, 8]), 'wq')])
  const k = b.named('k', 'MatMul', [x, b.constant(randomTensor(2, [8, 8]), 'wk')])
  const turned = b.named('turn', 'Transpose', [k], { perm: [0, 2, 1] })
  const soft = b.named('soft', 'Softmax', [b.named('scores', 'MatMul', [q, turned])], { axis: 2 })
  b.output(b.named('mixed', 'MatMul', [soft, x]), 'float32')
  const { model, plan } = await calibratedPlan(b.model())
  expect(plan.steps.map(({ node }) => node)).toEqual(['q', 'k', 'turn', 'scores', 'soft', 'mixed'])
  const feeds = randomFeeds(model)
  const [expected, deployed] = [await runModel(model, feeds), await runModel(applyQuantize(model, plan).model, feeds)]
  expect(leastSqnr(expected, deployed)).toBeGreaterThan(25)
})
