// A model that onnxruntime.quantization made in Python (test/fixtures/quantized/make.py) is read, run, inspected and
// compared like any other.
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { inspect, quantize } from '../src/api/index.ts'
import { compareModels, randomFeeds } from '../src/engine/index.ts'
import { loadModel } from '../src/node/index.ts'
import { encodeModel } from '../src/onnx/index.ts'
import { leastSqnr } from './support/quantized.ts'
import { evaluator, runModel } from './support/run-model.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/quantized/${name}.onnx`, import.meta.url))
const original = await loadModel(fixture('float'))
const quantized = await loadModel(fixture('python-qdq'))

test('it is decoded and encoded again, and computes what its original does, nearly', async () => {
  expect(encodeModel(quantized).byteLength).toBeGreaterThan(5000)
  const feeds = randomFeeds(original, { batch: 4 })
  expect(leastSqnr(await runModel(original, feeds), await runModel(quantized, feeds))).toBeGreaterThan(25)
})

test('inspection counts its integers as parameters, and says that its layers are quantized', async () => {
  const before = await inspect(original, {}, { evaluator })
  const after = await inspect(quantized, {}, { evaluator })
  expect(after.cost.parameters).toBe(before.cost.parameters)
  expect(after.cost.macs).toBe(before.cost.macs)
  // Weights take a byte, biases four.
  expect(after.cost.bytes).toBe(16 * 27 + 16 * 144 + 160 + 4 * 26)
  expect(after.skips.map(({ name, reason }) => `${name}: ${reason}`)).toEqual(
    ['stem', 'body', 'head'].map((name) => `${name}: Its weight is quantized already.`),
  )
  for (const { methods } of before.layers) expect(methods.quantize).toBe(true)
})

test('comparison looks at values as their readers see them: behind the integers that cut off below zero', async () => {
  const batches = async function* () {
    yield randomFeeds(original, { batch: 4 })
  }
  const { outputs, layers } = await compareModels(evaluator, original, quantized, batches())
  expect(outputs[0]!.sqnr).toBeGreaterThan(25)
  expect(layers.find(({ name }) => name === 'stem_relu')!.sqnr).toBeGreaterThan(30)
})

test('it is not quantized again', async () => {
  const data = async function* () {
    yield randomFeeds(quantized)
  }
  await expect(quantize(quantized, { data }, { evaluator })).rejects.toThrow(
    'must be in float to be quantized; it is quantized already',
  )
})
