/** Edits that passes and apply steps share; all work in place on a graph the caller owns. */
import { subgraphsOf } from './attributes.ts'
import type { Graph, Node } from './model.ts'

/**
 * Makes everything that reads a value read another one instead, also inside subgraphs. Outputs of the graph itself
 * keep their names, as do values that a subgraph defines anew.
 *
 * @param replacements from old to new name; chains are followed, cycles are not allowed.
 */
export function replaceUses(graph: Graph, replacements: ReadonlyMap<string, string>): void {
  if (replacements.size === 0) return
  const resolve = (name: string): string => {
    let current = name
    for (let next = replacements.get(current); next !== undefined; next = replacements.get(current)) current = next
    return current
  }
  for (const node of graph.nodes) {
    node.inputs = node.inputs.map(resolve)
    for (const subgraph of subgraphsOf(node)) replaceCaptured(subgraph, replacements)
  }
}

function replaceCaptured(subgraph: Graph, replacements: ReadonlyMap<string, string>): void {
  const own = definedNames(subgraph)
  const visible = new Map([...replacements].filter(([name]) => !own.has(name)))
  replaceUses(subgraph, visible)
  subgraph.outputs = subgraph.outputs.map((output) => {
    let name = output.name
    for (let next = visible.get(name); next !== undefined; next = visible.get(name)) name = next
    return name === output.name ? output : { ...output, name }
  })
}

/** Names a graph defines itself: inputs, initializers and node outputs. */
export function definedNames(graph: Graph): Set<string> {
  const names = new Set<string>([
    ...graph.inputs.map((input) => input.name),
    ...graph.initializers.keys(),
    ...graph.sparseInitializers.keys(),
  ])
  for (const node of graph.nodes) for (const name of node.outputs) if (name !== '') names.add(name)
  return names
}

/** Removes nodes; their outputs must not be used any more. */
export function removeNodes(graph: Graph, nodes: ReadonlySet<Node>): void {
  if (nodes.size > 0) graph.nodes = graph.nodes.filter((node) => !nodes.has(node))
}
