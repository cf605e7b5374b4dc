/**
 * Reverse-mode differentiation of an ONNX graph: the gradient is more nodes of the same graph.
 *
 * This file is the reverse walk and knows no operator; what an operator's gradient is stands in `rules/`.
 *
 * @see A. Griewank and A. Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 3
 */
import { fail, invariant } from '../core/index.ts'
import { type Graph, GraphIndex, liftOpset, type Model, type Node, sortNodes, subgraphsOf } from '../graph/index.ts'
import { fromNumbers, isFloat, sizeOf } from '../tensor/index.ts'
import { Emitter, type Typed } from './emitter.ts'
import { describeCut, describeRoute, findPaths, type Paths } from './paths.ts'
import { GRADIENT_RULES } from './rules/index.ts'
import type { GradientRule, GradientRules, RuleContext } from './rules/rule.ts'

/** The opset that gradient graphs need at least: reductions take their axes as an input since 18. */
export const GRADIENT_OPSET = 18

/** Options of {@link gradient}. */
export interface GradientOptions {
  /** The value to differentiate; it has one element. May be left out when `seeds` are given. */
  readonly loss?: string | undefined
  /** The values to differentiate by: initializers, inputs or inner values, of a floating-point type. */
  readonly withRespectTo: readonly string[]
  /** Element type and concrete shape of every value, as `observeShapes` gives them. */
  readonly types: ReadonlyMap<string, Typed>
  /**
   * Gradients that are known already, by value: the product of their transposed Jacobians with these is added. Each
   * is the name of a value of the model, of the same shape.
   */
  readonly seeds?: ReadonlyMap<string, string> | undefined
  /** Rules to take instead of those of {@link GRADIENT_RULES}, by operator; e.g. other formulations of convolutions. */
  readonly rules?: GradientRules | undefined
}

/** What {@link gradient} gives. */
export interface GradientGraph {
  /** A clone of the model, of opset 18 or later, with the gradient's nodes appended; its outputs are unchanged. */
  readonly model: Model
  /** For each value of `withRespectTo` the name of its gradient, which has its shape and element type. */
  readonly gradients: ReadonlyMap<string, string>
  /** To add further nodes to `model`, such as an optimizer's. */
  readonly emit: Emitter
}

/**
 * Adds the gradient of a loss to a model, as standard ONNX operators.
 *
 * Only nodes between the values asked for and the loss are differentiated. Gradients of values used several times are
 * added up, those of broadcast operands are summed over the broadcast axes.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when the loss has more than one element or when a value cannot influence it;
 * `NOT_FOUND` for values the model does not have; `UNSUPPORTED` naming a node on the way whose operator has no rule;
 * `INVALID_MODEL` when the type of a value on the way is not in `types`.
 *
 * @example
 * const types = await observeShapes(evaluator, model)
 * const { model: training, gradients } = gradient(model, { loss: 'loss', withRespectTo: ['w', 'b'], types })
 */
export function gradient(model: Model, options: GradientOptions): GradientGraph {
  const clone = liftOpset(model, GRADIENT_OPSET)
  const { graph } = clone
  sortNodes(graph)
  const types = new Map(options.types)
  for (const [name, { dtype, shape }] of graph.initializers) types.set(name, { dtype, shape })
  const emit = new Emitter(graph, types)
  const seeds = new Map(options.seeds)
  checkValues(options, types, seeds)
  const targets = options.loss === undefined ? [...seeds.keys()] : [options.loss, ...seeds.keys()]
  const paths = findPaths(graph, targets, options.withRespectTo, types)
  for (const value of options.withRespectTo)
    if (!paths.values.has(value)) fail('INVALID_ARGUMENT', describeCut(graph, value, targets, types))
  if (options.loss !== undefined) {
    const { dtype, shape } = types.get(options.loss)!
    const one = emit.tensor(fromNumbers(Float64Array.of(1), shape, dtype))
    const seed = seeds.get(options.loss)
    seeds.set(options.loss, seed === undefined ? one : emit.add(seed, one))
  }
  const forward = graph.nodes.length
  const settled = walkBack(emit, new GraphIndex(graph), paths, seeds, { ...GRADIENT_RULES, ...options.rules })
  const gradients = new Map<string, string>()
  for (const value of options.withRespectTo)
    gradients.set(value, settled(value) ?? fail('INVALID_ARGUMENT', describeCut(graph, value, targets, types)))
  removeUnneeded(graph, forward, new Set(gradients.values()))
  return { model: clone, gradients, emit }
}

function checkValues(options: GradientOptions, types: ReadonlyMap<string, Typed>, seeds: Map<string, string>): void {
  const { loss, withRespectTo } = options
  const typeOf = (what: string, value: string): Typed =>
    types.get(value) ??
    fail('NOT_FOUND', `${what} '${value}': must be a value of the model with a known type; there is none of that name.`)
  if (loss === undefined && seeds.size === 0)
    fail('INVALID_ARGUMENT', 'Gradient: there must be something to differentiate; give a loss or seeds.')
  if (withRespectTo.length === 0)
    fail('INVALID_ARGUMENT', 'Gradient: withRespectTo must name at least one value; it is empty.')
  if (loss !== undefined) {
    const { dtype, shape } = typeOf('Loss', loss)
    if (sizeOf(shape) !== 1 || !isFloat(dtype))
      fail(
        'INVALID_ARGUMENT',
        `Loss '${loss}': must be one floating-point number; it is ${dtype} [${shape.join(', ')}]. Reduce it to its sum or mean first.`,
      )
  }
  for (const value of withRespectTo) {
    const { dtype } = typeOf('Parameter', value)
    if (!isFloat(dtype))
      fail('INVALID_ARGUMENT', `Parameter '${value}': must be of a floating-point type; it is ${dtype}.`)
  }
  for (const [value, seed] of seeds) {
    const [expected, found] = [typeOf('Seeded value', value).shape, typeOf('Seed', seed).shape]
    if (expected.join() !== found.join())
      fail(
        'SHAPE_MISMATCH',
        `Seed '${seed}': must have the shape of '${value}', [${expected.join(', ')}]; it has [${found.join(', ')}].`,
      )
  }
}

/** Emits the gradients of all values on the paths. @returns the gradient of a value, by its name. */
function walkBack(
  emit: Emitter,
  index: GraphIndex,
  paths: Paths,
  seeds: ReadonlyMap<string, string>,
  rules: GradientRules,
): (value: string) => string | undefined {
  const parts = new Map<string, string[]>([...seeds].map(([value, seed]) => [value, [seed]]))
  const settled = (value: string): string | undefined => {
    const list = parts.get(value)
    if (!list) return undefined
    if (list.length > 1) list.splice(0, list.length, addUp(emit, list))
    return list[0]!
  }
  for (const node of paths.nodes.toReversed()) {
    const gradients = node.outputs.map((value) => (paths.values.has(value) ? settled(value) : undefined))
    if (gradients.every((value) => value === undefined)) continue
    const rule = ruleOf(node, paths, rules)
    const inputs = [...node.inputs]
    const results = rule(contextOf(emit, index, node, paths, gradients))
    for (const [at, value] of inputs.entries()) {
      const part = results[at]
      if (part === undefined || !paths.values.has(value)) continue
      const fitted = unbroadcast(emit, node, value, part)
      const list = parts.get(value)
      if (list) list.push(fitted)
      else parts.set(value, [fitted])
    }
  }
  return settled
}

/** Drops nodes from a position on that none of the wanted values needs; rules may make more than is asked for. */
function removeUnneeded(graph: Graph, from: number, wanted: Set<string>): void {
  const kept: Node[] = []
  for (let at = graph.nodes.length - 1; at >= from; at--) {
    const node = graph.nodes[at]!
    if (!node.outputs.some((output) => wanted.has(output))) continue
    kept.push(node)
    for (const input of node.inputs) wanted.add(input)
  }
  graph.nodes.splice(from, graph.nodes.length - from, ...kept.reverse())
}

/** One sum of several: two by Add; more by Sum, which reads each once and makes no value in between. */
function addUp(emit: Emitter, parts: readonly string[]): string {
  return parts.length === 2 ? emit.add(parts[0]!, parts[1]!) : emit.op('Sum', parts, emit.shape(parts[0]!))
}

/** Un-broadcasts a gradient to its value's shape. */
function unbroadcast(emit: Emitter, node: Node, value: string, part: string): string {
  const wanted = emit.shape(value)
  const fitted = emit.sumTo(part, wanted)
  invariant(
    emit.shape(fitted).join() === wanted.join(),
    `the gradient rule of ${node.opType} ('${node.name}') gave [${emit.shape(part).join(', ')}] for '${value}' [${wanted.join(', ')}]`,
  )
  return fitted
}

function ruleOf(node: Node, paths: Paths, rules: GradientRules): GradientRule {
  const rule = node.domain === '' && Object.hasOwn(rules, node.opType) ? rules[node.opType] : undefined
  if (rule) return rule
  const operator = node.domain === '' ? node.opType : `${node.domain}::${node.opType}`
  const why = subgraphsOf(node).length > 0 ? `${operator}; subgraphs are not differentiated` : operator
  return fail(
    'UNSUPPORTED',
    `${operator} '${node.name}': operators on the way from the loss to a parameter need a gradient rule; there is none for ${why}. The way is ${describeRoute(paths, node)}.`,
    { details: { operator, node: node.name } },
  )
}

function contextOf(
  emit: Emitter,
  index: GraphIndex,
  node: Node,
  paths: Paths,
  gradients: readonly (string | undefined)[],
): RuleContext {
  return {
    emit,
    node,
    inputs: [...node.inputs],
    outputs: [...node.outputs],
    gradients,
    needs: (input) => paths.values.has(node.inputs[input] ?? ''),
    // What is differentiated by changes from step to step.
    constant: (value) => (paths.values.has(value) ? undefined : index.constant(value)),
  }
}
