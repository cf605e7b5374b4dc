/**
 * Leaving the rounding of activations out at random while a block is learned.
 *
 * Source: X. Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization", ICLR
 * 2022: roundings that were learned so serve other data than the samples better.
 */
import type { Typed } from '../../autodiff/index.ts'
import { createNode, float, GraphIndex, type Model, NameGenerator, replaceUses } from '../../graph/index.ts'
import { Tensor } from '../../tensor/index.ts'

/**
 * Puts the numbers before QuantizeLinear in the place of those behind DequantizeLinear, anew for each element and run.
 *
 * @param model changed in place; opset 18.
 * @param types of its values; those of new values are added.
 * @param share of elements that stay unrounded, 0 … 1.
 * @returns how many activations are treated so.
 */
export function dropRoundings(model: Model, types: Map<string, Typed>, share: number, seed: number): number {
  const { graph } = model
  const index = new GraphIndex(graph)
  const names = new NameGenerator(graph)
  const limit = names.fresh('drop/share')
  const replaced = new Map<string, string>()
  const nodes = graph.nodes.flatMap((node) => {
    const quantizing = node.opType === 'DequantizeLinear' ? index.producer(node.inputs[0]!) : undefined
    const [x, y] = [quantizing?.opType === 'QuantizeLinear' ? quantizing.inputs[0]! : '', node.outputs[0]!]
    const type = types.get(y)
    if (x === '' || graph.initializers.has(x) || type?.dtype !== 'float32' || types.get(x)?.dtype !== 'float32')
      return [node]
    const named = (role: string): string => names.fresh(`drop/${y}/${role}`)
    const [random, mask, mixed] = [named('random'), named('mask'), named('mixed')]
    replaced.set(y, mixed)
    types.set(random, type)
    types.set(mask, { dtype: 'bool', shape: type.shape })
    types.set(mixed, type)
    const attributes = { shape: type.shape, low: float(0), high: float(1), seed: float(seed + replaced.size) }
    return [
      node,
      createNode('RandomUniform', [], [random], attributes, named('random node')),
      createNode('Less', [random, limit], [mask], {}, named('mask node')),
      createNode('Where', [mask, x, y], [mixed], {}, named('mixed node')),
    ]
  })
  if (replaced.size === 0) return 0
  // Of the nodes that there were: the new ones read what was rounded.
  replaceUses(graph, replaced)
  graph.nodes = nodes
  types.set(limit, { dtype: 'float32', shape: [] })
  graph.initializers.set(limit, Tensor.of(Float32Array.of(share), []))
  return replaced.size
}
