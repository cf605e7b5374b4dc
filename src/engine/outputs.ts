/** Models whose inner values are outputs, for calibration, comparison and observation. */
import { fail } from '../core/index.ts'
import { cloneModel, type Graph, type Model, removeUnusedFrom, type ValueInfo } from '../graph/index.ts'

/** Names of the values of the main graph: inputs, initializers and what nodes produce, in that order. */
export function valueNames(graph: Graph): string[] {
  const names = new Set<string>([...graph.inputs.map((input) => input.name), ...graph.initializers.keys()])
  for (const node of graph.nodes) for (const name of node.outputs) if (name !== '') names.add(name)
  return [...names]
}

function declared(model: Model, names: readonly string[]): ValueInfo[] {
  const { graph } = model
  const known = new Set(valueNames(graph))
  for (const name of names)
    if (!known.has(name))
      fail('NOT_FOUND', `Value '${name}': no node, input or initializer of the main graph has this name.`)
  // Without a type: the runtime infers it, and what files note about inner values may be out of date.
  return names.map((name) => ({ name, type: undefined }))
}

/**
 * A clone of the model with more outputs; values that are outputs already are not repeated.
 *
 * @param names values of the main graph.
 * @throws WhittleError `NOT_FOUND`.
 */
export function withOutputs(model: Model, names: readonly string[]): Model {
  const clone = cloneModel(model)
  const present = new Set(clone.graph.outputs.map((output) => output.name))
  clone.graph.outputs.push(
    ...declared(
      model,
      [...new Set(names)].filter((name) => !present.has(name)),
    ),
  )
  return clone
}

/**
 * A clone of the model with exactly the given outputs and only the nodes these need; inputs stay as they are.
 *
 * @param names values of the main graph.
 * @throws WhittleError `NOT_FOUND`.
 */
export function cutToOutputs(model: Model, names: readonly string[]): Model {
  const clone = cloneModel(model)
  const present = new Map(clone.graph.outputs.map((output) => [output.name, output]))
  clone.graph.outputs = declared(model, [...new Set(names)]).map((info) => present.get(info.name) ?? info)
  removeUnusedFrom(clone)
  return clone
}
