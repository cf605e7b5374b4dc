import { describe, expect, it } from 'vitest'
import { outputError, runModel } from '../../../test/support/run-model.ts'
import { randomTensor } from '../../../test/support/tensors.ts'
import { float, foldBatchNorm, GraphBuilder, type Model } from '../../graph/index.ts'
import { Tensor, toFloat64 } from '../../tensor/index.ts'
import { absorbBiases, batchNormStatistics, scaleStatistics } from './absorb.ts'
import { equalize } from './equalize.ts'

const of = (...values: number[]): Float64Array => Float64Array.from(values)

/** Conv → Relu → Conv, the second one with the given padding. */
function pair(pad = 0): Model {
  const b = new GraphBuilder()
  const w1 = b.constant(Tensor.of(Float32Array.of(1, -1, 0.5), [3, 1, 1, 1]), 'w1')
  const h = b.op('Conv', [
    b.input('x', 'float32', [1, 1, 4, 4]),
    w1,
    b.constant(Tensor.of(Float32Array.of(10, 9, 0), [3]), 'b1'),
  ])
  const w2 = b.constant(
    Tensor.of(
      Float32Array.from({ length: 54 }, (_, i) => (i % 7) - 3),
      [2, 3, 3, 3],
    ),
    'w2',
  )
  b.op('Conv', [b.op('Relu', [h]), w2], { pads: [pad, pad, pad, pad] }, 'y')
  b.output('y', 'float32')
  return b.model()
}

const feeds = {
  x: Tensor.of(
    Float32Array.from({ length: 16 }, (_, i) => Math.sin(i)),
    [1, 1, 4, 4],
  ),
}

describe('absorbBiases', () => {
  it('moves c = max(0, β − 3 |γ|) through Relu, by hand', async () => {
    const original = pair()
    const [first] = original.graph.nodes
    const statistics = new Map([[first!.name, { mean: of(10, 9, 0), deviation: of(1, -2, 1) }]])
    const { model, record } = absorbBiases(original, statistics)
    expect(record.pairs).toMatchObject([{ first: first!.name, shifts: [7, 3, 0] }])
    expect([...toFloat64(model.graph.initializers.get('b1')!)]).toEqual([3, 6, 0])
    // Sums of the kernels of each filter, channel by channel.
    const sums = Array.from({ length: 6 }, (_, block) =>
      Array.from({ length: 9 }, (_, tap) => ((9 * block + tap) % 7) - 3).reduce((a, b) => a + b),
    )
    const [, second] = model.graph.nodes.filter(({ opType }) => opType === 'Conv')
    const bias = model.graph.initializers.get(second!.inputs[2]!)!
    expect([...toFloat64(bias)]).toEqual([7 * sums[0]! + 3 * sums[1]!, 7 * sums[3]! + 3 * sums[4]!])
    // The inputs stay within three deviations, so that nothing is cut off.
    expect(await outputError(original, model, feeds)).toBeLessThanOrEqual(1e-6)
  })

  it('absorbs no more than the least value seen', () => {
    const original = pair()
    const known = { mean: of(10, 9, 0), deviation: of(1, 1, 1), least: of(2, 8.5, -1) }
    const { record } = absorbBiases(original, new Map([[original.graph.nodes[0]!.name, known]]))
    expect(record.pairs[0]!.shifts).toEqual([2, 6, 0])
  })

  it('leaves layers that pad with zeros unless asked, because their border would differ', async () => {
    const original = pair(1)
    const statistics = new Map([[original.graph.nodes[0]!.name, { mean: of(10, 9, 0), deviation: of(1, 1, 1) }]])
    const left = absorbBiases(original, statistics)
    expect(left.record.skips[0]!.reason).toMatch(/pads with zeros, which would miss what is absorbed\.$/)
    expect(await outputError(original, left.model, feeds)).toBe(0)
    const taken = absorbBiases(original, statistics, new Map(), { padded: true })
    expect(await outputError(original, taken.model, feeds)).toBeGreaterThan(0.1)
  })

  it('takes statistics from batch normalisation and scales them with the layers', async () => {
    const b = new GraphBuilder()
    const parameters = [
      [2, -1],
      [30, 4],
      [1, 2],
      [4, 9],
    ].map((values) => b.constant(Tensor.of(Float32Array.from(values), [2])))
    const x = b.op('Conv', [b.input('x', 'float32', [1, 2, 4, 4]), b.constant(randomTensor([2, 2, 1, 1], 1))])
    const n = b.op('BatchNormalization', [x, ...parameters], { epsilon: float(0) })
    b.op(
      'Conv',
      [b.op('Relu', [n]), b.constant(randomTensor([3, 2, 1, 1], 2)), b.constant(randomTensor([3], 3))],
      {},
      'y',
    )
    b.output('y', 'float32')
    const original = b.model()
    const statistics = batchNormStatistics(original)
    const [first] = original.graph.nodes
    expect(statistics.get(first!.name)).toEqual({ mean: Float64Array.of(30, 4), deviation: Float64Array.of(2, 1) })
    const folded = (await foldBatchNorm.run(original, {})).model
    const equal = equalize(folded)
    const [scale0, scale1] = equal.record.pairs[0]!.scales as [number, number]
    const scaled = scaleStatistics(statistics, equal.record)
    const { model, record } = absorbBiases(equal.model, scaled)
    expect(record.pairs[0]!.shifts[0]).toBeCloseTo(24 / scale0, 10)
    expect(record.pairs[0]!.shifts[1]).toBeCloseTo(1 / scale1, 10)
    // Activations become smaller; what leaves the network stays.
    const small = { x: randomTensor([1, 2, 4, 4], 5) }
    expect(await outputError(original, model, small)).toBeLessThanOrEqual(2e-6)
    const inner = model.graph.nodes.find(({ opType }) => opType === 'Relu')!.outputs[0]!
    const largest = async (subject: Model): Promise<number> => {
      const outputs = [{ name: inner, type: undefined }]
      const values = await runModel({ ...subject, graph: { ...subject.graph, outputs } }, small)
      return toFloat64(values[inner]!).reduce((a, c) => Math.max(a, c), 0)
    }
    expect(await largest(model)).toBeLessThan(0.5 * (await largest(equal.model)))
  })
})
