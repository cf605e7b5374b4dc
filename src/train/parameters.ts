/** What is trained: which constants of a network are parameters, and which batch normalisations learn statistics. */
import { findPaths, type Typed } from '../autodiff/index.ts'
import { fail, matchesAny } from '../core/index.ts'
import {
  cloneModel,
  type Graph,
  GraphIndex,
  type Model,
  modelWeights,
  NameGenerator,
  type Node,
} from '../graph/index.ts'

/** A group of parameters with settings of its own. */
export type ParameterGroup = {
  /** Patterns of parameter or layer names; `*` stands for any characters. The first group that matches counts. */
  readonly match: readonly string[]
  readonly weightDecay?: number
  /** Factor on the learning rate; default 1. */
  readonly lrScale?: number
  /** Factor on the gradient, before gradients are clipped; default 1. */
  readonly gradientScale?: number
  /** Elements whose update would take them below `least` or above `most` stay as they are; default: no bounds. */
  readonly least?: number
  readonly most?: number
}

/** What {@link selectParameters} finds. */
export interface Selection {
  /** Names of initializers, in the order of the graph. */
  readonly trainable: readonly string[]
  /** Parameters that a pattern froze. */
  readonly frozen: readonly string[]
  /** Parameters that have no influence on the loss. */
  readonly unreached: readonly string[]
  /** Batch normalisations that are to use and to learn the batch's statistics. */
  readonly batchNorms: readonly Node[]
}

/** The patterns' business with one parameter: its own name and its layers'. */
function isNamed(patterns: readonly string[], name: string, users: readonly Node[]): boolean {
  return matchesAny(name, patterns) || users.some((node) => matchesAny(node.name, patterns))
}

function checkPatterns(what: string, patterns: readonly string[], graph: Graph, names: readonly string[]): void {
  for (const pattern of patterns)
    if (![...names, ...graph.nodes.map((node) => node.name)].some((name) => matchesAny(name, [pattern])))
      fail('INVALID_ARGUMENT', `Option ${what}: '${pattern}' matches no layer and no parameter of the model.`)
}

/**
 * Chooses what is trained: float32 weights and biases on a way to the loss that no pattern freezes.
 *
 * @param model its constants as initializers.
 * @param targets the values that the loss is computed from.
 * @throws WhittleError `INVALID_ARGUMENT` for a pattern that matches nothing, or when everything is frozen;
 *   `UNSUPPORTED` for weights of another floating-point type.
 */
export function selectParameters(
  model: Model,
  targets: readonly string[],
  types: ReadonlyMap<string, Typed>,
  {
    freeze = [],
    groups = [],
    parameters = [],
  }: {
    freeze?: readonly string[] | undefined
    groups?: readonly ParameterGroup[] | undefined
    parameters?: readonly string[] | undefined
  },
): Selection {
  const { graph } = model
  const index = new GraphIndex(graph)
  const weights = [...modelWeights(model)].filter(([name]) => graph.initializers.has(name))
  const found = weights.filter(([, { dtype }]) => dtype === 'float32').map(([name]) => name)
  const floats = [...new Set([...found, ...parameters])]
  const half = weights.find(([, { dtype }]) => dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float64')
  if (half && floats.length === 0)
    fail(
      'UNSUPPORTED',
      `Parameter '${half[0]}': training needs float32 weights; it is ${half[1].dtype}. Convert the model to float32 first.`,
    )
  checkPatterns('freeze', freeze, graph, floats)
  for (const group of groups) checkPatterns('groups', group.match, graph, floats)
  const frozen = floats.filter((name) => isNamed(freeze, name, index.users(name)))
  const open = floats.filter((name) => !frozen.includes(name))
  if (open.length === 0)
    fail(
      'INVALID_ARGUMENT',
      `Training: at least one parameter must be left to train; ${floats.length === 0 ? 'the model has no weights' : `all ${floats.length} are frozen`}.`,
    )
  const paths = findPaths(graph, targets, open, types)
  const batchNorms = graph.nodes.filter(
    (node) =>
      node.opType === 'BatchNormalization' &&
      node.domain === '' &&
      !matchesAny(node.name, freeze) &&
      // A frozen scale or shift freezes the whole normalisation.
      !frozen.some((name) => name === node.inputs[1] || name === node.inputs[2]),
  )
  const trainable = open.filter((name) => paths.values.has(name))
  return { trainable, frozen, unreached: open.filter((name) => !paths.values.has(name)), batchNorms }
}

/** The settings of a parameter: its group's, else the defaults. */
export function groupOf(graph: Graph, name: string, groups: readonly ParameterGroup[]): ParameterGroup | undefined {
  const users = graph.nodes.filter((node) => node.inputs.includes(name))
  return groups.find(({ match }) => isNamed(match, name, users))
}

/**
 * A clone in which no batch normalisation shares scale, shift or statistics with another node: exporters merge equal
 * constants, and those of fresh networks are all equal, though each layer's are to go their own way.
 */
export function unshareBatchNorms(model: Model): Model {
  const clone = cloneModel(model)
  const { graph } = clone
  const index = new GraphIndex(graph)
  const names = new NameGenerator(graph)
  const taken = new Set<string>()
  for (const node of graph.nodes) {
    if (node.opType !== 'BatchNormalization' || node.domain !== '') continue
    // What computes one of its parameters from the others belongs to it.
    const own = parameterNodes(index, node)
    const once = (name: string): boolean => node.inputs.filter((input) => input === name).length === 1
    node.inputs = node.inputs.map((name, position) => {
      const tensor = position > 0 ? graph.initializers.get(name) : undefined
      if (!tensor) return name
      const others = index.users(name).filter((user) => user !== node && !own.has(user))
      if (others.length === 0 && once(name)) return name
      if (!taken.has(name) && others.every((user) => user.opType === 'BatchNormalization')) {
        taken.add(name)
        return name
      }
      const copy = names.fresh(name)
      graph.initializers.set(copy, tensor)
      return copy
    })
  }
  return clone
}

/** Nodes that compute the parameters of a batch normalisation. */
function parameterNodes(index: GraphIndex, norm: Node): ReadonlySet<Node> {
  const found = new Set<Node>()
  const open = norm.inputs.slice(1)
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const producer = index.producer(name)
    if (!producer || found.has(producer)) continue
    found.add(producer)
    open.push(...producer.inputs)
  }
  return found
}
