/** `whittle finetune` as a user runs it: on the bundled network and pictures, and killed again and again. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it } from 'vitest'
import type { FinetuneRecord } from '../src/api/index.ts'
import { createRandom } from '../src/core/index.ts'
import type { Model } from '../src/graph/index.ts'
import { decodeModel, encodeModel } from '../src/onnx/index.ts'
import { toFloat64 } from '../src/tensor/index.ts'
import { buildOnce, scratchFolder, whittle } from './support/command.ts'
import { cifarBatch, smallNetwork } from './support/small-network.ts'
import { relativeErrorOf } from './support/tensors.ts'

const examples = fileURLToPath(new URL('../examples', import.meta.url))
const original = join(examples, 'models', 'resnet20-cifar10.onnx')
const pictures = `cifar10:${join(examples, 'data', 'cifar10')}`

let folder = ''

beforeAll(() => {
  buildOnce()
  folder = scratchFolder()
  writeFileSync(join(folder, 'model.onnx'), encodeModel(smallNetwork({ channels: 8 })))
  mkdirSync(join(folder, 'data'))
  writeFileSync(join(folder, 'data', 'data_batch_1.bin'), cifarBatch(100))
  writeFileSync(join(folder, 'data', 'test_batch.bin'), cifarBatch(40))
})

const modelAt = (name: string): Model => decodeModel(readFileSync(join(folder, name)))

function difference(a: Model, b: Model): number {
  const errors = [...a.graph.initializers].map(([name, tensor]) =>
    relativeErrorOf(toFloat64(tensor), toFloat64(b.graph.initializers.get(name)!)),
  )
  return Math.max(...errors)
}

async function ok(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await whittle(folder, args)
  expect(stderr).not.toContain('whittle:')
  expect(code).toBe(0)
  return stdout
}

describe('whittle finetune', () => {
  it('trains with rounding, and writes the integers whose accuracy it says', async () => {
    const command = `finetune ${original} -o four.onnx --data ${pictures} --batch 25 --steps 2 --evaluate-limit 100`
    const options = '--preprocess imagenet --qat w4a4 --qat-algorithm ulq --qat-weights arq --json --quiet'.split(' ')
    const record = JSON.parse(await ok([...command.split(' '), ...options])) as FinetuneRecord
    const top1 = record.measured.find(({ metric }) => metric === 'top1')!
    expect(top1.after!).toBeGreaterThan(0.8)
    expect(record.layers.some(({ method }) => method.includes('4 bits'))).toBe(true)
    const evaluated = await ok(
      `evaluate four.onnx --data ${pictures} --preprocess imagenet --limit 100 --json`.split(' '),
    )
    expect(evaluated).toContain(String(top1.after))
    const wrong = await whittle(folder, `finetune ${original} -o x.onnx --data ${pictures} --qat-rate 2`.split(' '))
    expect(wrong.stderr).toContain('Option --qat-rate: is about training with rounding. Add --qat.')
    expect(wrong.code).toBe(1)
  })

  it('trains as a configuration of AMCT says, and names the place of what is wrong in it', async () => {
    const text = 'retrain_data_quant_config { ulq_quantize { dst_type: INT4 } }\n'
    const weights = 'retrain_weight_quant_config { arq_retrain { dst_type: INT4 } }\n'
    writeFileSync(join(folder, 'retrain.cfg'), `${text}${weights}quant_skip_layers: "linear"\n`)
    writeFileSync(join(folder, 'wrong.cfg'), `${text}${weights}quant_skip_layers: "nowhere"\n`)
    const command = `finetune ${original} -o configured.onnx --data ${pictures} --batch 25 --steps 1 --evaluate none`
    const run = (...args: string[]) =>
      whittle(folder, [...command.split(' '), '--preprocess', 'imagenet', '--json', '--qat', ...args])
    const { stdout, stderr, code } = await run('--config', 'retrain.cfg')
    expect([code, stderr.includes('whittle:')]).toEqual([0, false])
    const { layers, skips } = JSON.parse(stdout) as FinetuneRecord
    expect(layers).toHaveLength(19)
    // AMCT has no 4 bits for an odd number of channels.
    expect(stderr).toContain("Layer '/conv1/Conv': weights of 4 bits need an even number of input channels")
    expect(layers.filter(({ method }) => method.includes('4 bits'))).toHaveLength(18)
    expect(skips.some(({ reason }) => reason.includes('configuration'))).toBe(true)
    const wrong = await run('--config', 'wrong.cfg')
    expect(wrong.code).toBe(1)
    expect(wrong.stderr).toMatch(/wrong\.cfg:3:\d+: .*nowhere/)
    const both = await run('--config', 'retrain.cfg', '--qat-algorithm', 'lsq')
    expect(both.stderr).toContain('Option --qat-algorithm: retrain.cfg says it for each layer, and something else.')
  })

  it('wins back accuracy of a decomposed ResNet-20 from its original, without leaving anything of training', async () => {
    await ok(['decompose', original, '-o', 'small.onnx', '--budget', 'macs=0.5', '--quiet'])
    const command = `finetune small.onnx -o tuned.onnx --data ${pictures} --teacher ${original} --batch 25 --epochs 1`
    const output = await ok([
      ...command.split(' '),
      ...'--optimizer adam --lr 0.002 --augment crop=4,flip --evaluate-limit 300 --json --quiet'.split(' '),
    ])
    const record = JSON.parse(output) as FinetuneRecord
    const top1 = record.measured.find(({ metric }) => metric === 'top1')!
    expect(record.history).toHaveLength(1)
    expect(top1.after! - top1.before!).toBeGreaterThan(0.05)
    const loss = record.measured.find(({ metric }) => metric === 'loss')!
    expect(loss.after!).toBeLessThan(loss.before!)
    const [before, after] = [modelAt('small.onnx'), modelAt('tuned.onnx')]
    expect(after.graph.nodes).toEqual(before.graph.nodes)
    expect([...after.graph.initializers.keys()]).toEqual([...before.graph.initializers.keys()])
    expect(difference(before, after)).toBeGreaterThan(1e-3)
  })

  it('ends with the same weights however often it is killed', async () => {
    const common =
      'finetune model.onnx --data cifar10:data --batch 10 --epochs 15 --augment crop=2,flip,mixup=0.2 --optimizer adamw --ema 0.9 --preprocess cifar10 --evaluate-every 37 --threads 2 --quiet'.split(
        ' ',
      )
    const started = performance.now()
    await ok([...common, '-o', 'whole.onnx'])
    const duration = performance.now() - started
    const random = createRandom(11)
    const interrupted = [...common, '-o', 'parts.onnx', '--checkpoint', 'run', '--checkpoint-every', '1', '--resume']
    let kills = 0
    for (let attempt = 0; attempt < 40 && !existsSync(join(folder, 'parts.onnx')); attempt++) {
      // Before it has started, while it trains, while it writes: whatever it is doing then.
      const delay = duration * (0.15 + 0.35 * random.uniform()) * 1.2 ** Math.max(0, attempt - 4)
      const { code } = await whittle(folder, interrupted, (child) => {
        const timer = setTimeout(() => child.kill('SIGKILL'), delay)
        child.on('close', () => clearTimeout(timer))
      })
      if (code === null) kills++
    }
    expect(kills).toBeGreaterThan(1)
    expect(difference(modelAt('whole.onnx'), modelAt('parts.onnx'))).toBe(0)
    expect(readdirSync(join(folder, 'run'))).toContain('checkpoint.whittle')
  })

  it('says how to go on when it is interrupted', async () => {
    const args =
      'finetune model.onnx -o never.onnx --data cifar10:data --batch 10 --epochs 5000 --evaluate none --quiet'
    const { code, stderr } = await whittle(folder, [...args.split(' '), '--checkpoint', 'stopped'], (child) => {
      const timer = setInterval(() => {
        if (!existsSync(join(folder, 'stopped', 'checkpoint.whittle'))) return
        clearInterval(timer)
        child.kill('SIGINT')
      }, 100)
      child.on('close', () => clearInterval(timer))
    })
    expect(stderr).toBe("Interrupted; the same command with --resume goes on from the checkpoint in 'stopped'.\n")
    expect(code).toBe(130)
    expect(existsSync(join(folder, 'never.onnx'))).toBe(false)
  })

  it('gives the same weights with any number of threads for samples', async () => {
    const common =
      'finetune model.onnx --data cifar10:data --batch 10 --augment crop=2,flip,cutout=8 --evaluate none --quiet'
    for (const workers of [0, 1, 3])
      await ok([...common.split(' '), '-o', `by${workers}.onnx`, '--workers', String(workers)])
    expect(difference(modelAt('by0.onnx'), modelAt('by1.onnx'))).toBe(0)
    expect(difference(modelAt('by0.onnx'), modelAt('by3.onnx'))).toBe(0)
  })

  it.each([
    ['--batch 101', 'Training: a step needs 101 samples; the data have 100. Take a smaller batch or more data.'],
    ['--optimizer lion', "Optimizer: must be one of sgd, adam, adamw, rmsprop; got 'lion'."],
    ['--resume', 'Option --resume: needs the folder of the checkpoints; add --checkpoint DIR.'],
    ['--temperature 2', 'Option --temperature: is about a teacher, and there is none. Add --teacher MODEL.'],
    [
      '--augment crop',
      "Augmentation 'crop': 'crop' is not understood; write any of crop=PIXELS, flip, cutout=PIXELS, mixup=ALPHA.",
    ],
    ['--schedule linear', "Schedule: kind must be one of constant, step, cosine, one-cycle; got 'linear'."],
    ['--freeze nothing*', "Option freeze: 'nothing*' matches no layer and no parameter of the model."],
    [
      '--patience 2 --evaluate none',
      'Option --patience: needs data to evaluate on, and there are none. Add --evaluate DATA.',
    ],
    ['--nesterov --optimizer adam', 'Option --nesterov: is about sgd; the optimizer is adam. Leave it out.'],
    ['--epochs 1 --steps 2', 'Options --epochs and --steps: exclude each other. Give one.'],
    [
      '--teacher model.onnx --teacher-weight 1 --label-smoothing 0.1',
      'Option --label-smoothing: is about labels, and the loss uses none because --teacher-weight is 1. Leave it out.',
    ],
    ['--checkpoint model.onnx', "File 'model.onnx' cannot be written"],
  ])('refuses %s in one line', async (option, message) => {
    const args = ['finetune', 'model.onnx', '-o', 'never.onnx', '--data', 'cifar10:data', ...option.split(' ')]
    const { code, stderr } = await whittle(folder, args)
    expect(stderr.trim().split('\n').at(-1)).toContain(`whittle: ${message}`)
    expect(code).toBe(1)
    expect(existsSync(join(folder, 'never.onnx'))).toBe(false)
  })
})
