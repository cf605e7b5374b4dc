/**
 * Every public ONNX backend test and every model of the shared folder goes through the codec and comes out the same:
 * as read again by us, as read by @bufbuild/protobuf, and as run by ONNX Runtime on the tests' own inputs.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { createRandom } from '../src/core/index.ts'
import { modelHash } from '../src/graph/index.ts'
import { decodeModel, decodeTensor, encodeModel, encodeTensor } from '../src/onnx/index.ts'
import { type DType, fromNumbers, sizeOf, Tensor } from '../src/tensor/index.ts'
import { type OnnxCase, readOnnxCases } from './support/onnx-cases.ts'
import { oracleModel, oracleTensor } from './support/onnx-oracle.ts'
import { plain } from './support/plain-model.ts'
import { maybeShared } from './support/shared.ts'

// Lets ONNX Runtime run tests of operator versions that were not released when it was.
process.env.ALLOW_RELEASED_ONNX_OPSET_ONLY = '0'

const archive = maybeShared('data', 'onnx-node-tests.tar.gz')
const models = maybeShared('models', 'onnx')

function loadCases(): OnnxCase[] {
  const cases = archive ? readOnnxCases(archive) : []
  for (const file of models ? readdirSync(models).filter((name) => name.endsWith('.onnx')) : [])
    cases.push({ name: file, model: readFileSync(join(models!, file)), inputs: [] })
  return cases
}

const cases = loadCases()

describe.skipIf(cases.length === 0)('The codec', () => {
  it('writes every model as it was read', () => {
    for (const { name, model } of cases) {
      const first = decodeModel(model, { name })
      const bytes = encodeModel(first)
      const second = decodeModel(bytes, { name })
      if (!isDeepStrictEqual(plain(second), plain(first))) expect(plain(second), name).toEqual(plain(first))
      expect(modelHash(second), name).toBe(modelHash(first))
    }
    console.info(`Round trip: ${cases.length} models equal after writing and reading.`)
    expect(cases.length).toBeGreaterThan(1_900)
  })

  it('writes what an independent protobuf library reads as the same model', () => {
    for (const { name, model } of cases) {
      const ours = oracleModel(encodeModel(decodeModel(model)))
      const original = oracleModel(model)
      if (!isDeepStrictEqual(ours, original)) expect(ours, name).toEqual(original)
    }
  })

  it("reads and writes the tests' tensor files", () => {
    let count = 0
    for (const { name, model, inputs } of cases) {
      const declared = decodeModel(model).graph.inputs
      for (const set of inputs)
        for (const [index, bytes] of set.entries()) {
          // Sequences and optional values are other messages.
          if (declared[index]?.type?.kind !== 'tensor') continue
          const input = decodeTensor(bytes)
          const [again, original] = [oracleTensor(encodeTensor(input.tensor, input.name)), oracleTensor(bytes)]
          if (!isDeepStrictEqual(again, original)) expect(again, name).toEqual(original)
          count++
        }
    }
    console.info(`Round trip: ${count} tensor files equal.`)
    expect(count).toBeGreaterThan(2_500)
  })

  it('writes models that ONNX Runtime runs with equal outputs', async () => {
    const counts = { run: 0, refused: 0, unfed: 0, random: 0 }
    for (const testCase of cases) {
      counts[await runBoth(testCase)]++
    }
    console.info(
      `Round trip: ${counts.run} models run by ONNX Runtime with equal outputs; ${counts.refused} refused as they are ` +
        `and after the round trip; ${counts.unfed} with inputs its JavaScript API cannot take; ` +
        `${counts.random} that draw random numbers.`,
    )
    expect(counts.run).toBeGreaterThan(1_500)
  })
})

const FEED_TYPES: Readonly<Partial<Record<DType, string>>> = {
  float32: 'float32',
  float64: 'float64',
  float16: 'float16',
  int8: 'int8',
  uint8: 'uint8',
  int16: 'int16',
  uint16: 'uint16',
  int32: 'int32',
  uint32: 'uint32',
  int64: 'int64',
  uint64: 'uint64',
  bool: 'bool',
  int4: 'int4',
  uint4: 'uint4',
  string: 'string',
}

function feedOf(tensor: Tensor): ort.Tensor | undefined {
  const type = FEED_TYPES[tensor.dtype]
  if (!type) return undefined
  const data =
    tensor.dtype === 'string' ? tensor.strings.map((text) => Buffer.from(text).toString()) : tensor.data.slice()
  return new ort.Tensor(type as 'float32', data as Float32Array, tensor.shape)
}

/** Numbers in the shape a model declares, unknown extents 1: for models that come without data. */
function randomFeeds(model: Uint8Array): Record<string, ort.Tensor>[] {
  const random = createRandom(1)
  const { inputs, initializers } = decodeModel(model).graph
  const feeds: Record<string, ort.Tensor> = {}
  for (const { name, type } of inputs) {
    if (initializers.has(name) || type?.kind !== 'tensor') continue
    const shape = type.shape!.map((extent) => (typeof extent === 'number' ? extent : 1))
    const values = Float32Array.from({ length: sizeOf(shape) }, () => random.uniform())
    const tensor =
      type.dtype === 'int32' ? Tensor.of(Int32Array.from(values), shape) : fromNumbers(values, shape, type.dtype!)
    feeds[name] = feedOf(tensor)!
  }
  return [feeds]
}

/** The inputs of each data set; `undefined` when ONNX Runtime's JavaScript API has no way to give them. */
function feedsOf({ model, inputs }: OnnxCase): Record<string, ort.Tensor>[] | undefined {
  if (inputs.length === 0) return randomFeeds(model)
  const declared = decodeModel(model).graph.inputs
  const sets: Record<string, ort.Tensor>[] = []
  for (const set of inputs) {
    const feeds: Record<string, ort.Tensor> = {}
    for (const [index, bytes] of set.entries()) {
      const info = declared[index]
      const feed = info?.type?.kind === 'tensor' ? feedOf(decodeTensor(bytes).tensor) : undefined
      if (!feed) return undefined
      feeds[info!.name] = feed
    }
    sets.push(feeds)
  }
  return sets
}

/** Outputs of each data set as plain values, or the reason why there are none. */
async function outputsOf(model: Uint8Array, sets: readonly Record<string, ort.Tensor>[]): Promise<unknown> {
  let session: ort.InferenceSession | undefined
  try {
    session = await ort.InferenceSession.create(model, { graphOptimizationLevel: 'disabled', logSeverityLevel: 4 })
    const results: unknown[] = []
    for (const feeds of sets) {
      const outputs = await session.run(feeds)
      results.push(
        Object.entries(outputs).map(([name, { type, dims, data }]) => [
          name,
          type,
          dims,
          Array.isArray(data)
            ? data
            : Buffer.from(
                (data as Uint8Array).buffer,
                (data as Uint8Array).byteOffset,
                (data as Uint8Array).byteLength,
              ),
        ]),
      )
    }
    return results
  } catch (error) {
    return (error as Error).message
  } finally {
    await session?.release()
  }
}

async function runBoth(testCase: OnnxCase): Promise<'run' | 'refused' | 'unfed' | 'random'> {
  const { name, model } = testCase
  const sets = feedsOf(testCase)
  if (!sets) return 'unfed'
  const original = await outputsOf(model, sets)
  const written = await outputsOf(encodeModel(decodeModel(model)), sets)
  if (typeof original === 'string') {
    expect(typeof written, `${name}: refused before (${original}), accepted after the round trip`).toBe('string')
    return 'refused'
  }
  if (isDeepStrictEqual(written, original)) return 'run'
  if (!isDeepStrictEqual(await outputsOf(model, sets), original)) return 'random'
  expect(written, name).toEqual(original)
  return 'run'
}
