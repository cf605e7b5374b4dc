import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { evaluator, outputError, runModel } from '../../../test/support/run-model.ts'
import { maybeShared } from '../../../test/support/shared.ts'
import { randomTensor, relativeError, relativeErrorOf } from '../../../test/support/tensors.ts'
import { createRandom } from '../../core/index.ts'
import { observeShapes, randomFeeds } from '../../engine/index.ts'
import { ensureUniqueNames, float, GraphBuilder, type Model, simplify } from '../../graph/index.ts'
import { decodeModel } from '../../onnx/index.ts'
import { fromNumbers, Tensor, toFloat64 } from '../../tensor/index.ts'
import { findSites } from '../sites.ts'
import { channelMaxima, scaledWeight } from './channel-view.ts'
import { type EqualizeOptions, equalize } from './equalize.ts'

const vector = (...values: number[]): Tensor => Tensor.of(Float32Array.from(values), [values.length])

async function equalized(model: Model, options: EqualizeOptions = {}) {
  return equalize(model, await observeShapes(evaluator, model), options)
}

/** Every weight rounded to 8 bits with one scale. */
function roundedPerTensor(model: Model): Model {
  const initializers = new Map(model.graph.initializers)
  for (const { weightName, weight } of findSites(model).sites) {
    const data = toFloat64(weight)
    const scale = data.reduce((max, x) => Math.max(max, Math.abs(x)), 0) / 127
    initializers.set(
      weightName,
      fromNumbers(
        data.map((x) => Math.round(x / scale) * scale),
        weight.shape,
        weight.dtype,
      ),
    )
  }
  return { ...model, graph: { ...model.graph, initializers } }
}

describe('equalize', () => {
  it('scales a pair of layers by √(r₁ / r₂), by hand', async () => {
    // 1×1 convolutions: rows of W₁ reach 8, 0.5 and 3, columns of W₂ 2, 2 and 3: s = 2, 0.5, 1.
    const b = new GraphBuilder()
    const first = b.constant(Tensor.of(Float32Array.of(8, 1, 0.5, -0.25, -3, 2), [3, 2, 1, 1]), 'w1')
    const second = b.constant(Tensor.of(Float32Array.of(2, -2, 3, 1, 0, 0), [2, 3, 1, 1]), 'w2')
    const h = b.op('Conv', [b.input('x', 'float32', [1, 2, 3, 3]), first, b.constant(vector(4, 1, -1), 'b1')])
    b.op('Conv', [b.op('Relu', [h]), second, b.constant(vector(5, 6), 'b2')], {}, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const { model, record } = await equalized(original)
    expect(record.pairs).toHaveLength(1)
    expect(relativeErrorOf([2, 0.5, 1], record.pairs[0]!.scales)).toBeLessThanOrEqual(1e-15)
    expect(record.converged).toBe(true)
    const read = (name: string): number[] => [...toFloat64(model.graph.initializers.get(name)!)]
    expect(read('w1')).toEqual([4, 0.5, 1, -0.5, -3, 2])
    expect(read('b1')).toEqual([2, 2, -1])
    expect(read('w2')).toEqual([4, -1, 3, 2, 0, 0])
    expect(read('b2')).toEqual([5, 6])
    expect(await outputError(original, model, { x: randomTensor([1, 2, 3, 3], 1) })).toBeLessThanOrEqual(1e-6)
  })

  it('scales a depthwise layer together with its neighbours, by hand', async () => {
    // r₁ = 8, 1; r₂ = 1, 27; r₃ = 1, 1: means 2 and 3; S₁₂ = 8 / 2, 1 / 3 and S₂₃ = 2 / 1, 3 / 1.
    const b = new GraphBuilder()
    const w1 = b.constant(Tensor.of(Float32Array.of(8, 1), [2, 1, 1, 1]))
    const w2 = b.constant(Tensor.of(Float32Array.of(1, 27), [2, 1, 1, 1]))
    const w3 = b.constant(Tensor.of(Float32Array.of(1, -1), [1, 2, 1, 1]))
    const a = b.op('Relu', [b.op('Conv', [b.input('x', 'float32', [1, 1, 3, 3]), w1])])
    b.op('Conv', [b.op('Relu', [b.op('Conv', [a, w2], { group: 2 })]), w3], {}, 'y')
    b.output('y', 'float32')
    const { record } = await equalized(b.model(), { iterations: 1 })
    for (const [pair, expected] of [
      [4, 1 / 3],
      [2, 3],
    ].entries())
      for (const [i, scale] of record.pairs[pair]!.scales.entries()) expect(scale).toBeCloseTo(expected[i]!, 12)
  })

  const paths: [string, (b: GraphBuilder, value: string) => string][] = [
    ['Relu', (b, x) => b.op('Relu', [x])],
    ['LeakyRelu', (b, x) => b.op('LeakyRelu', [x], { alpha: float(0.2) })],
    ['PRelu', (b, x) => b.op('PRelu', [x, b.constant(randomTensor([4, 1, 1], 8))])],
    ['Clip without an upper bound', (b, x) => b.op('Clip', [x, b.constant(Tensor.of(Float32Array.of(0), []))])],
    [
      'MaxPool and AveragePool',
      (b, x) => b.op('AveragePool', [b.op('MaxPool', [x], { kernel_shape: [2, 2] })], { kernel_shape: [2, 2] }),
    ],
    ['a Pad with zeros', (b, x) => b.op('Pad', [x, b.constant(Tensor.int64([0, 0, 1, 1, 0, 0, 1, 1]))])],
    [
      'a Resize',
      (b, x) => b.op('Resize', [x, '', b.constant(Tensor.of(Float32Array.of(1, 1, 2, 2), [4]))], { mode: 'linear' }),
    ],
  ]
  it.each(paths)('passes %s', async (_, between) => {
    const b = new GraphBuilder()
    const w1 = b.constant(randomTensor([4, 3, 3, 3], 1))
    const x = b.op('Conv', [b.input('x', 'float32', [2, 3, 8, 8]), w1, b.constant(randomTensor([4], 2))])
    b.op('Conv', [between(b, x), b.constant(randomTensor([2, 4, 3, 3], 3))], {}, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const { model, record } = await equalized(original)
    expect(record.pairs).toHaveLength(1)
    expect(await outputError(original, model, { x: randomTensor([2, 3, 8, 8], 4) })).toBeLessThanOrEqual(2e-6)
    const [first, second] = findSites(model).sites
    const [r1, r2] = [channelMaxima(first!, 'output'), channelMaxima(second!, 'input')]
    for (const [i, range] of r1.entries()) expect(range / r2[i]!).toBeCloseTo(1, 3)
  })

  it('passes from convolutions through flattening to Gemm, and through biases after MatMul', async () => {
    const b = new GraphBuilder()
    const w1 = b.constant(randomTensor([4, 3, 3, 3], 1))
    const x = b.op('Relu', [b.op('Conv', [b.input('x', 'float32', [2, 3, 6, 6]), w1])])
    const bias = b.constant(randomTensor([1, 6], 7))
    const g = b.op('Gemm', [b.op('Flatten', [x]), b.constant(randomTensor([64, 6], 2)), bias], { beta: float(0.5) })
    const m = b.op('MatMul', [b.op('Relu', [g]), b.constant(randomTensor([6, 5], 3))])
    const sum = b.op('Relu', [b.op('Add', [b.constant(randomTensor([5], 4)), m])])
    b.op('Gemm', [sum, b.constant(randomTensor([3, 5], 5))], { transB: 1 }, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const { model, record } = await equalized(original)
    expect(record.pairs.map(({ scales }) => scales.length)).toEqual([4, 6, 5])
    expect(record.skips.map(({ reason }) => reason)).toEqual(['Its output is an output of the network.'])
    expect(await outputError(original, model, { x: randomTensor([2, 3, 6, 6], 9) })).toBeLessThanOrEqual(2e-6)
  })

  it('passes grouped and transposed convolutions', async () => {
    const b = new GraphBuilder()
    const grouped = b.constant(randomTensor([6, 2, 3, 3], 1))
    const x = b.op('Relu', [b.op('Conv', [b.input('x', 'float32', [1, 4, 6, 6]), grouped], { group: 2 })])
    const t = b.op('ConvTranspose', [x, b.constant(randomTensor([6, 4, 2, 2], 2)), b.constant(randomTensor([8], 3))], {
      group: 2,
    })
    b.op('Conv', [b.op('Relu', [t]), b.constant(randomTensor([4, 4, 1, 1], 4))], { group: 2 }, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const { model, record } = await equalized(original)
    expect(record.pairs).toHaveLength(2)
    expect(await outputError(original, model, { x: randomTensor([1, 4, 6, 6], 9) })).toBeLessThanOrEqual(2e-6)
  })

  it('leaves residual branches, shared weights and operators that mix channels, with reasons', async () => {
    const b = new GraphBuilder()
    const shared = b.constant(randomTensor([3, 3, 1, 1], 1), 'shared')
    const x = b.op('Conv', [b.input('x', 'float32', [1, 3, 4, 4]), b.constant(randomTensor([3, 3, 1, 1], 2))])
    const y = b.op('Sigmoid', [b.op('Conv', [x, b.constant(randomTensor([3, 3, 1, 1], 3))])])
    const z = b.op('Conv', [b.op('Add', [x, y]), shared])
    b.op('Conv', [z, shared], {}, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const { model, record } = await equalized(original)
    expect(record.pairs).toEqual([])
    expect(record.skips.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^Its output goes to 2 nodes: 'node_Conv_\d+', 'node_Add_\d+'\.$/),
      expect.stringMatching(/^Sigmoid '.*' follows, through which factors per channel do not pass\.$/),
      'It shares its weight with other layers.',
      'It shares its weight with other layers.',
    ])
    expect(model.graph.initializers).toEqual(original.graph.initializers)
  })

  it('makes Clip 0 … 6 a Relu where asked, or where data show that it never cuts', async () => {
    const b = new GraphBuilder()
    const x = b.op('Conv', [b.input('x', 'float32', [1, 3, 4, 4]), b.constant(randomTensor([3, 3, 1, 1], 2))], {}, 'h')
    const bounds = [0, 6].map((bound) => b.constant(Tensor.of(Float32Array.of(bound), [])))
    b.op('Conv', [b.op('Clip', [x, ...bounds]), b.constant(randomTensor([2, 3, 1, 1], 3))], {}, 'y')
    b.output('y', 'float32')
    const original = b.model()
    const kept = await equalized(original)
    expect(kept.record.skips[1]!.reason).toMatch(/^Clip '.*' cuts at 6\. relu6 'replace' makes it Relu\.$/)
    const reached = await equalized(original, { ranges: new Map([['h', { min: -1, max: 6.5 }]]) })
    expect(reached.record.skips[1]!.reason).toContain('which data reach (6.5)')
    for (const options of [{ relu6: 'replace' } as const, { ranges: new Map([['h', { min: -1, max: 5.9 }]]) }]) {
      const { model, record } = await equalized(original, options)
      expect(record.replacedClips).toHaveLength(1)
      expect(model.graph.nodes.map(({ opType }) => opType)).toEqual(['Conv', 'Relu', 'Conv'])
      const feeds = { x: randomTensor([1, 3, 4, 4], 5) }
      expect(
        Math.max(
          ...toFloat64(
            (
              await runModel(
                { ...original, graph: { ...original.graph, outputs: [{ name: 'h', type: undefined }] } },
                feeds,
              )
            ).h!,
          ),
        ),
      ).toBeLessThan(6)
      expect(await outputError(original, model, feeds)).toBeLessThanOrEqual(1e-6)
    }
  })

  it('leaves channels without weights, bounds factors, and refuses NaN', async () => {
    const pair = (first: number[]): Model => {
      const b = new GraphBuilder()
      const h = b.op('Conv', [
        b.input('x', 'float32', [1, 1, 2, 2]),
        b.constant(Tensor.of(Float32Array.from(first), [3, 1, 1, 1])),
      ])
      b.op('Conv', [b.op('Relu', [h]), b.constant(Tensor.of(Float32Array.of(1, 1, 1), [1, 3, 1, 1]))], {}, 'y')
      b.output('y', 'float32')
      return b.model()
    }
    const { record } = await equalized(pair([0, 1e-12, 4]))
    expect(relativeErrorOf([1, 1 / 4096, 2], record.pairs[0]!.scales)).toBeLessThanOrEqual(1e-15)
    await expect(equalized(pair([1, Number.NaN, 1]))).rejects.toThrow('it holds NaN or infinity')
  })

  it.each(['ultraface_rfb_320', 'cifar10_allconv_base'])(
    'brings %s back from channels scaled by powers of two, which ruin rounding per tensor',
    async (name) => {
      const path = maybeShared('models', 'onnx', `${name}.onnx`)
      if (!path) return
      const file = decodeModel(readFileSync(path))
      ensureUniqueNames(file)
      const original = (await simplify(file, { evaluator })).model
      const shapes = await observeShapes(evaluator, original)
      const feeds = randomFeeds(original, { seed: 1 })
      const plain = equalize(original, shapes)
      expect(plain.record.pairs.length).toBeGreaterThanOrEqual(7)
      expect(await outputError(original, plain.model, feeds)).toBeLessThanOrEqual(2e-5)

      // The pairs are the record's; scaling weights by powers of two is done here and changes no bit of the outputs.
      const initializers = new Map(original.graph.initializers)
      const random = createRandom(4)
      const factors = new Map<string, { output?: Float64Array; input?: Float64Array }>()
      const sites = new Map(findSites(original, shapes).sites.map((site) => [site.name, site]))
      for (const { first, second, scales } of plain.record.pairs) {
        const powers = Float64Array.from(scales, () => 2 ** (random.integer(13) - 6))
        factors.set(first, { ...factors.get(first), output: powers })
        const repeat = sites.get(second)!.inputs / powers.length
        const input = Float64Array.from(
          { length: sites.get(second)!.inputs },
          (_, i) => 1 / powers[Math.floor(i / repeat)]!,
        )
        factors.set(second, { ...factors.get(second), input })
        const bias = sites.get(first)!.bias
        if (bias)
          initializers.set(
            sites.get(first)!.biasName!,
            fromNumbers(
              toFloat64(bias).map((x, i) => x * powers[i]!),
              bias.shape,
              'float32',
            ),
          )
      }
      for (const [layer, factor] of factors) {
        const { weightName, weight } = sites.get(layer)!
        initializers.set(weightName, fromNumbers(scaledWeight(sites.get(layer)!, factor), weight.shape, 'float32'))
      }
      const ruined: Model = { ...original, graph: { ...original.graph, initializers } }
      const reference = await runModel(original, feeds)
      const worst = async (model: Model): Promise<number> => {
        const outputs = await runModel(model, feeds)
        return Math.max(...Object.entries(reference).map(([key, value]) => relativeError(value, outputs[key]!)))
      }
      const saved = equalize(ruined, shapes).model
      const [naive, before, after] = [roundedPerTensor(original), roundedPerTensor(ruined), roundedPerTensor(saved)]
      expect(await worst(ruined)).toBeLessThanOrEqual(1e-5)
      const errors = { naive: await worst(naive), before: await worst(before), after: await worst(after) }
      expect(errors.before).toBeGreaterThan(4 * errors.after)
      expect(errors.after).toBeLessThan(1.5 * errors.naive)
    },
  )
})
