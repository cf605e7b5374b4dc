import { describe, expect, it } from 'vitest'
import { evaluator } from '../../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../../test/support/tensors.ts'
import { observeShapes } from '../../engine/index.ts'
import { GraphBuilder, type Model, subgraphsOf } from '../../graph/index.ts'
import { initialize, resnet20, vgg11 } from '../../networks/index.ts'
import { Tensor, toFloat64 } from '../../tensor/index.ts'
import { createTrainingStep } from '../training-step.ts'
import { blockSize } from './block-size.ts'

const BATCH = 8
const block = await blockSize(evaluator)
if (block === undefined) console.info('lowering: skipped; this processor has no blocked kernels.')

type Spatial = readonly [kernel: number, stride: number, group: number]

/** Stem, depthwise and pointwise convolutions of stride 1 and 2, one with bias, other activations, edge 12. */
function mobileNetwork(): Model {
  const b = new GraphBuilder('mobile')
  const filled = (name: string, value: number, ...shape: number[]): string =>
    b.constant(Tensor.of(new Float32Array(shape.reduce((a, x) => a * x, 1)).fill(value), shape), name)
  let [y, channels, layer] = [b.input('input', 'float32', ['batch', 3, 12, 12]), 3, 0]
  const conv = (out: number, [kernel, stride, group]: Spatial, activation: string, bias = false): void => {
    const name = `layer${layer++}`
    const inputs = [y, filled(`${name}.weight`, 0, out, channels / group, kernel, kernel)]
    if (bias) inputs.push(filled(`${name}.bias`, 0.1, out))
    const pad = (kernel - 1) >> 1
    y = b.op('Conv', inputs, { pads: [pad, pad, pad, pad], strides: [stride, stride], group }, name)
    const statistics = [1, 0, 0, 1].map((value, at) => filled(`${name}.norm${at}`, value, out))
    if (!bias) y = b.op('BatchNormalization', [y, ...statistics])
    const bounds = [Tensor.of(Float32Array.of(0), []), Tensor.of(Float32Array.of(6), [])].map((t) => b.constant(t))
    y = b.op(activation, activation === 'Clip' ? [y, ...bounds] : [y])
    channels = out
  }
  conv(16, [3, 1, 1], 'Relu')
  conv(16, [3, 1, 16], 'Clip')
  conv(32, [1, 1, 1], 'Relu')
  conv(32, [3, 2, 32], 'HardSwish')
  conv(48, [5, 1, 1], 'Relu', true)
  conv(32, [3, 3, 1], 'Tanh')
  const pooled = b.op('Flatten', [b.op('GlobalAveragePool', [y])], { axis: 1 })
  b.op('Gemm', [pooled, filled('head', 0, 10, 32), filled('head.bias', 0, 10)], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 10])
  for (const [at, node] of b.graph.nodes.entries()) node.name = `node${at}`
  return initialize(b.model(), { seed: 1 })
}

/** Convolutions of 128 channels on pictures of 4 × 2 and 2 × 2, one with bias, one of two readers. */
function smallPictures(): Model {
  const b = new GraphBuilder('small-pictures')
  const filled = (name: string, value: number, ...shape: number[]): string =>
    b.constant(Tensor.of(new Float32Array(shape.reduce((a, x) => a * x, 1)).fill(value), shape), name)
  const conv = (x: string, into: number, out: number, name: string, attributes: object, ...more: string[]): string =>
    b.op(
      'Conv',
      [x, filled(`${name}.weight`, 0, out, into, 3, 3), ...more],
      { pads: [1, 1, 1, 1], ...attributes },
      name,
    )
  const norm = (x: string): string =>
    b.op('BatchNormalization', [x, ...[1, 0, 0, 1].map((value, at) => filled(`${x}.norm${at}`, value, 128))])
  const x = b.input('input', 'float32', ['batch', 3, 12, 12])
  let y = b.op('Relu', [norm(conv(x, 3, 128, 'stem', { strides: [3, 6] }))])
  y = b.op('Add', [y, b.op('Relu', [norm(conv(y, 128, 128, 'first', {}))])])
  y = b.op('Tanh', [conv(y, 128, 128, 'second', {}, filled('second.bias', 0.1, 128))])
  y = b.op('MaxPool', [y], { kernel_shape: [2, 1], strides: [2, 1] })
  y = b.op('Relu', [norm(conv(y, 128, 128, 'third', {}))])
  const pooled = b.op('Flatten', [b.op('GlobalAveragePool', [y])], { axis: 1 })
  b.op('Gemm', [pooled, filled('head', 0, 10, 128), filled('head.bias', 0, 10)], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 10])
  for (const [at, node] of b.graph.nodes.entries()) node.name = `node${at}`
  return initialize(b.model(), { seed: 3 })
}

/** Loss, gradients (as the first step's momentum) and new statistics of one step, and operators of the step. */
async function oneStep(model: Model, kernels: 'native' | 'standard', seed: number, batchNorm: 'batch' | 'running') {
  const size = ['mobile', 'small-pictures'].includes(model.graph.name) ? 12 : 32
  const types = await observeShapes(evaluator, model, { inputShapes: { input: [BATCH, 3, size, size] } })
  const options = { types, kernels, batchNorm, loss: [{ kind: 'cross-entropy' }], optimizer: { kind: 'sgd' } } as const
  const training = await createTrainingStep(evaluator, model, options)
  const pictures = randomTensor([BATCH, 3, size, size], seed)
  const { loss } = await training.step([pictures], Int32Array.of(1, 7, 3, 3, 0, 9, 4, 2), 0.1)
  const { tensors } = training.state()
  await training.release()
  const body = training.graph.model.graph.nodes.flatMap((node) => subgraphsOf(node))[0]!
  return { loss, tensors, operators: body.nodes.map(({ domain, opType }) => `${domain}::${opType}`) }
}

const TOLERANCE = 5e-5

function largestError(found: ReadonlyMap<string, Tensor>, expected: ReadonlyMap<string, Tensor>): number {
  let largest = 0
  for (const [name, tensor] of expected) {
    const values = toFloat64(tensor)
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
    // The gradient of what a normalisation takes out again is nothing but rounding.
    if (norm > 1e-5) largest = Math.max(largest, relativeErrorOf(toFloat64(found.get(name)!), values))
  }
  return largest
}

describe.skipIf(block === undefined)('a lowered step gives what the standard one gives', () => {
  const networks: readonly [string, () => Model, ('batch' | 'running')?][] = [
    ['residual blocks with projections of stride 2', () => resnet20({ shortcut: 'B' })],
    ['residual blocks with slices and pads', () => resnet20({ shortcut: 'A' })],
    ['poolings, down to one pixel', () => vgg11({ width: 0.25 })],
    ['residual blocks with fixed statistics', () => resnet20({ shortcut: 'B' }), 'running'],
    ['channels that are no whole blocks', () => resnet20({ width: 0.75 })],
    ['depthwise convolutions, biases, other activations', mobileNetwork],
    ['many channels of few positions', smallPictures],
  ]
  for (const [name, build, statistics = 'batch'] of networks)
    it(name, async () => {
      const model = build()
      const errors: number[] = []
      // A Relu whose operand is zero up to rounding passes a gradient in one form and none in the other; hardly ever
      // for three batches in a row.
      for (let seed = 1; seed <= 3 && !(Math.min(...errors) < TOLERANCE); seed++) {
        const standard = await oneStep(model, 'standard', seed, statistics)
        const native = await oneStep(model, 'native', seed, statistics)
        const blocked = native.operators.filter((operator) => operator.startsWith('com.microsoft.nchwc::'))
        expect(blocked.length).toBeGreaterThan(9)
        expect(native.operators.filter((operator) => operator.startsWith('whittle'))).toEqual([])
        expect(standard.operators.filter((operator) => !operator.startsWith('::'))).toEqual([])
        expect(Math.abs(native.loss / standard.loss - 1)).toBeLessThan(1e-6)
        errors.push(largestError(native.tensors, standard.tensors))
      }
      expect(Math.min(...errors)).toBeLessThan(TOLERANCE)
    })
})

describe.skipIf(block === undefined)('batch statistics of lowered steps', () => {
  it('keep their digits where means are large and the running ones are near', async () => {
    const b = new GraphBuilder('large-means')
    const weight = randomTensor([16, 3, 1, 1], 5)
    const x = b.input('input', 'float32', ['batch', 3, 32, 32])
    const y = b.op('Conv', [x, b.constant(weight, 'weight')], {}, 'conv')
    // The picture is near 1000, so that a channel's mean is 1000 times the sum of its weights.
    const sums = Array.from({ length: 16 }, (_, k) =>
      toFloat64(weight)
        .slice(3 * k, 3 * k + 3)
        .reduce((a, v) => a + v, 0),
    )
    const statistics = [1, 0, 0, 1].map((value, at) =>
      b.constant(
        Tensor.of(
          Float32Array.from(sums, (sum) => (at === 2 ? 1000 * sum : value)),
          [16],
        ),
        `norm${at}`,
      ),
    )
    const pooled = b.op('GlobalAveragePool', [b.op('Relu', [b.op('BatchNormalization', [y, ...statistics])])])
    b.op('Gemm', [b.op('Flatten', [pooled]), b.constant(randomTensor([10, 16], 6), 'head')], { transB: 1 }, 'logits')
    b.output('logits', 'float32', ['batch', 10])
    for (const [at, node] of b.graph.nodes.entries()) node.name = `node${at}`
    const model = b.model()
    const types = await observeShapes(evaluator, model, { inputShapes: { input: [BATCH, 3, 32, 32] } })
    const noise = toFloat64(randomTensor([BATCH, 3, 32, 32], 7))
    const picture = Tensor.of(
      Float32Array.from(noise, (value) => 1000 + value),
      [BATCH, 3, 32, 32],
    )
    const variances: Float64Array[] = []
    for (const kernels of ['standard', 'native'] as const) {
      const options = { types, kernels, loss: [{ kind: 'cross-entropy' }], optimizer: { kind: 'sgd' } } as const
      const training = await createTrainingStep(evaluator, model, options)
      await training.step([picture], Int32Array.of(1, 7, 3, 3, 0, 9, 4, 2), 0)
      variances.push(toFloat64(training.weights().get('norm3')!).map((value) => value - 0.9))
      await training.release()
    }
    expect(relativeErrorOf(variances[1]!, variances[0]!)).toBeLessThan(2e-3)
  })
})

describe('the size of blocks', () => {
  it('is asked once and is one that kernels have', async () => {
    expect([undefined, 4, 8, 16]).toContain(block)
    expect(blockSize(evaluator)).toBe(blockSize(evaluator))
  })

  it('is none where the runtime has no such operators', async () => {
    const web = { load: () => Promise.reject(new Error('no such operator')) }
    expect(await blockSize(web)).toBeUndefined()
  })
})
