import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { type StatisticNeeds, TensorStatistics } from '../compress/index.ts'
import { createRandom } from '../core/index.ts'
import { GraphBuilder, type Model, type TensorMap } from '../graph/index.ts'
import { type DType, fromNumbers, Tensor, toFloat32 } from '../tensor/index.ts'
import { createEvaluator } from './evaluator.ts'
import { observeShapes } from './observe.ts'
import { withOutputs } from './outputs.ts'
import { collectStatistics, type StatisticsOptions } from './statistics.ts'

const evaluator = createEvaluator(ort, { threads: 2 })

/** x [N, 2, 6, 6] → Conv → h → Relu → r → GlobalAveragePool → y; n = Shape(h). */
function network(dtype: DType = 'float32'): Model {
  const { normal } = createRandom(1)
  const b = new GraphBuilder()
  const x = b.input('x', dtype, ['N', 2, 6, 6])
  const weight = fromNumbers(Float64Array.from({ length: 54 }, normal), [3, 2, 3, 3], dtype)
  b.op('Conv', [x, b.constant(weight)], { kernel_shape: [3, 3] }, 'h')
  b.op('Relu', ['h'], {}, 'r')
  b.op('Shape', ['h'], {}, 'n')
  b.output(b.op('GlobalAveragePool', ['r'], {}, 'y'), dtype)
  return b.model()
}

function batches(count: number, dtype: DType = 'float32', rows = 4): TensorMap[] {
  const { normal } = createRandom(2)
  return Array.from({ length: count }, () => ({
    x: fromNumbers(Float64Array.from({ length: rows * 72 }, normal), [rows, 2, 6, 6], dtype),
  }))
}

const stream = (feeds: readonly TensorMap[]) =>
  async function* () {
    yield* feeds
  }

async function collect(
  model: Model,
  feeds: readonly TensorMap[],
  needs: Readonly<Record<string, StatisticNeeds>>,
  options: StatisticsOptions = {},
): Promise<ReadonlyMap<string, TensorStatistics>> {
  const requests = Object.entries(needs).map(([tensor, need]) => ({ tensor, statistics: new TensorStatistics(need) }))
  return collectStatistics(evaluator, model, requests, stream(feeds), options)
}

/** All elements of a value, from a model that returns it. */
async function elements(model: Model, feeds: readonly TensorMap[], name: string): Promise<Float32Array> {
  const executable = await evaluator.load(withOutputs(model, [name]))
  const parts: number[] = []
  for (const feed of feeds) parts.push(...toFloat32((await executable.run(feed))[name] ?? feed[name]!))
  await executable.release()
  return Float32Array.from(parts)
}

const FULL: StatisticNeeds = { histogram: true, extremes: true }

describe('collectStatistics', () => {
  it.each(['float32', 'float16'] as const)('is what all elements of all batches give, for %s', async (dtype) => {
    const model = network(dtype)
    const feeds = batches(5, dtype)
    const found = await collect(model, feeds, { x: {}, h: FULL, r: {}, y: FULL })
    for (const name of ['h', 'r', 'y']) {
      const all = (await elements(model, feeds, name)).sort()
      const { count, min, max } = found.get(name)!
      expect(count).toBe(all.length)
      // Reductions see float16 values before they are rounded.
      const tolerance = dtype === 'float16' ? 2 ** -11 : 0
      expect(Math.abs(min - all[0]!)).toBeLessThanOrEqual(tolerance * Math.abs(min))
      expect(Math.abs(max - all.at(-1)!)).toBeLessThanOrEqual(tolerance * max)
    }
    expect(found.get('x')!.count).toBe(5 * 4 * 72)
    const h = await elements(model, feeds, 'h')
    expect(
      found
        .get('h')!
        .histogram!.side(true)
        .reduce((a, b) => a + b),
    ).toBe(h.filter((x) => x < 0).length)
    expect(found.get('h')!.extremes!.largest()).toEqual(h.sort().reverse().slice(0, 512))
  })

  it('gives the same however many bytes a run may bring', async () => {
    const feeds = batches(3)
    const needs = { h: FULL, r: FULL, y: {} }
    const [one, many] = [
      await collect(network(), feeds, needs),
      await collect(network(), feeds, needs, { runBytes: 1 }),
    ]
    for (const [name, statistics] of one) expect(many.get(name)!.toJson()).toEqual(statistics.toJson())
  })

  it('takes a bound for the least element where it is told one', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['N', 2, 6, 6])
    b.output(b.op('Relu', [b.op('Abs', [x], {}, 'a')], {}, 'r'), 'float32')
    const feeds = batches(2).map(({ x: values }) => ({
      x: Tensor.of(
        toFloat32(values!).map((value) => Math.abs(value) + 1),
        values!.shape,
      ),
    }))
    const requests = [0, undefined].map((atLeast, i) => ({
      tensor: 'ar'[i]!,
      statistics: new TensorStatistics(),
      atLeast,
    }))
    const found = await collectStatistics(evaluator, b.model(), requests, stream(feeds))
    const [a, r] = ['a', 'r'].map((name) => found.get(name)!)
    expect([a!.min, a!.max, a!.count]).toEqual([0, r!.max, r!.count])
    expect([r!.min >= 1, r!.count]).toEqual([true, 2 * 4 * 72])
  })

  it('names the first tensor that NaN is in, though later ones show it', async () => {
    const feeds = batches(2)
    const broken = toFloat32(feeds[1]!.x!).slice()
    broken[100] = Number.NaN
    const bad = [feeds[0]!, { x: Tensor.of(broken, [4, 2, 6, 6]) }]
    await expect(collect(network(), bad, { h: {}, r: {}, y: {} })).rejects.toThrow("Tensor 'h', batch 2:")
    await expect(collect(network(), bad, { r: {}, y: {} })).rejects.toThrow("Tensor 'r', batch 2:")
  })

  it('counts elements of pictures whose size differs from batch to batch', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['N', 2, 'H', 'W'])
    b.output(b.op('Relu', [x], {}, 'r'), 'float32')
    const pictures = (edge: number) => ({
      x: Tensor.of(new Float32Array(2 * 2 * edge * edge).fill(edge), [2, 2, edge, edge]),
    })
    const { count, max } = (await collect(b.model(), [pictures(4), pictures(9)], { r: {} })).get('r')!
    expect([count, max]).toEqual([4 * 16 + 4 * 81, 9])
  })

  it('takes shapes that are known, of another batch too', async () => {
    const feeds = batches(2)
    const shapes = await observeShapes(evaluator, network())
    const needs = { h: FULL, r: FULL, y: {}, n: FULL }
    const [given, seen] = [
      await collect(network(), feeds, needs, { shapes, runBytes: 4000 }),
      await collect(network(), feeds, needs),
    ]
    expect([...given.keys()]).toEqual(['h', 'r', 'y'])
    for (const [name, statistics] of seen) expect(given.get(name)!.toJson()).toEqual(statistics.toJson())
  })

  it('continues statistics where they stopped, running only new batches', async () => {
    const feeds = batches(5)
    const whole = await collect(network(), feeds, { h: FULL, r: {} })
    const first = await collect(network(), feeds.slice(0, 2), { h: FULL, r: {} })
    const requests = [...first].map(([tensor, statistics]) => ({ tensor, statistics }))
    const seen: number[] = []
    await collectStatistics(evaluator, network(), requests, stream(feeds), {
      skipBatches: 2,
      afterBatch: (done) => void seen.push(done),
    })
    expect(seen).toEqual([3, 4, 5])
    for (const [name, statistics] of whole) expect(first.get(name)!.toJson()).toEqual(statistics.toJson())
  })

  it('leaves tensors of integers out', async () => {
    const found = await collect(network(), batches(1), { n: FULL, h: {} })
    expect([...found.keys()]).toEqual(['h'])
  })

  it.each([
    ['reduced in the graph', {}],
    ['fetched', FULL],
  ])('names tensor and batch of a number that is not finite, %s', async (_, needs) => {
    const feeds = batches(3)
    const broken = toFloat32(feeds[1]!.x!).slice()
    broken[77] = Number.NaN
    const bad = [feeds[0]!, { x: Tensor.of(broken, [4, 2, 6, 6]) }, feeds[2]!]
    await expect(collect(network(), bad, { h: needs })).rejects.toThrow(
      "Tensor 'h', batch 2: activations must be finite for calibration; found NaN. Look at the data, or leave the layers around it out.",
    )
    broken[77] = Number.POSITIVE_INFINITY
    await expect(collect(network(), bad, { h: needs })).rejects.toMatchObject({
      code: 'NOT_FINITE',
      details: { tensor: 'h', batch: 2 },
    })
  })

  it('takes empty tensors for what they are', async () => {
    const b = new GraphBuilder()
    const x = b.input('x', 'float32', ['N'])
    b.output(
      b.op(
        'Relu',
        [b.op('Compress', [x, b.op('Greater', [x, b.constant(Tensor.of(Float32Array.of(1), []))])], {}, 'c')],
        {},
        'y',
      ),
      'float32',
    )
    const feeds = [
      [0, 1],
      [2, 5, 0],
      [0, 0],
    ].map((list) => ({ x: Tensor.of(Float32Array.from(list), [list.length]) }))
    for (const needs of [{}, FULL]) {
      const { count, batches: added, min, max } = (await collect(b.model(), feeds, { y: needs })).get('y')!
      expect({ count, added, min, max }).toEqual({ count: 2, added: 3, min: 2, max: 5 })
    }
  })

  it('refuses no data, unknown tensors and a tensor asked for twice; stops when told', async () => {
    await expect(collect(network(), [], { h: {} })).rejects.toThrow(
      'Calibration: need at least one batch of data; got none.',
    )
    await expect(collect(network(), batches(1), { q: {} })).rejects.toThrow(
      "Statistics: 'q' is not a tensor of the main graph that can be read.",
    )
    const twice = ['h', 'h'].map((tensor) => ({ tensor, statistics: new TensorStatistics() }))
    await expect(collectStatistics(evaluator, network(), twice, stream(batches(1)))).rejects.toThrow(
      "Statistics: each tensor may be requested once; 'h' is twice.",
    )
    const stop = new AbortController()
    const run = collect(network(), batches(3), { h: {} }, { signal: stop.signal, onProgress: () => stop.abort() })
    await expect(run).rejects.toMatchObject({ code: 'ABORTED' })
  })
})
