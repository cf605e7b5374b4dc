import { describe, expect, it } from 'vitest'
import { evaluator, outputError } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { observeShapes } from '../engine/index.ts'
import { GraphBuilder, type Model } from '../graph/index.ts'
import { Tensor, toFloat64 } from '../tensor/index.ts'
import { prepareNetwork, withWeights } from './prepare.ts'

const observe: Parameters<typeof prepareNetwork>[1] = (model, options) => observeShapes(evaluator, model, options)

/** MatMul by a Constant node's weight, then a Reshape to `rows`, and ReduceSum in the form of opset 11. */
function old(batch: number | string, rows: readonly number[]): Model {
  const b = new GraphBuilder('old')
  const x = b.input('x', 'float32', [batch, 4])
  const weight = b.op('Constant', [], { value: randomTensor([4, 6], 1) }, 'weight')
  const y = b.op('Reshape', [b.op('MatMul', [x, weight]), b.constant(Tensor.int64(rows))])
  b.op('ReduceSum', [y], { axes: [2], keepdims: 0 }, 'logits')
  b.output('logits', 'float32')
  return b.model(11)
}

describe('prepareNetwork', () => {
  it('lifts old models, makes constants initializers and gives inputs the batch', async () => {
    const { model, types } = await prepareNetwork(old('N', [-1, 3, 2]), observe, { batch: 5 })
    expect(model.opsets.get('')).toBe(18)
    expect(model.graph.initializers.has('weight')).toBe(true)
    expect(types.get('logits')).toEqual({ dtype: 'float32', shape: [5, 3] })
  })

  it('takes shapes of open axes from the samples', async () => {
    const b = new GraphBuilder()
    b.op('Relu', [b.input('x', 'float32', ['N', 3, 'H', 'W'])], {}, 'y')
    b.output('y', 'float32')
    const { types } = await prepareNetwork(b.model(), observe, { batch: 2, sampleShapes: [[3, 8, 9]] })
    expect(types.get('y')!.shape).toEqual([2, 3, 8, 9])
  })

  it('trains a fixed batch with another where nodes allow it, and says so where they do not', async () => {
    const { types } = await prepareNetwork(old(1, [-1, 3, 2]), observe, { batch: 4 })
    expect(types.get('logits')!.shape).toEqual([4, 3])
    await expect(prepareNetwork(old(1, [1, 3, 2]), observe, { batch: 4 })).rejects.toThrow(
      /^Model 'old': its batch is fixed at 1 and built into its nodes, so that it cannot be trained with batch 4 .* Train with batch 1, or export it with an open batch axis\.$/,
    )
  })
})

describe('withWeights', () => {
  it('puts weights where they were, in initializers and Constant nodes', async () => {
    const model = old('N', [-1, 3, 2])
    const weight = Tensor.of(
      Float32Array.from(toFloat64(randomTensor([4, 6], 1)), (value) => 2 * value),
      [4, 6],
    )
    const changed = withWeights(model, new Map([['weight', weight]]))
    expect(changed.graph.nodes.map((node) => node.opType)).toEqual(model.graph.nodes.map((node) => node.opType))
    const x = randomTensor([3, 4], 2)
    const twice = Tensor.of(
      Float32Array.from(toFloat64(x), (value) => 2 * value),
      [3, 4],
    )
    expect(await outputError(model, changed, { x })).toBeCloseTo(1, 5)
    const [a, b] = [await evaluator.load(model), await evaluator.load(changed)]
    const [wanted, found] = [(await a.run({ x: twice })).logits!, (await b.run({ x })).logits!]
    expect(Math.max(...toFloat64(wanted).map((value, i) => Math.abs(value - toFloat64(found)[i]!)))).toBeLessThan(1e-5)
    await a.release()
    await b.release()
  })
})
