/** Who produces and who uses each value of one graph; a snapshot that edits make stale. */
import type { Tensor } from '../tensor/index.ts'
import { tensorAttribute } from './attributes.ts'
import type { Graph, Node } from './model.ts'
import { usedNames } from './traverse.ts'

/** Producers, users and constants of a graph at the time of construction. */
export class GraphIndex {
  readonly #graph: Graph
  readonly #producers = new Map<string, Node>()
  readonly #users = new Map<string, Node[]>()
  readonly #inputs: Set<string>
  readonly #outputs: Set<string>
  readonly #nodes = new Map<string, Node>()

  constructor(graph: Graph) {
    this.#graph = graph
    this.#inputs = new Set(graph.inputs.map((input) => input.name))
    this.#outputs = new Set(graph.outputs.map((output) => output.name))
    for (const node of graph.nodes) {
      this.#nodes.set(node.name, node)
      for (const output of node.outputs) if (output !== '') this.#producers.set(output, node)
      for (const name of usedNames(node)) {
        const users = this.#users.get(name)
        if (users) users.push(node)
        else this.#users.set(name, [node])
      }
    }
  }

  /** The node of this graph with that name. */
  node(name: string): Node | undefined {
    return this.#nodes.get(name)
  }

  /** The node that produces a value; `undefined` for inputs, initializers and outer values. */
  producer(value: string): Node | undefined {
    return this.#producers.get(value)
  }

  /** Nodes of this graph that use a value, themselves or in their subgraphs; each once. */
  users(value: string): readonly Node[] {
    return this.#users.get(value) ?? []
  }

  /** Whether a value is an output of the graph. */
  isOutput(value: string): boolean {
    return this.#outputs.has(value)
  }

  /** Whether a value is used nowhere but in the given node. */
  isUsedOnlyBy(value: string, node: Node): boolean {
    return !this.isOutput(value) && this.users(value).every((user) => user === node)
  }

  /**
   * The value's tensor when it cannot change: an initializer that is no input, or a Constant node's dense tensor
   * (`value` attribute).
   */
  constant(value: string): Tensor | undefined {
    const initializer = this.#graph.initializers.get(value)
    if (initializer) return this.#inputs.has(value) ? undefined : initializer
    const producer = this.#producers.get(value)
    if (producer?.opType !== 'Constant' || producer.domain !== '') return undefined
    return producer.attributes.get('value')?.kind === 'tensor' ? tensorAttribute(producer, 'value') : undefined
  }
}
