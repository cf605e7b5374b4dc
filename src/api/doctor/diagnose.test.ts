import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { createRandom } from '../../core/index.ts'
import { PREPROCESS_KEY } from '../../data/index.ts'
import { createEvaluator } from '../../engine/index.ts'
import { cloneModel, createNode, GraphBuilder, type Model, type TensorMap, tensorType } from '../../graph/index.ts'
import { openDataset } from '../../node/data.ts'
import { decodeModel } from '../../onnx/index.ts'
import { fromNumbers, Tensor, toFloat32 } from '../../tensor/index.ts'
import { calibrationFeeds } from '../calibration.ts'
import { type DiagnoseOptions, diagnose, type Finding } from './index.ts'

const runtime = { evaluator: createEvaluator(ort) }
const examples = fileURLToPath(new URL('../../../examples', import.meta.url))
const resnet = decodeModel(readFileSync(`${examples}/models/resnet20-cifar10.onnx`))
// The file says how it wants its pixels; most files do not.
resnet.metadata.delete(PREPROCESS_KEY)
const cifar = await openDataset(`cifar10:${examples}/data/cifar10`)

const feeds = (limit: number, preprocess: 'imagenet' | 'none' = 'imagenet') =>
  calibrationFeeds(resnet, cifar, { preprocess, limit, batch: 32 })

async function findings(model: Model, options: DiagnoseOptions): Promise<readonly Finding[]> {
  return (await diagnose(model, options, runtime)).findings
}
async function codes(model: Model, options: DiagnoseOptions = {}): Promise<string[]> {
  return (await findings(model, options)).map(({ severity, code }) => `${severity} ${code}`)
}

/** Feeds of `resnet` with every tensor changed. */
function changed(change: (tensor: Tensor, run: number) => Tensor, limit = 32): () => AsyncIterable<TensorMap> {
  return async function* () {
    let run = 0
    for await (const feed of feeds(limit)()) {
      const entries = Object.entries(feed).map(([name, tensor]) => [name, change(tensor, run)] as const)
      run++
      yield Object.fromEntries(entries)
    }
  }
}

/** `resnet` with one initializer changed in place of the original. */
function withWeight(pattern: RegExp, change: (data: Float32Array) => void): Model {
  const clone = cloneModel(resnet)
  const name = [...clone.graph.initializers.keys()].find((candidate) => pattern.test(candidate))!
  const tensor = clone.graph.initializers.get(name)!
  const data = Float32Array.from(toFloat32(tensor))
  change(data)
  clone.graph.initializers.set(name, Tensor.of(data, tensor.shape))
  return clone
}

/** x → depthwise 3×3 → 1×1 → y, with weights of the channels `spread` apart. */
function depthwise(spread: number): Model {
  const random = createRandom(1)
  const b = new GraphBuilder('depthwise')
  b.input('x', 'float32', [null, 8, 8, 8])
  const kernel = Float32Array.from({ length: 8 * 9 }, (_, i) => random.normal() * spread ** (Math.floor(i / 9) / 7))
  const w = b.constant(Tensor.of(kernel, [8, 1, 3, 3]), 'w')
  const v = b.constant(Tensor.of(Float32Array.from({ length: 64 }, random.normal), [8, 8, 1, 1]), 'v')
  b.graph.nodes.push(createNode('Conv', ['x', w], ['h'], { group: 8, kernel_shape: [3, 3] }, 'depthwise'))
  b.graph.nodes.push(createNode('Conv', ['h', v], ['y'], { kernel_shape: [1, 1] }, 'pointwise'))
  b.output('y', 'float32', undefined)
  return b.model(17)
}

describe('diagnose', () => {
  it('finds nothing in a healthy network with samples as it was trained on', async () => {
    expect(await diagnose(resnet, { data: feeds(32), preprocess: 'imagenet' }, runtime)).toEqual({
      findings: [],
      samples: 32,
    })
  })

  it('finds pixels of 0 … 255 fed to a network trained on normalised ones', async () => {
    const found = await findings(resnet, { data: feeds(32, 'none') })
    expect(found.map(({ code }) => code)).toEqual(['batch-norm-mismatch', 'raw-pixels'])
    expect(found[0]).toMatchObject({ severity: 'error' })
    expect(found[0]!.where[0]).toBe('/bn1/BatchNormalization')
    expect(found[0]!.advice).toContain('--preprocess')
    expect(found[1]!.found).toContain("Input 'input' is fed whole numbers of 0 to 255")
  })

  it('finds inputs outside the range that the model declares in its metadata', async () => {
    const model = cloneModel(resnet)
    model.metadata.set(PREPROCESS_KEY, JSON.stringify({ preset: 'imagenet' }))
    expect(await codes(model, { data: feeds(32) })).toEqual([])
    const found = await findings(model, { data: feeds(32, 'none') })
    expect(found.map(({ code }) => code)).toEqual(['input-out-of-range', 'batch-norm-mismatch'])
    // (0 − .485) / .229 and (1 − .406) / .225
    expect(found[0]!.found).toBe("Input 'input' is fed 0 to 255; the model declares -2.12 to 2.64.")
  })

  it('finds too few samples, identical ones, constant ones and constant channels', async () => {
    const options = { preprocess: 'imagenet' } as const
    expect(await codes(resnet, { ...options, data: feeds(8) })).toEqual(['warning too-few-samples'])
    const first = changed((tensor) => {
      const size = tensor.size / tensor.shape[0]!
      const row = toFloat32(tensor).slice(0, size)
      return Tensor.of(
        Float32Array.from({ length: tensor.size }, (_, i) => row[i % size]!),
        tensor.shape,
      )
    })
    expect(await codes(resnet, { ...options, data: first })).toContain('error identical-samples')
    const zero = changed((tensor, run) => Tensor.of(new Float32Array(tensor.size).fill(run * 0), tensor.shape))
    expect(await codes(resnet, { ...options, data: zero })).toContain('error constant-input')
    const noBlue = changed((tensor) => {
      const [, channels = 0, height = 0, width = 0] = tensor.shape
      const data = toFloat32(tensor).map((value, i) =>
        Math.floor(i / (height * width)) % channels === 2 ? 0.5 : value,
      )
      return Tensor.of(data, tensor.shape)
    })
    const [constant] = (await findings(resnet, { ...options, data: noBlue })).filter(
      ({ code }) => code === 'constant-input',
    )
    expect(constant).toMatchObject({
      severity: 'warning',
      found: "Channel 2 of input 'input' has one value throughout.",
    })
  })

  it('finds NaN in weights, inputs and activations', async () => {
    const weights = withWeight(/^layer2\.0\.conv1\.weight$/, (data) => data.fill(Number.NaN, 3, 5))
    const [finding] = (await findings(weights, {})).filter(({ code }) => code === 'not-finite')
    expect(finding).toMatchObject({ severity: 'error', where: ['layer2.0.conv1.weight'] })
    expect(finding!.found).toContain('2 elements')
    const broken = changed((tensor) =>
      Tensor.of(
        toFloat32(tensor).map((v, i) => (i === 7 ? Number.NaN : v)),
        tensor.shape,
      ),
    )
    const found = await findings(resnet, { data: broken, preprocess: 'imagenet' })
    expect(found.filter(({ code }) => code === 'not-finite').map(({ where }) => where[0])).toContain('input')
    expect(found.some(({ found: text }) => text.startsWith('Activation'))).toBe(true)
  })

  it('finds activations whose largest elements stand alone', async () => {
    const spiked = changed((tensor) =>
      Tensor.of(
        toFloat32(tensor).map((v, i) => (i === 900 ? 400 : v)),
        tensor.shape,
      ),
    )
    const found = await findings(resnet, { data: spiked, preprocess: 'imagenet' })
    const [outlier] = found.filter(({ code }) => code === 'activation-outliers')
    expect(outlier).toMatchObject({ severity: 'warning' })
    expect(outlier!.advice).toContain('entropy')
  })

  it('finds layers most of whose channels never speak', async () => {
    const mute = withWeight(/^layer1\.0\.bn1\.bias$/, (data) => data.fill(-100, 0, 8))
    const found = await findings(mute, { data: feeds(32), preprocess: 'imagenet' })
    const [dead] = found.filter(({ code }) => code === 'dead-channels')
    expect(dead).toMatchObject({ severity: 'note', where: ['/layer1/layer1.0/Relu_output_0'] })
    expect(dead!.found).toMatch(/of '\/layer1\/layer1\.0\/Relu_output_0', (8|9|1\d) of 16\.$/)
  })

  it('finds batch normalisations that do not fold', async () => {
    expect(await codes(resnet)).toEqual([])
    expect(await codes(resnet, { foldBatchNorm: false })).toEqual(['warning batch-norm-unfolded'])
    const moved = cloneModel(resnet)
    const node = moved.graph.nodes.find(({ opType }) => opType === 'BatchNormalization')!
    // A Relu in between: the normalisation no longer follows the convolution.
    moved.graph.nodes.splice(
      moved.graph.nodes.indexOf(node),
      0,
      createNode('Relu', [node.inputs[0]!], ['clipped'], {}, 'in-between'),
    )
    node.inputs[0] = 'clipped'
    const [finding] = await findings(moved, {})
    expect(finding).toMatchObject({ code: 'batch-norm-unfolded', where: ['/bn1/BatchNormalization'] })
  })

  it('finds one scale for depthwise channels and for channels of very different size', async () => {
    expect(await codes(depthwise(1000))).toEqual([])
    const [finding] = await findings(depthwise(1000), { perChannel: false })
    expect(finding).toMatchObject({ code: 'per-tensor-depthwise', severity: 'warning', where: ['depthwise'] })
    expect(finding!.advice).toContain('--equalize')
    const uneven = withWeight(/^layer1\.1\.bn1\.weight$/, (data) => {
      for (let c = 1; c < data.length; c++) data[c] = data[c]! / 300
    })
    const found = await findings(uneven, { perChannel: false })
    expect(found[0]).toMatchObject({ code: 'uneven-channels', severity: 'warning' })
    expect(found[0]!.where[0]).toBe('/layer1/layer1.1/conv1/Conv')
  })

  it('finds models that are quantized already, of other types, of an old opset, with open axes, or without layers', async () => {
    const twice = cloneModel(resnet)
    twice.graph.initializers.set('s', Tensor.of(Float32Array.of(0.1), []))
    twice.graph.nodes[0]!.inputs[0] = 'd'
    twice.graph.nodes.unshift(
      createNode('QuantizeLinear', ['input', 's'], ['q'], {}, 'q'),
      createNode('DequantizeLinear', ['q', 's'], ['d'], {}, 'd'),
    )
    expect(await codes(twice, { data: feeds(8) })).toEqual(['error already-quantized'])
    const half = cloneModel(depthwise(1))
    for (const [name, tensor] of half.graph.initializers)
      half.graph.initializers.set(name, fromNumbers(toFloat32(tensor), tensor.shape, 'float16'))
    half.graph.inputs = [{ name: 'x', type: tensorType('float16', [null, 8, 8, 8]) }]
    half.graph.outputs = [{ name: 'y', type: undefined }]
    expect(await codes(half)).toEqual(['error not-float32'])
    const old = depthwise(1)
    old.opsets.set('', 11)
    expect(await codes(old)).toEqual(['note opset-too-low'])
    expect(await codes(old, { perChannel: false })).toEqual(['warning per-tensor-depthwise'])
    expect(await codes(depthwise(1), { weights: 'int4' })).toEqual(['note opset-too-low'])
    const open = depthwise(1)
    open.graph.inputs = [{ name: 'x', type: tensorType('float32', ['N', 8, 'H', 'W']) }]
    const [finding] = await findings(open, {})
    expect(finding).toMatchObject({
      code: 'dynamic-shape',
      severity: 'note',
      found: 'Axes other than the batch are open: x [N, 8, H, W].',
    })
    const none = new GraphBuilder('none')
    none.output(none.op('Relu', [none.input('x', 'float32', [1, 4])]), 'float32', [1, 4])
    expect(await codes(none.model())).toEqual(['error nothing-to-quantize'])
  })
})
