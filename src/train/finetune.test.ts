import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import { relativeErrorOf } from '../../test/support/tensors.ts'
import { createRandom, WhittleError } from '../core/index.ts'
import { type Batch, type Dataset, tensorDataset } from '../data/index.ts'
import { observeShapes } from '../engine/index.ts'
import { GraphBuilder, type Model } from '../graph/index.ts'
import { initialize } from '../networks/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'
import { type CheckpointStore, decodeCheckpoint } from './checkpoint.ts'
import { finetuneNetwork as finetune } from './finetune.ts'
import type { FinetuneOptions, FinetuneRuntime } from './finetune-options.ts'

/** Conv 1→6 → BatchNormalization → Relu → Flatten → Gemm → [N, 3] */
function network(): Model {
  const b = new GraphBuilder('stripes')
  const filled = (name: string, shape: readonly number[], value: number): string =>
    b.constant(Tensor.of(new Float32Array(shape.reduce((a, x) => a * x, 1)).fill(value), shape), name)
  const x = b.input('input', 'float32', ['batch', 1, 6, 6])
  b.op('Conv', [x, filled('conv.weight', [6, 1, 3, 3], 0)], { pads: [1, 1, 1, 1] }, 'convolved')
  // One constant for shift and mean, another for scale and variance, as exporters of fresh networks write them.
  const [ones, zeros] = [filled('ones', [6], 1), filled('zeros', [6], 0)]
  const y = b.op('Relu', [b.op('BatchNormalization', ['convolved', ones, zeros, zeros, ones], {}, 'normalized')])
  const head = [filled('head.weight', [3, 216], 0), filled('head.bias', [3], 0)]
  b.op('Gemm', [b.op('Flatten', [y], { axis: 1 }), ...head], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 3])
  const model = b.model(13)
  for (const [at, name] of ['conv', 'norm', 'relu', 'flatten', 'head'].entries()) model.graph.nodes[at]!.name = name
  return initialize(model, { seed: 4 })
}

/** Pictures of rows, columns and diagonals, with noise. */
function stripes(count: number, seed: number): Dataset {
  const random = createRandom(seed)
  const labels = Int32Array.from({ length: count }, (_, i) => i % 3)
  const values = new Float32Array(count * 36)
  for (const [n, label] of labels.entries()) {
    const phase = random.integer(2)
    for (let i = 0; i < 36; i++) {
      const [row, column] = [Math.floor(i / 6), i % 6]
      const on = ([row, column, row + column][label]! + phase) % 2 === 0
      values[n * 36 + i] = (on ? 1 : 0) + 0.5 * random.normal()
    }
  }
  return tensorDataset([Tensor.of(values, [count, 1, 6, 6])], labels, 'stripes')
}

const runtime: FinetuneRuntime = { evaluator, observe: (model, options) => observeShapes(evaluator, model, options) }
const base: FinetuneOptions = { data: stripes(96, 1), batch: 16, epochs: 6, lr: 0.05, clip: {} }

/** A store in memory that can fail, or end the run, at a given write. */
function memoryStore(failAt = Number.POSITIVE_INFINITY, error = new Error('disk full')) {
  let bytes: Uint8Array | undefined
  let writes = 0
  const store: CheckpointStore = {
    where: "folder 'run'",
    read: async () => bytes,
    write: async (chunks) => {
      if (writes++ === failAt) throw error
      bytes = Uint8Array.from(chunks.flatMap((chunk) => [...chunk]))
    },
  }
  return {
    store,
    writes: () => writes,
    damage: (change: (bytes: Uint8Array) => Uint8Array) => (bytes = change(bytes!)),
  }
}

function difference(a: Model, b: Model): number {
  const [first, second] = [a, b].map((model) => model.graph.initializers)
  return Math.max(
    ...[...first!].map(([name, tensor]) => relativeErrorOf(toFloat64(tensor), toFloat64(second!.get(name)!))),
  )
}

const allOf = (data: Dataset): Promise<Batch> => data.read!(Int32Array.from({ length: data.size }, (_, i) => i))

describe('finetune', () => {
  it('lowers the loss, raises the accuracy and returns the network with new weights', async () => {
    const source = network()
    const seen: (number | undefined)[] = []
    const result = await finetune(
      source,
      { ...base, evaluation: stripes(60, 2), onProgress: ({ values }) => seen.push(values?.loss) },
      runtime,
    )
    expect(result.history.map((entry) => entry.step)).toEqual([6, 12, 18, 24, 30, 36])
    expect(result.history.at(-1)!.loss).toBeLessThan(result.history[0]!.loss / 3)
    expect(result.before!.top1).toBeLessThan(0.6)
    expect(result.after!.top1).toBeGreaterThan(0.75)
    expect(seen.length).toBeGreaterThan(3)
    expect(result.model.graph.nodes.map((node) => node.opType)).toEqual(source.graph.nodes.map((node) => node.opType))
    expect(result.model.opsets).toEqual(source.opsets)
    expect(result.model.graph.inputs).toEqual(source.graph.inputs)
    // Scale and variance went different ways.
    const norm = result.model.graph.nodes[1]!
    expect(new Set(norm.inputs).size).toBe(5)
    expect(toFloat64(source.graph.initializers.get('ones')!)[0]).toBe(1)
  })

  it('takes the same steps whatever the number of them in a run, and for equal seeds only', async () => {
    const augmentation = { flip: true, crop: 1, cutout: 2, mixup: 0.5 }
    const slow: FinetuneRuntime = {
      ...runtime,
      evaluator: {
        load: async (model, options) => {
          const executable = await evaluator.load(model, options)
          // Long runs of the engine make for few steps in each.
          const run: typeof executable.run = async (...args) => {
            await new Promise((resolve) => setTimeout(resolve, 260))
            return executable.run(...args)
          }
          return {
            ...executable,
            run,
            release: () => executable.release(),
            inputNames: executable.inputNames,
            outputNames: executable.outputNames,
          }
        },
      },
    }
    const options = { ...base, epochs: 1, augmentation }
    const first = await finetune(network(), options, runtime)
    expect(difference(first.model, (await finetune(network(), options, slow)).model)).toBe(0)
    expect(
      difference(first.model, (await finetune(network(), { ...options, seed: 1 }, runtime)).model),
    ).toBeGreaterThan(1e-4)
  })

  it('goes on after any checkpoint with bit-identical weights, averages and best weights', async () => {
    const options: FinetuneOptions = {
      ...base,
      epochs: 2,
      evaluation: stripes(30, 2),
      evaluateEvery: 4,
      checkpointEvery: 3,
      ema: 0.8,
      optimizer: 'adamw',
      lr: 0.003,
      augmentation: { flip: true, mixup: 0.2 },
    }
    const whole = await finetune(network(), options, runtime)
    for (const failAt of [1, 2, 4]) {
      const { store } = memoryStore(failAt)
      await expect(finetune(network(), options, { ...runtime, checkpoints: store })).rejects.toThrow('disk full')
      // The checkpoint before survived.
      const resumed = await finetune(network(), { ...options, resume: true }, { ...runtime, checkpoints: store })
      expect(difference(whole.model, resumed.model)).toBe(0)
      expect(resumed.history).toEqual(whole.history)
      expect([resumed.bestStep, resumed.before, resumed.after]).toEqual([whole.bestStep, whole.before, whole.after])
      const again = await finetune(network(), { ...options, resume: true }, { ...runtime, checkpoints: store })
      expect(difference(whole.model, again.model)).toBe(0)
    }
  })

  it('refuses checkpoints of another model, other options, and damaged ones', async () => {
    const { store, damage } = memoryStore()
    const own = { ...runtime, checkpoints: store }
    await finetune(network(), { ...base, epochs: 1 }, own)
    await expect(finetune(network(), { ...base, epochs: 1 }, own)).rejects.toThrow(
      "Checkpoints: folder 'run' holds a checkpoint already. Resume it (resume, --resume), delete it, or take another folder.",
    )
    const resume = { ...base, epochs: 1, resume: true }
    await expect(finetune(network(), { ...resume, lr: 0.1 }, own)).rejects.toThrow(
      "Checkpoint in folder 'run': must be of this model and these options to be resumed; 'lr' was 0.05 and is 0.1. Resume with what it was begun with, or take another folder.",
    )
    await expect(finetune(initialize(network(), { seed: 5 }), resume, own)).rejects.toThrow(/'model' was ".*" and is "/)
    damage((bytes) => bytes.map((byte, at) => (at === bytes.length - 100 ? byte ^ 1 : byte)))
    await expect(finetune(network(), resume, own)).rejects.toThrow(
      "Checkpoint in folder 'run': its bytes have changed since it was written.",
    )
    damage((bytes) => bytes.slice(0, 700))
    await expect(finetune(network(), resume, own)).rejects.toThrow(/is cut off/)
  })

  it('stops early, and keeps the best weights', async () => {
    const result = await finetune(
      network(),
      { ...base, evaluation: stripes(60, 2), lr: 0, batchNorm: 'running', patience: 2, epochs: 9 },
      runtime,
    )
    expect(result.steps).toBe(12)
    expect(result.bestStep).toBe(0)
    expect(result.warnings).toContain('Stopped at step 12 of 54: 2 evaluations were no better.')
  })

  it('counts evaluations that were no better across an interruption', async () => {
    const options: FinetuneOptions = {
      ...base,
      evaluation: stripes(60, 2),
      lr: 0,
      batchNorm: 'running',
      patience: 3,
      epochs: 9,
    }
    const { store } = memoryStore(3)
    await expect(finetune(network(), options, { ...runtime, checkpoints: store })).rejects.toThrow('disk full')
    const resumed = await finetune(network(), { ...options, resume: true }, { ...runtime, checkpoints: store })
    expect(resumed.steps).toBe(18)
  })

  it('writes a checkpoint when it is cancelled, and goes on from there', async () => {
    const controller = new AbortController()
    const { store } = memoryStore()
    const options = { ...base, epochs: 1 }
    const whole = await finetune(network(), options, runtime)
    const onProgress = ({ done }: { done: number }): void => {
      if (done >= 2) controller.abort()
    }
    const own = { ...runtime, checkpoints: store }
    const work = finetune(network(), { ...options, signal: controller.signal, onProgress }, own)
    await expect(work).rejects.toMatchObject({ code: 'ABORTED' })
    expect(decodeCheckpoint((await store.read())!, 'run').step).toBeGreaterThan(1)
    expect(difference(whole.model, (await finetune(network(), { ...options, resume: true }, own)).model)).toBe(0)
  })

  it('can be cancelled', async () => {
    const controller = new AbortController()
    const onProgress = (): void => controller.abort()
    const work = finetune(network(), { ...base, signal: controller.signal, onProgress }, runtime)
    await expect(work).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('learns from a teacher on data without labels', async () => {
    const { data } = base
    const teacher = (await finetune(network(), base, runtime)).model
    const pictures = (await allOf(await data)).inputs
    const unlabelled = tensorDataset(pictures, undefined, 'unlabelled')
    const result = await finetune(
      initialize(network(), { seed: 8 }),
      { ...base, data: unlabelled, teacher, evaluation: stripes(60, 2), augmentation: { flip: true } },
      runtime,
    )
    expect(result.options.loss).toEqual([{ kind: 'distillation' }])
    expect(result.after!.top1).toBeGreaterThan(0.75)
    expect(result.history.at(-1)!.accuracy).toBeGreaterThan(0.8)
  })

  it('says at which step and layer numbers stopped being finite, and leaves the checkpoint', async () => {
    const { store } = memoryStore()
    const own = { ...runtime, checkpoints: store }
    const work = finetune(
      network(),
      { ...base, lr: 1e30, schedule: 'constant', batchNorm: 'running', checkpointEvery: 1 },
      own,
    )
    const error = await work.catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(WhittleError)
    const { code, message, details } = error as WhittleError
    expect(code).toBe('NOT_FINITE')
    expect(message).toMatch(
      /^Training step [12] \(epoch 0\): .* The first value that is not finite is the output of \w+ '\w+'\. Lower the learning rate \(1\.00e\+30 at this step\), warm up, or clip gradients\. The last good checkpoint stays in folder 'run'\.$/,
    )
    expect(details).toMatchObject({ layer: expect.stringMatching(/conv|norm|relu|flatten|head/) })
    const kept = await store.read()
    expect(kept!.length).toBeGreaterThan(1000)
  })

  it('names the data when they are not finite', async () => {
    const sample = await allOf(await base.data)
    const values = Float32Array.from(sample.inputs[0]!.data as Float32Array)
    values[17] = Number.NaN
    const data = tensorDataset([Tensor.of(values, [96, 1, 6, 6])], sample.labels, 'holes')
    await expect(finetune(network(), { ...base, data }, runtime)).rejects.toThrow(
      /first value that is not finite is the input 'input': the data or their preprocessing are not finite\./,
    )
  })

  it('refuses data and options that do not fit', async () => {
    const sample = await allOf(await base.data)
    const of = (options: Partial<FinetuneOptions>): Promise<unknown> =>
      finetune(network(), { ...base, ...options }, runtime)
    await expect(of({ batch: 97 })).rejects.toThrow(
      'Training: a step needs 97 samples; the data have 96. Take a smaller batch or more data.',
    )
    await expect(of({ batch: 32, accumulate: 4 })).rejects.toThrow('a step needs 4 × 32 samples; the data have 96.')
    const wrong = tensorDataset(
      sample.inputs,
      Int32Array.from(sample.labels!, (label) => label + 1),
      'wrong',
    )
    await expect(of({ data: wrong })).rejects.toThrow(/labels must be 0 … 2 because the model has 3 classes; got 3\./)
    await expect(of({ data: tensorDataset(sample.inputs, undefined, 'bare') })).rejects.toThrow(
      "Dataset 'bare' has no labels; training needs labels or a teacher.",
    )
    await expect(of({ steps: 3 })).rejects.toThrow('Options epochs and steps: exclude each other. Give one.')
    await expect(of({ patience: 3 })).rejects.toThrow('Option patience: needs samples to evaluate on.')
    await expect(of({ lr: Number.NaN })).rejects.toThrow('Option lr: must be a number of at least 0; got NaN.')
    await expect(of({ clip: { norm: 0 } })).rejects.toThrow('Option clip: norm must be a number above 0; got 0.')
    await expect(of({ augmentation: { crop: -1 } })).rejects.toThrow(
      'Augmentation: crop must be a whole number of pixels of at least 0; got -1.',
    )
    await expect(of({ freeze: ['*'] })).rejects.toThrow(
      'at least one parameter must be left to train; all 5 are frozen.',
    )
  })

  it('leaves out what cannot be trained, and says so', async () => {
    const model = network()
    model.graph.initializers.set('spare', Tensor.of(new Float32Array(216).fill(1), [216]))
    const extra = new GraphBuilder()
    extra.op(
      'Add',
      ['convolved', extra.constant(Tensor.of(Float32Array.of(1, 2, 3, 4, 5, 6), [6, 1, 1]), 'spare')],
      {},
      'side',
    )
    model.graph.nodes.push(...extra.graph.nodes)
    model.graph.initializers.set('spare', Tensor.of(Float32Array.of(1, 2, 3, 4, 5, 6), [6, 1, 1]))
    model.graph.outputs.push({ name: 'side', type: undefined })
    const result = await finetune(model, { ...base, epochs: 1, freeze: ['conv'] }, runtime)
    expect(result.unreached).toEqual(['spare'])
    expect(result.frozen).toEqual(['conv.weight'])
    expect(result.warnings).toEqual(["'spare' has no influence on the loss and was not trained."])
  })
})
