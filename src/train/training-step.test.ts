import { describe, expect, it } from 'vitest'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { randomTensor, relativeErrorOf } from '../../test/support/tensors.ts'
import { lowerTrainingBatchNorm } from '../autodiff/index.ts'
import { observeShapes } from '../engine/index.ts'
import { cloneModel, GraphBuilder, type Model, tensorType } from '../graph/index.ts'
import { initialize, resnet20 } from '../networks/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'
import type { StepOptions } from './step-options.ts'
import { createTrainingStep, rowsOf, type TrainingStep } from './training-step.ts'

const BATCH = 8

/** Conv 3→4 (stride 2, bias) → Relu → Flatten → Gemm 64→5, pictures [N, 3, 8, 8] */
function plainNetwork(): Model {
  const b = new GraphBuilder()
  const zeros = (...shape: number[]): Tensor => Tensor.of(new Float32Array(shape.reduce((a, x) => a * x, 1)), shape)
  const x = b.input('input', 'float32', ['batch', 3, 8, 8])
  const weights = [b.constant(zeros(4, 3, 3, 3), 'conv.weight'), b.constant(zeros(4), 'conv.bias')]
  const y = b.op('Relu', [b.op('Conv', [x, ...weights], { pads: [1, 1, 1, 1], strides: [2, 2] })])
  const head = [b.constant(zeros(5, 64), 'head.weight'), b.constant(zeros(5), 'head.bias')]
  b.op('Gemm', [b.op('Flatten', [y], { axis: 1 }), ...head], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 5])
  const model = b.model()
  model.graph.nodes[0]!.name = 'conv'
  model.graph.nodes[3]!.name = 'head'
  return initialize(model, { seed: 1 })
}

/** Conv 3→4 → BatchNormalization → Relu → GlobalAveragePool → Gemm 4→5 */
function normalizedNetwork(): Model {
  const b = new GraphBuilder()
  const vector = (name: string, value: number): string =>
    b.constant(Tensor.of(new Float32Array(4).fill(value), [4]), name)
  const x = b.input('input', 'float32', ['batch', 3, 8, 8])
  const weight = b.constant(Tensor.of(new Float32Array(108), [4, 3, 3, 3]), 'conv.weight')
  b.op('Conv', [x, weight], { pads: [1, 1, 1, 1] }, 'middle')
  const statistics = [vector('scale', 1), vector('shift', 0), vector('mean', 0), vector('variance', 1)]
  const y = b.op('BatchNormalization', ['middle', ...statistics])
  const pooled = b.op('Flatten', [b.op('GlobalAveragePool', [b.op('Relu', [y])])], { axis: 1 })
  const head = b.constant(Tensor.of(new Float32Array(20), [5, 4]), 'head.weight')
  b.op('Gemm', [pooled, head, b.constant(Tensor.of(new Float32Array(5), [5]), 'head.bias')], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 5])
  const model = b.model()
  model.graph.nodes[1]!.name = 'norm'
  return initialize(model, { seed: 2 })
}

const SGD: StepOptions = { loss: [{ kind: 'cross-entropy' }], optimizer: { kind: 'sgd', momentum: 0.9 } }

async function trainingOf(model: Model, options: StepOptions = SGD, batch = BATCH): Promise<TrainingStep> {
  const edge = model.graph.name.startsWith('resnet') ? 32 : 8
  const inputShapes = { input: [batch, 3, edge, edge] }
  return createTrainingStep(evaluator, model, {
    ...options,
    types: await observeShapes(evaluator, model, { inputShapes }),
  })
}

const pictures = (count: number, seed = 1): Tensor => randomTensor([count, 3, 8, 8], seed)
const labelsOf = (count: number): Int32Array => Int32Array.from({ length: count }, (_, i) => (i * 3) % 5)

function difference(a: ReadonlyMap<string, Tensor>, b: ReadonlyMap<string, Tensor>): number {
  return Math.max(...[...a].map(([name, tensor]) => relativeErrorOf(toFloat64(tensor), toFloat64(b.get(name)!))))
}

async function run(
  model: Model,
  options: StepOptions,
  steps: number,
  batch = BATCH,
): Promise<ReadonlyMap<string, Tensor>> {
  const training = await trainingOf(model, options, batch)
  const count = steps * training.samplesPerStep
  await training.steps({ inputs: [pictures(count)], labels: labelsOf(count) }, new Array<number>(steps).fill(0.05))
  const weights = training.weights()
  await training.release()
  return weights
}

describe('createTrainingStep', () => {
  it('learns a batch by heart', async () => {
    const training = await trainingOf(resnet20({ width: 0.25 }), SGD, 10)
    const x = randomTensor([10, 3, 32, 32], 1)
    const labels = Int32Array.from({ length: 10 }, (_, i) => i)
    const first = await training.step([x], labels, 0.05)
    const { losses, correct } = await training.steps(
      {
        inputs: [
          Tensor.of(
            Float32Array.from({ length: 30 * x.size }, (_, i) => x.data[i % x.size] as number),
            [300, 3, 32, 32],
          ),
        ],
        labels: Int32Array.from({ length: 300 }, (_, i) => i % 10),
      },
      new Array<number>(30).fill(0.05),
    )
    expect(losses.at(-1)!).toBeLessThan(first.loss / 10)
    expect(correct.at(-1)).toBe(10)
    await training.release()
  })

  it('takes steps in one run bit for bit as one by one', async () => {
    const x = pictures(4 * BATCH)
    const labels = labelsOf(4 * BATCH)
    const rates = [0.05, 0.04, 0.03, 0.02]
    for (const optimizer of [{ kind: 'sgd', momentum: 0.9 }, { kind: 'adam' }] as const) {
      const together = await trainingOf(normalizedNetwork(), { ...SGD, optimizer, ema: 0.9 })
      const { losses } = await together.steps({ inputs: [x], labels }, rates)
      const single = await trainingOf(normalizedNetwork(), { ...SGD, optimizer, ema: 0.9 })
      for (const [at, rate] of rates.entries()) {
        const { loss } = await single.step(
          [rowsOf(x, at * BATCH, BATCH)],
          labels.subarray(at * BATCH, (at + 1) * BATCH),
          rate,
        )
        expect(loss).toBe(losses[at])
      }
      expect(difference(together.state().tensors, single.state().tensors)).toBe(0)
      await together.release()
      await single.release()
    }
  })

  it('accumulates batches to the gradient of a larger one', async () => {
    for (const options of [SGD, { ...SGD, optimizer: { kind: 'adamw' } as const, clip: { norm: 0.1 } }]) {
      const whole = await run(plainNetwork(), options, 3, 8)
      const parts = await run(plainNetwork(), { ...options, accumulate: 4 }, 3, 2)
      expect(difference(whole, parts)).toBeLessThan(2e-6)
    }
  })

  it('learns running statistics as PyTorch: momentum 0.1, unbiased variance', async () => {
    const model = normalizedNetwork()
    const x = pictures(2 * BATCH)
    const training = await trainingOf(model)
    const probe = cloneModel(model)
    probe.graph.outputs = [{ name: 'middle', type: undefined }]
    let [mean, variance] = [new Float64Array(4), new Float64Array(4).fill(1)]
    for (const start of [0, BATCH]) {
      const batch = rowsOf(x, start, BATCH)
      for (const [name, tensor] of training.weights()) probe.graph.initializers.set(name, tensor)
      const middle = toFloat64((await runModel(probe, { input: batch })).middle!)
      const count = BATCH * 64
      const channel = (c: number): number[] => [...middle].filter((_, i) => Math.floor(i / 64) % 4 === c)
      const means = [0, 1, 2, 3].map((c) => channel(c).reduce((a, b) => a + b, 0) / count)
      const variances = means.map((m, c) => channel(c).reduce((a, b) => a + (b - m) ** 2, 0) / (count - 1))
      mean = mean.map((old, c) => 0.9 * old + 0.1 * means[c]!)
      variance = variance.map((old, c) => 0.9 * old + 0.1 * variances[c]!)
      await training.step([batch], labelsOf(BATCH), 0.05)
    }
    const weights = training.weights()
    expect(relativeErrorOf(mean, toFloat64(weights.get('mean')!))).toBeLessThan(1e-5)
    expect(relativeErrorOf(variance, toFloat64(weights.get('variance')!))).toBeLessThan(1e-5)
    await training.release()
  })

  it('takes another form of the pass for runtimes that need one', async () => {
    const plain = await run(normalizedNetwork(), SGD, 2)
    for (const accumulate of [1, 2]) {
      const lowered = await run(normalizedNetwork(), { ...SGD, accumulate, lower: lowerTrainingBatchNorm }, 2)
      if (accumulate === 1) expect(difference(plain, lowered)).toBeLessThan(1e-5)
      expect(toFloat64(lowered.get('variance')!).every(Number.isFinite)).toBe(true)
    }
  })

  it('leaves frozen layers alone, and carries statistics through accumulation', async () => {
    const model = normalizedNetwork()
    const frozen = await run(model, { ...SGD, freeze: ['norm', 'conv.*'] }, 2)
    expect([...frozen.keys()]).toEqual(['head.weight', 'head.bias'])
    const running = await run(model, { ...SGD, batchNorm: 'running' }, 2)
    expect(running.has('mean')).toBe(false)
    const halves = await run(model, { ...SGD, accumulate: 2, optimizer: { kind: 'sgd', momentum: 0 } }, 1, 4)
    expect(Math.abs(toFloat64(halves.get('mean')!)[0]!)).toBeGreaterThan(0)
  })

  it('decays weights by group', async () => {
    const model = plainNetwork()
    const options = (weightDecay: number, more: Partial<StepOptions> = {}): StepOptions => ({
      ...SGD,
      optimizer: { kind: 'sgd', momentum: 0, weightDecay },
      ...more,
    })
    const plain = await run(model, options(0), 1)
    const decayed = await run(model, options(0.5, { decayWeightsOnly: true }), 1)
    const grouped = await run(model, options(0.5, { groups: [{ match: ['head*'], weightDecay: 0 }] }), 1)
    const before = model.graph.initializers
    for (const [name, tensor] of plain) {
      const start = toFloat64(before.get(name)!)
      const shrunk = toFloat64(tensor).map((value, i) => value - 0.05 * 0.5 * start[i]!)
      const expected = name.endsWith('bias') ? toFloat64(tensor) : shrunk
      expect(relativeErrorOf(expected, toFloat64(decayed.get(name)!)), name).toBeLessThan(1e-6)
      const byGroup = name.startsWith('head') ? toFloat64(tensor) : shrunk
      expect(relativeErrorOf(byGroup, toFloat64(grouped.get(name)!)), name).toBeLessThan(1e-6)
    }
  })

  it('averages weights exponentially', async () => {
    const training = await trainingOf(plainNetwork(), { ...SGD, ema: 0.6 })
    let average = toFloat64(plainNetwork().graph.initializers.get('conv.weight')!)
    for (const seed of [1, 2, 3]) {
      await training.step([pictures(BATCH, seed)], labelsOf(BATCH), 0.1)
      const current = toFloat64(training.weights().get('conv.weight')!)
      average = average.map((value, i) => 0.6 * value + 0.4 * current[i]!)
    }
    expect(relativeErrorOf(average, toFloat64(training.weights('average').get('conv.weight')!))).toBeLessThan(1e-6)
    await training.release()
  })

  it('learns from a teacher without labels', async () => {
    const teacher = plainNetwork()
    const student = initialize(plainNetwork(), { seed: 9 })
    const types = await observeShapes(evaluator, teacher, { inputShapes: { input: [BATCH, 3, 8, 8] } })
    const loss = [
      { kind: 'distillation', temperature: 2 },
      { kind: 'features', layers: ['conv'] },
      { kind: 'mse', against: 'teacher' },
    ] as const
    const options: StepOptions = { ...SGD, loss, teacher: { model: teacher, types } }
    const same = await trainingOf(plainNetwork(), options)
    expect(Math.abs((await same.step([pictures(BATCH)], undefined, 0)).loss)).toBeLessThan(1e-6)
    await same.release()
    const training = await trainingOf(student, options)
    const results = []
    for (let i = 0; i < 30; i++) results.push(await training.step([pictures(BATCH, i % 3)], undefined, 0.1))
    expect(results.at(-1)!.loss).toBeLessThan(results[0]!.loss / 2)
    await training.release()
  })

  it('learns inner values alone', async () => {
    const teacher = plainNetwork()
    const types = await observeShapes(evaluator, teacher, { inputShapes: { input: [BATCH, 3, 8, 8] } })
    const loss = [{ kind: 'features', layers: [{ student: 'conv', teacher: 'conv' }] }] as const
    const training = await trainingOf(initialize(plainNetwork(), { seed: 9 }), {
      ...SGD,
      loss,
      teacher: { model: teacher, types },
    })
    const first = await training.step([pictures(BATCH)], undefined, 0.5)
    for (let i = 0; i < 20; i++) await training.step([pictures(BATCH)], undefined, 0.5)
    expect((await training.step([pictures(BATCH)], undefined, 0.5)).loss).toBeLessThan(first.loss / 2)
    expect(training.graph.selection.unreached).toEqual(['head.weight', 'head.bias'])
    await training.release()
  })

  it('learns outputs that are no class scores from a teacher', async () => {
    const pictureNetwork = (seed: number): Model => {
      const b = new GraphBuilder()
      const weight = b.constant(randomTensor([3, 3, 3, 3], seed), 'weight')
      b.op('Conv', [b.input('input', 'float32', ['batch', 3, 8, 8]), weight], { pads: [1, 1, 1, 1] }, 'picture')
      b.output('picture', 'float32', undefined)
      return b.model()
    }
    const types = await observeShapes(evaluator, pictureNetwork(1), { batch: BATCH })
    const teacher = { model: pictureNetwork(1), types }
    const options = { ...SGD, loss: [{ kind: 'mse', against: 'teacher' }] as const, teacher }
    const training = await trainingOf(pictureNetwork(2), options)
    for (let i = 0; i < 80; i++) await training.step([pictures(BATCH, i)], undefined, 0.4)
    expect((await training.step([pictures(BATCH)], undefined, 0.1)).loss).toBeLessThan(0.01)
    await training.release()
    await expect(trainingOf(pictureNetwork(2))).rejects.toThrow(
      "Output 'picture': this loss needs class scores [N, C]; its shape is [8, 3, 8, 8]. Choose another output.",
    )
  })

  it('matches a teacher’s inputs by position where names differ, and refuses other shapes', async () => {
    const options = async (edge: number): Promise<StepOptions> => {
      const teacher = plainNetwork()
      teacher.graph.inputs = [{ name: 'picture', type: tensorType('float32', ['batch', 3, 8, edge]) }]
      teacher.graph.nodes[0]!.inputs[0] = 'picture'
      if (edge !== 8) teacher.graph.nodes.splice(1)
      if (edge !== 8) teacher.graph.outputs = [{ name: teacher.graph.nodes[0]!.outputs[0]!, type: undefined }]
      const types = await observeShapes(evaluator, teacher, { batch: BATCH })
      return { ...SGD, loss: [{ kind: 'distillation' }], teacher: { model: teacher, types } }
    }
    const training = await trainingOf(plainNetwork(), await options(8))
    expect(Math.abs((await training.step([pictures(BATCH)], undefined, 0)).loss)).toBeLessThan(1e-6)
    await training.release()
    await expect(trainingOf(plainNetwork(), await options(9))).rejects.toThrow(
      "Teacher: its input 'picture', float32 [8, 3, 8, 9], must be an input of the model, which has 'input', float32 [8, 3, 8, 8].",
    )
  })

  it('takes the scores before a final Softmax', async () => {
    const model = plainNetwork()
    model.graph.nodes.at(-1)!.outputs = ['scores']
    const soft = new GraphBuilder()
    soft.op('Softmax', ['scores'], { axis: -1 }, 'logits')
    model.graph.nodes.push(...soft.graph.nodes)
    expect(difference(await run(plainNetwork(), SGD, 2), await run(model, SGD, 2))).toBe(0)
  })

  it('goes on from a state and refuses that of another network', async () => {
    const first = await trainingOf(plainNetwork())
    await first.step([pictures(BATCH)], labelsOf(BATCH), 0.1)
    const state = first.state()
    await first.step([pictures(BATCH, 2)], labelsOf(BATCH), 0.1)
    const second = await trainingOf(plainNetwork())
    second.restore(state)
    await second.step([pictures(BATCH, 2)], labelsOf(BATCH), 0.1)
    expect(difference(first.weights(), second.weights())).toBe(0)
    const other = await trainingOf(normalizedNetwork())
    expect(() => other.restore(state)).toThrow(
      "Training state: 'scale' must be float32 [4]; it is missing. The state is of another training.",
    )
    for (const training of [first, second, other]) await training.release()
  })

  it('refuses samples and options that do not fit', async () => {
    const training = await trainingOf(plainNetwork())
    await expect(training.step([pictures(BATCH)], Int32Array.of(0, 1, 2, 3, 4, 5, 0, 0), 0.1)).rejects.toThrow(
      'Sample 5 of the batch: labels must be 0 … 4 because the model has 5 classes; got 5.',
    )
    await expect(training.step([pictures(3)], labelsOf(3), 0.1)).rejects.toThrow(
      "Training step: 1 steps of 8 samples need 8 rows of 'input'; got 3.",
    )
    await expect(training.step([pictures(BATCH)], undefined, 0.1)).rejects.toThrow(
      'Training step: the loss uses labels; the samples have none.',
    )
    await training.release()
    await expect(trainingOf(plainNetwork(), { ...SGD, freeze: ['layer9*'] })).rejects.toThrow(
      "Option freeze: 'layer9*' matches no layer and no parameter of the model.",
    )
    await expect(trainingOf(plainNetwork(), { ...SGD, freeze: ['*'] })).rejects.toThrow(
      'Training: at least one parameter must be left to train; all 4 are frozen.',
    )
    await expect(trainingOf(plainNetwork(), { ...SGD, loss: [{ kind: 'distillation' }] })).rejects.toThrow(
      'Loss: distillation needs a teacher.',
    )
    await expect(trainingOf(plainNetwork(), { ...SGD, output: 'scores' })).rejects.toThrow(
      "Output 'scores' is not one of the model's outputs: 'logits'.",
    )
  })

  it('says so when no gradient reaches a parameter', async () => {
    const b = new GraphBuilder()
    const weight = b.constant(randomTensor([192, 5], 1), 'weight')
    const x = b.op('Flatten', [b.input('input', 'float32', ['batch', 3, 8, 8])])
    const y = b.op('MatMul', [x, weight])
    b.op('Floor', [y], {}, 'logits')
    b.output('logits', 'float32', ['batch', 5])
    await expect(trainingOf(b.model())).rejects.toThrow(/^Parameter 'weight': must influence .* leads through Floor/)
  })
})
