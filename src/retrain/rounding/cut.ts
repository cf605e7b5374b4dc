/** Parts of a network between values that everything flows through. */
import { cloneModel, GraphIndex, type Model, type Node, usedNames, type ValueType } from '../../graph/index.ts'

/**
 * The values that all later nodes depend on the inputs through, in the order of the graph: where a chain has no branch
 * around. Residual blocks lie between two of them.
 *
 * @param model with sorted nodes and constants as initializers.
 */
export function cutValues({ graph }: Model): string[] {
  const inputs = graph.inputs.map(({ name }) => name).filter((name) => !graph.initializers.has(name))
  const lastUse = new Map<string, number>()
  for (const [at, node] of graph.nodes.entries()) for (const name of usedNames(node)) lastUse.set(name, at)
  const live = new Set(inputs.filter((name) => lastUse.has(name)))
  const cuts = live.size === 1 ? [...live] : []
  for (const [at, node] of graph.nodes.entries()) {
    const depends = usedNames(node).some((name) => live.has(name))
    for (const name of usedNames(node)) if (lastUse.get(name) === at) live.delete(name)
    // What depends on no live value is as good as constant.
    if (depends) for (const name of node.outputs) if (lastUse.has(name)) live.add(name)
    if (live.size === 1) {
      const [value] = live
      if (cuts.at(-1) !== value) cuts.push(value!)
    }
  }
  return cuts
}

/**
 * The part of a model that computes some values from others.
 *
 * @param from values of the main graph that become inputs, with their types where they are no inputs already.
 * @returns a model of opset and functions as before; further inputs are those of the model that are needed beside.
 */
export function partBetween(
  model: Model,
  from: ReadonlyMap<string, ValueType | undefined>,
  to: readonly string[],
): Model {
  const clone = cloneModel(model)
  const { graph } = clone
  const index = new GraphIndex(graph)
  const needed = new Set<Node>()
  const reached = new Set<string>()
  const open = [...to]
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (reached.has(name)) continue
    reached.add(name)
    const producer = from.has(name) ? undefined : index.producer(name)
    if (!producer || needed.has(producer)) continue
    needed.add(producer)
    open.push(...usedNames(producer))
  }
  const declared = new Map(graph.inputs.map((info) => [info.name, info]))
  graph.nodes = graph.nodes.filter((node) => needed.has(node))
  graph.inputs = [
    ...[...from]
      .filter(([name]) => reached.has(name))
      .map(([name, type]) => (type ? { name, type } : (declared.get(name) ?? { name, type: undefined }))),
    ...[...declared.values()].filter(({ name }) => reached.has(name) && !from.has(name)),
  ]
  graph.initializers = new Map([...graph.initializers].filter(([name]) => reached.has(name)))
  graph.valueInfos.clear()
  graph.outputs = to.map((name) => ({ name, type: undefined }))
  return clone
}
