import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf } from '../../test/support/quantized-training.ts'
import { evaluator } from '../../test/support/run-model.ts'
import { openDataset } from '../node/data.ts'
import { decodeModel } from '../onnx/index.ts'
import { Tensor } from '../tensor/index.ts'
import { calibrationFeeds } from './calibration.ts'
import { type QuantizeOptions, quantize } from './quantize.ts'

const runtime = { evaluator }
const model = residualNetwork()
const whole = await samplesOf(patterns(64, 1))
const feeding = (tensors: readonly Tensor[]): QuantizeOptions['data'] =>
  async function* () {
    for (const input of tensors) yield { input }
  }
const codesOf = async (options: QuantizeOptions): Promise<string[]> => {
  const { findings, record } = await quantize(model, options, runtime)
  for (const { found, advice } of findings!) expect(record.warnings).toContain(`${found} ${advice}`)
  return findings!.map(({ code }) => code)
}

describe('what quantize sees in passing', () => {
  it('is nothing where all is well', async () => {
    expect(await codesOf({ data: feeding([whole]) })).toEqual([])
    // Also where values are moved between layers first, which passes over the data by itself.
    expect(await codesOf({ data: feeding([whole]), balance: true, weights: 'int4' })).toEqual([])
  })

  it('are few, equal and constant samples, and raw pixels', async () => {
    const few = Tensor.of((whole.data as Float32Array).slice(0, 8 * 128), [8, 2, 8, 8])
    expect(await codesOf({ data: feeding([few]) })).toEqual(['too-few-samples'])
    expect(await codesOf({ data: feeding([few, few, few, few]) })).toEqual([])
    const one = Tensor.of((whole.data as Float32Array).slice(0, 128), [1, 2, 8, 8])
    expect(await codesOf({ data: feeding(Array(40).fill(one)) })).toEqual(['identical-samples'])
    const flat = Float32Array.from(whole.data as Float32Array, (x, i) => (i % 128 < 64 ? x : 3))
    expect(await codesOf({ data: feeding([Tensor.of(flat, whole.shape)]) })).toEqual(['constant-input'])
    const pixels = Float32Array.from(whole.data as Float32Array, (x) => Math.round(128 + 30 * Math.tanh(x)))
    const raw = { data: feeding([Tensor.of(pixels, whole.shape)]) }
    expect(await codesOf(raw)).toEqual(['raw-pixels'])
    expect(await codesOf({ ...raw, preprocess: 'none' })).toEqual([])
  })

  it('is what the model declares of its input', async () => {
    const examples = fileURLToPath(new URL('../../examples', import.meta.url))
    const resnet = decodeModel(readFileSync(`${examples}/models/resnet20-cifar10.onnx`))
    const cifar = await openDataset(`cifar10:${examples}/data/cifar10`)
    const data = calibrationFeeds(resnet, cifar, { preprocess: 'none', limit: 32 })
    const { findings, record } = await quantize(resnet, { data, preprocess: 'none' }, runtime)
    expect(findings!.map(({ code }) => code)).toEqual(['input-out-of-range'])
    expect(record.warnings.join()).toMatch(/is fed 0 to 255; the model declares -2\.\d+ to 2\.\d+/)
  })

  it('is one scale for channels of very different size', async () => {
    const spread = residualNetwork()
    const weight = spread.graph.initializers.get('body.weight')!
    const data = Float32Array.from(weight.data as Float32Array, (x, i) => (i < 72 ? 1000 * x : x))
    spread.graph.initializers.set('body.weight', Tensor.of(data, weight.shape))
    const { findings } = await quantize(spread, { data: feeding([whole]), perChannel: false }, runtime)
    expect(findings!.map(({ code, where }) => [code, where])).toEqual([['uneven-channels', ['body']]])
  })
})
