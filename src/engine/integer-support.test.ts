import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import type { Evaluator, Model } from '../graph/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'
import { integerSupport, sumsSaturate } from './integer-support.ts'

/** An evaluator that computes with onnxruntime-node, with something done to runs. */
function meddled(change: (model: Model, outputs: Record<string, Tensor>) => Record<string, Tensor>): Evaluator {
  return {
    load: async (model, options) => {
      const executable = await evaluator.load(model, options)
      return {
        ...executable,
        run: async (feeds) => change(model, await executable.run(feeds)),
        release: () => executable.release(),
      }
    },
  }
}

const opsOf = (model: Model): Set<string> => new Set(model.graph.nodes.map(({ opType }) => opType))

/** What pairs of products added up in 16 bits leave of the test's sums: 32 pairs, each cut off at 32767. */
const CUT_OFF = 32 * 32767

describe('sumsSaturate', () => {
  it('sees matrix products that are cut off', async () => {
    const old = meddled((model, outputs) => {
      if (!opsOf(model).has('MatMulInteger')) return outputs
      return Object.fromEntries(
        Object.entries(outputs).map(([name, { shape, size }]) => [
          name,
          Tensor.of(new Int32Array(size).fill(CUT_OFF), shape),
        ]),
      )
    })
    expect(await sumsSaturate(old)).toBe(true)
  })

  it('sees convolutions that are cut off', async () => {
    const old = meddled((model, outputs) => {
      if (!opsOf(model).has('Conv')) return outputs
      return Object.fromEntries(
        Object.entries(outputs).map(([name, tensor]) => [
          name,
          Tensor.of(
            Float32Array.from(toFloat64(tensor), () => CUT_OFF),
            tensor.shape,
          ),
        ]),
      )
    })
    expect(await sumsSaturate(old)).toBe(true)
  })

  it('finds nothing where the sums are right', async () => {
    const exact = meddled((model, outputs) => {
      if (!opsOf(model).has('MatMulInteger')) return outputs
      const [name, tensor] = Object.entries(outputs)[0]!
      return { [name]: Tensor.of(new Int32Array(tensor.size).fill(255 * 127 * 64), tensor.shape) }
    })
    // The convolution is onnxruntime-node's own: only processors without VNNI may say otherwise.
    expect(await sumsSaturate(exact)).toBe(await sumsSaturate(evaluator))
  })
})

describe('integerSupport', () => {
  it('takes the flavour that takes least time', async () => {
    const wait = (milliseconds: number): Promise<void> => new Promise((done) => setTimeout(done, milliseconds))
    const delays = { float: 12, u8s8: 12, s8s8: 3, u8u8: 12 }
    const slowed: Evaluator = {
      load: async (model, options) => {
        const executable = await evaluator.load(model, options)
        const types = [...model.graph.initializers.values()].map(({ dtype }) => dtype)
        const isFloat = !opsOf(model).has('QuantizeLinear')
        const delay = isFloat ? 'float' : !types.includes('int8') ? 'u8u8' : !types.includes('uint8') ? 's8s8' : 'u8s8'
        return {
          ...executable,
          run: async (feeds) => {
            const outputs = await executable.run(feeds)
            await wait(model.graph.name === 'integer-test' ? delays[delay] : 0)
            return outputs
          },
          release: () => executable.release(),
        }
      },
    }
    const { fastest, speedup } = await integerSupport(slowed, { budget: 0 })
    expect(fastest).toBe('s8s8')
    expect(speedup.s8s8).toBeGreaterThan(1.2)
  })

  it('measures once per evaluator, and again after an interruption', async () => {
    const own: Evaluator = { load: (model, options) => evaluator.load(model, options) }
    await expect(integerSupport(own, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    const first = await integerSupport(own, { budget: 50 })
    expect(await integerSupport(own)).toBe(first)
    expect(first.milliseconds).toBeLessThan(5000)
    for (const ratio of Object.values(first.speedup)) expect(ratio).toBeGreaterThan(0)
  })
})
