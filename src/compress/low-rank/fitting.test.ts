// Fitting to data through the whole pipeline: what data bring, what little data must not break.
import * as ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { layerZoo, ZOO_INPUT } from '../../../test/support/layer-zoo.ts'
import { outputError } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/small-network.ts'
import { type DecomposeOptions, decompose } from '../../api/index.ts'
import { createRandom } from '../../core/index.ts'
import { createEvaluator, createMatrixEngine } from '../../engine/index.ts'
import { GraphBuilder, type Model, type TensorMap } from '../../graph/index.ts'
import { fromNumbers, Tensor } from '../../tensor/index.ts'
import { findSites } from '../sites.ts'
import { applyLowRank } from './apply.ts'
import { shrinkCovariance } from './covariance.ts'
import { siteMoments } from './moment-requests.ts'
import { planLowRank } from './plan.ts'
import { sequentialMoments } from './sequential.ts'

const matrices = createMatrixEngine(ort, { threads: 1 })
const runtime = { evaluator: createEvaluator(ort, { threads: 1 }), matrices }
const fixed = (rank: number) => ({ kind: 'fixed', rank }) as const

/** Pictures whose channels and neighbours are correlated, as natural ones are. */
function pictures(seed: number, [count, channels, height, width]: readonly [number, number, number, number]): Tensor {
  const random = createRandom(seed)
  const data = new Float32Array(count * channels * height * width)
  for (let n = 0; n < count; n++) {
    const waves = Array.from({ length: 4 }, () => [random.normal(), random.normal(), random.normal()])
    for (let c = 0; c < channels; c++)
      for (let h = 0; h < height; h++)
        for (let w = 0; w < width; w++) {
          let value = 0.05 * random.normal()
          for (const [k, [a, b, s]] of waves.entries()) value += Math.sin(a! * h + b! * w + s! + c * (k + 1))
          data[((n * channels + c) * height + h) * width + w] = value
        }
  }
  return Tensor.of(data, [count, channels, height, width])
}

function feeds(batches: number, batch: number, channels = 8): () => AsyncGenerator<TensorMap> {
  return async function* () {
    for (let i = 0; i < batches; i++) yield { x: pictures(i, [batch, channels, 12, 12]) }
  }
}

/** x → Conv 3×3 → Relu → Conv 3×3 with biases. */
function twoLayers(): Model {
  const b = new GraphBuilder()
  const same = { pads: [1, 1, 1, 1] }
  const x = b.input('x', 'float32', ['N', 8, 12, 12])
  const weight = (seed: number, shape: readonly number[], name: string): string =>
    b.constant(randomTensor(seed, shape), name)
  const inner = b.op('Relu', [
    b.op('Conv', [x, weight(1, [24, 8, 3, 3], 'one.weight'), weight(2, [24], 'one.bias')], same),
  ])
  b.op('Conv', [inner, weight(3, [16, 24, 3, 3], 'two.weight'), weight(4, [16], 'two.bias')], same, 'y')
  b.output('y', 'float32')
  return b.model()
}

describe('on new data of the same kind', () => {
  const test4 = { x: pictures(99, [8, 8, 12, 12]) }
  const error = async (options: DecomposeOptions): Promise<number> => {
    const model = twoLayers()
    return outputError(model, (await decompose(model, options, runtime)).model, test4)
  }

  test.each(['tucker', 'spatial', 'channel'] as const)(
    '%s fitted to data loses less than fitted to weights, in sequence least',
    async (method) => {
      const options: DecomposeOptions = { method, rank: fixed(6) }
      const weights = await error(options)
      const data = await error({ ...options, data: feeds(8, 8) })
      const sequential = await error({ ...options, data: feeds(8, 8), sequential: true })
      expect(data).toBeLessThan(0.8 * weights)
      expect(sequential).toBeLessThan(data)
    },
  )

  test('the record says which layers were fitted how', async () => {
    const { plan, record } = await decompose(
      twoLayers(),
      { rank: fixed(6), data: feeds(2, 4), sequential: true },
      runtime,
    )
    expect(plan.steps.map((step) => [step.dataAware, step.shiftsBias ?? false, step.sequential ?? false])).toEqual([
      [true, true, false],
      [true, true, true],
    ])
    for (const layer of record.layers) expect(layer.outputError).toBeGreaterThan(0)
    expect(record.plan).toEqual(plan)
  })
})

describe('with little data', () => {
  test.each(['tucker', 'spatial', 'channel'] as const)(
    '%s on one picture is no worse than fitted to weights by much',
    async (method) => {
      const model = twoLayers()
      const x = pictures(99, [8, 8, 12, 12])
      const options: DecomposeOptions = { method, rank: fixed(6), align: 1 }
      const weights = await outputError(model, (await decompose(model, options, runtime)).model, { x })
      for (const sequential of [false, true]) {
        const { model: fitted } = await decompose(model, { ...options, data: feeds(1, 1), sequential }, runtime)
        expect(await outputError(model, fitted, { x }), `sequential ${sequential}`).toBeLessThan(1.2 * weights)
      }
    },
  )

  test('a linear layer that saw one row is fitted to its weight, not turned into a constant', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['N', 32])
    b.output(b.op('Gemm', [x, b.constant(randomTensor(1, [32, 24]), 'w')], {}, 'y'), 'float32')
    const model = b.model()
    const row = async function* (): AsyncGenerator<TensorMap> {
      yield { x: randomTensor(2, [1, 32]) }
    }
    const plain = await decompose(model, { rank: fixed(8) }, runtime)
    const fitted = await decompose(model, { rank: fixed(8), data: row }, runtime)
    expect(fitted.record.layers[0]!.relativeError).toBeLessThan(1.01 * plain.record.layers[0]!.relativeError)
  })

  test('an input that is always zero, and weights that are all zero, are no obstacle to any policy', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', [1, 64, 6, 6])
    const weight = Tensor.of(new Float32Array(64 * 64 * 9), [64, 64, 3, 3])
    const inner = b.op('Conv', [x, b.constant(weight, 'zero')], { pads: [1, 1, 1, 1] })
    b.output(b.op('Conv', [inner, b.constant(randomTensor(1, [64, 64, 3, 3]), 'w')], {}, 'y'), 'float32')
    const model = b.model()
    const data = async function* (): AsyncGenerator<TensorMap> {
      yield { x: randomTensor(2, [1, 64, 6, 6]) }
    }
    for (const rank of [
      fixed(4),
      { kind: 'energy', energy: 0.5 },
      { kind: 'error', error: 0.8 },
      { kind: 'evbmf' },
      { kind: 'amct' },
      { kind: 'ratio', ratio: 0.25 },
    ] as const) {
      const { record, model: result } = await decompose(model, { rank, data, sequential: true }, runtime)
      expect(record.layers[0]!.relativeError, rank.kind).toBe(0)
      for (const layer of record.layers) expect(layer.relativeError).toBeLessThan(1)
      expect(await outputError(model, result, { x: randomTensor(3, [1, 64, 6, 6]) })).toBe(0)
    }
  })
})

test('layers that cannot be fitted to data are named, those not decomposed are not', async () => {
  const data = async function* (): AsyncGenerator<TensorMap> {
    yield { x: randomTensor(2, ZOO_INPUT) }
  }
  const options: DecomposeOptions = { rank: fixed(3), data, only: ['conv', 'shared *', 'transposed'] }
  const { record } = await decompose(layerZoo(), options, runtime)
  expect(record.warnings).toEqual([
    "Fitted to the weight, not to data: 'shared a': It shares its weight with other layers.",
    "Fitted to the weight, not to data: 'shared b': It shares its weight with other layers.",
    "Fitted to the weight, not to data: 'transposed': Transposed convolutions are fitted to their weight.",
  ])
  const tight = await decompose(layerZoo(), { ...options, only: ['conv'], momentBytes: 1000 }, runtime)
  expect(tight.record.warnings).toEqual([
    "Fitted to the weight, not to data: 'conv': Its moments (72×72) exceed the memory for them.",
  ])
  const skipped = await decompose(layerZoo(), { ...options, only: undefined, skip: ['conv'] }, runtime)
  expect(skipped.record.warnings.some((warning) => warning.includes("'conv'"))).toBe(false)
})

describe('shrinking a covariance', () => {
  test('keeps the trace, and keeps nearly everything when there is much data', () => {
    const covariance = Float64Array.of(4, 1, 1, 2)
    const { keep } = shrinkCovariance(covariance, 2, 1e6, 0)
    expect(keep).toBeGreaterThan(0.9999)
    expect(covariance[0]! + covariance[3]!).toBeCloseTo(6, 12)
    expect(covariance[1]).toBeCloseTo(1, 4)
  })

  test('leaves a multiple of the identity when there is one sample', () => {
    const covariance = Float64Array.of(1, 1, 1, 1)
    expect(shrinkCovariance(covariance, 2, 1, 0).keep).toBe(0)
    expect([...covariance]).toEqual([1, 0, 0, 1].map((value) => expect.closeTo(value, 12)))
  })

  test('makes one positive definite that rounding has left indefinite', () => {
    const covariance = Float64Array.of(1e-9, 2e-9, 2e-9, 1e-9)
    shrinkCovariance(covariance, 2, 1e9, 1)
    expect(covariance[0]! * covariance[3]!).toBeGreaterThan(covariance[1]! ** 2)
  })
})

test('in sequence, an input that nothing changed leaves the target at the weight and without residual', async () => {
  const [site] = findSites(twoLayers()).sites
  const d = 72
  const random = createRandom(1)
  const rows = Array.from({ length: 40 }, () => Float64Array.from({ length: d }, () => random.normal() + 1))
  const mean = Float64Array.from({ length: d }, (_, i) => rows.reduce((sum, row) => sum + row[i]!, 0) / rows.length)
  const second = new Float64Array(d * d)
  for (const row of rows)
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) second[i * d + j]! += (row[i]! * row[j]!) / rows.length
  const twice = Float64Array.from(
    { length: 4 * d * d },
    (_, at) => second[(Math.floor(at / (2 * d)) % d) * d + (at % d)]!,
  )
  const joint = { second: twice, mean: Float64Array.from([...mean, ...mean]) }
  const { groups } = await sequentialMoments(matrices, site!, joint, 40)
  const target = groups[0]!.target!
  const weight = site!.weight.data as Float32Array
  const distance = Math.hypot(...target.weight.map((value, i) => value - weight[i]!))
  expect(distance / Math.hypot(...weight)).toBeLessThan(1e-6)
  expect(target.residual / target.variance).toBeLessThan(1e-6)
  expect(Math.hypot(...target.shift)).toBeLessThan(1e-6)
  expect(groups[0]!.covariance).toEqual(siteMoments(site!, [{ second, mean }], 40).groups[0]!.covariance)
})

describe('element types', () => {
  test('float64 factors are float64', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float64', ['N', 16])
    const w = fromNumbers(Float64Array.from(randomTensor(1, [16, 16]).data as Float32Array), [16, 16], 'float64')
    b.output(b.op('MatMul', [x, b.constant(w, 'w')], {}, 'y'), 'float64')
    const { model, record } = await decompose(b.model(), { rank: fixed(4) }, runtime)
    expect(model.graph.initializers.get('w.first')?.dtype).toBe('float64')
    expect(record.layers[0]!.relativeError).toBeLessThan(1)
  })

  test('float16 factors are float16, on data too', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['N', 16, 8])
    const cast = b.op('Cast', [x], { to: 10 })
    const w = fromNumbers(randomTensor(1, [8, 8]).data as Float32Array, [8, 8], 'float16')
    b.output(b.op('Cast', [b.op('MatMul', [cast, b.constant(w, 'w')])], { to: 1 }, 'y'), 'float32')
    const data = async function* (): AsyncGenerator<TensorMap> {
      yield { x: randomTensor(2, [4, 16, 8]) }
    }
    for (const options of [{}, { data }]) {
      const { model, record } = await decompose(b.model(), { rank: fixed(2), ...options }, runtime)
      expect(model.graph.initializers.get('w.first')?.dtype).toBe('float16')
      expect(record.layers[0]!.relativeError).toBeLessThan(1)
    }
  })

  test('bfloat16 factors are bfloat16; no engine is needed to plan and apply', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'bfloat16', ['N', 8])
    const w = fromNumbers(randomTensor(1, [8, 8]).data as Float32Array, [8, 8], 'bfloat16')
    b.output(b.op('MatMul', [x, b.constant(w, 'w')], {}, 'y'), 'bfloat16')
    const plan = await planLowRank(b.model(), { rank: fixed(2) }, { matrices })
    const { model } = await applyLowRank(b.model(), plan, { matrices })
    expect(model.graph.initializers.get('w.last')?.dtype).toBe('bfloat16')
  })
})

test('a Gemm whose bias is a column keeps it: the mean cannot go there', async () => {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [8, 16])
  const column = b.constant(randomTensor(2, [8, 1]), 'c')
  b.output(b.op('Gemm', [x, b.constant(randomTensor(1, [16, 8]), 'w'), column], {}, 'y'), 'float32')
  const data = async function* (): AsyncGenerator<TensorMap> {
    yield { x: randomTensor(3, [8, 16]) }
  }
  const { model, plan } = await decompose(b.model(), { rank: fixed(4), data }, runtime)
  expect(plan.steps[0]!.shiftsBias).toBeUndefined()
  expect(model.graph.nodes.at(-1)!.inputs[2]).toBe('c')
})

test('models of IR version 3 and operator set 9, with initializers among the inputs, are decomposed', async () => {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [2, 16])
  const w = b.constant(randomTensor(1, [16, 16]), 'w')
  b.input('w', 'float32', [16, 16])
  b.output(b.op('Gemm', [x, w, b.constant(randomTensor(2, [16]), 'c')], {}, 'y'), 'float32')
  b.input('c', 'float32', [16])
  const model = { ...b.model(9), irVersion: 3 }
  const { model: result } = await decompose(model, { rank: fixed(6) }, runtime)
  expect(result.graph.inputs.map((input) => input.name)).toEqual(['x'])
  expect(result.graph.nodes.map((node) => node.inputs.length)).toEqual([3, 3])
  expect(await outputError(model, result, { x: randomTensor(3, [2, 16]) })).toBeLessThan(1)
})
