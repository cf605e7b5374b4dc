/** Two models over the same inputs as one. */
import { fail } from '../core/index.ts'
import { subgraphsOf } from './attributes.ts'
import { cloneModel, type Graph, type Model } from './model.ts'

/**
 * A model with everything of `first`, and of `second` under prefixed names; both read the inputs of `first`.
 *
 * @returns outputs are those of `first` and then the prefixed ones of `second`.
 * @throws WhittleError `INVALID_ARGUMENT` when inputs or operator sets differ.
 */
export function mergeModels(first: Model, second: Model, prefix: string): Model {
  const merged = cloneModel(first)
  const other = cloneModel(second)
  const inputs = new Set(first.graph.inputs.map((input) => input.name))
  const foreign = second.graph.inputs.find((input) => !inputs.has(input.name))
  if (foreign)
    fail('INVALID_ARGUMENT', `Merge: the models must have the same inputs; '${foreign.name}' is in the second only.`)
  for (const [domain, version] of other.opsets) {
    const present = merged.opsets.get(domain)
    if (present !== undefined && present !== version)
      fail('INVALID_ARGUMENT', `Merge: operator set '${domain}' must be equal; got ${present} and ${version}.`)
    merged.opsets.set(domain, version)
  }
  rename(other.graph, (name) => (name === '' || inputs.has(name) ? name : `${prefix}${name}`))
  for (const definition of other.functions)
    if (!merged.functions.some((known) => known.name === definition.name && known.domain === definition.domain))
      merged.functions.push(definition)
  const { graph } = merged
  graph.nodes.push(...other.graph.nodes)
  graph.outputs.push(...other.graph.outputs)
  for (const [name, tensor] of other.graph.initializers) graph.initializers.set(name, tensor)
  for (const [name, bytes] of other.graph.sparseInitializers) graph.sparseInitializers.set(name, bytes)
  for (const [name, info] of other.graph.valueInfos) graph.valueInfos.set(name, info)
  return merged
}

/** Renames every value and node of a graph and its subgraphs, in place. */
function rename(graph: Graph, to: (name: string) => string): void {
  const info = <T extends { readonly name: string }>(value: T): T => ({ ...value, name: to(value.name) })
  const keys = <V>(map: Map<string, V>): Map<string, V> => new Map([...map].map(([name, value]) => [to(name), value]))
  graph.inputs = graph.inputs.map(info)
  graph.outputs = graph.outputs.map(info)
  graph.valueInfos = new Map([...graph.valueInfos].map(([name, value]) => [to(name), info(value)]))
  graph.initializers = keys(graph.initializers)
  graph.sparseInitializers = keys(graph.sparseInitializers)
  graph.initializerNotes = keys(graph.initializerNotes)
  for (const node of graph.nodes) {
    node.name = to(node.name)
    node.inputs = node.inputs.map(to)
    node.outputs = node.outputs.map(to)
    for (const subgraph of subgraphsOf(node)) rename(subgraph, to)
  }
}
