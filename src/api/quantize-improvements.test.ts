import { describe, expect, it } from 'vitest'
import { evaluator, runModel } from '../../test/support/run-model.ts'
import { smallNetwork } from '../../test/support/small-network.ts'
import { randomTensor, relativeError } from '../../test/support/tensors.ts'
import { quantizeWeight } from '../compress/index.ts'
import { recordFromPlan } from '../formats/index.ts'
import type { Model, TensorMap } from '../graph/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import { type QuantizeOptions, quantize } from './quantize.ts'

const batches: TensorMap[] = [1, 2].map((seed) => ({ image: randomTensor([8, 3, 32, 32], seed) }))
async function* data(): AsyncGenerator<TensorMap> {
  yield* batches
}

/** The same function with the channels between both convolutions scaled by 1, 1/1024, 1, 1/1024 …, exact in floats. */
function scaledChannels(): Model {
  const model = smallNetwork({ channels: 8 })
  const initializers = new Map(model.graph.initializers)
  const edit = (name: string, factor: (i: number) => number): void => {
    const tensor = initializers.get(name)!
    initializers.set(
      name,
      Tensor.of(
        toFloat32(tensor).map((x, i) => x * factor(i)),
        tensor.shape,
      ),
    )
  }
  edit('stem.weight', (i) => (Math.floor(i / 27) % 2 === 0 ? 1 : 1 / 1024))
  edit('body.weight', (i) => (Math.floor(i / 9) % 2 === 0 ? 1 : 1024))
  return { ...model, graph: { ...model.graph, initializers } }
}

describe('quantize with better ranges', () => {
  const model = scaledChannels()
  const error = async (
    options: QuantizeOptions,
  ): Promise<{ error: number; made: Awaited<ReturnType<typeof quantize>> }> => {
    const made = await quantize(model, { data, perChannel: false, ...options }, { evaluator })
    const [float, small] = [await runModel(model, batches[0]!), await runModel(made.model, batches[0]!)]
    return { error: relativeError(float.scores!, small.scores!), made }
  }

  it('recovers by equalisation what one scale per weight loses, and says what it did', async () => {
    const naive = await error({})
    expect(naive.made.record.improvements).toBeUndefined()
    const equal = await error({ equalize: true, absorbBiases: true })
    expect(naive.error).toBeGreaterThan(0.1)
    expect(equal.error).toBeLessThan(0.03)
    const { equalized, absorbed } = equal.made.record.improvements!
    expect(equalized!.pairs.map(({ first, second }) => [first, second])).toEqual([
      ['stem', 'body'],
      ['body', 'head'],
    ])
    expect(equalized!.skips).toEqual([{ name: 'head', reason: 'Its output is an output of the network.' }])
    expect(absorbed).toBeDefined()
    expect(JSON.parse(JSON.stringify(equal.made.record))).toEqual(equal.made.record)
  })

  it('balances by the option, with the factors in the record', async () => {
    const balanced = await error({ balance: 0.6 })
    expect(balanced.error).toBeLessThan(0.1)
    expect(balanced.made.record.improvements!.balanced!.layers.map(({ name }) => name)).toEqual([
      'stem',
      'body',
      'head',
    ])
  })

  it('corrects biases for coarse weights, with the shifts in the record', async () => {
    const coarse = { equalize: true, weightBits: 3 }
    const [plain, corrected] = [await error(coarse), await error({ ...coarse, correctBiases: true })]
    expect(corrected.error).toBeLessThan(0.8 * plain.error)
    expect(corrected.made.record.improvements!.corrected!.layers.map(({ name }) => name)).toEqual([
      'stem',
      'body',
      'head',
    ])
  })
})

describe('AMCT records of balanced networks', () => {
  it('hold the factors, and the weights’ scales as they were before factors were folded into them', async () => {
    const model = smallNetwork({ channels: 8 })
    const made = await quantize(model, { data, balance: true }, { evaluator })
    if (!('activations' in made.plan)) throw new Error('No activations are quantized.')
    const { balanced } = made.record.improvements!
    const { record } = recordFromPlan(made.plan, made.float!, { balanced })
    const written = record.record.map(({ key, value }) => [key, value!] as const)
    for (const [key, value] of written) {
      const layer = balanced!.layers.find(({ name }) => name === key)!
      expect(value.tensor_balance_factor).toEqual(layer.factors.map(Math.fround))
    }
    // What AMCT does with the record: the original weight times the layer's own factors, in steps of scale_w.
    const stem = written.find(([key]) => key === 'stem')![1]
    const factors = balanced!.layers.find(({ name }) => name === 'stem')!.factors
    const weight = toFloat32(model.graph.initializers.get('stem.weight')!)
    const steps = made.plan.steps.find(({ node }) => node === 'stem')!.weight!
    const theirs = weight.map((x, i) =>
      Math.round((x * factors[Math.floor(i / 9) % 3]!) / stem.scale_w[Math.floor(i / 27)]!),
    )
    const ours = quantizeWeight(made.float!.graph.initializers.get(steps.tensor)!, steps.quantization).data as Int8Array
    const different = theirs.filter((q, i) => q !== ours[i]).length
    expect(different).toBeLessThanOrEqual(2)
    expect(balanced!.layers.find(({ name }) => name === 'body')).toMatchObject({ into: 'layer', node: 'stem' })
  })
})
