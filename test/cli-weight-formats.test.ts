// whittle quantize --dtype and --target, as processes of their own.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { CompressionRecord } from '../src/compress/index.ts'
import { transformerEncoder } from '../src/networks/index.ts'
import { decodeModel, encodeModel } from '../src/onnx/index.ts'
import { buildOnce, scratchFolder, whittle } from './support/command.ts'
import { cifarBatch, smallNetwork } from './support/small-network.ts'

let folder = ''

beforeAll(() => {
  buildOnce()
  folder = scratchFolder()
  const encoder = transformerEncoder({ vocabulary: 200, positions: 16, width: 32, layers: 1, heads: 2 })
  writeFileSync(join(folder, 'model.onnx'), encodeModel(encoder))
  writeFileSync(join(folder, 'pictures.onnx'), encodeModel(smallNetwork()))
  mkdirSync(join(folder, 'data'))
  writeFileSync(join(folder, 'data', 'test_batch.bin'), cifarBatch(40))
})

const run = (line: string) => whittle(folder, line.split(' '))
const SHAPES = '--input-shape input_ids:1x8 --input-shape attention_mask:1x8'

describe('whittle quantize --dtype', () => {
  it('writes a file for each format, named as transformers.js does, with records', async () => {
    const { code, stdout, stderr } = await run(`quantize model.onnx --dtype fp16,q8,q4,q4f16,bnb4 -o onnx ${SHAPES}`)
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout).toMatch(/Wrote 5 models with records in/)
    const names = ['bnb4', 'fp16', 'q4', 'q4f16', 'quantized'].map((suffix) => `model_${suffix}.onnx`)
    expect(readdirSync(join(folder, 'onnx')).sort()).toEqual(names.flatMap((name) => [name, `${name}.record.json`]))
    const record = JSON.parse(
      readFileSync(join(folder, 'onnx', 'model_q4.onnx.record.json'), 'utf8'),
    ) as CompressionRecord
    expect(record.method).toBe('weight-only')
    expect(record.layers).toHaveLength(6)
    const model = decodeModel(new Uint8Array(readFileSync(join(folder, 'onnx', 'model_q4.onnx'))))
    expect(model.graph.nodes.filter(({ opType }) => opType === 'MatMulNBits')).toHaveLength(6)
  })

  it('writes one format to the file that was named, and one JSON document with --json', async () => {
    const { code, stdout } = await run(`quantize model.onnx --dtype int8 -o small.onnx ${SHAPES} --json`)
    expect(code).toBe(0)
    const { models } = JSON.parse(stdout) as { models: { format: string; output: string }[] }
    expect(models).toMatchObject([{ format: 'int8', output: 'small.onnx', record: 'small.onnx.record.json' }])
  })

  it.each([
    ['--dtype q5 -o x', "whittle: Weight format 'q5': must be one of fp32, fp16, q8, int8, uint8, q4, q4f16, bnb4.\n"],
    ['--dtype q4,q8 -o x.onnx', /^whittle: Option --output: must be a folder for several formats; got 'x\.onnx'/],
    ['--dtype q4 --target wasm -o x', /^whittle: Option --target: is for activations; --dtype is about weights alone/],
    ['--block 32 -o x --data cifar10:data', 'whittle: Option --block: belongs to weights alone. Add --dtype q4.\n'],
    ['--dtype q4 --accuracy-level 3 -o x', /^whittle: Option --accuracy-level: must be one of 0, 1, 2, 4; got 3\./],
  ])('refuses %s and writes nothing', async (options, message) => {
    const { code, stderr } = await run(`quantize model.onnx ${options}`)
    expect(code).toBe(1)
    expect(stderr).toMatch(message)
    expect(existsSync(join(folder, 'x')) || existsSync(join(folder, 'x.onnx'))).toBe(false)
  })
})

describe('whittle quantize --target', () => {
  it('refuses what is slow there, with the alternative', async () => {
    const { code, stderr } = await run(
      'quantize pictures.onnx --data cifar10:data --target wasm --activations int16 -o x.onnx',
    )
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^whittle: Target wasm: int16 activations with int8 weights are slow there: .* Use uint8 activations with int8 weights;/,
    )
  })

  it('measures the result beside the original on the own machine, and says so in the record', async () => {
    const { code } = await run('quantize pictures.onnx --data cifar10:data -o own.onnx')
    expect(code).toBe(0)
    const record = JSON.parse(readFileSync(join(folder, 'own.onnx.record.json'), 'utf8')) as CompressionRecord
    const [{ metric, before, after } = { metric: '', before: 0, after: 0 }] = record.measured
    expect(metric).toBe('milliseconds')
    // What is slower is not written.
    if (after! > before!) expect(record.layers).toEqual([])
  })
})
