import { describe, expect, it } from 'vitest'
import { amctModel } from '../../../test/support/amct-model.ts'
import { evaluator } from '../../../test/support/run-model.ts'
import { planQuantize, type Range } from '../../compress/index.ts'
import { createRandom } from '../../core/index.ts'
import { observeShapes } from '../../engine/index.ts'
import {
  type QuantTypeName,
  readTensorQuantOverrides,
  type TensorOverride,
  writeTensorQuantOverrides,
} from './overrides.ts'
import { choicesFromOverrides, overridesFromPlan } from './overrides-plan.ts'

const read = (text: string) => readTensorQuantOverrides(text, 'o.json', amctModel()).config

describe('TensorQuantOverrides', () => {
  it('keep every value of random files', () => {
    const random = createRandom(11)
    const types: QuantTypeName[] = ['QInt8', 'QUInt8', 'QInt16', 'QUInt16', 'QInt4', 'QUInt4']
    for (let i = 0; i < 100; i++) {
      const file = new Map<string, TensorOverride[]>()
      for (let t = 0; t < 4; t++) {
        const quant_type = types[random.integer(types.length)]!
        const channel = (): TensorOverride => ({
          axis: 1,
          quant_type,
          scale: random.uniform() + 1e-9,
          zero_point: random.integer(8),
        })
        const single: TensorOverride =
          random.uniform() < 0.5
            ? {
                symmetric: random.uniform() < 0.5,
                reduce_range: true,
                rmin: -random.integer(5),
                rmax: 2 ** (random.integer(80) - 40),
              }
            : { convert: { quant_type, recv_nodes: ['a', 'ü"'], symmetric: true } }
        file.set(`tensor ${t}`, random.uniform() < 0.5 ? [channel(), channel(), channel()] : [single])
      }
      expect(readTensorQuantOverrides(writeTensorQuantOverrides(file), 'o.json').config).toEqual(file)
    }
  })

  it('understand every way to write a type', () => {
    const text = '{"b": [{"quant_type": "QuantType.QUInt8"}], "a": [{"quant_type": 3}], "c": [], "d": [{}]}'
    expect([...read(text).values()]).toEqual([[{ quant_type: 'QUInt8' }], [{ quant_type: 'QInt16' }], [], [{}]])
  })

  const one = (body: string, name = 'b') => `{\n "${name}": [{${body}}]\n}`
  it.each([
    [one('"symmetric": true', 'z'), "o.json:2:2: tensor 'z' does not exist in the model."],
    [one('"scale": 1'), "o.json:2:9: tensor 'b': 'scale' and 'zero_point' must be given together."],
    [one('"scale": 0, "zero_point": 1'), "o.json:2:9: 'scale' in tensor 'b' must be above 0; got 0."],
    [
      one('"scale": 1, "zero_point": 1, "rmin": 0'),
      "o.json:2:38: tensor 'b': 'rmin' cannot stand beside 'scale' and 'zero_point'.",
    ],
    [
      one('"scale": 1, "zero_point": 200, "quant_type": "QInt8"'),
      "o.json:2:21: tensor 'b': 'zero_point' of QInt8 must be from -128 to 127; got 200.",
    ],
    [one('"scales": 1'), "o.json:2:9: 'scales' is an unknown parameter in tensor 'b'."],
    [one('"quant_type": "int8"'), `o.json:2:9: 'quant_type' in tensor 'b' must be one of "QInt8"`],
    [one('"reduce_range": true'), "o.json:2:9: tensor 'b': 'reduce_range' is for weights; this is an activation."],
    [one('"rmin": 2, "rmax": 1'), "o.json:2:9: tensor 'b': 'rmin' must be at most 'rmax', 1; got 2."],
    [one('"axis": 0'), "o.json:2:9: tensor 'b': channels are for weights; this is an activation."],
    [one('"axis": 4', 'conv1.weight'), "o.json:2:20: tensor 'conv1.weight': 'axis' must be from -4 to 3; got 4."],
    [
      one('"axis": 0}, {', 'conv1.weight'),
      "o.json:2:20: tensor 'conv1.weight': axis 0 of shape [8, 3, 3, 3] has 8 channels, not 2.",
    ],
    [
      one('}, {"scale": 1, "zero_point": 0', 'conv1.weight'),
      "o.json:2:19: tensor 'conv1.weight': the first of several entries, one per channel, must have an 'axis'.",
    ],
    [
      one('"axis": 0}, {"axis": 1', 'conv1.weight'),
      "o.json:2:33: tensor 'conv1.weight': 'axis' must be the same for all channels: the first has 0, this one 1.",
    ],
    [
      one('"axis": 0, "scale": 1, "zero_point": 0}, {', 'conv1.weight'),
      "o.json:2:61: tensor 'conv1.weight': every channel must have 'scale', because the first has it.",
    ],
    [
      one('"convert": {"quant_type": "QInt8"}', 'conv1.weight'),
      "o.json:2:20: tensor 'conv1.weight': 'convert' is for activations; this is a weight.",
    ],
    [one('"convert": {}'), "o.json:2:9: tensor 'b': 'convert' must have a 'quant_type'."],
    [
      one('"quant_type": "QInt8", "convert": {"quant_type": "QInt8"}'),
      "o.json:2:44: tensor 'b': 'quant_type' of 'convert' must be another than the tensor's, QInt8.",
    ],
    ['{"b": {"scale": 1}}', "o.json:1:2: tensor 'b' must have a list of objects; got an object."],
    ['{"b": [], "b": []}', "o.json:1:11: key 'b' stands twice, first in line 1. Keep one."],
  ])('are refused with their place: %j', (text, expected) => {
    expect(() => read(text)).toThrow(expected)
  })

  it('of a plan say what the plan says', async () => {
    const model = amctModel()
    const shapes = await observeShapes(evaluator, model)
    const names = ['input', ...model.graph.nodes.flatMap(({ outputs }) => outputs)]
    const ranges = new Map<string, Range>(names.map((name, i) => [name, { min: -1 - i, max: 2 + i / 3 }]))
    const plan = planQuantize(model, {}, { shapes, ranges })
    const text = writeTensorQuantOverrides(overridesFromPlan(plan))
    const { layers, tensors } = choicesFromOverrides(read(text), model)
    const again = planQuantize(model, { layers, tensors }, { shapes, ranges: new Map() })
    const scales = (steps: typeof plan) => ({
      weights: steps.steps.map(({ node, weight }) => [node, weight?.quantization]),
      activations: steps.activations.map(({ tensor, quantization }) => [tensor, quantization]),
    })
    expect(scales(again)).toEqual(scales(plan))
  })

  it('with ranges instead of scales give the scales of those ranges', () => {
    const text =
      '{"conv1.weight": [{"axis": -4, "rmin": -2, "rmax": 1}], "b": [{"rmin": 0, "rmax": 6, "quant_type": "QUInt8"}]}'
    const choices = choicesFromOverrides(read(text), amctModel())
    expect(choices.ranges.get('b')).toEqual({ min: 0, max: 6 })
    expect(choices.tensors.get('b')).toEqual({ type: 'uint8', symmetric: undefined })
    const { quantization } = choices.layers.get('/conv1/Conv')!
    expect(quantization).toEqual({
      type: 'int8',
      bits: 8,
      axis: 0,
      scale: new Array(8).fill(Math.fround(4 / 254)),
      zeroPoint: new Array(8).fill(0),
    })
  })
})
