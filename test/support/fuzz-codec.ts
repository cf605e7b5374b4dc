/** Mutated models through reading, naming, sorting, hashing and writing. */
import { isDeepStrictEqual } from 'node:util'
import { expect } from 'vitest'
import { createRandom, WhittleError } from '../../src/core/index.ts'
import { ensureUniqueNames, float, GraphBuilder, modelHash, topologicalOrder } from '../../src/graph/index.ts'
import { decodeModel, type ExternalDataReader, encodeModel } from '../../src/onnx/index.ts'
import { Tensor } from '../../src/tensor/index.ts'
import { mutate } from './mutate.ts'
import { readOnnxCases } from './onnx-cases.ts'
import { oracleBytes } from './onnx-oracle.ts'
import { plain } from './plain-model.ts'
import { maybeShared } from './shared.ts'

/** More than any of these small files needs, less than a hang. */
const MAX_MILLISECONDS = 2_000
const MAX_SEED_BYTES = 20_000

function ownModel(): Uint8Array {
  const inner = new GraphBuilder('inner')
  inner.output(inner.op('Identity', ['x']), 'float32')
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [1, 'N', null, 8])
  const y = b.op('Conv', [x, b.constant(Tensor.of(Float32Array.of(1, 2, 3, 4), [1, 1, 2, 2]))], { pads: [0, 0, 0, 0] })
  b.constant(Tensor.ofStrings(['a', 'b']), 'labels')
  b.constant(Tensor.fromBytes('int4', [3], Uint8Array.of(1, 2)), 'int4')
  b.output(b.op('If', [y], { then_branch: inner.graph, alpha: float(0.5), value: Tensor.int64([1, 2]) }), 'float32')
  return encodeModel(b.model())
}

/** Initializers in every way a file can hold them. */
function modelOfInitializers(): Uint8Array {
  const values = { name: 'sparse', dataType: 1, dims: [1n], floatData: [1] }
  return oracleBytes('ModelProto', {
    irVersion: 10n,
    opsetImport: [{ version: 21n }],
    graph: {
      node: [{ opType: 'Add', input: ['raw', 'floats'], output: ['y'] }],
      initializer: [
        { name: 'raw', dataType: 1, dims: [2n, 3n], rawData: new Uint8Array(24) },
        { name: 'floats', dataType: 1, dims: [3n], floatData: [1, 2, 3] },
        { name: 'doubles', dataType: 11, dims: [2n], doubleData: [1, 2] },
        { name: 'ints', dataType: 7, dims: [3n], int64Data: [1n, -1n, 300n] },
        { name: 'unsigned', dataType: 12, dims: [2n], uint64Data: [1n, 300n] },
        { name: 'halves', dataType: 10, dims: [2n], int32Data: [0x3c00, 0] },
        { name: 'nibbles', dataType: 22, dims: [5n], int32Data: [1, 2, 3] },
        { name: 'strings', dataType: 8, dims: [2n], stringData: [Uint8Array.of(97), Uint8Array.of()] },
        { name: 'external', dataType: 1, dims: [4n], dataLocation: 1, externalData: [{ key: 'location', value: 'w' }] },
      ],
      sparseInitializer: [{ dims: [5n], values, indices: { dataType: 7, dims: [1n], int64Data: [2n] } }],
    },
  })
}

/** Small real models: of every kind of message, with subgraphs, functions, strings and sparse tensors among them. */
function seedModels(): Uint8Array[] {
  const archive = maybeShared('data', 'onnx-node-tests.tar.gz')
  const own = [ownModel(), modelOfInitializers()]
  if (!archive) return own
  const small = readOnnxCases(archive).filter(({ model }) => model.length <= MAX_SEED_BYTES)
  const special = small.filter(({ name }) =>
    /loop|scan|if_|sequence|sparse|optional|string|light|int4|float8/.test(name),
  )
  const every = Math.ceil(small.length / 200)
  return [...Array.from({ length: 20 }, () => own).flat(), ...special, ...small.filter((_, i) => i % every === 0)].map(
    (seed) => (seed instanceof Uint8Array ? seed : seed.model),
  )
}

const externalData: ExternalDataReader = {
  read: (_, __, length) => {
    if (length > 1_000_000) throw new WhittleError('INVALID_FILE', 'The file is too short.')
    return new Uint8Array(length)
  },
}

function processModel(bytes: Uint8Array): void {
  const model = decodeModel(bytes, { name: 'fuzz.onnx', externalData })
  const written = encodeModel(model)
  const again = plain(decodeModel(written, { name: 'fuzz.onnx' }))
  const first = plain(model)
  if (!isDeepStrictEqual(again, first)) expect(again).toEqual(first)
  ensureUniqueNames(model)
  topologicalOrder(model.graph.nodes)
  modelHash(model)
  encodeModel(model)
}

/**
 * Runs `count` mutated models: each is processed or refused with a WhittleError within the time, what is accepted is
 * written as it was read, and memory stays bounded.
 */
export function fuzzCodec(seed: number, count: number): void {
  const seeds = seedModels()
  const random = createRandom(seed)
  const memory = process.resourceUsage().maxRSS
  const outcomes = { accepted: 0, refused: 0 }
  const codes = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const bytes = mutate(seeds[random.integer(seeds.length)]!, random, seeds[random.integer(seeds.length)]!)
    const start = performance.now()
    try {
      processModel(bytes)
      outcomes.accepted++
    } catch (error) {
      if (!(error instanceof WhittleError) || error.code === 'INTERNAL') {
        console.error(`Model ${i} of seed ${seed}: ${Buffer.from(bytes).toString('base64')}`)
        throw error
      }
      expect(error.message.length, error.message).toBeLessThan(2_000)
      codes.set(error.code, (codes.get(error.code) ?? 0) + 1)
      outcomes.refused++
    }
    const milliseconds = performance.now() - start
    expect(milliseconds, `model ${i} of seed ${seed}`).toBeLessThan(MAX_MILLISECONDS)
  }
  const growth = Math.round((process.resourceUsage().maxRSS - memory) / 1024)
  console.info(
    `Fuzz: ${outcomes.accepted} mutated models accepted, ${outcomes.refused} refused ` +
      `(${[...codes].map(([code, times]) => `${code} ${times}`).join(', ')}), memory +${growth} MiB.`,
  )
  expect(growth, 'MiB of memory').toBeLessThan(400)
  expect(outcomes.accepted).toBeGreaterThan(count / 50)
  expect(outcomes.refused).toBeGreaterThan(count / 10)
}
