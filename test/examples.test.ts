/** The bundled network and pictures: what `npm run demo` starts from. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { evaluateModel } from '../src/data/index.ts'
import { createEvaluator } from '../src/engine/index.ts'
import { datasets } from '../src/node/data.ts'
import { decodeModel } from '../src/onnx/index.ts'

const folder = fileURLToPath(new URL('../examples/data/cifar10', import.meta.url))
const file = new URL('../examples/models/resnet20-cifar10.onnx', import.meta.url)

describe('examples/', () => {
  it('holds a ResNet-20 that knows its preprocessing and is right on 686 of 750 test pictures', async () => {
    const model = decodeModel(readFileSync(file))
    const result = await evaluateModel(createEvaluator(ort), model, datasets.cifar10(folder))
    expect(result).toMatchObject({ samples: 750, preprocessFrom: 'model', preprocess: { name: 'imagenet' } })
    // Kernels of another processor may round a borderline picture the other way.
    expect(Math.abs(result.top1 * 750 - 686)).toBeLessThan(2.5)
  })

  it.each(['test', 'train'] as const)('holds pictures of which any first part is balanced: %s', async (split) => {
    const counts = new Array(10).fill(0)
    for await (const { labels } of (await datasets.cifar10(folder, { split })).batches({ limit: 200 }))
      for (const label of labels!) counts[label]++
    expect(counts).toEqual(new Array(10).fill(20))
  })
})
