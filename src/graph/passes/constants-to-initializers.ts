/** Turns Constant nodes into initializers, so that a weight is found in one place only. */
import { invariant } from '../../core/index.ts'
import { Tensor } from '../../tensor/index.ts'
import { removeNodes } from '../edit.ts'
import { type Attribute, cloneModel, type Node } from '../model.ts'
import { forEachGraph } from '../traverse.ts'
import type { Pass } from './pass.ts'

/** The tensor a Constant node stands for; `undefined` for a sparse one or one whose value a function's caller gives. */
export function constantTensor(node: Node): Tensor | undefined {
  if (node.opType !== 'Constant' || node.domain !== '') return undefined
  for (const [name, attribute] of node.attributes) {
    const tensor = name.startsWith('value') ? attributeTensor(attribute) : undefined
    if (tensor) return tensor
  }
  return undefined
}

function attributeTensor(attribute: Attribute): Tensor | undefined {
  switch (attribute.kind) {
    case 'tensor':
      return attribute.value
    case 'float':
      return Tensor.of(Float32Array.of(attribute.value), [])
    case 'floats':
      return Tensor.of(Float32Array.from(attribute.value), [attribute.value.length])
    case 'int':
      return Tensor.of(BigInt64Array.of(attribute.value), [])
    case 'ints':
      return Tensor.of(BigInt64Array.from(attribute.value), [attribute.value.length])
    case 'string':
      return Tensor.ofStrings([attribute.value], [])
    case 'strings':
      return Tensor.ofStrings(attribute.value)
    default:
      return undefined
  }
}

/** Makes initializers of Constant nodes in all graphs, except where the constant itself is an output of its graph. */
export const constantsToInitializers: Pass = {
  name: 'constants-to-initializers',
  run: async (model) => {
    const clone = cloneModel(model)
    let moved = 0
    forEachGraph(clone.graph, (graph) => {
      const outputs = new Set(graph.outputs.map((output) => output.name))
      const done = new Set<Node>()
      for (const node of graph.nodes) {
        const tensor = constantTensor(node)
        const [name] = node.outputs
        if (!tensor || name === undefined || outputs.has(name)) continue
        invariant(!graph.initializers.has(name), `Constant '${node.name}' shares its name with an initializer`)
        graph.initializers.set(name, tensor)
        graph.valueInfos.delete(name)
        done.add(node)
      }
      removeNodes(graph, done)
      moved += done.size
    })
    if (moved === 0) return { model: clone, changes: [] }
    // Before IR version 4 every initializer had to be an input as well.
    clone.irVersion = Math.max(clone.irVersion, 4)
    return { model: clone, changes: [`${moved} Constant node${moved === 1 ? '' : 's'} made initializers.`] }
  },
}
