import { describe, expect, it } from 'vitest'
import { evaluator, outputError } from '../../test/support/run-model.ts'
import { randomTensor } from '../../test/support/tensors.ts'
import { GraphBuilder, type Model } from '../graph/index.ts'
import { prepareModel } from './prepare.ts'

/** y = Relu(middle), middle = x + w, in the wrong order */
function unsorted(): Model {
  const b = new GraphBuilder()
  const x = b.input('x', 'float32', [2])
  b.op('Relu', ['middle'], {}, 'y')
  b.op('Add', [x, b.op('Constant', [], { value: randomTensor([2], 1) })], {}, 'middle')
  b.output('y', 'float32')
  return b.model()
}

describe('prepareModel', () => {
  it('sorts nodes, makes constants initializers and keeps the function', async () => {
    const model = unsorted()
    const prepared = await prepareModel(model, { evaluator })
    expect(prepared.graph.nodes.map((node) => node.opType)).toEqual(['Add', 'Relu'])
    expect(model.graph.nodes.map((node) => node.opType)).toEqual(['Relu', 'Constant', 'Add'])
    expect(await outputError(model, prepared, { x: randomTensor([2], 2) })).toBe(0)
  })

  it('refuses what is no network, with the reason', async () => {
    const cyclic = unsorted()
    cyclic.graph.nodes[2]!.inputs[0] = 'y'
    await expect(prepareModel(cyclic, { evaluator })).rejects.toThrow(
      /: the graph must have no cycles; this node needs/,
    )
    const incomplete = unsorted()
    incomplete.graph.nodes[0]!.inputs[0] = 'nowhere'
    await expect(prepareModel(incomplete, { evaluator })).rejects.toThrow(
      "Relu 'node_Relu_0': its input 'nowhere' must be a graph input, an initializer or another node's output; nothing defines it.",
    )
  })
})
