import { describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf } from '../../test/support/quantized-training.ts'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { randomTensor, relativeError } from '../../test/support/tensors.ts'
import type { QuantizePlan } from '../compress/index.ts'
import { createNode, GraphBuilder, type Model } from '../graph/index.ts'
import { encodeModel } from '../onnx/index.ts'
import { type QuantizeOptions, quantize } from './quantize.ts'
import { replayQuantization } from './replay-quantization.ts'

const runtime = { evaluator }
const samples = patterns(96, 1)
const data: QuantizeOptions['data'] = async function* () {
  yield { input: await samplesOf(samples, 96) }
}
const model = residualNetwork()
const LAYERS = ['stem', 'body', 'last', 'head']

/** Rounding of each layer, by the record. */
async function roundings(options: QuantizeOptions): Promise<Record<string, string | undefined>> {
  const { record } = await quantize(model, { data, ...options }, runtime)
  return Object.fromEntries(record.layers.map(({ name, rounding }) => [name, rounding]))
}

async function outputError(options: QuantizeOptions): Promise<number> {
  const quantized = await quantize(model, { data, ...options }, runtime)
  const input = await samplesOf(patterns(200, 2))
  const [a, b] = [await runModel(model, { input }), await runModel(quantized.model, { input })]
  return relativeError(a.logits!, b.logits!)
}

describe('rounding of weights', () => {
  it('is chosen on the data at 4 bits, and to nearest at 8', async () => {
    expect(await roundings({})).toEqual(Object.fromEntries(LAYERS.map((name) => [name, 'nearest'])))
    expect(await roundings({ weights: 'int4' })).toEqual(Object.fromEntries(LAYERS.map((name) => [name, 'gptq'])))
    const mixed: QuantizeOptions = { weightBits: 4, layers: new Map([['stem', { bits: 8 }]]) }
    expect(await roundings(mixed)).toEqual({ stem: 'nearest', body: 'gptq', last: 'gptq', head: 'gptq' })
    expect(await roundings({ weights: 'int4', rounding: 'nearest' })).toMatchObject({
      stem: 'nearest',
      body: 'nearest',
    })
    expect(await roundings({ rounding: 'gptq' })).toMatchObject({ stem: 'gptq', head: 'gptq' })
  })

  it('chosen on the data loses less than to nearest', async () => {
    const nearest = await outputError({ weights: 'int4', rounding: 'nearest' })
    expect(await outputError({ weights: 'int4' })).toBeLessThan(0.8 * nearest)
  })

  it('is in the plan, and the same again from the plan and the data', async () => {
    const first = await quantize(model, { data, weights: 'int4' }, runtime)
    const plan = JSON.parse(JSON.stringify(first.plan)) as QuantizePlan
    expect(plan.rounding).toEqual({ method: 'gptq', mostBits: 4 })
    expect(first.record.plan).toEqual(plan)
    const again = await replayQuantization(model, plan, { data }, runtime)
    expect(encodeModel(again.model)).toEqual(encodeModel(first.model))
    expect(again.record).toEqual(first.record)
    const without = await replayQuantization(model, plan, {}, runtime)
    expect(without.record.warnings).toEqual([
      'Integers of the plan were chosen on data (gptq); here they are the nearest ones. Give `data` to choose them again.',
    ])
    const nearest = await quantize(model, { data, weights: 'int4', rounding: 'nearest' }, runtime)
    expect((nearest.plan as QuantizePlan).rounding).toBeUndefined()
    expect(encodeModel(without.model)).toEqual(encodeModel(nearest.model))
    const edited = { ...plan, rounding: { method: 'up' } }
    await expect(replayQuantization(model, edited, { data }, runtime)).rejects.toThrow(
      "Plan: rounding must be one of nearest, gptq, adaround, block; got 'up'.",
    )
  })

  it('stays to nearest where the data are others in every pass, unless it was asked for', async () => {
    let pass = 0
    const shuffled: QuantizeOptions['data'] = async function* () {
      yield { input: randomTensor([64, 2, 8, 8], pass++) }
    }
    const { record } = await quantize(model, { data: shuffled, weights: 'int4' }, runtime)
    expect(record.warnings).toContain(
      "Rounded to nearest: 'body': The data are others in every pass; its integers can be chosen on the same samples only.",
    )
    const asked = quantize(model, { data: shuffled, weights: 'int4', rounding: 'gptq' }, runtime)
    await expect(asked).rejects.toThrow('Rounding: data must be the same batches in every pass;')
  })

  it('stays to nearest where samples have several sizes, unless it was asked for', async () => {
    const b = new GraphBuilder('tokens')
    b.input('x', 'float32', ['N', 'tokens', 8])
    b.constant(randomTensor([8, 8], 1), 'w')
    b.graph.nodes.push(createNode('MatMul', ['x', 'w'], ['y'], {}, 'layer'))
    b.output('y', 'float32', ['N', 'tokens', 8])
    const tokens: Model = b.model(21)
    const options: QuantizeOptions = {
      weights: 'int4',
      inputShapes: { x: [1, 4, 8] },
      data: async function* () {
        for (const length of [4, 6]) yield { x: randomTensor([16, length, 8], length) }
      },
    }
    const { record } = await quantize(tokens, options, runtime)
    expect(record.layers.map(({ rounding }) => rounding)).toEqual(['nearest'])
    expect(record.warnings).toContain(
      "Rounded to nearest: 'layer': Samples have several sizes; its integers can be chosen on samples of one size only.",
    )
    await expect(quantize(tokens, { ...options, rounding: 'gptq' }, runtime)).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
    })
  })
})
