/** Names: plans address nodes by name, so names are made unique when a model is opened. */
import { subgraphsOf } from './attributes.ts'
import type { Graph, Model } from './model.ts'
import { forEachGraph } from './traverse.ts'

/** Hands out value and node names that a graph and its subgraphs do not use yet. */
export class NameGenerator {
  readonly #used = new Set<string>()
  /** Next number to try per wanted name: names are never given back, so that lower ones stay taken. */
  readonly #next = new Map<string, number>()

  constructor(graph: Graph) {
    forEachGraph(graph, (inner) => {
      for (const value of [...inner.inputs, ...inner.outputs]) this.#used.add(value.name)
      for (const name of inner.initializers.keys()) this.#used.add(name)
      for (const name of inner.sparseInitializers.keys()) this.#used.add(name)
      for (const node of inner.nodes) {
        this.#used.add(node.name)
        for (const name of node.outputs) this.#used.add(name)
      }
    })
  }

  /** `wanted` itself when it is free, else `wanted_1`, `wanted_2` …; the result is taken from now on. */
  fresh(wanted: string): string {
    let name = wanted
    let number = this.#next.get(wanted) ?? 1
    for (; name === '' || this.#used.has(name); number++) name = `${wanted}_${number}`
    if (name !== wanted) this.#next.set(wanted, number)
    this.#used.add(name)
    return name
  }
}

/**
 * Gives every node of the main graph and its subgraphs a unique, non-empty name, in place. Nodes without a name are
 * called after their first output, else after their operator; the second of two equal names gets a number.
 */
export function ensureUniqueNames(model: Model): void {
  const used = new Set<string>()
  const visit = (graph: Graph): void => {
    for (const node of graph.nodes) {
      const wanted = node.name || node.outputs.find((name) => name !== '') || node.opType
      let name = wanted
      for (let i = 1; used.has(name); i++) name = `${wanted}_${i}`
      used.add(name)
      node.name = name
      for (const subgraph of subgraphsOf(node)) visit(subgraph)
    }
  }
  visit(model.graph)
}
