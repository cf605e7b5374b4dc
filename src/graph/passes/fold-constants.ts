/** Computes the parts of the network that do not depend on its inputs, by running them. */
import { checkAborted, WhittleError } from '../../core/index.ts'
import { byteLengthOf, sizeOf, Tensor } from '../../tensor/index.ts'
import { intAttribute, subgraphsOf } from '../attributes.ts'
import { removeNodes } from '../edit.ts'
import type { Evaluator } from '../evaluator.ts'
import { GraphIndex } from '../graph-index.ts'
import { cloneModel, createGraph, type Model, type Node, type ValueType } from '../model.ts'
import { forEachNode, usedNames } from '../traverse.ts'
import type { Pass } from './pass.ts'

/** A folded value may take this much even when what it was computed from takes less. */
const FREE_BYTES = 1 << 16
const MAX_ATTEMPTS = 32
const MAX_ROUNDS = 16

/** Not folded: what is random, what is no tensor, and what keeps a weight quantised on purpose. */
const NEVER: ReadonlySet<string> = new Set([
  ...['RandomNormal', 'RandomNormalLike', 'RandomUniform', 'RandomUniformLike', 'Multinomial', 'Bernoulli'],
  ...['SequenceConstruct', 'SequenceEmpty', 'SequenceInsert', 'SequenceErase', 'SequenceMap', 'SplitToSequence'],
  ...['Optional', 'QuantizeLinear', 'DequantizeLinear', 'DynamicQuantizeLinear'],
])

/**
 * Replaces values of the main graph that do not depend on its inputs by initializers; also the shapes of values whose
 * axes are all fixed. A value that would take more bytes than the constants it comes from (and more than 64 KiB) is
 * left to be computed. Does nothing without an evaluator.
 */
export const foldConstants: Pass = {
  name: 'fold-constants',
  run: async (model, { evaluator, signal }) => {
    const clone = cloneModel(model)
    if (!evaluator) return { model: clone, changes: [] }
    const changes: string[] = []
    let shapes = 0
    let nodes = 0
    // Computed reshapes and paddings fix further shapes.
    for (let round = 0; round < MAX_ROUNDS; round++) {
      checkAborted(signal)
      const known = await fixedShapes(evaluator, clone)
      for (const [name, shape] of known) setConstant(clone, name, shape)
      const folded = await foldAll(evaluator, clone)
      shapes += known.size
      nodes += folded
      if (known.size === 0 && (round > 0 || folded === 0)) break
    }
    if (shapes > 0) changes.push(`${plural(shapes, 'shape')} that cannot vary made constant.`)
    if (nodes > 0) changes.push(`${plural(nodes, 'node')} computed in advance.`)
    return { model: clone, changes }
  },
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** Replaces the node that produces a value by an initializer. */
function setConstant(model: Model, name: string, tensor: Tensor): void {
  const { graph } = model
  const producer = graph.nodes.find((node) => node.outputs.includes(name))
  if (producer) removeNodes(graph, new Set([producer]))
  graph.initializers.set(name, tensor)
  graph.valueInfos.delete(name)
  model.irVersion = Math.max(model.irVersion, 4)
}

/** Outputs of Shape nodes whose input has the same shape in every run. */
async function fixedShapes(evaluator: Evaluator, model: Model): Promise<Map<string, Tensor>> {
  const { graph } = model
  const outputs = new Set(graph.outputs.map((output) => output.name))
  const candidates = graph.nodes.filter(
    (node) => node.opType === 'Shape' && node.domain === '' && !outputs.has(node.outputs[0]!),
  )
  const constants = new Map<string, Tensor>()
  if (candidates.length === 0) return constants
  const probe = cloneModel(model)
  // What files note about inner values may be out of date; inputs are a contract.
  probe.graph.valueInfos.clear()
  probe.graph.outputs = candidates.map((node) => ({ name: node.inputs[0]!, type: undefined }))
  probe.graph.outputs = [...new Map(probe.graph.outputs.map((output) => [output.name, output])).values()]
  const types = await attempt(async () => {
    const executable = await evaluator.load(probe, { optimization: 'disabled' })
    await executable.release()
    return executable.outputTypes
  })
  for (const node of candidates) {
    const type = types?.get(node.inputs[0]!)
    const shape = type?.kind === 'tensor' ? type.shape : undefined
    if (!shape?.every((extent): extent is number => typeof extent === 'number')) continue
    const start = intAttribute(node, 'start', 0)
    const end = intAttribute(node, 'end', undefined)
    constants.set(node.outputs[0]!, Tensor.int64(shape.slice(start, end)))
  }
  return constants
}

async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof WhittleError && error.code !== 'ABORTED') return undefined
    throw error
  }
}

/** The part of the main graph that depends on constants only. */
interface ConstantPart {
  readonly nodes: readonly Node[]
  /** Values of the part that the rest of the network, or its caller, needs. */
  readonly frontier: readonly string[]
  readonly producers: ReadonlyMap<string, Node>
}

function constantPart(model: Model, index: GraphIndex, blocked: ReadonlySet<Node>): ConstantPart {
  const { graph } = model
  const nodes: Node[] = []
  const producers = new Map<string, Node>()
  const isConstant = (name: string): boolean => producers.has(name) || index.constant(name) !== undefined
  for (const node of graph.nodes) {
    if (node.opType === 'Constant' || node.domain !== '' || blocked.has(node) || isNeverFolded(node)) continue
    if (!usedNames(node).every(isConstant)) continue
    nodes.push(node)
    for (const name of node.outputs) if (name !== '') producers.set(name, node)
  }
  const inside = new Set(nodes)
  const frontier = [...producers.keys()].filter(
    (name) => index.isOutput(name) || index.users(name).some((user) => !inside.has(user)),
  )
  return { nodes, frontier, producers }
}

function isNeverFolded(node: Node): boolean {
  let never = NEVER.has(node.opType)
  for (const subgraph of subgraphsOf(node))
    forEachNode(subgraph, (inner) => {
      never ||= NEVER.has(inner.opType) || inner.domain !== ''
    })
  return never
}

async function foldAll(evaluator: Evaluator, model: Model): Promise<number> {
  const index = new GraphIndex(model.graph)
  const blocked = new Set<Node>()
  const types = await inferConstantTypes(evaluator, model, constantPart(model, index, blocked))
  if (!types) return 0
  for (let round = 0; round < MAX_ATTEMPTS; round++) {
    const part = constantPart(model, index, blocked)
    if (part.frontier.length === 0) return 0
    const before = blocked.size
    for (const name of part.frontier) {
      const bytes = bytesOf(types.get(name))
      if (bytes !== undefined && bytes > allowedBytes(name, part, index)) blocked.add(part.producers.get(name)!)
    }
    if (blocked.size > before) continue
    const results = await computeFrontier(evaluator, model, part, blocked)
    if (!results) return 0
    for (const [name, tensor] of Object.entries(results))
      if (tensor.byteLength > allowedBytes(name, part, index)) blocked.add(part.producers.get(name)!)
    if (blocked.size > before) continue
    for (const [name, tensor] of Object.entries(results)) {
      model.graph.initializers.set(name, tensor)
      model.graph.valueInfos.delete(name)
    }
    removeNodes(model.graph, new Set(part.nodes))
    model.irVersion = Math.max(model.irVersion, 4)
    return part.nodes.length
  }
  return 0
}

/** Runs the constant part; on failure blocks the node that failed and gives no results, or gives up. */
async function computeFrontier(
  evaluator: Evaluator,
  model: Model,
  part: ConstantPart,
  blocked: Set<Node>,
): Promise<Record<string, Tensor> | undefined> {
  try {
    const executable = await evaluator.load(constantModel(model, part, part.frontier), { optimization: 'disabled' })
    try {
      return await executable.run({})
    } finally {
      await executable.release()
    }
  } catch (error) {
    if (!(error instanceof WhittleError) || error.code === 'ABORTED') throw error
    const { details } = error
    const name = details !== null && typeof details === 'object' && 'node' in details ? details.node : undefined
    const failed = part.nodes.find((node) => node.name === name)
    if (!failed) return undefined
    blocked.add(failed)
    return {}
  }
}

/** A model of the constant part alone. */
function constantModel(model: Model, part: ConstantPart, outputs: readonly string[]): Model {
  const { graph: whole } = model
  const graph = createGraph('constants')
  const inside = new Set(part.nodes)
  const needed = new Set(part.nodes.flatMap(usedNames))
  graph.nodes = whole.nodes.filter(
    (node) => inside.has(node) || (node.opType === 'Constant' && needed.has(node.outputs[0]!)),
  )
  for (const name of needed) {
    const tensor = whole.initializers.get(name)
    if (tensor) graph.initializers.set(name, tensor)
  }
  graph.outputs = outputs.map((name) => ({ name, type: undefined }))
  return { ...model, graph, irVersion: Math.max(model.irVersion, 4) }
}

async function inferConstantTypes(
  evaluator: Evaluator,
  model: Model,
  part: ConstantPart,
): Promise<ReadonlyMap<string, ValueType> | undefined> {
  if (part.nodes.length === 0) return undefined
  return attempt(async () => {
    const all = constantModel(model, part, [...part.producers.keys()])
    const executable = await evaluator.load(all, { optimization: 'disabled' })
    await executable.release()
    return executable.outputTypes ?? new Map()
  })
}

/** Bytes of a value whose type and shape are known; infinite for what is no tensor. */
function bytesOf(type: ValueType | undefined): number | undefined {
  if (!type) return undefined
  if (type.kind !== 'tensor' || !type.dtype) return Number.POSITIVE_INFINITY
  if (!type.shape?.every((extent): extent is number => typeof extent === 'number')) return undefined
  return byteLengthOf(type.dtype, sizeOf(type.shape))
}

/** The bytes of the constants that a value is computed from, or {@link FREE_BYTES} when they are fewer. */
function allowedBytes(name: string, part: ConstantPart, index: GraphIndex): number {
  const seen = new Set<string>()
  let bytes = 0
  const open = [name]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (seen.has(next)) continue
    seen.add(next)
    const producer = part.producers.get(next)
    if (producer) open.push(...usedNames(producer))
    else bytes += index.constant(next)?.byteLength ?? 0
  }
  return Math.max(bytes, FREE_BYTES)
}
