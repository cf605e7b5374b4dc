import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf } from '../../test/support/quantized-training.ts'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { relativeError } from '../../test/support/tensors.ts'
import { readAmctRecord } from '../formats/index.ts'
import { loadModel } from '../node/index.ts'
import { toFloat32 } from '../tensor/index.ts'
import { createQuantRetrainConfig, createQuantRetrainModel, saveQuantRetrainModel } from './index.ts'

const runtime = { evaluator }
const data = patterns(256, 1)
let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'whittle-amct-'))
})
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

describe('AMCT’s three calls of retraining', () => {
  it('write a configuration, train, and save record and models without another inference', async () => {
    const config = await createQuantRetrainConfig(at('config.json'), residualNetwork(), { runtime })
    expect([...config.layers.keys()]).toEqual(['stem', 'body', 'last', 'head'])
    expect(JSON.parse(readFileSync(at('config.json'), 'utf8')).body).toEqual({
      retrain_enable: true,
      retrain_data_config: { algo: 'ulq_quantize', dst_type: 'INT8' },
      retrain_weight_config: { algo: 'arq_retrain', channel_wise: true, dst_type: 'INT8' },
    })
    const model = await createQuantRetrainModel(at('config.json'), residualNetwork(), at('record.txt'), data, {
      runtime,
    })
    const before = readAmctRecord(readFileSync(at('record.txt'), 'utf8'), 'record.txt').config.record
    expect(before.map(({ key }) => key)).toEqual(['stem', 'body', 'last', 'head'])
    // Behind a ReLU the least integer stands for 0.
    expect(before[1]!.value).toMatchObject({ offset_d: -128, act_type: 'INT8', wts_type: 'INT8' })
    expect(before[1]!.value!.scale_w).toHaveLength(8)
    const first = await model.train({ data, batch: 32, steps: 8, lr: 0.05, workers: 0 })
    const second = await model.train({ data, batch: 32, steps: 8, lr: 0.05, workers: 0 })
    expect(second.history.at(-1)!.loss).toBeLessThan(first.history.at(-1)!.loss)
    const { deployModel, fakeQuantModel } = await saveQuantRetrainModel(
      at('config.json'),
      model,
      at('record.txt'),
      at('out/net'),
    )
    expect(readdirSync(at('out')).sort()).toEqual(['net_deploy_model.onnx', 'net_fake_quant_model.onnx'])
    const after = readAmctRecord(readFileSync(at('record.txt'), 'utf8'), 'record.txt').config.record
    expect(after[1]!.value!.scale_d).not.toBe(before[1]!.value!.scale_d)
    const input = await samplesOf(data, 64)
    const outputs = []
    for (const path of [deployModel, fakeQuantModel])
      outputs.push((await runModel(await loadModel(path), { input })).logits!)
    outputs.push((await runModel(model.model, { input })).logits!)
    expect(relativeError(outputs[0]!, outputs[1]!)).toBeLessThan(1e-5)
    expect(relativeError(outputs[0]!, outputs[2]!)).toBeLessThan(1e-3)
  })

  it('do as the configuration says: layers, bits, clips, learned scales', async () => {
    writeFileSync(
      at('own.json'),
      JSON.stringify({
        version: 1,
        batch_num: 2,
        body: {
          retrain_enable: true,
          retrain_data_config: { algo: 'ulq_quantize', clip_max: 3, clip_min: -1, fixed_min: false, dst_type: 'INT8' },
          retrain_weight_config: { algo: 'ulq_retrain', channel_wise: false, dst_type: 'INT4' },
        },
      }),
    )
    const model = await createQuantRetrainModel(at('own.json'), residualNetwork(), at('own.txt'), data, { runtime })
    const [quantizer] = model.network.activations
    expect(model.network.activations).toHaveLength(1)
    expect(Object.keys(quantizer!.parameters).sort()).toEqual(['clipMax', 'clipMin'])
    const clipMax = toFloat32(model.model.graph.initializers.get(quantizer!.parameters.clipMax!)!)[0]!
    // The zero point is a whole number, so that the ends move by less than a step.
    expect(Math.abs(clipMax - 3)).toBeLessThan(4 / 255)
    const [weights] = model.network.weights
    expect(weights).toMatchObject({ node: 'body', algorithm: 'ulq', quantization: { type: 'int4', axis: null } })
    const { deployModel } = await saveQuantRetrainModel(at('own.json'), model, at('own.txt'), at('own'))
    const deployed = await loadModel(deployModel)
    expect(deployed.graph.nodes.filter(({ opType }) => opType === 'QuantizeLinear')).toHaveLength(1)
  })

  it('say what is wrong', async () => {
    writeFileSync(at('wrong.json'), '{ "version": 1,\n  "nowhere": { "retrain_enable": true } }')
    const create = (name: string) =>
      createQuantRetrainModel(at(name), residualNetwork(), at('x.txt'), data, { runtime })
    await expect(create('wrong.json')).rejects.toThrow(/wrong\.json:2:\d+: .*nowhere/)
    await expect(create('absent.json')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const model = await create('config.json')
    writeFileSync(
      at('config.json'),
      readFileSync(at('config.json'), 'utf8').replace(/"batch_num":\s*1/, '"batch_num": 3'),
    )
    await expect(saveQuantRetrainModel(at('config.json'), model, at('x.txt'), at('x'))).rejects.toMatchObject({
      code: 'PLAN_MISMATCH',
    })
  })
})
