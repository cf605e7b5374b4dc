import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { lendStatisticsMemory } from '../compress/index.ts'
import { GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor, toFloat32 } from '../tensor/index.ts'
import { createEvaluator } from './evaluator.ts'
import { observeShapes } from './observe.ts'
import { ResultBuffers } from './result-buffers.ts'

const writing = createEvaluator(ort, { threads: 1, writesInto: true })
const plain = createEvaluator(ort, { threads: 1 })

/** y = x + 1 and z = the elements of x above 0, of which nobody knows how many there are. */
function network(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', ['N', 3])
  const scalar = (value: number): string => b.constant(Tensor.of(Float32Array.of(value), []))
  b.op('Add', [x, scalar(1)], {}, 'y')
  b.op('Compress', [b.op('Reshape', [x, b.constant(Tensor.int64([-1]))]), isPositive(b, x, scalar(0))], {}, 'z')
  for (const name of ['y', 'z']) b.output(name, 'float32')
  return b.model()
}

function isPositive(b: GraphBuilder, x: string, zero: string): string {
  return b.op('Greater', [b.op('Reshape', [x, b.constant(Tensor.int64([-1]))]), zero])
}

const rows = (...values: number[]): { x: Tensor } => ({
  x: Tensor.of(Float32Array.from(values), [values.length / 3, 3]),
})

async function setUp(whole: string[], evaluator = writing) {
  const model = network()
  const executable = await evaluator.load(model)
  const observed = await observeShapes(evaluator, model, { feeds: rows(1, 1, 1) })
  const lent: Float32Array[] = []
  let released = 0
  const borrow = (numbers: number) => {
    lent.push(new Float32Array(numbers))
    return { data: lent.at(-1)!, release: () => void released++ }
  }
  const buffers = new ResultBuffers(borrow, [whole], observed)
  const run = async (feeds: { x: Tensor }) => {
    const results = await buffers.run(executable, feeds, whole)
    return Object.fromEntries(whole.map((name) => [name, results[name]!]))
  }
  return { run, lent, buffers, released: () => released }
}

describe('ResultBuffers', () => {
  it('has results of every run written to the same memory, of batches up to the size of the first', async () => {
    const { run, lent, buffers, released } = await setUp(['y'])
    const first = (await run(rows(1, 2, 3, 4, 5, 6))).y!
    expect([...toFloat32(first)]).toEqual([2, 3, 4, 5, 6, 7])
    const second = (await run(rows(7, 8, 9))).y!
    expect([second.shape, [...toFloat32(second)]]).toEqual([
      [1, 3],
      [8, 9, 10],
    ])
    expect([first.data.buffer, second.data.buffer]).toEqual([lent[0]!.buffer, lent[0]!.buffer])
    const larger = (await run(rows(...Array.from({ length: 300 }, (_, i) => i)))).y!
    expect(toFloat32(larger)[299]).toBe(300)
    expect(larger.data.buffer).not.toBe(lent[0]!.buffer)
    buffers.release()
    expect([lent.length, released()]).toEqual([1, 1])
  })

  it('goes on without where a shape is another than expected', async () => {
    const { run, lent } = await setUp(['y', 'z'])
    for (const feeds of [rows(1, -2, 3, -4, -5, -6), rows(1, 2, 3, 4, 5, 6)]) {
      const { y, z } = await run(feeds)
      const values = [...toFloat32(feeds.x)]
      expect([...toFloat32(y!)]).toEqual(values.map((value) => value + 1))
      expect([...toFloat32(z!)]).toEqual(values.filter((value) => value > 0))
    }
    expect(lent.length).toBeLessThanOrEqual(1)
  })

  it('gives memory back that the runtime does not use', async () => {
    const { run, released } = await setUp(['y'], plain)
    expect([...toFloat32((await run(rows(1, 2, 3))).y!)]).toEqual([2, 3, 4])
    expect(released()).toBe(1)
    expect([...toFloat32((await run(rows(4, 5, 6))).y!)]).toEqual([5, 6, 7])
  })
})

describe('lendStatisticsMemory', () => {
  it('lends to one at a time', () => {
    const lent = lendStatisticsMemory(1000)!
    expect(lent.data.length).toBe(1000)
    expect(lendStatisticsMemory(10)).toBeUndefined()
    lent.release()
    const again = lendStatisticsMemory(10)!
    expect(again.data.length).toBe(10)
    again.release()
  })

  it('refuses what no memory holds', () => {
    expect(lendStatisticsMemory(2 ** 31)).toBeUndefined()
  })
})
