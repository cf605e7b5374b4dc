import { describe, expect, it } from 'vitest'
import { patterns, residualNetwork, samplesOf } from '../../test/support/quantized-training.ts'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { relativeError } from '../../test/support/tensors.ts'
import { evaluateModel } from '../data/index.ts'
import { createPlainMatrixEngine } from '../decompose/index.ts'
import type { Model } from '../graph/index.ts'
import { decodeModel, encodeModel } from '../onnx/index.ts'
import { decompose } from './decompose.ts'
import { finetune } from './finetune.ts'

const runtime = { evaluator, matrices: createPlainMatrixEngine() }
const data = patterns(512, 1, 0.8)
const evaluation = patterns(400, 2, 0.8)
const base = { data, batch: 32, lr: 0.02 } as const

let known: Promise<Model> | undefined
const trained = (): Promise<Model> => {
  known ??= finetune(residualNetwork(), { ...base, epochs: 5, lr: 0.05 }, runtime).then(({ model }) => model)
  return known
}

const accuracy = async (model: Model): Promise<number> => (await evaluateModel(evaluator, model, evaluation, {})).top1

describe('finetune with qat', () => {
  it('gives the model to deploy, whose accuracy is the one in the record', async () => {
    const original = await trained()
    const result = await finetune(original, { ...base, steps: 8, evaluation, qat: true }, runtime)
    const file = decodeModel(encodeModel(result.model))
    expect(file.graph.nodes.filter(({ opType }) => opType === 'QuantizeLinear').length).toBeGreaterThan(4)
    const top1 = result.record.measured.find(({ metric }) => metric === 'top1')!
    expect(await accuracy(file)).toBe(top1.after)
    expect(top1.after!).toBeGreaterThan((await accuracy(original)) - 0.02)
    expect(result.record.layers.map(({ name }) => name)).toEqual(['stem', 'body', 'last', 'head'])
    expect(result.record.after.bytes).toBeLessThan(result.record.before.bytes / 2)
    expect(result.record.history.length).toBeGreaterThan(0)
    // Everything in a record is JSON.
    expect(JSON.parse(JSON.stringify(result.record)).plan.activations).toEqual(result.quantized!.plan.activations)
  })

  it('keeps 8 bits at both ends of the network, unless told otherwise', async () => {
    const bitsOf = async (qat: object): Promise<Record<string, number>> => {
      const { quantized } = await finetune(
        await trained(),
        { ...base, steps: 1, qat: { bits: 'w4a4', ...qat } },
        runtime,
      )
      const { steps, activations } = quantized!.plan
      return Object.fromEntries([
        ...steps.flatMap(({ node, weight }) => (weight ? [[node, weight.quantization.bits]] : [])),
        ...activations.map(({ tensor, quantization }) => [tensor, quantization.bits]),
      ])
    }
    const bits = await bitsOf({})
    expect(bits).toMatchObject({ stem: 8, body: 4, last: 4, head: 8, input: 8, 'stem.relu': 4, joined: 4 })
    expect(await bitsOf({ edgeBits: 4 })).toMatchObject({ stem: 4, head: 4, input: 4 })
  })

  it('trains a decomposed network, with its original as teacher', async () => {
    const original = await trained()
    const small = await decompose(original, { method: 'tucker', rank: 'ratio=0.5', align: 1 }, runtime)
    expect(small.record.layers.length).toBeGreaterThan(0)
    const options = { ...base, epochs: 2, evaluation, teacher: original, qat: { bits: 'w4a4' } } as const
    const { quantized, model } = await finetune(small.model, options, runtime)
    const input = await samplesOf(evaluation, 200)
    const [a, b] = [await runModel(quantized!.network, { input }), await runModel(model, { input })]
    expect(relativeError(a.logits!, b.logits!)).toBeLessThan(1e-5)
    const { before, after } = quantized!.training
    expect(after!.top1).toBeGreaterThanOrEqual(before!.top1)
    expect(await accuracy(model)).toBe(after!.top1)
  })

  it('says what is wrong with options', async () => {
    const refuses = (qat: object) => expect(finetune(residualNetwork(), { ...base, steps: 1, qat }, runtime)).rejects
    await refuses({ bits: 'w2' }).toThrow("Option qat: bits must be one of int8, w4a8, w4a4; got 'w2'.")
    await refuses({ skip: ['nothing'] }).toThrow("pattern 'nothing' matches no node")
    await refuses({ skip: ['*'] }).toThrow('no layer can be quantized')
  })
})
