// The contract of every compression method (plan → apply → record), kept by quantization.
import { describe, expect, test } from 'vitest'
import { layerZoo } from '../../../test/support/layer-zoo.ts'
import { calibratedPlan, leastSqnr } from '../../../test/support/quantized.ts'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { smallNetwork } from '../../../test/support/small-network.ts'
import { prepareForQuantization, quantize, replayQuantization } from '../../api/index.ts'
import { observeShapes, randomFeeds } from '../../engine/index.ts'
import { type Model, modelCost, modelHash } from '../../graph/index.ts'
import { encodeModel } from '../../onnx/index.ts'
import { Tensor } from '../../tensor/index.ts'
import { applyQuantize, fakeQuantize } from './apply.ts'
import type { QuantizePlanOptions } from './plan.ts'
import type { QuantizePlan } from './step.ts'

const OPTIONS: readonly (readonly [string, QuantizePlanOptions])[] = [
  ['uint8 × int8', {}],
  ['one scale per weight', { perChannel: false }],
  ['7 bits', { reduceRange: true }],
  ['int8 × int8, symmetric', { activations: 'int8', activationsSymmetric: true }],
  ['int16 × int8', { activations: 'int16' }],
  ['uint8 × int4', { weights: 'int4', weightAlgorithm: 'mse' }],
  ['AMCT’s scales', { weightAlgorithm: 'arq' }],
  ['some layers', { only: ['conv', 'gemm', 'shared*'], skip: ['shared b'] }],
]

const zoo = layerZoo()
const feeds = randomFeeds(zoo)
const bytesOf = (model: Model): string => Buffer.from(encodeModel(model)).toString('base64')
const batches = async function* () {
  yield feeds
}

describe.each(OPTIONS)('%s', (_, options) => {
  test('the plan is JSON, leaves the model as it is, and gives equal bytes each time', async () => {
    const { model, plan } = await calibratedPlan(zoo, options)
    const before = bytesOf(model)
    const copy = JSON.parse(JSON.stringify(plan)) as QuantizePlan
    expect(copy).toEqual(plan)
    const first = applyQuantize(model, copy).model
    expect(bytesOf(applyQuantize(model, plan).model)).toBe(bytesOf(first))
    expect(bytesOf(model)).toBe(before)
    expect(plan.model).toBe(modelHash(model))
  })

  test('inputs and outputs stay, and the result is near', async () => {
    const { model, plan } = await calibratedPlan(zoo, options)
    const { model: quantized } = applyQuantize(model, plan)
    const signature = (subject: Model) =>
      [...subject.graph.inputs, ...subject.graph.outputs].map(({ name, type }) => [name, type])
    expect(signature(quantized)).toEqual(signature(zoo))
    const [expected, deployed] = [await runModel(zoo, feeds), await runModel(quantized, feeds)]
    expect(leastSqnr(expected, deployed)).toBeGreaterThan(options.weights === 'int4' ? 8 : 24)
    const fake = await runModel(fakeQuantize(model, plan).model, feeds)
    expect(leastSqnr(fake, deployed)).toBeGreaterThan(38)
  })

  test('the record says what the model costs, and every layer is in it or has a reason', async () => {
    const result = await quantize(zoo, { ...options, data: batches } as never, { evaluator })
    const { record, model } = result
    expect(JSON.parse(JSON.stringify(record))).toEqual(record)
    const { parameters, bytes, macs } = modelCost(model, await observeShapes(evaluator, model))
    expect(record.after).toEqual({ parameters, bytes, macs })
    expect(record.before.macs).toBe(macs)
    const named = new Set([...record.layers, ...record.skips].map(({ name }) => name))
    for (const node of zoo.graph.nodes)
      if (['Conv', 'ConvTranspose', 'Gemm'].includes(node.opType)) expect(named).toContain(node.name)
    for (const layer of record.layers) {
      expect(layer.relativeError).toBeGreaterThan(0)
      // At 4 bits integers serve the layer's output, not the weight.
      expect(layer.relativeError).toBeLessThan(options.weights === 'int4' ? 0.3 : 0.02)
      expect(layer.bytes!.after).toBeLessThan(layer.bytes!.before / 3)
    }
  })
})

test('layers in subgraphs are reported as left alone', async () => {
  const { plan } = await calibratedPlan(zoo)
  expect(plan.skips.find(({ name }) => name === 'then conv')?.reason).toBe("It is inside the If 'branch'.")
})

test('a plan for another model, method or version, and names that are not there, are refused', async () => {
  const { model, plan } = await calibratedPlan(zoo)
  const refused = (changed: Partial<Record<keyof QuantizePlan, unknown>>) =>
    expect(() => applyQuantize(model, { ...plan, ...changed } as QuantizePlan))
  refused({ model: 'other' }).toThrow('The plan was made for another model: it is for other')
  refused({ method: 'low-rank' }).toThrow("A plan of method 'quantize', version 1, is needed; got 'low-rank'")
  refused({ version: 9 }).toThrow('version 9. Plan again.')
  refused({ steps: [plan.steps[0], plan.steps[0]] }).toThrow("The plan names layer 'conv' twice;")
  refused({ steps: [{ ...plan.steps[0], node: 'nobody' }] }).toThrow(
    "names node 'nobody', which the model does not have",
  )
  refused({ steps: [{ ...plan.steps[0], op: 'Gemm' }] }).toThrow("Node 'conv': the plan takes it for Gemm; it is Conv.")
  const [first, ...rest] = plan.activations
  refused({ activations: [{ ...first, tensor: 'nothing' }, ...rest] }).toThrow("names value 'nothing'")
  const broken = (quantization: object) => [
    { ...first, quantization: { ...first!.quantization, ...quantization } },
    ...rest,
  ]
  refused({ activations: broken({ scale: [0] }) }).toThrow('scales must be positive; the plan says 0.')
  refused({ activations: broken({ zeroPoint: [300] }) }).toThrow('integers of 0 to 255; the plan says 300.')
  refused({ activations: broken({ type: 'int9' }) }).toThrow("the plan says 'int9'.")
})

test('types that need a later opset are refused where the model was not lifted', async () => {
  const { model, plan } = await calibratedPlan(zoo)
  const [first, ...rest] = plan.activations
  const wide = {
    ...plan,
    activations: [{ ...first!, quantization: { ...first!.quantization, type: 'uint16', bits: 16 } }, ...rest],
  }
  expect(() => applyQuantize(model, wide as QuantizePlan)).toThrow(
    "Value 'x': type uint16 needs opset 21; the model has 17. Lift the model first.",
  )
})

test('rounded weights and corrected biases take the place of the model’s own', async () => {
  const { model, plan } = await calibratedPlan(smallNetwork({ channels: 4, input: [1, 3, 8, 8] }))
  const integers = Tensor.of(new Int8Array(4 * 3 * 9).fill(3), [4, 3, 3, 3])
  const step = plan.steps.find(({ weight }) => weight?.tensor === 'stem.weight')!
  const bias = Tensor.of(Float32Array.of(1, 2, 3, 4), [4])
  const { model: quantized } = applyQuantize(model, plan, {
    rounded: new Map([['stem.weight', integers]]),
    biases: new Map([[step.node, bias]]),
  })
  expect([...quantized.graph.initializers.get('stem.weight_quantized')!.bytes]).toEqual(new Array(108).fill(3))
  const stored = quantized.graph.initializers.get('stem.weight_bias_quantized')!.data as Int32Array
  const scale = quantized.graph.initializers.get('stem.weight_bias_quantized_scale')!.data as Float32Array
  for (const [channel, value] of stored.entries()) expect(value * scale[channel]!).toBeCloseTo(channel + 1, 3)
  expect(() =>
    applyQuantize(model, plan, { rounded: new Map([['stem.weight', Tensor.of(new Int8Array(3), [3])]]) }),
  ).toThrow("Weight 'stem.weight': its integers must have shape [4, 3, 3, 3]; got [3].")
})

test('it stops when it is told to', async () => {
  const controller = new AbortController()
  const data = async function* () {
    yield feeds
    controller.abort()
    yield feeds
  }
  await expect(quantize(zoo, { data, signal: controller.signal }, { evaluator })).rejects.toMatchObject({
    code: 'ABORTED',
  })
})

test('a model before opset 13 is lifted; before 10, where it cannot be, refused', async () => {
  const old = smallNetwork({ channels: 4, input: [1, 3, 8, 8] })
  old.opsets.set('', 9)
  const { model } = await prepareForQuantization(old, {}, { evaluator })
  expect(model.opsets.get('')).toBe(13)
  const wide = await prepareForQuantization(old, { types: ['int16'] }, { evaluator })
  expect(wide.model.opsets.get('')).toBe(21)
  expect(wide.model.irVersion).toBe(10)
})

test('without data, and without a layer that can be quantized, it says so', async () => {
  await expect(quantize(zoo, {}, { evaluator })).rejects.toThrow("Give some, or set activations to 'none'.")
  const data = batches
  await expect(quantize(zoo, { data, skip: ['*'] }, { evaluator })).rejects.toThrow(
    "Model 'zoo': no layer can be quantized.",
  )
})

test('a plan from a record, through JSON, gives the same bytes on the same file, edited ones others', async () => {
  const options = { data: batches, activations: 'int16', weights: 'int4' } as const
  const { model, record } = await quantize(zoo, options, { evaluator })
  const plan = JSON.parse(JSON.stringify(record.plan)) as QuantizePlan
  const replayed = await replayQuantization(zoo, plan, { data: batches }, { evaluator })
  expect(bytesOf(replayed.model)).toBe(bytesOf(model))
  // What was seen of the samples is not looked for again.
  const seen = /^There is 1 sample/
  expect(record.warnings[0]).toMatch(seen)
  expect(replayed.record).toEqual({ ...record, warnings: record.warnings.filter((text) => !seen.test(text)) })
  const [first, ...rest] = plan.activations
  const wider = { ...first!, quantization: { ...first!.quantization, scale: [2 * first!.quantization.scale[0]!] } }
  const edited = await replayQuantization(
    zoo,
    { ...plan, activations: [wider, ...rest] },
    { data: batches },
    { evaluator },
  )
  expect(bytesOf(edited.model)).not.toBe(bytesOf(model))
  await expect(replayQuantization(smallNetwork(), plan, {}, { evaluator })).rejects.toThrow('made for another model')
})
