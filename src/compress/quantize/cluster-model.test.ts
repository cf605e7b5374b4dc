import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { evaluator, outputError, runModel } from '../../../test/support/run-model.ts'
import { maybeShared } from '../../../test/support/shared.ts'
import { smallNetwork } from '../../../test/support/small-network.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { randomFeeds } from '../../engine/index.ts'
import { checkModel, ensureUniqueNames, type Model, simplify } from '../../graph/index.ts'
import { decodeModel } from '../../onnx/index.ts'
import { clusterWeight, expandCodebook } from './cluster.ts'
import { clusterModel } from './cluster-model.ts'

describe('clusterModel', () => {
  it('computes what the network with the weights of the codebooks computes', async () => {
    const model = smallNetwork()
    const feeds = { image: randomTensor([2, 3, 32, 32], 1) }
    for (const levels of [16, 32]) {
      const { model: clustered, record } = clusterModel(model, { levels })
      expect(checkModel(clustered)).toEqual([])
      expect(record.weights.map((weight) => [weight.layers, weight.levels])).toEqual(
        ['stem', 'body', 'head'].map((name) => [[name], levels]),
      )
      const initializers = new Map(model.graph.initializers)
      for (const { weight, bytes } of record.weights) {
        const original = initializers.get(weight)!
        initializers.set(weight, expandCodebook(clusterWeight(original, levels)))
        expect(bytes).toEqual({ before: original.byteLength, after: original.size + 4 * levels })
      }
      const plain: Model = { ...model, graph: { ...model.graph, initializers } }
      expect(await outputError(plain, clustered, feeds)).toBeLessThanOrEqual(1e-6)
      expect(await outputError(model, clustered, feeds)).toBeLessThan(levels === 16 ? 0.3 : 0.15)
    }
  })

  it('takes patterns, and leaves weights that are smaller than a codebook', async () => {
    const { record } = clusterModel(smallNetwork({ channels: 4, classes: 2 }), { skip: ['body'], levels: 64 })
    expect(record.weights.map(({ layers }) => layers)).toEqual([['stem']])
    expect(record.skips).toEqual([{ name: 'head', reason: 'A codebook would take more bytes than its weight.' }])
  })

  it('keeps a real depthwise network close with 32 levels', async () => {
    const path = maybeShared('models', 'onnx', 'ultraface_rfb_320.onnx')
    if (!path) return
    const file = decodeModel(readFileSync(path))
    ensureUniqueNames(file)
    const { model } = await simplify(file, { evaluator })
    const feeds = randomFeeds(model, { seed: 1 })
    const { model: clustered, record } = clusterModel(model)
    const bytes = record.weights.reduce((sum, weight) => sum + weight.bytes.after / weight.bytes.before, 0)
    expect(bytes / record.weights.length).toBeLessThan(0.45)
    const [a, b] = [await runModel(model, feeds), await runModel(clustered, feeds)]
    expect(Object.keys(b)).toEqual(Object.keys(a))
    expect(await outputError(model, clustered, feeds)).toBeLessThan(0.1)
  })
})
