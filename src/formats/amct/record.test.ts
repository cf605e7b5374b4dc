import { describe, expect, it } from 'vitest'
import { amctModel } from '../../../test/support/amct-model.ts'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { randomTensor, relativeError } from '../../../test/support/tensors.ts'
import { applyQuantize, planQuantize, type QuantizePlan, type Range } from '../../compress/index.ts'
import { observeShapes } from '../../engine/index.ts'
import { cloneModel } from '../../graph/index.ts'
import { toFloat64 } from '../../tensor/index.ts'
import { readAmctRecord, writeAmctRecord } from './record.ts'
import { planFromRecord, recordFromPlan } from './record-plan.ts'

/** As AMCT's documentation shows one. */
const FILE = `record {
  key: "conv1"
  value {
    scale_d: 0.0798481479
    offset_d: 1
    scale_w: 0.00297622895
    offset_w: 0
    skip_fusion: true
    dst_type: "INT8"
  }
}
record {
  key: "fc"
  value {
    scale_d: 0.00784554612
    offset_d: -1
    scale_w: 0.00778095098
    offset_w: 0
    tensor_balance_factor: 0.948409557
    tensor_balance_factor: 0.984379828
  }
}
prune_record {
  selective_prune {
    name: "conv1"
    attr {
      name: "mask_shape"
      type: INTS
      ints: 3
      ints: 3
    }
  }
}
`

/** The example without balance factors. */
const PLAIN = FILE.replace(/ *tensor_balance_factor.*\n/g, '')

const FEEDS = { input: randomTensor([1, 3, 8, 8], 5) }

/** A plan for the ranges that one run has. */
async function somePlan(): Promise<QuantizePlan> {
  const model = amctModel()
  const shapes = await observeShapes(evaluator, model)
  const open = cloneModel(model)
  open.graph.outputs = model.graph.nodes.map(({ outputs }) => ({ name: outputs[0]!, type: undefined }))
  const values = { ...(await runModel(open, FEEDS)), ...FEEDS }
  const ranges = new Map(
    Object.entries(values).map(([name, tensor]): [string, Range] => {
      const data = toFloat64(tensor)
      return [name, { min: Math.min(...data), max: Math.max(...data) }]
    }),
  )
  return planQuantize(model, { weightAlgorithm: 'arq' }, { shapes, ranges })
}

describe("AMCT's record", () => {
  it('keeps every value, floats to the last bit', () => {
    const { config } = readAmctRecord(FILE, 'record.txt')
    expect(config.record[0]!.value!.scale_d).toBe(Math.fround(0.0798481479))
    const again = readAmctRecord(writeAmctRecord(config), 'record.txt').config
    expect(again).toEqual(config)
    // Nine digits are more than float32 needs; ours are the fewest, and the same float32.
    expect(writeAmctRecord(config).split('\n').length).toBe(FILE.split('\n').length)
  })

  const layer = (body: string) => `record {\n key: "conv1"\n value { ${body} }\n}`
  it.each([
    [layer('scale_d: 1e-8'), "record.txt:3:10: layer 'conv1': scale_d must be from 2⁻²³ to 2²³; got 1e-8."],
    [layer('scale_d: inf'), "record.txt:3:10: layer 'conv1': scale_d must be from 2⁻²³ to 2²³; got Infinity."],
    [layer('scale_w: 1 scale_w: 0'), "record.txt:3:21: layer 'conv1': scale_w must be from 2⁻²³ to 2²³; got 0."],
    [layer('scale_w: 1'), "record.txt:3:8: layer 'conv1': scale_w and offset_w must be as many; got 1 and 0."],
    [layer('scale_w: 1 offset_w: 3'), "record.txt:3:21: layer 'conv1': offset_w must be 0; got 3."],
    [
      layer('offset_d: 128'),
      "record.txt:3:10: layer 'conv1': offset_d of type INT8 must be from -128 to 127; got 128.",
    ],
    [
      layer('act_type: "INT32"'),
      "record.txt:3:10: layer 'conv1': the type of activations must be one of INT4, INT8, INT16; got 'INT32'.",
    ],
    [
      layer('wts_type: "INT5"'),
      "record.txt:3:10: layer 'conv1': wts_type must be one of INT4, INT6, INT7, INT8; got 'INT5'.",
    ],
    [`${layer('')}\n${layer('')}`, "record.txt:6:2: layer 'conv1' has two records. Keep one."],
    ['record {\n value { } }', "record.txt:1:1: a 'record' needs a 'key', the layer's name."],
    [layer('scale_x: 1'), "record.txt:3:10: 'scale_x' is no field of 'SingleLayerRecord'."],
  ])('refuses %j with its place', (text, expected) => {
    expect(() => readAmctRecord(text, 'record.txt')).toThrow(expected)
  })
})

describe('a plan and a record', () => {
  it('say the same: the offset is the zero point less 128, and what was planned comes back', async () => {
    const model = amctModel()
    const plan = await somePlan()
    const { record, skips } = recordFromPlan(plan, model, { names: 'module' })
    expect(skips).toEqual([])
    expect(record.record.map(({ key }) => key)).toEqual([
      'conv1',
      'layer1.0.conv2',
      'layer1.0.conv3',
      'up',
      'pool',
      'fc',
      '/MatMul',
    ])
    const input = plan.activations.find(({ tensor }) => tensor === 'input')!.quantization
    expect(record.record[0]!.value).toMatchObject({
      scale_d: input.scale[0],
      offset_d: input.zeroPoint[0]! - 128,
      act_type: 'INT8',
      wts_type: 'INT8',
    })
    const { config, source } = readAmctRecord(writeAmctRecord(record), 'record.txt')
    const again = planFromRecord(config, model, { source })
    const weights = ({ steps }: QuantizePlan) =>
      steps.filter(({ weight }) => weight).map(({ node, weight }) => [node, weight!.quantization])
    expect(weights(again)).toEqual(weights(plan))
    for (const { tensor, quantization } of again.activations)
      expect(quantization).toEqual(plan.activations.find((step) => step.tensor === tensor)!.quantization)
  })

  it('give networks that quantize the same layers: unsigned and signed storage give equal numbers', async () => {
    const model = amctModel()
    const { record } = recordFromPlan(await somePlan(), model)
    const outputs = await Promise.all(
      (['unsigned', 'signed'] as const).map(async (store) => {
        const { model: quantized } = applyQuantize(model, planFromRecord(record, model, { store }))
        return (await runModel(quantized, FEEDS)).scores!
      }),
    )
    expect(relativeError(outputs[0]!, outputs[1]!)).toBeLessThan(1e-6)
    const float = (await runModel(model, FEEDS)).scores!
    expect(relativeError(float, outputs[0]!)).toBeGreaterThan(1e-4)
    expect(relativeError(float, outputs[0]!)).toBeLessThan(0.1)
  })

  it.each([
    [PLAIN.replace('"conv1"', '"conv9"'), "record.txt:2:3: layer 'conv9' does not exist in the model."],
    [
      FILE,
      "record.txt:20:5: layer 'fc': balance factors change the weights; balance the model itself (option balance).",
    ],
    [
      PLAIN.replace('scale_w: 0.00297622895\n    offset_w: 0', 'scale_w: [1, 1] offset_w: [0, 0]'),
      "record.txt:6:5: layer 'conv1': scale_w must have one scale, or one for each of the 8 channels of weight [8, 3, 3, 3]; got 2.",
    ],
    [
      `record { key: "layer1.0.conv3" value { scale_d: 1 } }\nrecord { key: "/relu/Relu" value { scale_d: 1 scale_w: 1 offset_w: 0 } }`,
      "record.txt:2:47: layer '/relu/Relu': a Relu has no constant weight.",
    ],
  ])('do not fit when %j', (text, expected) => {
    const { config, source } = readAmctRecord(text, 'record.txt')
    expect(() => planFromRecord(config, amctModel(), { source })).toThrow(expected)
  })
})
