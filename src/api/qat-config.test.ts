import { describe, expect, it } from 'vitest'
import { patterns, residualNetwork } from '../../test/support/quantized-training.ts'
import { evaluator } from '../../test/support/run-model.ts'
import { finetune } from './finetune.ts'
import type { QatOptions } from './qat.ts'
import { configureQat } from './qat-config.ts'

const runtime = { evaluator }
const data = patterns(128, 1)
const configure = (text: string, name: string, given: QatOptions = {}) =>
  configureQat(residualNetwork(), text, name, given, runtime)
const train = async (qat: QatOptions) =>
  (await finetune(residualNetwork(), { data, batch: 32, steps: 2, lr: 0.01, qat }, runtime)).quantized!

const JSON_FILE = JSON.stringify({
  version: 1,
  batch_num: 2,
  stem: { retrain_enable: true },
  body: {
    retrain_enable: true,
    retrain_data_config: { algo: 'ulq_quantize', clip_max: 3, clip_min: -1, fixed_min: false, dst_type: 'INT4' },
    retrain_weight_config: { algo: 'ulq_retrain', channel_wise: false, dst_type: 'INT4' },
  },
  head: { retrain_enable: false },
})

describe('a configuration of retraining', () => {
  it('in JSON decides which layers are trained with rounding, with how many bits and from where', async () => {
    const { qat, warnings, file } = await configure(JSON_FILE, 'own.json')
    expect([file.format, warnings]).toEqual(['amct-retrain-json', []])
    const { plan, float } = await train(qat)
    const weights = new Map(plan.steps.flatMap(({ node, weight }) => (weight ? [[node, weight]] : [])))
    expect([...weights.keys()]).toEqual(['stem', 'body'])
    expect(weights.get('body')!.quantization).toMatchObject({ bits: 4, axis: null })
    expect(weights.get('stem')!.quantization).toMatchObject({ bits: 8, axis: 0 })
    expect(plan.skips).toContainEqual({ name: 'head', reason: 'The configuration disables it.' })
    expect(plan.skips).toContainEqual({ name: 'last', reason: 'The configuration has no entry for it.' })
    const input = float.graph.nodes.find(({ name }) => name === 'body')!.inputs[0]
    const activation = plan.activations.find(({ tensor }) => tensor === input)!
    expect(activation.quantization.bits).toBe(4)
    // Two steps of training away from the clips of the file, and to a whole zero point.
    expect(activation.range.max).toBeGreaterThan(2.5)
    expect(activation.range.max).toBeLessThan(3.5)
    expect(activation.range.min).toBeLessThan(-0.5)
  })

  it('as .cfg is expanded to the model’s layers; what it does not name follows the options', async () => {
    const text = 'quant_skip_layers: "head"\nretrain_weight_quant_config { arq_retrain { dst_type: INT4 } }\n'
    const { qat, file } = await configure(text, 'own.cfg', { bits: 'w4a4' })
    expect(file.format).toBe('amct-retrain-cfg')
    const { plan } = await train(qat)
    const bits = Object.fromEntries(
      plan.steps.flatMap(({ node, weight }) => (weight ? [[node, weight.quantization.bits]] : [])),
    )
    // The file says 4 bits of the first layer too, which would keep 8 otherwise.
    expect(bits).toEqual({ stem: 4, body: 4, last: 4 })
    const found = new Map(plan.activations.map(({ tensor, quantization }) => [tensor, quantization.bits]))
    expect([found.get('input'), found.get('joined'), found.get('clipped')]).toEqual([8, 8, 4])
  })

  it('of calibration says what training starts from; what cannot be trained is told', async () => {
    const text = `common_config { ada_quantize { num_iteration: 10 } hfmg_quantize { num_of_bins: 1024 } }`
    const { qat, warnings } = await configure(text, 'q.cfg')
    expect(qat.calibrations?.get('input')).toEqual({ method: 'hfmg', numOfBins: 1024 })
    expect(warnings).toEqual(['The configuration asks for AdaRound in 4 layers; their weights are trained instead.'])
    expect((await train(qat)).plan.activations.find(({ tensor }) => tensor === 'input')?.algorithm).toBeDefined()
  })

  it('that is wrong is refused with its place', async () => {
    await expect(configure('{\n "version": 1,\n "conv7": {"retrain_enable": true}\n}', 'r.json')).rejects.toThrow(
      /r\.json:3:2: .*conv7/,
    )
    await expect(configure('batch_num: 1\nretrain_data_quant_config { ulq { } }', 'r.cfg')).rejects.toThrow(
      /r\.cfg:2:\d+: /,
    )
    await expect(
      configure('{ "version": 1, "body": { "retrain_enable": true,\n "retrain_weight_config": 7 } }', 'r.json'),
    ).rejects.toThrow(/r\.json:2:\d+: /)
  })
})
