/** Removes what no output depends on: nodes, initializers, notes on values, functions. */
import { subgraphsOf } from '../attributes.ts'
import { definedNames } from '../edit.ts'
import { cloneModel, type Graph, type Model, type Node } from '../model.ts'
import { forEachNode, usedNames } from '../traverse.ts'
import type { Pass } from './pass.ts'

/**
 * Removes unused nodes, initializers, value notes and functions, in the main graph and in subgraphs. Inputs stay,
 * with their defaults, unless the model is so old (IR version below 4) that it had to list its initializers among them.
 */
export const removeUnused: Pass = {
  name: 'remove-unused',
  run: async (model) => {
    const clone = cloneModel(model)
    return { model: clone, changes: removeUnusedFrom(clone) }
  },
}

/** The same as {@link removeUnused} in place; returns what was removed. */
export function removeUnusedFrom(model: Model): string[] {
  const removed = { nodes: 0, initializers: 0 }
  pruneGraph(model.graph, model.irVersion < 4, removed)
  const changes: string[] = []
  if (removed.nodes > 0) changes.push(`${count(removed.nodes, 'unused node')} removed.`)
  if (removed.initializers > 0) changes.push(`${count(removed.initializers, 'unused initializer')} removed.`)
  const functions = pruneFunctions(model)
  if (functions > 0) changes.push(`${count(functions, 'unused function')} removed.`)
  return changes
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}

function pruneGraph(
  graph: Graph,
  inputsListInitializers: boolean,
  removed: { nodes: number; initializers: number },
): void {
  const live = liveNodes(graph)
  removed.nodes += graph.nodes.length - live.size
  graph.nodes = graph.nodes.filter((node) => live.has(node))
  for (const node of graph.nodes) for (const subgraph of subgraphsOf(node)) pruneGraph(subgraph, false, removed)

  const used = new Set(graph.outputs.map((output) => output.name))
  for (const node of graph.nodes) for (const name of usedNames(node)) used.add(name)
  const inputs = new Set(graph.inputs.map((input) => input.name))
  for (const initializers of [graph.initializers, graph.sparseInitializers])
    for (const name of [...initializers.keys()]) {
      if (used.has(name) || (inputs.has(name) && !inputsListInitializers)) continue
      initializers.delete(name)
      graph.initializerNotes.delete(name)
      graph.inputs = graph.inputs.filter((input) => input.name !== name)
      removed.initializers++
    }
  const defined = definedNames(graph)
  for (const name of [...graph.valueInfos.keys()]) if (!defined.has(name)) graph.valueInfos.delete(name)
}

function liveNodes(graph: Graph): Set<Node> {
  const producers = new Map<string, Node>()
  for (const node of graph.nodes) for (const name of node.outputs) if (name !== '') producers.set(name, node)
  const live = new Set<Node>()
  const open = graph.outputs.map((output) => output.name)
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = producers.get(name)
    if (!node || live.has(node)) continue
    live.add(node)
    open.push(...usedNames(node))
  }
  return live
}

const functionKey = (name: { domain: string; overload: string }, operator: string): string =>
  `${name.domain}\n${operator}\n${name.overload}`

function pruneFunctions(model: Model): number {
  if (model.functions.length === 0) return 0
  const definitions = new Map(
    model.functions.map((definition) => [functionKey(definition, definition.name), definition]),
  )
  const used = new Set<string>()
  const use = (node: Node): void => {
    const key = functionKey(node, node.opType)
    const definition = definitions.get(key)
    if (!definition || used.has(key)) return
    used.add(key)
    for (const inner of definition.nodes) {
      use(inner)
      for (const subgraph of subgraphsOf(inner)) forEachNode(subgraph, use)
    }
  }
  forEachNode(model.graph, use)
  const before = model.functions.length
  model.functions = model.functions.filter((definition) => used.has(functionKey(definition, definition.name)))
  return before - model.functions.length
}
