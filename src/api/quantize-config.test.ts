import { describe, expect, it } from 'vitest'
import { amctModel } from '../../test/support/amct-model.ts'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import type { QuantizePlan } from '../compress/index.ts'
import { recordFromPlan, writeAmctRecord } from '../formats/index.ts'
import { quantize } from './quantize.ts'
import { configureQuantization } from './quantize-config.ts'

const runtime = { evaluator }
const data = async function* () {
  for (let batch = 0; batch < 3; batch++) yield { input: randomTensor([1, 3, 8, 8], batch) }
}

const CFG = `
skip_layers: "fc"
activation_offset: false
common_config { ifmr_quantize { search_step: 0.05 } }
override_layer_configs { layer_name: "conv1" calibration_config { arq_quantize { quant_bits: 6 channel_wise: false } hfmg_quantize { } } }`

describe('a configuration of another tool', () => {
  it('decides which layers become integers, and how', async () => {
    const { options, warnings } = await configureQuantization(amctModel(), CFG, 'q.cfg', { data }, runtime)
    expect(warnings).toEqual([])
    const { plan, float } = await quantize(amctModel(), options, runtime)
    const { steps, skips, activations } = plan as QuantizePlan
    expect(skips).toContainEqual({ name: '/fc/Gemm', reason: 'The configuration disables it.' })
    const first = steps.find(({ node }) => node === '/conv1/Conv')!.weight!
    expect(first).toMatchObject({ algorithm: 'arq', quantization: { bits: 6, axis: null } })
    // No offset: AMCT's 0 is our 128.
    expect(activations.find(({ tensor }) => tensor === 'input')!.quantization.zeroPoint).toEqual([128])
    const { record } = recordFromPlan(plan as QuantizePlan, float!)
    const again = await configureQuantization(amctModel(), writeAmctRecord(record), 'record.txt', { data }, runtime)
    const replanned = (await quantize(amctModel(), again.options, runtime)).plan as QuantizePlan
    expect(recordFromPlan(replanned, float!).record).toEqual(record)
  })

  it('of retraining gives settings for training', async () => {
    const text = `retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 3 clip_min: -2 } } }
      retrain_weight_quant_config { ulq_retrain { dst_type: INT4 } }`
    const { qat, options } = await configureQuantization(amctModel(), text, 'r.cfg', { data }, runtime)
    expect(qat['/conv1/Conv']).toEqual({
      algorithm: 'ulq',
      weights: 'ulq',
      clip: { min: -2, max: 3 },
      fixedMin: undefined,
    })
    expect(options.layers?.get('/layer1/layer1.0/conv3/Conv')?.bits).toBe(4)
  })

  it('that is wrong is refused with its place', async () => {
    const text = '{\n "version": 1,\n "conv7": {"quant_enable": true}\n}'
    await expect(configureQuantization(amctModel(), text, 'q.json', { data }, runtime)).rejects.toThrow(
      "q.json:3:2: 'conv7' is an invalid layer name or parameter: the model has no such layer.",
    )
  })
})
