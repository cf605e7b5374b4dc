/**
 * Whether a model obeys ONNX's rules, as far as they can be told without running it; all problems at once.
 * Source: ONNX docs/IR.md, sections "Graphs", "Names within a graph", "Functions".
 */
import { fail, WhittleError } from '../core/index.ts'
import { subgraphsOf } from './attributes.ts'
import { checkWeightNode } from './check-weights.ts'
import { GraphIndex } from './graph-index.ts'
import type { FunctionDefinition, Graph, Model, Node } from './model.ts'
import { topologicalOrder, usedNames } from './traverse.ts'

/** A broken rule. */
export interface Problem {
  readonly code: /** A name is read that nothing defines. */
    | 'UNDEFINED_VALUE'
    /** A name is defined twice, or again inside a subgraph. */
    | 'DUPLICATE_VALUE'
    /** Two nodes have the same name. */
    | 'DUPLICATE_NODE'
    /** A node needs its own output. */
    | 'CYCLE'
    /** A node stands before one that it needs. */
    | 'NOT_SORTED'
    /** An operator's domain is not imported. */
    | 'MISSING_OPSET'
    /** The graph, or a node, has no outputs. */
    | 'NO_OUTPUTS'
    /** A node has no operator. */
    | 'NO_OPERATOR'
    /** An attribute has the wrong kind or an impossible value. */
    | 'BAD_ATTRIBUTE'
    /** A weight's shape does not fit its operator. */
    | 'BAD_WEIGHT'
  /** A sentence: what and where · the rule · what was found. */
  readonly message: string
  /** Name of the node it is about, if it is about one. */
  readonly node?: string
}

/** Where names are looked up. */
interface Scope {
  readonly outer: ReadonlySet<string>
  readonly opsets: ReadonlyMap<string, number>
  readonly problems: Problem[]
  readonly nodeNames: Set<string>
}

/** `Conv 'layer1.conv1'`. */
const title = (node: Node): string => `${node.opType || 'Node'} '${node.name}'`

/** All broken rules of a model; empty for a good one. */
export function checkModel(model: Model): Problem[] {
  const problems: Problem[] = []
  if (model.graph.outputs.length === 0)
    problems.push({ code: 'NO_OUTPUTS', message: 'Graph: must have at least one output; it has none.' })
  checkGraph(model.graph, { outer: new Set(), opsets: model.opsets, problems, nodeNames: new Set() })
  for (const definition of model.functions) checkFunction(definition, problems)
  return problems
}

/**
 * Throws when {@link checkModel} finds anything.
 *
 * @throws WhittleError `INVALID_MODEL` with the first problem as its message and all of them in `details`.
 */
export function assertModel(model: Model): void {
  const problems = checkModel(model)
  const [first] = problems
  if (!first) return
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
  fail('INVALID_MODEL', `${first.message}${more}`, {
    details: problems.map(({ code, message, node }) => ({ code, message, node: node ?? null })),
  })
}

function checkGraph(graph: Graph, scope: Scope): void {
  const { problems } = scope
  const defined = new Set(scope.outer)
  const define = (name: string, what: string): void => {
    if (defined.has(name))
      problems.push({ code: 'DUPLICATE_VALUE', message: `${what} '${name}': a value must be defined only once.` })
    defined.add(name)
  }
  for (const { name } of graph.inputs) define(name, 'Input')
  const inputs = new Set(graph.inputs.map((input) => input.name))
  for (const name of [...graph.initializers.keys(), ...graph.sparseInitializers.keys()])
    if (!inputs.has(name)) define(name, 'Initializer')
  checkNodes(graph.nodes, define, defined, scope)
  for (const { name } of graph.outputs)
    if (!defined.has(name))
      problems.push({
        code: 'UNDEFINED_VALUE',
        message: `Output '${name}': must be an input, an initializer or a node's output; nothing defines it.`,
      })
  const index = new GraphIndex(graph)
  for (const node of graph.nodes) problems.push(...checkWeightNode(node, index))
}

/** Operators, names, order and subgraphs of a list of nodes; adds what they define to `defined`. */
function checkNodes(
  nodes: readonly Node[],
  define: (name: string, what: string) => void,
  defined: ReadonlySet<string>,
  scope: Scope,
): void {
  const { problems } = scope
  const before = new Set(defined)
  const producedLater = new Set(nodes.flatMap((node) => node.outputs))
  let unsorted: Node | undefined
  const seen = new Set(before)
  for (const node of nodes) {
    checkNode(node, scope)
    for (const name of usedNames(node)) {
      if (seen.has(name)) continue
      if (producedLater.has(name)) unsorted ??= node
      else
        problems.push({
          code: 'UNDEFINED_VALUE',
          message: `${title(node)}: its input '${name}' must be a graph input, an initializer or another node's output; nothing defines it.`,
          node: node.name,
        })
    }
    for (const name of node.outputs) {
      if (name === '') continue
      define(name, `${title(node)}, output`)
      seen.add(name)
    }
  }
  if (unsorted) problems.push(orderProblem(nodes, unsorted))
  for (const node of nodes)
    for (const subgraph of subgraphsOf(node)) checkGraph(subgraph, { ...scope, outer: new Set(seen) })
}

function orderProblem(nodes: readonly Node[], unsorted: Node): Problem {
  try {
    topologicalOrder(nodes)
  } catch (error) {
    if (error instanceof WhittleError && error.code === 'INVALID_MODEL')
      return { code: 'CYCLE', message: error.message }
    throw error
  }
  return {
    code: 'NOT_SORTED',
    message: `${title(unsorted)}: nodes must come after those they need; this one comes before.`,
    node: unsorted.name,
  }
}

function checkNode(node: Node, { opsets, problems, nodeNames }: Scope): void {
  const report = (code: Problem['code'], message: string): void => {
    problems.push({ code, message, node: node.name })
  }
  if (node.opType === '') report('NO_OPERATOR', `${title(node)}: must have an operator; it has none.`)
  if (node.outputs.every((name) => name === ''))
    report('NO_OUTPUTS', `${title(node)}: must have at least one output; it has none.`)
  if (node.name !== '') {
    if (nodeNames.has(node.name)) report('DUPLICATE_NODE', `${title(node)}: node names must be unique.`)
    nodeNames.add(node.name)
  }
  const imported = opsets.has(node.domain) || (node.domain === '' && opsets.has('ai.onnx'))
  const alias = node.domain === 'ai.onnx' && opsets.has('')
  if (!imported && !alias)
    report(
      'MISSING_OPSET',
      `${title(node)}: the model must import its operator set '${node.domain || 'ai.onnx'}'; it imports ${[...opsets.keys()].map((domain) => `'${domain || 'ai.onnx'}'`).join(', ') || 'none'}.`,
    )
}

function checkFunction(definition: FunctionDefinition, problems: Problem[]): void {
  const inner: Problem[] = []
  const defined = new Set<string>(definition.inputs)
  const define = (name: string, what: string): void => {
    if (defined.has(name))
      inner.push({ code: 'DUPLICATE_VALUE', message: `${what} '${name}': a value must be defined only once.` })
    defined.add(name)
  }
  const scope = { outer: new Set<string>(), opsets: definition.opsets, problems: inner, nodeNames: new Set<string>() }
  checkNodes(definition.nodes, define, defined, scope)
  for (const name of definition.outputs)
    if (!defined.has(name))
      inner.push({ code: 'UNDEFINED_VALUE', message: `Output '${name}': nothing in the function defines it.` })
  problems.push(
    ...inner.map((problem) => ({ ...problem, message: `Function '${definition.name}': ${problem.message}` })),
  )
}
