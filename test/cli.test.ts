import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { CompressionRecord } from '../src/compress/index.ts'
import { cloneModel, type Model } from '../src/graph/index.ts'
import { decodeModel, encodeModel } from '../src/onnx/index.ts'
import { Tensor, toFloat32 } from '../src/tensor/index.ts'
import { buildOnce, scratchFolder, whittle } from './support/command.ts'
import { cifarBatch, randomTensor, smallNetwork } from './support/small-network.ts'

let folder = ''

beforeAll(() => {
  buildOnce()
  folder = scratchFolder()
  const model = smallNetwork()
  const bytes = encodeModel(model)
  writeFileSync(join(folder, 'model.onnx'), bytes)
  writeFileSync(join(folder, 'cut.onnx'), bytes.subarray(0, bytes.length / 2))
  writeFileSync(
    join(folder, 'garbage.onnx'),
    Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) % 256),
  )
  writeFileSync(join(folder, 'empty.onnx'), '')
  writeFileSync(join(folder, 'page.onnx'), '<!DOCTYPE html><html><body>404 Not Found</body></html>')
  writeFileSync(join(folder, 'fields.json'), '{"mode": 3')
  const zip = [0x50, 0x4b, 3, 4, ...new Array<number>(200).fill(0)]
  writeFileSync(join(folder, 'weights.pt'), Uint8Array.from(zip))
  writeFileSync(join(folder, 'open.onnx'), encodeModel(smallNetwork({ input: ['N', 3, 'H', 'W'] })))
  writeFileSync(join(folder, 'five.onnx'), encodeModel(smallNetwork({ classes: 5 })))
  writeFileSync(join(folder, 'nan.onnx'), encodeModel(withWeight(model, 'body.weight', nanTensor([32, 32, 3, 3]))))
  writeFileSync(join(folder, 'cyclic.onnx'), encodeModel(cyclic(model)))
  const lacking = cloneModel(model)
  lacking.graph.initializers.delete('body.weight')
  writeFileSync(join(folder, 'lacking.onnx'), encodeModel(lacking))
  for (const name of ['data', 'hollow', 'void']) mkdirSync(join(folder, name))
  writeFileSync(join(folder, 'data', 'test_batch.bin'), cifarBatch(40))
  writeFileSync(join(folder, 'hollow', 'test_batch.bin'), '')
})

function withWeight(model: Model, name: string, tensor: Tensor): Model {
  const clone = cloneModel(model)
  clone.graph.initializers.set(name, tensor)
  return clone
}

function nanTensor(shape: readonly number[]): Tensor {
  const values = toFloat32(randomTensor(5, shape)).slice()
  values[17] = Number.NaN
  return Tensor.of(values, shape)
}

function cyclic(model: Model): Model {
  const clone = cloneModel(model)
  clone.graph.nodes[0]!.inputs[0] = clone.graph.nodes[3]!.outputs[0]!
  return clone
}

const files = (): string[] => (readdirSync(folder, { recursive: true }) as string[]).sort()
const run = (line: string) =>
  whittle(
    folder,
    line.split(' ').filter((word) => word !== ''),
  )

describe('what is wrong with the input is said in one line, with exit code 1, and nothing is written', () => {
  it.concurrent.each<[string, RegExp]>([
    [
      'inspect none.onnx',
      /^whittle: File 'none\.onnx' cannot be read: there is no such file or folder\. Check the path\.$/,
    ],
    ['inspect .', /^whittle: Model '\.': must be a file\.$/],
    ['inspect empty.onnx', /^whittle: Model 'empty\.onnx': the file is empty\.$/],
    ['decompose cut.onnx -o out.onnx', /^whittle: Model file 'cut\.onnx'.*\.$/],
    ['decompose garbage.onnx -o out.onnx', /^whittle: Model file 'garbage\.onnx'.*\.$/],
    ['decompose page.onnx -o out.onnx', /^whittle: Model file 'page\.onnx'.*\.$/],
    ['decompose weights.pt -o out.onnx', /^whittle: Model file 'weights\.pt'.*\.$/],
    [
      'decompose model.onnx -o out.onnx --method tuker',
      /must be one of auto, .*; got 'tuker'\. Did you mean 'tucker'\?$/,
    ],
    ['decompose model.onnx -o out.onnx --rnak 4', /^whittle: Option --rnak does not exist\. Did you mean --rank\?$/],
    ['decompos model.onnx', /^whittle: Command 'decompos' does not exist\. Did you mean 'decompose'\?$/],
    ['decompose', /^whittle: whittle decompose: a model is missing; write whittle decompose MODEL -o OUT\.$/],
    ['decompose model.onnx', /^whittle: Option --output is required; add -o OUT\.$/],
    [
      'decompose model.onnx -o none/out.onnx',
      /^whittle: Output 'none\/out\.onnx': the folder '.*none' does not exist\. Create it first\.$/,
    ],
    ['decompose model.onnx -o data', /^whittle: Output 'data': is there already and not a file\./],
    ['decompose model.onnx -o out.onnx --rank 0', /^whittle: Rank 0: a rank must be at least 1\./],
    [
      'decompose model.onnx -o out.onnx --method svd --rank 999',
      /^whittle: Gemm 'head': rank must be 1 to 10 for svd; got 999\./,
    ],
    [
      'decompose model.onnx -o out.onnx --rank energy=1.5',
      /^whittle: Rank 'energy=1\.5': energy must be above 0 and at most 1; got 1\.5\.$/,
    ],
    [
      'decompose model.onnx -o out.onnx --budget macs=0',
      /^whittle: Budget 'macs=0': the share must be above 0 and below 1; got 0\.$/,
    ],
    [
      'decompose model.onnx -o out.onnx --cp-stages 4',
      /^whittle: Option --cp-stages: belongs to method cp; got auto\. Add --method cp\.$/,
    ],
    [
      'decompose model.onnx -o out.onnx --method cp --cp-stages 2',
      /^whittle: Option --cp-stages: must be one of 3, 4, 5; got 2\.$/,
    ],
    [
      'decompose model.onnx -o out.onnx --method cp --rank 289',
      /^whittle: Conv 'body': rank must be 1 to 288 for cp; got 289\. No layer has more\. Give a smaller rank\.$/,
    ],
    ['decompose model.onnx -o out.onnx --only nothing*', /^whittle: Pattern 'nothing\*' matches no layer\./],
    ['decompose open.onnx -o out.onnx', /^whittle: Input 'image' \[N, 3, H, W\].*--input-shape image:1x3x224x224\.$/],
    ['inspect open.onnx', /^whittle: Input 'image' \[N, 3, H, W\].*--input-shape image:1x3x224x224\.$/],
    [
      'inspect model.onnx --input-shape image:1x3xQ',
      /^whittle: Option --input-shape: 'image:1x3xQ' is not understood;/,
    ],
    [
      'inspect model.onnx --input-shape picture:1x3x32x32',
      /^whittle: Input shape for 'picture': the model has no such input;/,
    ],
    ['decompose nan.onnx -o out.onnx --rank evbmf', /^whittle: .*'body.*(NaN|finite).*\.$/],
    ['decompose cyclic.onnx -o out.onnx', /^whittle: .*cycle.*\.$/],
    ['inspect lacking.onnx', /^whittle: .*body\.weight.*\.$/],
    ['evaluate model.onnx', /^whittle: Option --data is required; add --data DATA\.$/],
    ['evaluate model.onnx --data data', /^whittle: Data 'data' must have one of the forms cifar10:DIR,/],
    ['evaluate model.onnx --data cifar10:none', /^whittle: .*'none'.*\.$/],
    ['evaluate model.onnx --data cifar10:hollow', /^whittle: .*\.$/],
    ['evaluate model.onnx --data images:void', /^whittle: .*\.$/],
    ['decompose model.onnx -o out.onnx --data images:void', /^whittle: .*\.$/],
    [
      'evaluate five.onnx --data cifar10:data',
      /^whittle: Sample 5: labels must be 0 … 4 because output 'scores' has 5 classes; got 5\./,
    ],
    [
      'evaluate model.onnx --data cifar10:data --preprocess imagnet',
      /^whittle: Preprocessing 'imagnet' .* Did you mean 'imagenet'\?$/,
    ],
    [
      'evaluate model.onnx --data cifar10:data --preprocess ./none.json',
      /^whittle: File '\.\/none\.json' cannot be read/,
    ],
    ['replay model.onnx --info fields.json -o out.onnx', /^whittle: decompose_info\.json is not valid JSON/],
    ['replay model.onnx --info none.json -o out.onnx', /^whittle: File 'none\.json' cannot be read/],
    ['decompose model.onnx -o out.onnx --limit 5', /^whittle: Option --limit: describes data, and there are none\./],
    ['compare model.onnx', /^whittle: whittle compare: a model is missing;/],
    ['compare model.onnx five.onnx', /^whittle: .*\.$/],
  ])('whittle %s', async (line, message) => {
    const before = files()
    const { code, stdout, stderr } = await run(line)
    expect(stderr.trimEnd()).toMatch(message)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(stdout).toBe('')
    expect(code).toBe(1)
    expect(files()).toEqual(before)
  })
})

describe('whittle', () => {
  it('shows help with examples for every command', async () => {
    const { stdout, code } = await run('--help')
    expect(code).toBe(0)
    const names = [...stdout.matchAll(/^ {2}(\w+) {2,}\w/gm)].map(([, name]) => name!)
    expect(names).toEqual([
      'inspect',
      'decompose',
      'replay',
      'quantize',
      'finetune',
      'evaluate',
      'benchmark',
      'compare',
    ])
    const helps = await Promise.all(names.map((name) => run(`${name} --help`)))
    for (const [i, help] of helps.entries()) {
      expect(help.code).toBe(0)
      expect(help.stdout).toContain(`Usage: whittle ${names[i]}`)
      expect(help.stdout).toContain(`Examples:\n  # `)
    }
  })

  it('inspects: exact numbers as JSON, a table for people', async () => {
    const { stdout, code } = await run('inspect model.onnx --json')
    expect(code).toBe(0)
    const found = JSON.parse(stdout) as {
      cost: { parameters: number; macs: number }
      layers: { name: string; macs: number; methods: Record<string, true | string> }[]
    }
    expect(found.cost.parameters).toBe(32 * 27 + 32 * 32 * 9 + 32 + 320)
    expect(found.layers.map(({ name, macs }) => [name, macs])).toEqual([
      ['stem', 32 * 27 * 1024],
      ['body', 32 * 32 * 9 * 1024],
      ['head', 320],
    ])
    expect(found.layers[1]!.methods).toMatchObject({ tucker: true, spatial: true, channel: true })
    expect(found.layers[1]!.methods.svd).toContain('linear layers')
    const table = await run('inspect model.onnx')
    expect(table.stdout).toMatch(
      /^body +Conv +\[32, 32, 3, 3\] +\[1, 32, 32, 32\] +9\.25 k +37\.0 kB +9\.44 M +tucker spatial channel cp tt quantize$/m,
    )
  })

  it('decomposes under a budget, writes model, record and info, and replays them to the same outputs', async () => {
    const { code, stdout, stderr } = await run(
      'decompose model.onnx -o small.onnx --budget macs=0.5 --align 4 --info info.json --json',
    )
    expect([code, stderr]).toEqual([0, ''])
    expect(JSON.parse(stdout)).toMatchObject({
      output: 'small.onnx',
      record: 'small.onnx.record.json',
      info: 'info.json',
    })
    const record = JSON.parse(readFileSync(join(folder, 'small.onnx.record.json'), 'utf8')) as CompressionRecord
    expect(record.before).toEqual({ parameters: 10_432, bytes: 41_728, macs: 10_322_240 })
    expect(record.after.macs! / record.before.macs!).toBeLessThanOrEqual(0.5)
    expect(record.layers.map((layer) => layer.name)).toContain('body')
    expect([...record.layers, ...record.skips].map(({ name }) => name).sort()).toEqual(['body', 'head', 'stem'])
    const replayed = await run('replay model.onnx --info info.json --weights small.onnx -o again.onnx --json')
    expect(replayed.code).toBe(0)
    const { initializers } = decodeModel(readFileSync(join(folder, 'small.onnx'))).graph
    const again = decodeModel(readFileSync(join(folder, 'again.onnx'))).graph.initializers
    expect([...again.keys()].sort()).toEqual([...initializers.keys()].sort())
    for (const [name, tensor] of initializers) expect(again.get(name)!.bytes).toEqual(tensor.bytes)
    const compared = await run('compare small.onnx again.onnx --json')
    expect(compared.code).toBe(0)
  })

  it.each(['cp', 'tt'])('decomposes by %s and replays it to the same outputs', async (method) => {
    const { code, stdout } = await run(
      `decompose model.onnx -o ${method}.onnx --method ${method} --budget macs=0.7 --align 4 --info ${method}.json --json`,
    )
    expect(code).toBe(0)
    const { before, after, layers } = JSON.parse(stdout) as CompressionRecord
    expect(after.macs! / before.macs!).toBeLessThanOrEqual(0.7)
    expect(layers.map((layer) => layer.method)).toEqual([expect.stringMatching(new RegExp(`^${method}`))])
    await run(`replay model.onnx --info ${method}.json --weights ${method}.onnx -o ${method}-again.onnx`)
    const read = (name: string) => decodeModel(readFileSync(join(folder, name))).graph.initializers
    const [written, again] = [read(`${method}.onnx`), read(`${method}-again.onnx`)]
    expect([...again.keys()].sort()).toEqual([...written.keys()].sort())
    for (const [name, tensor] of written) expect(again.get(name)!.bytes).toEqual(tensor.bytes)
    expect((await run(`compare ${method}.onnx ${method}-again.onnx --max-error 0`)).code).toBe(0)
  })

  it('writes the same bytes for the same seed', async () => {
    await run('decompose model.onnx -o one.onnx --rank energy=0.7 --align 4')
    await run('decompose model.onnx -o two.onnx --rank energy=0.7 --align 4')
    expect(readFileSync(join(folder, 'one.onnx')).equals(readFileSync(join(folder, 'two.onnx')))).toBe(true)
  })

  it('decomposes on data, and may replace its own input', async () => {
    copyFileSync(join(folder, 'model.onnx'), join(folder, 'own.onnx'))
    const { code, stdout } = await run(
      'decompose own.onnx -o own.onnx --budget macs=0.6 --align 4 --data cifar10:data --preprocess cifar10',
    )
    expect(code).toBe(0)
    expect(stdout).toContain('output error')
    expect((await run('inspect own.onnx')).code).toBe(0)
  })

  it('evaluates several models side by side and answers 2 when a check does not hold', async () => {
    await run('decompose model.onnx -o tiny.onnx --rank 1 --align 1')
    const good = await run(
      'evaluate model.onnx model.onnx --data cifar10:data --preprocess cifar10 --max-drop 0 --json',
    )
    expect(good.code).toBe(0)
    const { models, samples } = JSON.parse(good.stdout) as { models: { top1: number }[]; samples: number }
    expect(samples).toBe(40)
    expect(models[0]!.top1).toBe(models[1]!.top1)
    const bad = await run('evaluate model.onnx tiny.onnx --data cifar10:data --preprocess cifar10 --min-accuracy 99')
    expect(bad.code).toBe(2)
    expect(bad.stderr).toMatch(/^Model 'model\.onnx': top-1 must be at least 99 %; it is \d+\.\d\d %\.$/m)
    expect(bad.stdout).toContain('40 samples of cifar10:test')
  })

  it('benchmarks and compares models', async () => {
    const timed = await run('benchmark model.onnx five.onnx --runs 5 --json')
    expect(timed.code).toBe(0)
    expect((JSON.parse(timed.stdout) as { models: unknown[] }).models).toHaveLength(2)
    const table = await run('compare model.onnx model.onnx')
    expect(table.code).toBe(0)
    expect(table.stdout).toContain('scores')
  })

  it('stops at Ctrl-C with exit code 130, leaving nothing half-written', async () => {
    writeFileSync(join(folder, 'wide.onnx'), encodeModel(smallNetwork({ channels: 1024 })))
    const before = files()
    const { code, stderr, stdout } = await whittle(
      folder,
      ['decompose', 'wide.onnx', '-o', 'stopped.onnx', '--rank', 'evbmf', '--info', 'stopped.json'],
      (child) => setTimeout(() => child.kill('SIGINT'), 1500),
    )
    expect([code, stdout]).toEqual([130, ''])
    expect(stderr).toBe('Interrupted; nothing was written.\n')
    expect(files()).toEqual(before)
  })
})
