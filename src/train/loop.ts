/**
 * A graph as the body of a `Loop`: k steps in one run, so that what the steps carry is copied out once.
 *
 * Measured: results are bit for bit those of k runs, and ONNX Runtime copies every output of a run (0.45 ms per MB).
 */
import { createGraph, createNode, type Graph, tensorType, type ValueType } from '../graph/index.ts'
import { Tensor } from '../tensor/index.ts'

/** What goes round and what comes out. */
export interface LoopPlan {
  /** Inputs of the graph of which each turn takes its own row of a stacked one. */
  readonly sliced: readonly string[]
  /** Inputs of the graph and the outputs that replace them on the next turn. */
  readonly carried: readonly (readonly [input: string, output: string])[]
  /** Outputs that are stacked over the turns. */
  readonly scanned: readonly string[]
}

/** Names of the loop's own inputs and outputs. */
export const loopNames = {
  /** Number of turns, int64 scalar. */
  count: 'turns',
  stacked: (input: string): string => `stacked/${input}`,
  first: (input: string): string => `first/${input}`,
  last: (input: string): string => `last/${input}`,
  each: (output: string): string => `each/${output}`,
} as const

/** Initializers from this many bytes on stay outside the body, where the engine takes them without copying. */
const LARGE_BYTES = 64 * 1024

/**
 * Wraps a graph. Inputs of the graph that are neither sliced nor carried stay inputs of the result.
 *
 * @returns a graph whose inputs are `turns`, `stacked/…` `[turns, …]`, `first/…` and the rest, and whose outputs are
 *   `last/…` and `each/…` `[turns, …]`.
 */
export function loopOver(graph: Graph, { sliced, carried, scanned }: LoopPlan): Graph {
  const typeOf = new Map(graph.inputs.map(({ name, type }) => [name, type]))
  const outer = createGraph(`${graph.name}-loop`)
  const body: Graph = { ...graph, name: `${graph.name}-body`, initializers: new Map() }
  for (const [name, tensor] of graph.initializers)
    (tensor.byteLength >= LARGE_BYTES ? outer : body).initializers.set(name, tensor)
  outer.inputs.push({ name: loopNames.count, type: tensorType('int64', []) })
  for (const name of sliced) outer.inputs.push({ name: loopNames.stacked(name), type: stacked(typeOf.get(name)) })
  for (const [name] of carried) outer.inputs.push({ name: loopNames.first(name), type: typeOf.get(name) })
  const own = new Set([...sliced, ...carried.map(([name]) => name)])
  outer.inputs.push(...graph.inputs.filter(({ name }) => !own.has(name)))
  // Loops lie within each other, and names of a body may not repeat those around it.
  const [turn, go, goOn] = ['turn', 'go', 'go_on'].map((name) => `${graph.name}/${name}`) as [string, string, string]
  const gathers = sliced.map((name) =>
    createNode('Gather', [loopNames.stacked(name), turn], [name], { axis: 0 }, `take/${name}`),
  )
  body.nodes = [createNode('Identity', [go], [goOn], {}, goOn), ...gathers, ...graph.nodes]
  body.inputs = [
    { name: turn, type: tensorType('int64', []) },
    { name: go, type: tensorType('bool', []) },
    ...carried.map(([name]) => ({ name, type: typeOf.get(name) })),
  ]
  const taken = new Set([...body.inputs.map(({ name }) => name), ...graph.initializers.keys(), ...sliced])
  const outputs = [...carried.map(([, output]) => output), ...scanned].map((name, at) => {
    const isOwn = !taken.has(name)
    taken.add(name)
    if (isOwn) return { name, type: undefined }
    // A value that stays as it was, or is put out twice, needs a name of its own in the body.
    const output = `${graph.name}/out${at}/${name}`
    body.nodes.push(createNode('Identity', [name], [output], {}, output))
    return { name: output, type: undefined }
  })
  body.outputs = [{ name: goOn, type: tensorType('bool', []) }, ...outputs]
  const always = `${graph.name}/always`
  outer.initializers.set(always, Tensor.of(Uint8Array.of(1), [], 'bool'))
  const results = [...carried.map(([name]) => loopNames.last(name)), ...scanned.map(loopNames.each)]
  const inputs = [loopNames.count, always, ...carried.map(([name]) => loopNames.first(name))]
  outer.nodes.push(createNode('Loop', inputs, results, { body }, outer.name))
  outer.outputs = results.map((name) => ({ name, type: undefined }))
  return outer
}

function stacked(type: ValueType | undefined): ValueType | undefined {
  return type?.kind === 'tensor' ? tensorType(type.dtype, type.shape && ['turns', ...type.shape]) : type
}
