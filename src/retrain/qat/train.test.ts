import { describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf, startOf } from '../../../test/support/quantized-training.ts'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { relativeError } from '../../../test/support/tensors.ts'
import { applyQuantize, type QuantizePlanOptions } from '../../compress/index.ts'
import { evaluateModel } from '../../data/index.ts'
import { observeShapes } from '../../engine/index.ts'
import type { Model } from '../../graph/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { type FinetuneOptions, type FinetuneRuntime, finetuneNetwork, memoryCheckpoints } from '../../train/index.ts'
import type { QuantizerOptions } from './options.ts'
import { finetuneQuantized, type QuantizedTraining } from './train.ts'

const runtime: FinetuneRuntime = { evaluator, observe: (model, options) => observeShapes(evaluator, model, options) }
const NOISE = 0.8
const training = patterns(512, 1, NOISE)
const test = patterns(400, 2, NOISE)
const base: FinetuneOptions = { data: training, batch: 32, lr: 0.02 }
const W4A4: QuantizePlanOptions = { activations: 'uint8', activationBits: 4, weights: 'int8', weightBits: 4 }

let known: Promise<{ model: Model; samples: Tensor }> | undefined
/** A network trained in float, with samples to calibrate on. */
function trained(): Promise<{ model: Model; samples: Tensor }> {
  known ??= (async () => {
    const { model } = await finetuneNetwork(residualNetwork(), { ...base, epochs: 6, lr: 0.05 }, runtime)
    return { model, samples: await samplesOf(training, 128) }
  })()
  return known
}

async function accuracy(model: Model): Promise<number> {
  return (await evaluateModel(evaluator, model, test, {})).top1
}

/** Share of samples with the same highest score, and the relative error of all scores. */
async function agreement(a: Model, b: Model): Promise<{ same: number; error: number }> {
  const input = await samplesOf(test)
  const [first, second] = [(await runModel(a, { input })).logits!, (await runModel(b, { input })).logits!]
  const best = (tensor: Tensor): number[] => {
    const data = toFloat32(tensor)
    return Array.from({ length: test.size }, (_, n) => {
      const row = [...data.subarray(4 * n, 4 * n + 4)]
      return row.indexOf(Math.max(...row))
    })
  }
  const [left, right] = [best(first), best(second)]
  const same = left.filter((value, n) => value === right[n]).length / test.size
  return { same, error: relativeError(first, second) }
}

async function quantized(
  options: FinetuneOptions,
  quantizers: QuantizerOptions,
  plan: QuantizePlanOptions = W4A4,
  checkpoints?: FinetuneRuntime['checkpoints'],
): Promise<QuantizedTraining> {
  const { model, samples } = await trained()
  return finetuneQuantized(await startOf(model, samples, plan), options, quantizers, { ...runtime, checkpoints })
}

describe('finetuneQuantized', () => {
  for (const algorithm of ['ulq', 'lsq', 'lsq+'] as const)
    for (const weights of ['arq', 'ulq', 'lsq'] as const)
      it(`deploys what it trained, ${algorithm} and ${weights}`, async () => {
        const result = await quantized({ ...base, steps: 6 }, { algorithm, weights })
        const { same, error } = await agreement(result.network, result.model)
        // Nothing rounds otherwise: what is left is the order of sums.
        expect(error).toBeLessThan(1e-5)
        expect(same).toBe(1)
      })

  it('wins back what 4 bits cost, with labels, and with a teacher alone', async () => {
    const { model, samples } = await trained()
    // One sample from afar stretches the ranges that are taken from the least and greatest numbers.
    const stretched = toFloat32(samples).map((value, at) => (at < 128 ? 6 * value : value))
    const start = await startOf(model, Tensor.of(stretched, samples.shape), W4A4)
    const float = await accuracy(model)
    const rounded = await accuracy(applyQuantize(start.planned, start.plan).model)
    expect(float).toBeGreaterThan(0.9)
    expect(rounded).toBeLessThan(float - 0.2)
    // A third of what was lost: how much exactly depends on rounding, which learning amplifies.
    const better = rounded + (float - rounded) / 3
    const learned = { algorithm: 'lsq', weights: 'lsq' } as const
    const options = { ...base, epochs: 2, evaluation: test }
    const labelled = await finetuneQuantized(start, options, learned, runtime)
    expect(await accuracy(labelled.model)).toBeGreaterThan(better)
    expect(labelled.training.after!.top1).toBe(await accuracy(labelled.model))
    const unlabelled = { ...training, hasLabels: false }
    const taught = await finetuneQuantized(
      start,
      { ...base, epochs: 2, data: unlabelled, teacher: model },
      learned,
      runtime,
    )
    expect(await accuracy(taught.model)).toBeGreaterThan(better)
  })

  it('learns ranges at their own rate, without decay, and not below what they may be', async () => {
    const still = await quantized({ ...base, steps: 4 }, { algorithm: 'ulq', weights: 'ulq', rangeRate: 0 })
    const moved = await quantized({ ...base, steps: 4 }, { algorithm: 'ulq', weights: 'ulq' })
    const { model, samples } = await trained()
    const before = (await startOf(model, samples, W4A4)).plan.activations[0]!.quantization.scale[0]!
    expect(still.plan.activations[0]!.quantization.scale[0]! / before).toBeCloseTo(1, 6)
    expect(Math.abs(moved.plan.activations[0]!.quantization.scale[0]! / before - 1)).toBeGreaterThan(1e-6)
    const wild = await quantized({ ...base, steps: 4, clip: {} }, { algorithm: 'ulq', weights: 'lsq', rangeRate: 1e6 })
    for (const { quantization } of wild.plan.activations) expect(quantization.scale[0]).toBeGreaterThan(0)
  })

  it('leaves frozen layers and their scales as they are', async () => {
    const result = await quantized({ ...base, steps: 4, freeze: ['stem', 'stem.norm'] }, { weights: 'lsq' })
    const { model } = await trained()
    const weight = (name: string) => result.network.graph.initializers.get(name)!
    expect(relativeError(model.graph.initializers.get('stem.weight')!, weight('stem.weight'))).toBe(0)
    expect(relativeError(model.graph.initializers.get('body.weight')!, weight('body.weight'))).toBeGreaterThan(1e-4)
    expect(result.training.frozen).toContain('stem/weight_scale')
  })

  it('keeps a Clip where the learned range reaches beyond it', async () => {
    const { model, samples } = await trained()
    const start = await startOf(model, samples, W4A4)
    expect(start.plan.steps.find(({ node }) => node === 'clip')).toMatchObject({ removed: true })
    const layers = { mean: { clip: { min: 0, max: 9 } } }
    const result = await finetuneQuantized(start, { ...base, steps: 2 }, { layers }, runtime)
    expect(result.plan.steps.find(({ node }) => node === 'clip')!.removed).toBeUndefined()
    expect(result.plan.activations.find(({ tensor }) => tensor === 'clipped')!.range.max).toBeGreaterThan(8)
    expect((await agreement(result.network, result.model)).error).toBeLessThan(1e-5)
  })

  it('folds normalisations first where a weight has one scale', async () => {
    const result = await quantized({ ...base, steps: 4 }, {}, { ...W4A4, perChannel: false })
    expect(result.network.graph.nodes.some(({ opType }) => opType === 'BatchNormalization')).toBe(false)
    expect((await agreement(result.network, result.model)).error).toBeLessThan(1e-5)
  })

  it('trains types of 4 bits, which need opset 21, and signed activations', async () => {
    const small = await quantized({ ...base, steps: 3 }, {}, { activationBits: 4, weights: 'int4' })
    expect(small.model.opsets.get('')).toBe(21)
    expect((await agreement(small.network, small.model)).error).toBeLessThan(1e-5)
    for (const algorithm of ['ulq', 'lsq'] as const) {
      const options = { activations: 'int8', activationsSymmetric: true } as const
      const signed = await quantized({ ...base, steps: 3 }, { algorithm }, options)
      expect((await agreement(signed.network, signed.model)).error).toBeLessThan(1e-3)
    }
  })

  it('goes on from a checkpoint bit for bit', async () => {
    const options = { ...base, steps: 9, checkpointEvery: 3, optimizer: 'adam', lr: 0.002 } as const
    const whole = await quantized(options, { algorithm: 'ulq' })
    const store = memoryCheckpoints()
    const stop = new AbortController()
    let writes = 0
    const stopping = {
      ...store,
      write: async (chunks: readonly Uint8Array[]) => {
        await store.write(chunks)
        if (++writes === 2) stop.abort()
      },
    }
    const interrupted = quantized({ ...options, signal: stop.signal }, { algorithm: 'ulq' }, W4A4, stopping)
    await expect(interrupted).rejects.toMatchObject({ code: 'ABORTED' })
    const resumed = await quantized({ ...options, resume: true }, { algorithm: 'ulq' }, W4A4, store)
    expect(resumed.training.steps).toBe(9)
    expect(resumed.plan).toEqual(whole.plan)
    for (const [name, tensor] of whole.model.graph.initializers)
      expect(relativeError(tensor, resumed.model.graph.initializers.get(name)!)).toBe(0)
  })

  it('says what is wrong with options', async () => {
    const refuses = (quantizers: object) => expect(quantized({ ...base, steps: 1 }, quantizers)).rejects
    await refuses({ algorithm: 'pact' }).toThrow("Option qat: algorithm must be one of ulq, lsq, lsq+; got 'pact'.")
    await refuses({ layers: { nowhere: {} } }).toThrow("Option qat: layers names 'nowhere'")
    await refuses({ layers: { body: { clip: { min: 1, max: 2 } } } }).toThrow('got 1 … 2')
    await refuses({ rangeRate: -1 }).toThrow('rangeRate must be a number of at least 0; got -1.')
  })
})
