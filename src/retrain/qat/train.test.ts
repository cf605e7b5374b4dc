import { describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf, startOf } from '../../../test/support/quantized-training.ts'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { relativeError } from '../../../test/support/tensors.ts'
import { applyQuantize, type QuantizePlanOptions } from '../../compress/index.ts'
import { evaluateModel } from '../../data/index.ts'
import { observeShapes } from '../../engine/index.ts'
import type { Model } from '../../graph/index.ts'
import { type Tensor, toFloat32 } from '../../tensor/index.ts'
import { type FinetuneOptions, type FinetuneRuntime, finetuneNetwork, memoryCheckpoints } from '../../train/index.ts'
import type { QuantizerOptions } from './options.ts'
import { finetuneQuantized, type QuantizedTraining } from './train.ts'

const runtime: FinetuneRuntime = { evaluator, observe: (model, options) => observeShapes(evaluator, model, options) }
const training = patterns(512, 1)
const test = patterns(400, 2)
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
        expect(error).toBeLessThan(0.02)
        expect(same).toBeGreaterThan(0.99)
      })
})
