// whittle quantize --max-drop, compare of quantized models and inspect --doctor, each as a process of its own.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import type { RollbackRecord } from '../src/compress/index.ts'
import { buildOnce, scratchFolder, whittle } from './support/command.ts'

const examples = fileURLToPath(new URL('../examples', import.meta.url))
let folder = ''

beforeAll(() => {
  buildOnce()
  folder = scratchFolder()
  copyFileSync(join(examples, 'models', 'resnet20-cifar10.onnx'), join(folder, 'model.onnx'))
  mkdirSync(join(folder, 'black'))
  // What a broken reader of samples may give: nothing but zeros.
  for (const name of ['0.bin', '1.bin']) writeFileSync(join(folder, 'black', name), new Uint8Array(3 * 32 * 32 * 4))
})

const DATA = `cifar10:${join(examples, 'data', 'cifar10')}`
const run = (line: string) => whittle(folder, line.split(' '))
const json = (path: string): unknown => JSON.parse(readFileSync(join(folder, path), 'utf8'))

describe('whittle quantize --max-drop', () => {
  it('writes the model, the record with the search, and AMCT’s files', async () => {
    const { code, stdout, stderr } = await run(
      `quantize model.onnx --data ${DATA} --split test --limit 32 --max-drop 2 --evaluate-limit 100 --strategy binary-search --amct-output amct -o small.onnx`,
    )
    expect(code).toBe(0)
    expect(stderr).toContain(`Top-1 is measured on cifar10:test, calibration samples among them`)
    expect(stdout).toContain('Roll-back (binary-search, limit 2 points; original ')
    const { rollback, measured } = json('small.onnx.record.json') as {
      rollback: RollbackRecord
      measured: { metric: string; samples: number }[]
    }
    expect(rollback.layers).toHaveLength(20)
    expect(measured).toContainEqual(expect.objectContaining({ metric: 'top1', samples: 100 }))
    expect(readdirSync(join(folder, 'amct')).sort()).toEqual([
      'accuracy_based_auto_calibration_final_config.json',
      'accuracy_based_auto_calibration_ranking_information.json',
      'accuracy_based_auto_calibration_record.json',
    ])
    expect(json('amct/accuracy_based_auto_calibration_ranking_information.json')).toHaveLength(20)
    expect(json('amct/accuracy_based_auto_calibration_record.json')).toHaveLength(rollback.trials.length)
  })

  it('exits with 2 and writes no model when the limit cannot be held', async () => {
    const { code, stdout, stderr } = await run(
      `quantize model.onnx --data bin:black --input-shape input:1x3x32x32 --only /conv1/Conv --max-drop 1 --evaluate ${DATA} --evaluate-limit 100 --amct-output failed -o none.onnx`,
    )
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toContain('Every layer had to be rolled back.')
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^whittle: A drop of 1 points of top1: must hold with some layers/)
    expect(existsSync(join(folder, 'none.onnx'))).toBe(false)
    expect(existsSync(join(folder, 'none.onnx.record.json'))).toBe(false)
    const config = json('failed/accuracy_based_auto_calibration_final_config.json')
    expect(config).toEqual({ '/conv1/Conv': { quant_enable: false } })
  })

  it.each([
    ['--strategy greedy', /^whittle: Option --strategy: belongs to a roll-back\. Add --max-drop 0\.5\./],
    ['--max-drop 1 --strategy best', /^whittle: Option --strategy: must be one of greedy, binary-search; got 'best'/],
    ['--max-drop 1 --evaluate bin:black --input-shape input:1x3x32x32', /has no labels; --max-drop measures top-1/],
    ['--max-drop -1', /^whittle: Option --max-drop/],
  ])('%s is refused in one line', async (options, message) => {
    const { code, stderr } = await run(`quantize model.onnx --data ${DATA} --limit 32 -o refused.onnx ${options}`)
    expect(code).toBe(1)
    expect(stderr).toMatch(message)
    expect(existsSync(join(folder, 'refused.onnx'))).toBe(false)
  })
})

describe('whittle compare with a quantized model', () => {
  it('shows layers by damage, alone and accumulated', async () => {
    const text = await run(`compare model.onnx small.onnx --data ${DATA} --limit 16`)
    expect(text.stdout).toContain('Layers by what each does alone, worst first:')
    const { stdout } = await run(`compare model.onnx small.onnx --data ${DATA} --limit 16 --json`)
    const { layers, unmatched } = JSON.parse(stdout) as {
      layers: { name: string; alone: { relativeError: number; sqnr: number }; accumulated: { relativeError: number } }[]
      unmatched: string[]
    }
    expect(unmatched).toEqual([])
    const errors = layers.map(({ alone }) => alone.relativeError)
    expect(errors).toEqual([...errors].sort((a, b) => b - a))
    expect(layers.map(({ name }) => name)).toContain('/conv1/Conv')
    const last = layers.find(({ name }) => name === '/layer3/layer3.2/conv1/Conv')!
    expect(last.accumulated.relativeError).toBeGreaterThan(last.alone.relativeError)
  })
})

describe('whittle inspect --doctor', () => {
  it('finds nothing in a healthy model, and exits with 2 for data that it was not trained on', async () => {
    const healthy = await run(`inspect model.onnx --doctor --data ${DATA} --limit 32`)
    expect(healthy.code).toBe(0)
    expect(healthy.stdout).toBe('Nothing that usually goes wrong was found (32 samples looked at).\n')
    const raw = await run(`inspect model.onnx --doctor --data ${DATA} --limit 32 --preprocess none --json`)
    expect(raw.code).toBe(2)
    const { findings } = JSON.parse(raw.stdout) as { findings: { code: string }[] }
    expect(findings.map(({ code }) => code)).toEqual(['input-out-of-range', 'batch-norm-mismatch'])
  })

  it('wants data for the doctor only', async () => {
    const { code, stderr } = await run(`inspect model.onnx --data ${DATA}`)
    expect(code).toBe(1)
    expect(stderr).toBe('whittle: Option --data: is for --doctor, which looks at data. Add --doctor.\n')
  })
})
