import { describe, expect, it } from 'vitest'
import { evaluator, outputError, runModel } from '../../test/support/run-model.ts'
import { smallNetwork } from '../../test/support/small-network.ts'
import { randomTensor, relativeErrorOf } from '../../test/support/tensors.ts'
import { findSites } from '../compress/index.ts'
import { observeShapes } from '../engine/index.ts'
import { GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { fromNumbers, Tensor, toFloat64 } from '../tensor/index.ts'
import { improveRanges } from './better-ranges.ts'
import { correctBiasesOnData } from './bias-correction.ts'
import { collectChannelStatistics } from './channel-statistics.ts'

const batches: TensorMap[] = [{ image: randomTensor([3, 3, 32, 32], 1) }, { image: randomTensor([5, 3, 32, 32], 2) }]
async function* data(): AsyncGenerator<TensorMap> {
  yield* batches
}

/** Weights cut down to steps of a sixteenth of the largest one, which moves the means of outputs. */
function coarse(model: Model): Model {
  const initializers = new Map(model.graph.initializers)
  for (const { weightName, weight } of findSites(model).sites) {
    const values = toFloat64(weight)
    const step = values.reduce((max, x) => Math.max(max, Math.abs(x)), 0) / 8
    initializers.set(
      weightName,
      fromNumbers(
        values.map((x) => Math.floor(x / step) * step),
        weight.shape,
        'float32',
      ),
    )
  }
  return { ...model, graph: { ...model.graph, initializers } }
}

async function fetchValue(model: Model, name: string, feeds: TensorMap): Promise<Tensor> {
  return (await runModel({ ...model, graph: { ...model.graph, outputs: [{ name, type: undefined }] } }, feeds))[name]!
}

/** All numbers of every channel of a value over both batches. */
async function channels(model: Model, value: string): Promise<number[][]> {
  const numbers: number[][] = []
  for (const feeds of batches) {
    const tensor = await fetchValue(model, value, feeds)
    const after = tensor.shape.slice(2).reduce((a, b) => a * b, 1)
    for (const [i, x] of toFloat64(tensor).entries()) {
      const at = Math.floor(i / after) % tensor.shape[1]!
      numbers[at] ??= []
      numbers[at].push(x)
    }
  }
  return numbers
}

describe('collectChannelStatistics', () => {
  it('agrees with the numbers themselves, in every opset', async () => {
    for (const opset of [13, 17, 18]) {
      const base = smallNetwork({ channels: 4 })
      const model = { ...base, opsets: new Map([['', opset]]) }
      const value = model.graph.nodes[0]!.outputs[0]!
      const scores = model.graph.nodes.at(-1)!.outputs[0]!
      const found = await collectChannelStatistics(
        evaluator,
        model,
        [
          { key: 'stem', value, channels: 4, layout: { axes: 4 } },
          { key: 'head', value: scores, channels: 10, layout: 'last' },
        ],
        data,
      )
      for (const [key, name, at] of [
        ['stem', value, 2],
        ['head', scores, 7],
      ] as const) {
        const numbers = (await channels(model, name))[at]!
        const mean = numbers.reduce((a, b) => a + b) / numbers.length
        const variance = numbers.reduce((a, b) => a + (b - mean) ** 2, 0) / numbers.length
        const measured = found.get(key)!
        expect(measured.mean[at]).toBeCloseTo(mean, 6)
        expect(measured.deviation[at]).toBeCloseTo(Math.sqrt(variance), 5)
        expect(measured.least[at]).toBe(Math.min(...numbers))
        expect(measured.most[at]).toBe(Math.max(...numbers))
      }
    }
  })

  it('stops at the number of samples, and wants data', async () => {
    const model = smallNetwork({ channels: 4 })
    const request = { key: 'a', value: 'scores', channels: 10, layout: 'last' } as const
    let read = 0
    async function* counted(): AsyncGenerator<TensorMap> {
      for (const feeds of batches) {
        read++
        yield feeds
      }
    }
    await collectChannelStatistics(evaluator, model, [request], counted, { samples: 3 })
    expect(read).toBe(1)
    async function* none(): AsyncGenerator<TensorMap> {}
    await expect(collectChannelStatistics(evaluator, model, [request], none)).rejects.toThrow('at least one batch')
  })
})

describe('correctBiasesOnData', () => {
  it('takes back the shifts of all layers, one after the other', async () => {
    const model = smallNetwork({ channels: 8 })
    const shift = async (subject: Model): Promise<number> => {
      const errors = []
      for (const [i, site] of findSites(model).sites.entries()) {
        const value = findSites(subject).sites[i]!.node.outputs[0]!
        const means = async (from: Model, name: string): Promise<number[]> =>
          (await channels(from, name)).map((list) => list.reduce((a, b) => a + b) / list.length)
        errors.push(relativeErrorOf(await means(model, site.node.outputs[0]!), await means(subject, value)))
      }
      return Math.max(...errors)
    }
    const { model: corrected, record } = await correctBiasesOnData(model, coarse, data, { evaluator })
    expect(record.layers.map(({ name }) => name)).toEqual(['stem', 'body', 'head'])
    expect(record.skips).toEqual([])
    expect(await shift(coarse(model))).toBeGreaterThan(0.5)
    expect(await shift(coarse(corrected))).toBeLessThanOrEqual(1e-5)
    const once = await correctBiasesOnData(model, coarse, data, { evaluator }, { order: 'once' })
    expect(await shift(coarse(once.model))).toBeGreaterThan(0.01)
  })

  it('corrects only the layers named, and leaves those without a place for a bias', async () => {
    const b = new GraphBuilder()
    b.op('MatMul', [b.input('image', 'float32', ['N', 3, 32, 32]), b.constant(randomTensor([32, 4], 1))], {}, 'y')
    b.output('y', 'float32')
    const { record } = await correctBiasesOnData(b.model(), coarse, data, { evaluator })
    expect(record.skips).toHaveLength(1)
    const some = await correctBiasesOnData(smallNetwork(), coarse, data, { evaluator }, { layers: new Set(['body']) })
    expect(some.record.layers.map(({ name }) => name)).toEqual(['body'])
  })
})

describe('improveRanges', () => {
  it('keeps the function through equalisation, absorption and balancing', async () => {
    const model = smallNetwork({ channels: 8 })
    const shapes = await observeShapes(evaluator, model)
    const improved = await improveRanges(
      model,
      { equalize: true, absorbBiases: true, balance: 0.4 },
      { shapes, data },
      { evaluator },
    )
    expect(improved.record.equalized!.pairs).toHaveLength(2)
    expect(improved.record.absorbed).toBeDefined()
    expect(improved.record.balanced!.layers.map(({ into }) => into)).toEqual(['mul', 'layer', 'layer'])
    for (const feeds of batches) expect(await outputError(model, improved.model, feeds)).toBeLessThanOrEqual(2e-6)
    const untouched = await improveRanges(model, {}, { shapes, data }, { evaluator })
    expect(untouched.model).toBe(model)
    expect(untouched.record).toEqual({})
  })

  it('makes Clip a Relu only where the data stay below its bound', async () => {
    const relu6 = (gain: number): Model => {
      const b = new GraphBuilder()
      const first = randomTensor([4, 3, 1, 1], 1)
      const w = b.constant(
        fromNumbers(
          toFloat64(first).map((x) => x * gain),
          first.shape,
          'float32',
        ),
      )
      const bounds = [0, 6].map((bound) => b.constant(Tensor.of(Float32Array.of(bound), [])))
      const h = b.op('Clip', [b.op('Conv', [b.input('image', 'float32', ['N', 3, 32, 32]), w]), ...bounds])
      b.op('Conv', [h, b.constant(randomTensor([2, 4, 1, 1], 2))], {}, 'y')
      b.output('y', 'float32')
      return b.model()
    }
    for (const [gain, replaced] of [
      [0.1, 1],
      [3, 0],
    ] as const) {
      const model = relu6(gain)
      const context = { shapes: await observeShapes(evaluator, model), data }
      const { record, model: equal } = await improveRanges(model, { equalize: true }, context, { evaluator })
      expect(record.equalized!.replacedClips).toHaveLength(replaced)
      expect(await outputError(model, equal, batches[0]!)).toBeLessThanOrEqual(1e-6)
    }
  })

  it('asks for what is missing', async () => {
    const model = smallNetwork()
    const shapes = await observeShapes(evaluator, model)
    const attempt = (options: Parameters<typeof improveRanges>[1]) =>
      improveRanges(model, options, { shapes }, { evaluator })
    await expect(attempt({ balance: true })).rejects.toThrow('Balancing needs data')
    await expect(attempt({ absorbBiases: 'data' })).rejects.toThrow('needs data')
    await expect(attempt({ absorbBiases: true })).rejects.toThrow('the model has none that was folded')
  })
})
