import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { createRandom, WhittleError } from '../core/index.ts'
import { createEvaluator } from '../engine/index.ts'
import { createNode, GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { openDataset } from '../node/data.ts'
import { decodeModel } from '../onnx/index.ts'
import { Tensor } from '../tensor/index.ts'
import { calibrationFeeds } from './calibration.ts'
import { quantizeWithin } from './rollback.ts'
import { type Evaluation, top1Evaluation } from './rollback-evaluation.ts'

const runtime = { evaluator: createEvaluator(ort) }
const random = createRandom(3)
const numbers = (length: number, scale = 1): Float32Array =>
  Float32Array.from({ length }, () => scale * random.normal())

/** Four linear layers; `fragile` gets weights that 4 bits cannot tell apart. */
function chain(fragile: number | undefined): Model {
  const b = new GraphBuilder('chain')
  b.input('x', 'float32', ['N', 8])
  let value = 'x'
  for (let i = 0; i < 4; i++) {
    const weight = numbers(64, 0.35)
    // One huge weight per row that meets an input of zero: the others round to nothing.
    if (i === fragile) for (let row = 0; row < 8; row++) weight[7 * 8 + row] = 60
    b.constant(Tensor.of(weight, [8, 8]), `w${i}`)
    b.graph.nodes.push(createNode('MatMul', [value, `w${i}`], [`h${i}`], {}, `layer${i}`))
    value = `h${i}`
  }
  b.output(value, 'float32', ['N', 8])
  return b.model(21)
}

const rows = numbers(64 * 8)
for (let row = 0; row < 64; row++) rows[row * 8 + 7] = 0
async function* data(): AsyncIterable<TensorMap> {
  yield { x: Tensor.of(rows, [64, 8]) }
}

/** 1 minus the relative error of the outputs against the original's. */
function fidelity(original: Model): Evaluation & { count: number } {
  const outputs = async (model: Model): Promise<Float32Array> => {
    const executable = await runtime.evaluator.load(model)
    const [tensor] = Object.values(await executable.run({ x: Tensor.of(rows, [64, 8]) }))
    await executable.release()
    return tensor!.data as Float32Array
  }
  return {
    metric: 'fidelity',
    data: 'rows',
    samples: 64,
    count: 0,
    async measure(model) {
      this.count++
      const [a, b] = [await outputs(original), await outputs(model)]
      return 1 - Math.hypot(...a.map((value, i) => value - b[i]!)) / Math.hypot(...a)
    },
  }
}

const options = { data, weights: 'int4', activations: 'uint8' } as const

describe('quantizeWithin', () => {
  it.each(['greedy', 'binary-search'] as const)(
    'rolls back the one layer that four bits ruin, by %s',
    async (strategy) => {
      const model = chain(0)
      const evaluation = fidelity(model)
      const {
        record,
        plan,
        model: quantized,
      } = await quantizeWithin(model, { ...options, strategy, evaluation, maxDrop: 35 }, runtime)
      const { rollback } = record
      expect(rollback).toMatchObject({ status: 'partly-rolled-back', rolledBack: ['layer0'], strategy, maxDrop: 35 })
      // Integers do not count on what may be rolled back.
      expect(plan.rounding).toEqual({ inputs: 'original', method: 'gptq', mostBits: 4 })
      expect(record.layers.map(({ rounding }) => rounding)).toEqual(['gptq', 'gptq', 'gptq'])
      expect(rollback.quantized).toBeLessThan(0.5)
      expect(rollback.final).toBeGreaterThanOrEqual(0.65)
      expect(await evaluation.measure(quantized, {})).toBeCloseTo(rollback.final, 10)
      expect(rollback.ranking[0]!.layer).toBe('layer0')
      expect(plan.steps.map(({ node }) => node)).toEqual(['layer1', 'layer2', 'layer3'])
      expect(plan.skips).toContainEqual({ name: 'layer0', reason: 'It is rolled back, for accuracy.' })
      expect(record.measured).toContainEqual({
        metric: 'fidelity',
        before: 1,
        after: rollback.final,
        data: 'rows',
        samples: 64,
        command: 'quantize',
      })
      // The original, the trials that are not repetitions, and the one of this test.
      expect(evaluation.count).toBe(rollback.evaluations + 2)
      expect(JSON.parse(JSON.stringify(record))).toEqual(record)
    },
  )

  it('quantizes everything and looks no further when that is good enough', async () => {
    const model = chain(undefined)
    const evaluation = fidelity(model)
    const { record } = await quantizeWithin(model, { ...options, evaluation, maxDrop: 60 }, runtime)
    expect(record.rollback).toMatchObject({ status: 'quantized', rolledBack: [], evaluations: 1, probes: 0 })
    expect(evaluation.count).toBe(2)
  })

  it('fails with what it tried when nothing may be lost', async () => {
    const model = chain(0)
    const attempt = quantizeWithin(model, { ...options, evaluation: fidelity(model), maxDrop: 0 }, runtime)
    const error = await attempt.catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(WhittleError)
    const { code, message, details } = error as WhittleError
    expect(code).toBe('CHECK_FAILED')
    expect(message).toMatch(
      /^A drop of 0 points of fidelity: must hold with some layers quantized; it holds only with all of them rolled back \(original 100\.00 %, all quantized .* %\), so that there is nothing to write\. Allow a larger drop, more bits, or another calibration\.$/,
    )
    expect(details).toMatchObject({ status: 'original', strategy: 'greedy' })
  })

  it('takes a judge and a strategy of the caller', async () => {
    const model = chain(0)
    const { record } = await quantizeWithin(
      model,
      {
        ...options,
        evaluation: fidelity(model),
        judge: (original, found) => ({ satisfied: found > 0.6 * original, loss: original - found }),
        strategy: {
          initialize: (ranking) => expect([...ranking.keys()]).toEqual(['layer0', 'layer1', 'layer2', 'layer3']),
          update: () => ({ quantized: new Map([['layer0', false]]), stop: true }),
        },
      },
      runtime,
    )
    expect(record.rollback).toMatchObject({ strategy: 'custom', maxDrop: null, rolledBack: ['layer0'] })
  })

  it('fails for a model of one layer that is ruined', async () => {
    const model = chain(0)
    const one = { ...options, evaluation: fidelity(model), maxDrop: 1, only: ['layer0'] }
    await expect(quantizeWithin(model, one, runtime)).rejects.toThrow('there is nothing to write')
  })

  it('refuses limits below zero and work without data', async () => {
    const evaluation = fidelity(chain(0))
    await expect(quantizeWithin(chain(0), { ...options, evaluation, maxDrop: -1 }, runtime)).rejects.toThrow(
      'Option maxDrop: must be at least 0 percentage points; got -1.',
    )
    await expect(quantizeWithin(chain(0), { evaluation }, runtime)).rejects.toThrow(
      'Roll-back: works on quantized activations, which need data to calibrate with. Give some.',
    )
  })

  it('holds one point of top-1 on ResNet-20 with 4-bit weights and activations', async () => {
    const examples = fileURLToPath(new URL('../../examples', import.meta.url))
    const model = decodeModel(readFileSync(`${examples}/models/resnet20-cifar10.onnx`))
    const train = await openDataset(`cifar10:${examples}/data/cifar10`)
    const evaluation = top1Evaluation(runtime.evaluator, train, { preprocess: 'imagenet', limit: 100, batch: 50 })
    const { record, model: quantized } = await quantizeWithin(
      model,
      {
        data: calibrationFeeds(model, train, { preprocess: 'imagenet', limit: 64, batch: 16 }),
        weights: 'int4',
        // Integers chosen on data lose less than the limit at once.
        rounding: 'nearest',
        activationBits: 4,
        calibration: 'mse',
        evaluation,
        maxDrop: 1,
        sensitivitySamples: 16,
      },
      runtime,
    )
    const { rollback } = record
    expect(rollback.quantized).toBeLessThan(rollback.original - 0.01)
    expect(rollback.status).toBe('partly-rolled-back')
    expect(rollback.rolledBack.length).toBeLessThan(rollback.layers.length)
    expect(await evaluation.measure(quantized, {})).toBeGreaterThanOrEqual(rollback.original - 0.01 - 1e-9)
  }, 300_000)
})
