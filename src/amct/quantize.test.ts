import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf } from '../../test/support/quantized-training.ts'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { relativeError } from '../../test/support/tensors.ts'
import { readAmctRecord } from '../formats/index.ts'
import { loadModel } from '../node/index.ts'
import { createQuantConfig, quantizeModel, saveModel } from './index.ts'

const runtime = { evaluator }
const data = patterns(64, 1)
let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'whittle-amct-'))
})
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

describe('AMCT’s calls of post-training quantization', () => {
  it('write a configuration, the record, and two models that agree', async () => {
    const model = residualNetwork()
    const options = { runtime, skipLayers: ['head'], batchNum: 2, activationOffset: true }
    const config = await createQuantConfig(at('config.json'), model, options)
    expect(config.batch_num).toBe(2)
    expect(config.layers.get('head')).toMatchObject({ quant_enable: false })
    const { warnings } = await quantizeModel(at('config.json'), at('modified.onnx'), at('record.txt'), model, data, {
      runtime,
    })
    expect(warnings).toEqual([])
    const { config: record } = readAmctRecord(readFileSync(at('record.txt'), 'utf8'), 'record.txt')
    expect(record.record.map(({ key }) => key)).toEqual(['stem', 'body', 'last'])
    const paths = await saveModel(at('modified.onnx'), at('record.txt'), at('net'))
    const input = await samplesOf(data, 32)
    const run = async (path: string) => (await runModel(await loadModel(path), { input })).logits!
    const deployed = await run(paths.deployModel)
    expect(relativeError(deployed, await run(paths.fakeQuantModel))).toBeLessThan(1e-5)
    const error = relativeError((await runModel(model, { input })).logits!, deployed)
    expect(error).toBeGreaterThan(0)
    expect(error).toBeLessThan(0.05)
  })

  it('take factors that somebody edited', async () => {
    const text = readFileSync(at('record.txt'), 'utf8')
    const first = /scale_d: *(\S+)/.exec(text)![1]!
    writeFileSync(at('edited.txt'), text.replace(first, String(Number(first) * 4)))
    const paths = await saveModel(at('modified.onnx'), at('edited.txt'), at('edited'))
    const scales = (await loadModel(paths.deployModel)).graph.initializers
    const before = (await loadModel(at('net_deploy_model.onnx'))).graph.initializers
    expect(Number(scales.get('input_scale')!.data[0])).toBeCloseTo(4 * Number(before.get('input_scale')!.data[0]), 6)
  })

  it('say what they cannot do', async () => {
    writeFileSync(at('ada.cfg'), 'common_config { ada_quantize { num_iteration: 10 } }')
    await createQuantConfig(at('ada.json'), residualNetwork(), { runtime, configDefinition: at('ada.cfg') })
    const asked = quantizeModel(at('ada.json'), at('x.onnx'), at('x.txt'), residualNetwork(), data, { runtime })
    await expect(asked).rejects.toThrow(/layer 'stem' asks for AdaRound, which a record cannot hold/)
    writeFileSync(at('bad.cfg'), 'batch_num: 1\nskip_layers: "nowhere"')
    const wrong = createQuantConfig(at('x.json'), residualNetwork(), { runtime, configDefinition: at('bad.cfg') })
    await expect(wrong).rejects.toThrow(/bad\.cfg:2:\d+: .*nowhere/)
  })
})
