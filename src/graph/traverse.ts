/** Walks over graphs with their subgraphs, the names a node needs, and topological order. */
import { fail } from '../core/index.ts'
import { subgraphsOf } from './attributes.ts'
import type { Graph, Model, Node } from './model.ts'

/** Calls `visit` for the graph and every subgraph inside it, outermost first. */
export function forEachGraph(graph: Graph, visit: (graph: Graph) => void): void {
  visit(graph)
  for (const node of graph.nodes) for (const subgraph of subgraphsOf(node)) forEachGraph(subgraph, visit)
}

/** Calls `visit` for every node of the graph and of its subgraphs. */
export function forEachNode(graph: Graph, visit: (node: Node, graph: Graph) => void): void {
  forEachGraph(graph, (inner) => {
    for (const node of inner.nodes) visit(node, inner)
  })
}

/** Names a subgraph takes from the graphs around it. */
export function capturedNames(graph: Graph): Set<string> {
  const own = new Set<string>([
    ...graph.inputs.map((input) => input.name),
    ...graph.initializers.keys(),
    ...graph.sparseInitializers.keys(),
    ...graph.nodes.flatMap((node) => node.outputs),
  ])
  const captured = new Set<string>()
  const use = (name: string): void => {
    if (name !== '' && !own.has(name)) captured.add(name)
  }
  for (const node of graph.nodes) for (const name of usedNames(node)) use(name)
  for (const output of graph.outputs) use(output.name)
  return captured
}

/** Every name a node reads: its inputs and what its subgraphs capture. */
export function usedNames(node: Node): string[] {
  const subgraphs = subgraphsOf(node)
  const names = node.inputs.filter((name) => name !== '')
  if (subgraphs.length === 0) return names
  const all = new Set(names)
  for (const subgraph of subgraphs) for (const name of capturedNames(subgraph)) all.add(name)
  return [...all]
}

/**
 * Nodes in an order in which every value is produced before it is used; stable for graphs that already are.
 *
 * @throws WhittleError `INVALID_MODEL` naming a node on a cycle.
 */
export function topologicalOrder(nodes: readonly Node[]): Node[] {
  const producers = new Map<string, Node>()
  for (const node of nodes) for (const output of node.outputs) if (output !== '') producers.set(output, node)
  const done = new Set<Node>()
  const open = new Set<Node>()
  const ordered: Node[] = []
  // An explicit stack: networks of tens of thousands of nodes would overflow the call stack.
  for (const root of nodes) {
    const stack: { node: Node; needs: string[]; next: number }[] = []
    const push = (node: Node): void => {
      if (done.has(node)) return
      if (open.has(node))
        fail(
          'INVALID_MODEL',
          `${node.opType} '${node.name}': the graph must have no cycles; this node needs its own output.`,
        )
      open.add(node)
      stack.push({ node, needs: usedNames(node), next: 0 })
    }
    push(root)
    while (stack.length > 0) {
      const frame = stack[stack.length - 1]!
      if (frame.next < frame.needs.length) {
        const producer = producers.get(frame.needs[frame.next++]!)
        if (producer) push(producer)
      } else {
        stack.pop()
        open.delete(frame.node)
        done.add(frame.node)
        ordered.push(frame.node)
      }
    }
  }
  return ordered
}

/**
 * Brings the nodes of a graph and its subgraphs into topological order, in place. Returns whether any had to move.
 *
 * @throws WhittleError `INVALID_MODEL` naming a node on a cycle.
 */
export function sortNodes(graph: Graph): boolean {
  let moved = false
  forEachGraph(graph, (inner) => {
    const nodes = topologicalOrder(inner.nodes)
    moved ||= nodes.some((node, position) => node !== inner.nodes[position])
    inner.nodes = nodes
  })
  return moved
}

/** Every node of the model: graph, subgraphs and functions. */
export function forEachModelNode(model: Model, visit: (node: Node) => void): void {
  forEachNode(model.graph, visit)
  for (const definition of model.functions)
    for (const node of definition.nodes) {
      visit(node)
      for (const subgraph of subgraphsOf(node)) forEachNode(subgraph, visit)
    }
}
