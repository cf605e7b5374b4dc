import { describe, expect, it } from 'vitest'
import { evaluator } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { type Evaluator, GraphBuilder, type Model } from '../graph/index.ts'
import { benchmark } from './benchmark.ts'

/** A chain of products, long enough to be told from nothing. */
function chain(length: number): Model {
  const b = new GraphBuilder()
  let value = b.input('x', 'float32', ['n', 192])
  const weight = b.constant(randomTensor([192, 192], 1))
  for (let i = 0; i < length; i++) value = b.op('Tanh', [b.op('MatMul', [value, weight])])
  b.output(value, 'float32')
  return b.model()
}

describe('benchmark', () => {
  it('measures models in turns and relates them to the first', async () => {
    const [long, short] = await benchmark(
      evaluator,
      [
        { name: 'long', model: chain(20) },
        { name: 'short', model: chain(1) },
      ],
      { batch: 64, runs: 9, warmup: 1 },
    )
    expect([long!.name, long!.runs, long!.batch, long!.ratio]).toEqual(['long', 9, 64, 1])
    const { min, median, p90 } = long!.milliseconds
    expect(min <= median && median <= p90 && min > 0).toBe(true)
    expect(long!.samplesPerSecond).toBeCloseTo(64000 / median, 6)
    expect(short!.ratio).toBeLessThan(0.6)
    expect(short!.ratio).toBeCloseTo(short!.milliseconds.median / median, 6)
  })

  it('runs each model once per round, beginning with another one each time', async () => {
    const order: string[] = []
    const watching: Evaluator = {
      load: async (model) => ({
        inputNames: ['x'],
        outputNames: ['y'],
        run: async () => {
          order.push(model.producerName)
          return {}
        },
        release: async () => {},
      }),
    }
    const named = (name: string) => ({ name, model: { ...chain(1), producerName: name } })
    await benchmark(watching, [named('a'), named('b')], { runs: 2, warmup: 1 })
    expect(order.join('')).toBe('abbaab')
  })

  it('takes feeds, and refuses counts that measure nothing', async () => {
    const feeds = { x: randomTensor([5, 192], 1) }
    const [result] = await benchmark(evaluator, [{ name: 'a', model: chain(1), feeds }], { runs: 1, warmup: 0 })
    expect(result!.batch).toBe(5)
    await expect(benchmark(evaluator, [], { runs: 0 })).rejects.toThrow(
      'Option runs: must be a whole number of at least 1; got 0.',
    )
  })
})
