import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { maybeShared } from '../../../test/support/shared.ts'
import { randomTensor, relativeError } from '../../../test/support/tensors.ts'
import { prepareModel } from '../../api/index.ts'
import { dequantizeWeight, type Quantization, quantizeWeight, weightQuantization } from '../../compress/index.ts'
import { createMatrixEngine, observeShapes } from '../../engine/index.ts'
import {
  cloneModel,
  float,
  foldBatchNorm,
  GraphBuilder,
  type Model,
  runPasses,
  type TensorMap,
} from '../../graph/index.ts'
import { loadModel } from '../../node/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { learnRounding } from './learn-rounding.ts'
import type { RoundingContext, RoundingLayer, RoundingOptions } from './options.ts'

/** Conv 3→8, residual block of a depthwise and a plain Conv, ConvTranspose, flattening, Gemm; opset 17. */
function network(): Model {
  const b = new GraphBuilder('small')
  const conv = (x: string, weight: readonly number[], name: string, attributes: Record<string, number[] | number>) => {
    const outputs = name === 'up' ? weight[1]! : weight[0]!
    const w = b.constant(randomTensor(weight, weight[0]! + name.length), `${name}.w`)
    const bias = b.constant(randomTensor([outputs], 3), `${name}.b`)
    return b.op(name === 'up' ? 'ConvTranspose' : 'Conv', [x, w, bias], attributes, `${name}.y`)
  }
  const same = { pads: [1, 1, 1, 1] }
  const x = b.input('x', 'float32', ['batch', 3, 6, 6])
  const first = b.op('Relu', [conv(x, [8, 3, 3, 3], 'stem', same)])
  const inner = b.op('Relu', [conv(first, [8, 1, 3, 3], 'depthwise', { ...same, group: 8 })])
  const sum = b.op('Relu', [b.op('Add', [conv(inner, [8, 8, 1, 1], 'point', {}), first])])
  const up = b.op('LeakyRelu', [conv(sum, [8, 4, 2, 2], 'up', { strides: [2, 2] })], { alpha: float(0.1) })
  const flat = b.op('Flatten', [b.op('GlobalAveragePool', [up])], { axis: 1 })
  b.op('Gemm', [flat, b.constant(randomTensor([5, 4], 8), 'head.w')], { transB: 1 }, 'logits')
  b.output('logits', 'float32')
  const model = b.model()
  for (const node of model.graph.nodes) if (node.inputs[1]?.endsWith('.w')) node.name = node.inputs[1].slice(0, -2)
  return model
}

const AXES: Readonly<Record<string, number>> = { up: 1 }

function quantizations(model: Model, bits: number): RoundingLayer[] {
  return model.graph.nodes
    .filter(
      (node) =>
        model.graph.initializers.has(node.inputs[1] ?? '') && ['Conv', 'ConvTranspose', 'Gemm'].includes(node.opType),
    )
    .map((node) => ({
      node: node.name,
      quantization: weightQuantization(model.graph.initializers.get(node.inputs[1]!)!, {
        type: bits === 4 ? 'int4' : 'int8',
        bits,
        axis: AXES[node.name] ?? 0,
      }),
    }))
}

/** The network with rounded weights; activations stay as they are. */
function rounded(
  model: Model,
  layers: readonly RoundingLayer[],
  integers: ReadonlyMap<string, Tensor> = new Map(),
): Model {
  const clone = cloneModel(model)
  for (const { node, quantization } of layers) {
    const name = clone.graph.nodes.find((one) => one.name === node)!.inputs[1]!
    const weight = clone.graph.initializers.get(name)!
    clone.graph.initializers.set(
      name,
      dequantizeWeight(integers.get(name) ?? quantizeWeight(weight, quantization), quantization),
    )
  }
  return clone
}

const matrices = createMatrixEngine(ort, { threads: 1 })

async function contextOf(model: Model, batches: readonly TensorMap[]): Promise<RoundingContext> {
  return {
    evaluator,
    matrices,
    observe: (part) => observeShapes(evaluator, part),
    shapes: await observeShapes(evaluator, model, { feeds: batches[0]! }),
    data: async function* () {
      yield* batches
    },
  }
}

/** Pictures whose pixels go together, as those of real ones do. */
function pictures(count: number, seed: number): Tensor {
  const own = randomTensor([count, 3, 6, 6], seed)
  const shared = toFloat32(randomTensor([count], seed + 100))
  return Tensor.of(
    toFloat32(own).map((value, i) => 0.4 * value + shared[Math.floor(i / 108)]! + 0.5),
    own.shape,
  )
}

const batches = [1, 2, 3].map((seed) => ({ x: pictures(16, seed) }))
const fast = { iterations: 600, learningRate: 0.03, regularization: 0.1, rows: 2048 }

async function learn(options: RoundingOptions, bits = 4, given: Partial<RoundingContext> = {}) {
  const model = network()
  const layers = quantizations(model, bits)
  const context = { ...(await contextOf(model, batches)), ...given }
  const fake = rounded(model, layers)
  return { model, layers, fake, result: await learnRounding(model, fake, layers, { ...fast, ...options }, context) }
}

describe('learnRounding', () => {
  it.each(['gptq', 'adaround', 'block'] as const)(
    'serves new samples better than the nearest integers, by %s',
    async (method) => {
      const { model, layers, fake, result } = await learn({ method })
      expect(result.skips).toEqual([])
      expect(result.layers.map(({ node }) => node)).toEqual(['stem', 'depthwise', 'point', 'up', 'head'])
      const feeds = { x: pictures(64, 99) }
      const { logits } = await runModel(model, feeds)
      const error = async (other: Model) => relativeError(logits!, (await runModel(other, feeds)).logits!)
      expect(await error(rounded(model, layers, result.rounded))).toBeLessThan(0.75 * (await error(fake)))
      for (const { outputError, node } of result.layers)
        expect(outputError.rounded, node).toBeLessThan(outputError.nearest)
    },
  )

  it('from the original’s values gives a layer the same integers whatever else is quantized', async () => {
    const { model, layers, result } = await learn({ method: 'gptq', inputs: 'original' })
    const last = layers.filter(({ node }) => node === 'up')
    const context = await contextOf(model, batches)
    const only = (inputs: 'original' | 'quantized') =>
      learnRounding(model, rounded(model, last), last, { ...fast, method: 'gptq', inputs }, context)
    const [name, integers] = [...(await only('original')).rounded][0]!
    expect(result.rounded.get(name)!.bytes).toEqual(integers.bytes)
    const behind = (await learn({ method: 'gptq' })).result.rounded.get(name)!
    expect(behind.bytes).not.toEqual(integers.bytes)
    const feeds = { x: pictures(64, 99) }
    const { logits } = await runModel(model, feeds)
    const error = async (other: Model) => relativeError(logits!, (await runModel(other, feeds)).logits!)
    expect(await error(rounded(model, layers, result.rounded))).toBeLessThan(
      0.85 * (await error(rounded(model, layers))),
    )
  })

  it('reports the error that ONNX Runtime finds', async () => {
    const { model, layers, result } = await learn({ method: 'gptq', rows: 2048 })
    const inner = (of: Model): Model => ({
      ...of,
      graph: { ...of.graph, outputs: [{ name: 'stem.y', type: undefined }] },
    })
    const x = Tensor.of(Float32Array.from(batches.flatMap((feeds) => [...toFloat32(feeds.x)])), [48, 3, 6, 6])
    const [wanted, found] = [model, rounded(model, layers, result.rounded)].map((of) => runModel(inner(of), { x }))
    const [a, b] = [toFloat32((await wanted!)['stem.y']!), toFloat32((await found!)['stem.y']!)]
    const bias = toFloat32(model.graph.initializers.get('stem.b')!)
    let [error, power] = [0, 0]
    for (let i = 0; i < a.length; i++) {
      error += (a[i]! - b[i]!) ** 2
      power += (a[i]! - bias[Math.floor(i / 36) % 8]!) ** 2
    }
    // 36 positions of 48 samples: 2,048 rows are all of them.
    expect(result.layers[0]!.outputError.rounded).toBeCloseTo(Math.sqrt(error / power), 5)
  })

  it.each(['gptq', 'adaround', 'block'] as const)('gives the same integers again, by %s', async (method) => {
    const [first, second] = [await learn({ method, iterations: 30 }), await learn({ method, iterations: 30 })]
    for (const [name, tensor] of first.result.rounded)
      expect(tensor.bytes).toEqual(second.result.rounded.get(name)!.bytes)
  })

  it('keeps integers within the type and packs those of 4 bits', async () => {
    const { model, result } = await learn({ method: 'gptq' })
    const stem = result.rounded.get('stem.w')!
    expect([stem.dtype, stem.shape, stem.byteLength]).toEqual(['int4', [8, 3, 3, 3], 108])
    expect([...result.rounded.keys()].every((name) => model.graph.initializers.has(name))).toBe(true)
  })

  it('does better at 8 bits too, per tensor and with zero points', async () => {
    const model = network()
    const scale = (name: string): Quantization =>
      weightQuantization(model.graph.initializers.get(name)!, { type: 'uint8', axis: null })
    const layers = ['stem', 'up'].map((node) => ({ node, quantization: scale(`${node}.w`) }))
    const context = await contextOf(model, batches)
    const result = await learnRounding(model, rounded(model, layers), layers, { method: 'gptq' }, context)
    expect(result.rounded.get('up.w')!.dtype).toBe('uint8')
    for (const { outputError } of result.layers) expect(outputError.rounded).toBeLessThan(0.9 * outputError.nearest)
  })

  it('names blocks between values that everything flows through, and takes only what helps', async () => {
    const { result } = await learn({ method: 'block' })
    const residual = result.blocks.find(({ layers }) => layers.length === 2)!
    expect(residual.layers).toEqual(['depthwise', 'point'])
    expect(residual.outputError!.block).toBeLessThanOrEqual(residual.outputError!.layers)
  })

  it('skips layers that share a weight or that it cannot read, with the reason', async () => {
    const model = network()
    const { nodes, initializers } = model.graph
    nodes.find(({ name }) => name === 'head')!.attributes.set('alpha', { kind: 'float', value: 2 })
    const layers = quantizations(model, 4)
    initializers.set('point.b', randomTensor([8], 1))
    const context = await contextOf(model, batches)
    const result = await learnRounding(model, rounded(model, layers), layers, { method: 'gptq' }, context)
    expect(result.skips).toEqual([{ name: 'head', reason: 'A Gemm with alpha or beta has other products.' }])
  })

  it('stops when asked to, and says where the loss is not finite', async () => {
    const signal = AbortSignal.abort('enough')
    await expect(learn({ method: 'adaround' }, 4, { signal })).rejects.toThrow('The work was cancelled.')
    const broken = [{ x: Tensor.of(new Float32Array(16 * 108).fill(1e30), [16, 3, 6, 6]) }]
    const data = async function* () {
      yield* broken
    }
    await expect(learn({ method: 'adaround' }, 4, { data })).rejects.toThrow(
      "Rounding of layer 'stem': the loss must stay finite; it is Infinity at step 1.",
    )
    const none = async function* () {}
    await expect(learn({ method: 'gptq' }, 4, { data: none })).rejects.toThrow(
      'Rounding: needs at least one batch of data',
    )
  })

  it('refuses options out of range and unknown layers', async () => {
    await expect(learn({ method: 'gptq', betas: [2, 20] })).rejects.toThrow(
      'Option betas: must be two falling numbers above 0; got [2,20].',
    )
    await expect(learn({ method: 'up' as 'gptq' })).rejects.toThrow(
      "Option rounding: must be one of gptq, adaround, block; got 'up'.",
    )
    const model = network()
    const [layer] = quantizations(model, 4)
    const context = await contextOf(model, batches)
    await expect(
      learnRounding(model, model, [{ ...layer!, node: 'other' }], { method: 'gptq' }, context),
    ).rejects.toThrow("Rounding: 'other' must be a node with a weight; the network has none of that name.")
  })

  it('lowers the output error of layers of ResNet-20 at 4 bits', async ({ skip }) => {
    const path = maybeShared('models', 'onnx', 'resnet20-cifar10.onnx')
    if (!path) return skip()
    const prepared = await prepareModel(await loadModel(path), { evaluator })
    const { model } = await runPasses(prepared, [foldBatchNorm])
    const layers = quantizations(model, 4).filter(({ node }) => /^.conv1|layer1/.test(node))
    const name = model.graph.inputs[0]!.name
    const noise = [{ [name]: randomTensor([16, 3, 32, 32], 5) }]
    const options = { method: 'gptq', rows: 2048 } as const
    const result = await learnRounding(model, rounded(model, layers), layers, options, await contextOf(model, noise))
    expect(result.layers).toHaveLength(7)
    for (const { node, outputError } of result.layers)
      expect(outputError.rounded, node).toBeLessThan(outputError.nearest)
  }, 120_000)
})
