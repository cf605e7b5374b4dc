import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf } from '../../test/support/quantized-training.ts'
import { evaluator as engine, runModel } from '../../test/support/run-model.ts'
import { relativeError } from '../../test/support/tensors.ts'
import { readAmctRecord } from '../formats/index.ts'
import type { Executable } from '../graph/index.ts'
import { loadModel } from '../node/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { type AutoCalibrationEvaluator, accuracyBasedAutoCalibration, createQuantConfig } from './index.ts'

const options = { runtime: { evaluator: engine } }
const model = residualNetwork()
let folder = ''
let input: Tensor
let expected: Tensor
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'whittle-auto-'))
  input = await samplesOf(patterns(64, 1))
  expected = (await runModel(model, { input })).logits!
  await createQuantConfig(at('config.json'), model, { ...options, batchNum: 1 })
})
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

/** Accuracy is one minus the relative error of the outputs; a loss above the limit will not do. */
function evaluator(limit: number, change: Partial<AutoCalibrationEvaluator> = {}): AutoCalibrationEvaluator {
  return {
    calibration: async (executable) => {
      await executable.run({ input })
    },
    evaluate: async (executable: Executable) => 1 - relativeError(expected, (await executable.run({ input })).logits!),
    metricEval: (original, found) => [original - found <= limit, original - found],
    ...change,
  }
}

const json = (path: string): unknown => JSON.parse(readFileSync(at(path), 'utf8'))

describe('accuracyBasedAutoCalibration', () => {
  it('writes models and AMCT’s files when everything may stay quantized', async () => {
    const { rollback, models } = await accuracyBasedAutoCalibration(
      model,
      evaluator(0.5),
      at('config.json'),
      at('all/record.txt'),
      at('all/net'),
      options,
    )
    expect(rollback).toMatchObject({ status: 'quantized', strategy: 'binary-search', rolledBack: [] })
    expect(readdirSync(at('all')).sort()).toEqual([
      'accuracy_based_auto_calibration_final_config.json',
      'accuracy_based_auto_calibration_ranking_information.json',
      'accuracy_based_auto_calibration_record.json',
      'net_deploy_model.onnx',
      'net_fake_quant_model.onnx',
      'record.txt',
    ])
    const run = async (path: string): Promise<Tensor> => (await runModel(await loadModel(path), { input })).logits!
    const deployed = await run(models!.deployModel)
    expect(relativeError(deployed, await run(models!.fakeQuantModel))).toBeLessThan(1e-5)
    expect(1 - relativeError(expected, deployed)).toBeCloseTo(rollback.final, 6)
    const { config } = readAmctRecord(readFileSync(at('all/record.txt'), 'utf8'), 'record.txt')
    expect(config.record.map(({ key }) => key)).toEqual(['stem', 'body', 'last', 'head'])
  })

  it('rolls back the worst layers until the evaluator is satisfied, and says so in AMCT’s files', async () => {
    const loss = (json('all/accuracy_based_auto_calibration_record.json') as { metric_eval: [boolean, number] }[])[0]!
      .metric_eval[1]
    const { rollback } = await accuracyBasedAutoCalibration(
      model,
      evaluator(loss * 0.9),
      at('config.json'),
      at('some/record.txt'),
      at('some/net'),
      options,
    )
    expect(rollback.status).toBe('partly-rolled-back')
    expect(1 - rollback.final).toBeLessThanOrEqual(loss * 0.9)
    const ranking = json('some/accuracy_based_auto_calibration_ranking_information.json') as [string, number][]
    expect(ranking.map(([name]) => name).sort()).toEqual(['body', 'head', 'last', 'stem'])
    expect(ranking.map(([, score]) => score)).toEqual(ranking.map(([, score]) => score).sort((a, b) => a - b))
    // The worst of the ranking, as many as were rolled back.
    const worst = ranking.slice(0, rollback.rolledBack.length).map(([name]) => name)
    expect([...rollback.rolledBack].sort()).toEqual(worst.sort())
    const config = json('some/accuracy_based_auto_calibration_final_config.json') as Record<string, unknown>
    expect(config).toMatchObject({ batch_num: 1, [ranking[0]![0]]: { quant_enable: false } })
    const record = json('some/accuracy_based_auto_calibration_record.json') as {
      roll_back_config: Record<string, boolean>
      metric_eval: [boolean, number]
    }[]
    expect(record[0]).toMatchObject({ roll_back_config: { stem: true, head: true }, metric_eval: [false, loss] })
    expect(record.at(-1)!.metric_eval[0]).toBe(true)
  })

  it('writes no model when every layer has to be rolled back', async () => {
    const { rollback, models } = await accuracyBasedAutoCalibration(
      model,
      evaluator(0),
      at('config.json'),
      at('none/record.txt'),
      at('none/net'),
      options,
    )
    expect(rollback.status).toBe('original')
    expect(models).toBeUndefined()
    expect(existsSync(at('none/net_deploy_model.onnx'))).toBe(false)
    expect(existsSync(at('none/record.txt'))).toBe(false)
    const config = json('none/accuracy_based_auto_calibration_final_config.json')
    expect(config).toMatchObject({ stem: { quant_enable: false }, head: { quant_enable: false } })
  })

  it('says clearly what is wrong with an evaluator', async () => {
    const attempt = (change: Partial<AutoCalibrationEvaluator>) =>
      accuracyBasedAutoCalibration(model, evaluator(0.5, change), at('config.json'), at('x.txt'), at('x/net'), options)
    await expect(attempt({ calibration: async () => {} })).rejects.toThrow(
      "The evaluator's calibration() must run the model at least once; it did not. Run its batches.",
    )
    await expect(attempt({ evaluate: async () => JSON.parse('"0.9"') })).rejects.toThrow(
      "The evaluator's evaluate() must answer with a finite number; got 0.9.",
    )
    await expect(attempt({ metricEval: () => JSON.parse('true') })).rejects.toThrow(
      "The evaluator's metricEval() must answer with [satisfied, loss], a boolean and a number; got true.",
    )
    await expect(attempt({ metricEval: () => [false, 0] })).rejects.toThrow(
      'Roll-back: the accuracy of the original, judged against itself, must satisfy; it does not. Check the judge (metricEval).',
    )
    expect(existsSync(at('x'))).toBe(false)
  })
})
