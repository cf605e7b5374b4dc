// A network with the same function whose weights differ by powers of two from channel to channel: what training leaves
// in depthwise networks, made worse. Scaling by powers of two changes no bit of the outputs.

import { createRandom } from 'whittle-nn'
import { foldBatchNorm, GraphIndex, removeIdentity, runPasses } from 'whittle-nn/graph'
import { Tensor, toFloat32 } from 'whittle-nn/tensor'

/** Scales the channels between each Conv → Relu → Conv by random powers of two from 2⁻ˢ to 2ˢ. */
export async function scrambleChannels(model, { seed = 0, spread = 4 } = {}) {
  const { model: clone } = await runPasses(model, [removeIdentity, foldBatchNorm], {})
  const { graph } = clone
  const index = new GraphIndex(graph)
  const random = createRandom(seed)
  const edit = (name, factorAt) => {
    const tensor = graph.initializers.get(name)
    graph.initializers.set(
      name,
      Tensor.of(
        toFloat32(tensor).map((x, i) => x * factorAt(i, tensor.shape)),
        tensor.shape,
      ),
    )
  }
  let pairs = 0
  for (const first of graph.nodes.filter(({ opType }) => opType === 'Conv')) {
    const [relu, ...others] = index.users(first.outputs[0])
    if (others.length > 0 || relu?.opType !== 'Relu') continue
    const [second, ...rest] = index.users(relu.outputs[0])
    if (rest.length > 0 || second?.opType !== 'Conv') continue
    const factors = Float64Array.from(
      { length: graph.initializers.get(first.inputs[1]).shape[0] },
      () => 2 ** (random.integer(2 * spread + 1) - spread),
    )
    const inner = (shape) => shape.slice(2).reduce((a, b) => a * b, 1)
    edit(first.inputs[1], (i, shape) => factors[Math.floor(i / (shape[1] * inner(shape)))])
    if (first.inputs[2]) edit(first.inputs[2], (i) => factors[i])
    const group = Number(second.attributes.get('group')?.value ?? 1)
    edit(second.inputs[1], (i, shape) => {
      const [out, own] = [Math.floor(i / (shape[1] * inner(shape))), Math.floor(i / inner(shape)) % shape[1]]
      return 1 / factors[Math.floor((out * group) / shape[0]) * shape[1] + own]
    })
    pairs++
  }
  return { model: clone, pairs }
}
