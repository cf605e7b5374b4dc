import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { evaluator, outputError, runModel } from '../../test/support/run-model.ts'
import { maybeShared } from '../../test/support/shared.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { WEIGHT_FORMATS } from '../compress/index.ts'
import { GraphBuilder } from '../graph/index.ts'
import { transformerEncoder } from '../networks/index.ts'
import { decodeModel } from '../onnx/index.ts'
import { Tensor } from '../tensor/index.ts'
import { quantizeWeights } from './weight-only.ts'

const runtime = { evaluator }
/** Largest relative error of an encoder's output that each format may bring. */
const MOST = { fp32: 0, fp16: 2e-3, q8: 0.05, int8: 0.05, uint8: 0.05, q4: 0.25, q4f16: 0.25, bnb4: 0.25 }
/** Largest part of the bytes that may be left; embeddings stay in float32 with q4 and bnb4. */
const SIZE = { fp32: 1, fp16: 0.51, q8: 0.3, int8: 0.3, uint8: 0.3, q4: 0.5, q4f16: 0.25, bnb4: 0.5 }

describe('quantizeWeights', () => {
  const encoder = transformerEncoder({ vocabulary: 300, positions: 32, width: 64, layers: 2, heads: 4 })
  const shape = [2, 8]
  const integers = (make: (i: number) => number): Tensor =>
    Tensor.of(
      BigInt64Array.from({ length: 16 }, (_, i) => BigInt(make(i))),
      shape,
    )
  const feeds = { input_ids: integers((i) => (i * 37) % 300), attention_mask: integers((i) => (i % 8 < 6 ? 1 : 0)) }
  const inputShapes = { input_ids: shape, attention_mask: shape }

  it.each(WEIGHT_FORMATS)('keeps an encoder’s outputs and saves bytes with %s', async (format) => {
    const { model, record, plan } = await quantizeWeights(encoder, { format, inputShapes }, runtime)
    const error = await outputError(encoder, model, feeds)
    expect(error).toBeLessThanOrEqual(MOST[format])
    expect(record.after.bytes / record.before.bytes).toBeLessThanOrEqual(SIZE[format])
    expect(record.layers.map(({ name }) => name)).toEqual(plan.steps.map(({ node }) => node))
    if (format !== 'fp32') expect(error).toBeGreaterThan(0)
  })

  it('finds activations beyond float16 on data', async () => {
    const b = new GraphBuilder()
    const large = b.op(
      'Mul',
      [b.input('x', 'float32', [2, 4]), b.constant(Tensor.of(Float32Array.of(6e4), []), 'k')],
      {},
      'large',
    )
    b.output(b.op('Mul', [large, b.constant(Tensor.of(Float32Array.of(1e-4), []), 'l')], {}, 'y'), 'float32')
    const model = b.model()
    async function* data() {
      yield { x: randomTensor([2, 4], 1) }
    }
    const blind = await quantizeWeights(model, { format: 'fp16' }, runtime)
    expect(blind.plan.float16!.islands).toEqual([])
    expect(blind.record.warnings).toHaveLength(1)
    const seeing = await quantizeWeights(model, { format: 'fp16', data }, runtime)
    expect(seeing.plan.float16!.islands.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^'large' reaches \d+, beyond float16's ±65504\.$/),
      expect.stringMatching(/^'large' reaches/),
    ])
    expect(seeing.record.warnings).toEqual([])
    expect(await outputError(model, seeing.model, { x: randomTensor([2, 4], 1) })).toBe(0)
  })

  const path = maybeShared('models', 'onnx', 'vit_cifar10_pgd_2_3_16.onnx')
  it.skipIf(!path)('keeps a trained vision transformer’s scores', { timeout: 30_000 }, async () => {
    const model = decodeModel(new Uint8Array(readFileSync(path!)))
    const pictures = { [model.graph.inputs[0]!.name]: randomTensor([4, 3, 32, 32], 1) }
    for (const [format, most] of [
      ['fp16', 2e-3],
      ['q8', 0.03],
      ['q4', 0.2],
      ['q4f16', 0.2],
      ['bnb4', 0.25],
    ] as const) {
      const small = await quantizeWeights(model, { format }, runtime)
      expect(await outputError(model, small.model, pictures), format).toBeLessThan(most)
      expect(Object.values(await runModel(small.model, pictures))[0]!.dtype).toBe('float32')
    }
  })
})
