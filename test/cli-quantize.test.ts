// whittle quantize, as a process of its own.
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { CompressionRecord, QuantizePlan } from '../src/compress/index.ts'
import { decodeModel, encodeModel } from '../src/onnx/index.ts'
import { buildOnce, scratchFolder, whittle } from './support/command.ts'
import { cifarBatch, smallNetwork } from './support/small-network.ts'

let folder = ''

beforeAll(() => {
  buildOnce()
  folder = scratchFolder()
  writeFileSync(join(folder, 'model.onnx'), encodeModel(smallNetwork()))
  mkdirSync(join(folder, 'data'))
  writeFileSync(join(folder, 'data', 'test_batch.bin'), cifarBatch(40))
})

const run = (line: string) => whittle(folder, line.split(' '))
const files = (): string[] => (readdirSync(folder, { recursive: true }) as string[]).sort()
const record = (name: string): CompressionRecord =>
  JSON.parse(readFileSync(join(folder, `${name}.record.json`), 'utf8')) as CompressionRecord

describe('whittle quantize', () => {
  // For no place in particular: nothing is measured and taken back then.
  it('writes the model and its record, and shows every layer', async () => {
    const { code, stdout, stderr } = await run('quantize model.onnx --data cifar10:data --target onnx -o small.onnx')
    // The pictures are what nobody said they should be; that is no part of the result.
    expect(stderr).toMatch(/^Warning: Input 'image' is fed whole numbers of 0 to 255, [^\n]*\n$/)
    expect(stdout).not.toContain('whole numbers')
    expect(code).toBe(0)
    expect(stdout).toContain('uint8 × int8 per channel')
    expect(stdout).toMatch(/Wrote small\.onnx, small\.onnx\.record\.json in/)
    expect(statSync(join(folder, 'small.onnx')).size).toBeLessThan(0.4 * statSync(join(folder, 'model.onnx')).size)
    const { method, layers, plan, before, after } = record('small.onnx')
    expect([method, layers.length, (plan as QuantizePlan).activations.length]).toEqual(['quantize', 3, 5])
    expect(after.bytes).toBeLessThan(0.26 * before.bytes)
    expect(after.macs).toBe(before.macs)
    expect(record('small.onnx').warnings.join()).toContain('whole numbers')
  })

  it('chooses 4-bit integers on the data, unless told not to', async () => {
    const line =
      'quantize model.onnx --data cifar10:data --preprocess cifar10 --target onnx --weights int4 -o four.onnx'
    const chosen = await run(line)
    expect([chosen.code, chosen.stderr]).toEqual([0, ''])
    expect(chosen.stdout).toMatch(/rounding .*output error/)
    expect(record('four.onnx').layers.map(({ rounding }) => rounding)).toEqual(['gptq', 'gptq', 'gptq'])
    const nearest = await run(`${line} --rounding nearest`)
    expect(nearest.stdout).not.toContain('gptq')
    expect(record('four.onnx').layers.map(({ rounding }) => rounding)).toEqual(['nearest', 'nearest', 'nearest'])
  })

  it('writes equal bytes for equal seeds, and one JSON document with --json', async () => {
    const { code, stdout } = await run(
      'quantize model.onnx --data cifar10:data --target onnx -o again.onnx --json --seed 0',
    )
    expect(code).toBe(0)
    const found = JSON.parse(stdout) as { output: string; layers: unknown[]; skips: unknown[] }
    expect(found).toMatchObject({ output: 'again.onnx', record: 'again.onnx.record.json' })
    expect(found.layers).toHaveLength(3)
    expect(readFileSync(join(folder, 'again.onnx')).equals(readFileSync(join(folder, 'small.onnx')))).toBe(true)
  })

  it('the model is evaluated, compared and inspected like any other', async () => {
    const compared = await run('compare model.onnx small.onnx --data cifar10:data --json')
    const { outputs } = JSON.parse(compared.stdout) as { outputs: { sqnr: number }[] }
    expect(outputs[0]!.sqnr).toBeGreaterThan(25)
    const inspected = await run('inspect small.onnx')
    expect(inspected.stdout).toContain('Its weight is quantized already.')
    const again = await run('quantize small.onnx --data cifar10:data -o twice.onnx')
    expect(again.code).toBe(1)
    expect(again.stderr).toMatch(/^whittle: Model '.*': must be in float to be quantized; it is quantized already \(/)
  })

  it('weights alone need no data', async () => {
    const { code, stderr } = await run('quantize model.onnx --activations none -o weights.onnx --quiet')
    expect([code, stderr]).toEqual([0, ''])
    expect(decodeModel(readFileSync(join(folder, 'weights.onnx'))).graph.inputs).toHaveLength(1)
  })

  it('inspect says which layers quantization can take', async () => {
    const { stdout } = await run('inspect model.onnx --json')
    const { layers } = JSON.parse(stdout) as { layers: { methods: Record<string, true | string> }[] }
    expect(layers.map(({ methods }) => methods.quantize)).toEqual([true, true, true])
  })

  it.each([
    ['quantize model.onnx -o out.onnx', /^whittle: Option --data: is needed to see the ranges of activations\./],
    [
      'quantize model.onnx --data cifar10:data -o out.onnx --weights int5',
      /^whittle: Option --weights: must be one of int8, int4; got 'int5'\. Did you mean 'int8'\?$/,
    ],
    [
      'quantize model.onnx --data cifar10:data -o out.onnx --calibration entrpy',
      /^whittle: Option --calibration: must be one of .*; got 'entrpy'\. Did you mean 'entropy'\?$/,
    ],
    [
      'quantize model.onnx --data cifar10:data -o out.onnx --skip nobody',
      /^whittle: Option skip: pattern 'nobody' matches no node\./,
    ],
    [
      'quantize model.onnx --data cifar10:data -o out.onnx --skip *',
      /^whittle: Model 'small': no layer can be quantized\./,
    ],
    [
      'quantize model.onnx --activations none --equalize -o out.onnx',
      /^whittle: Option --equalize: is for activations; with --activations none there are none\.$/,
    ],
  ])('%s', async (line, message) => {
    const before = files()
    const { code, stdout, stderr } = await run(line)
    expect(stderr.trimEnd()).toMatch(message)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect([stdout, code]).toEqual(['', 1])
    expect(files()).toEqual(before)
  })
})
