import { describe, expect, it } from 'vitest'
import { patterns, samplesOf, startOf } from '../../../test/support/quantized-training.ts'
import { evaluator, runModel } from '../../../test/support/run-model.ts'
import { relativeError } from '../../../test/support/tensors.ts'
import { fakeQuantize } from '../../compress/index.ts'
import { createPlainMatrixEngine } from '../../decompose/index.ts'
import { observeShapes } from '../../engine/index.ts'
import { cloneModel, ensureUniqueNames, GraphBuilder, liftOpset, type Model } from '../../graph/index.ts'
import { initialize } from '../../networks/index.ts'
import { Tensor, toFloat32 } from '../../tensor/index.ts'
import { dropRoundings } from './drop.ts'
import { learnRounding } from './index.ts'

/** Conv → Relu → (Conv → Relu → Conv) + → Relu → mean → Gemm */
function blockNetwork(): Model {
  const b = new GraphBuilder('block')
  const filled = (name: string, shape: readonly number[]): string =>
    b.constant(Tensor.of(new Float32Array(shape.reduce((a, x) => a * x, 1)), shape), name)
  const conv = (x: string, name: string, from: number): string =>
    b.op('Conv', [x, filled(`${name}.weight`, [8, from, 3, 3])], { pads: [1, 1, 1, 1] }, `${name}.output`)
  const stem = b.op('Relu', [conv(b.input('input', 'float32', ['batch', 2, 8, 8]), 'stem', 2)])
  const inner = conv(b.op('Relu', [conv(stem, 'first', 8)]), 'second', 8)
  const joined = b.op('Relu', [b.op('Add', [inner, stem])], {}, 'joined')
  const mean = b.op('Flatten', [b.op('GlobalAveragePool', [joined])])
  b.op('Gemm', [mean, filled('head.weight', [4, 8])], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 4])
  const model = b.model(13)
  ensureUniqueNames(model)
  return initialize(model, { seed: 3 })
}

const input = await samplesOf(patterns(64, 1))
const start = await startOf(blockNetwork(), input, { activations: 'uint8', activationBits: 3, weightBits: 3 })
const fake = liftOpset(fakeQuantize(start.planned, start.plan).model, 18)
const logits = async (model: Model) => (await runModel(model, { input })).logits!

describe('dropping roundings', () => {
  it('gives the rounded network for none, the float one for all, and others in between', async () => {
    const dropped = async (share: number) => {
      const model = cloneModel(fake)
      const types = new Map(await observeShapes(evaluator, model, { feeds: { input } }))
      expect(dropRoundings(model, types, share, 1)).toBeGreaterThan(3)
      return logits(model)
    }
    const rounded = await logits(fake)
    expect(toFloat32(await dropped(0))).toEqual(toFloat32(rounded))
    const weightsOnly = await dropped(1)
    const between = await dropped(0.5)
    expect(relativeError(weightsOnly, rounded)).toBeGreaterThan(0.01)
    expect(relativeError(weightsOnly, between)).toBeLessThan(relativeError(weightsOnly, rounded))
    expect(relativeError(rounded, between)).toBeGreaterThan(0.005)
    // The same ones for the same seed.
    expect(toFloat32(await dropped(0.5))).toEqual(toFloat32(between))
  })

  it('learns a block with it, the same integers again', async () => {
    const layers = start.plan.steps.flatMap(({ node, weight }) =>
      weight ? [{ node, quantization: weight.quantization }] : [],
    )
    const learn = (drop: number) =>
      learnRounding(
        start.planned,
        fakeQuantize(start.planned, start.plan).model,
        layers,
        { method: 'block', iterations: 100, drop, rows: 512 },
        {
          evaluator,
          matrices: createPlainMatrixEngine(),
          observe: (model, given) => observeShapes(evaluator, model, given),
          shapes: start.shapes,
          data: async function* () {
            yield { input }
          },
        },
      )
    const [a, b] = [await learn(0.5), await learn(0.5)]
    const tried = a.blocks.filter(({ outputError }) => outputError)
    expect(tried.length).toBeGreaterThan(0)
    for (const { outputError } of tried) expect(outputError!.block).toBeLessThanOrEqual(outputError!.layers)
    expect([...a.rounded].map(([, { bytes }]) => [...bytes])).toEqual([...b.rounded].map(([, { bytes }]) => [...bytes]))
    await expect(learn(1)).rejects.toThrow('Option drop: must be a share of at least 0 and below 1; got 1.')
  })
})
