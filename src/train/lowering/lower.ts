/**
 * A training step's forward and backward pass for ONNX Runtime's own kernels on x64: convolutions, normalisations and
 * poolings on blocked values, from which nothing is reordered as long as a chain of them goes on.
 *
 * The operators are the ones that ONNX Runtime's optimizer puts in the place of convolutions with constant weights; here
 * weights change from step to step, so that the graph reorders them itself. They are no standard ONNX: what this makes
 * is for the session of one machine and is never saved. The standard form is the fallback where a rule here does not
 * apply, and the oracle of the tests.
 */
import type { GradientRules, Typed } from '../../autodiff/index.ts'
import { cloneModel, type Model, type Node, subgraphsOf } from '../../graph/index.ts'
import { lowerBatchNorm, lowerBatchNormGradient, shiftsOf } from './batch-norm.ts'
import { lowerConvolution, lowerConvolutionGradient, orderOf } from './convolutions.ts'
import { DEFERRED, type DeferredGradient, deferredRules } from './deferred-rules.ts'
import { lowerElementwise, lowerReluGradient, lowerTotal } from './elementwise.ts'
import { BLOCKED_DOMAIN, Layouts, type StoredParameter } from './layouts.ts'
import {
  lowerGlobalAveragePool,
  lowerGlobalAveragePoolGradient,
  lowerMaxPool,
  lowerMaxPoolGradient,
} from './pooling.ts'
import { ownConvolutions } from './stored.ts'

/** How a pass is differentiated and rewritten for one runtime. */
export interface Lowering {
  /** For `gradient`, in the place of the standard rules of the same operators. */
  readonly rules: GradientRules
  /**
   * Rewrites what `gradient` gave with these rules; inputs, outputs and initializers keep their names, but for
   * parameters that are stored in another order.
   */
  readonly lower: (model: Model, types: ReadonlyMap<string, Typed>, context?: LoweringContext) => Lowered
  /** The same in standard operators. */
  readonly standard: (model: Model, types: ReadonlyMap<string, Typed>) => Model
}

/** What a lowering may know of the values of a pass. */
export interface LoweringContext {
  /** Gradient values by parameter. */
  readonly gradients?: ReadonlyMap<string, string> | undefined
  /** Values near the batch's mean, by the name of a batch normalisation in training mode. */
  readonly nearMeans?: ReadonlyMap<string, string> | undefined
}

/** A rewritten pass. */
export interface Lowered {
  readonly model: Model
  /** Parameters that it has in another order, which are its inputs under another name. */
  readonly stored: ReadonlyMap<string, StoredParameter>
}

type Forward = (layouts: Layouts, node: Node) => boolean
type Backward = (layouts: Layouts, gradient: DeferredGradient) => readonly boolean[]

const FORWARD: Readonly<Record<string, Forward>> = {
  BatchNormalization: lowerBatchNorm,
  Conv: lowerConvolution,
  GlobalAveragePool: lowerGlobalAveragePool,
  MaxPool: lowerMaxPool,
  ReduceSum: lowerTotal,
}

const BACKWARD: Readonly<Record<string, Backward>> = {
  BatchNormalization: lowerBatchNormGradient,
  Conv: lowerConvolutionGradient,
  GlobalAveragePool: lowerGlobalAveragePoolGradient,
  MaxPool: lowerMaxPoolGradient,
  Relu: lowerReluGradient,
}

/** A lowering for one model. @param block channels per block, as `blockSize` finds it. */
export function blockedLowering(block: number): Lowering {
  const { rules, deferred } = deferredRules()
  return {
    rules,
    lower: (model, types, context = {}) => rewrite(model, types, deferred, { ...context, block }),
    standard: (model, types) => rewrite(model, types, deferred, {}).model,
  }
}

function rewrite(
  model: Model,
  types: ReadonlyMap<string, Typed>,
  deferred: ReadonlyMap<string, DeferredGradient>,
  { block, gradients, nearMeans }: LoweringContext & { readonly block?: number },
): Lowered {
  const clone = cloneModel(model)
  const { graph } = clone
  const layouts = new Layouts(graph, types, block ?? 1)
  const { nodes } = graph
  const deferredOf = (node: Node) => (node.domain === DEFERRED ? deferred.get(node.outputs[0]!) : undefined)
  if (block !== undefined && nearMeans)
    for (const [x, mean] of shiftsOf(nodes, deferredOf, nearMeans)) layouts.shifts.set(x, mean)
  if (block !== undefined && gradients)
    for (const [parameter, node] of ownConvolutions(nodes, deferredOf, gradients)) {
      const order = orderOf(layouts, node)
      if (order) layouts.store(parameter, order)
    }
  graph.nodes = []
  for (const node of nodes) {
    const gradient = deferredOf(node)
    if (gradient) lowerGradient(layouts, node.opType, gradient, block !== undefined)
    else if (block === undefined || !lowerForward(layouts, node)) keep(layouts, node)
  }
  const storedGradients = new Set([...layouts.stored.keys()].map((parameter) => gradients?.get(parameter)))
  graph.outputs = graph.outputs.filter(({ name }) => !storedGradients.has(name))
  for (const { name } of graph.outputs) layouts.plain(name)
  if (block !== undefined) for (const domain of [BLOCKED_DOMAIN, 'com.microsoft']) clone.opsets.set(domain, 1)
  return { model: clone, stored: layouts.stored }
}

function lowerForward(layouts: Layouts, node: Node): boolean {
  if (node.domain !== '' || subgraphsOf(node).length > 0) return false
  return FORWARD[node.opType]?.(layouts, node) || lowerElementwise(layouts, node)
}

/** The node as it is, on values as they were. */
function keep(layouts: Layouts, node: Node): void {
  for (const name of node.inputs) layouts.plain(name)
  layouts.graph.nodes.push(node)
  for (const name of node.outputs) layouts.setPlain(name)
}

/** Lowers a gradient, or those of its results that can be; the others take the standard way. */
function lowerGradient(layouts: Layouts, operator: string, gradient: DeferredGradient, lowers: boolean): void {
  const done = lowers ? (BACKWARD[operator]?.(layouts, gradient) ?? []) : []
  const left = gradient.results.map((name, at) => (done[at] ? undefined : name))
  if (left.every((name) => name === undefined)) return
  for (const name of gradient.read) layouts.plain(name)
  const values = gradient.expand(layouts.emit)
  for (const [at, name] of left.entries()) {
    if (name === undefined) continue
    const value = layouts.emit.sumTo(values[at]!, layouts.emit.shape(name))
    const weight = operator === 'Conv' && at === 1 ? gradient.inputs[1]! : ''
    if (layouts.stored.has(weight)) {
      layouts.giveGradient(weight, name, value)
      continue
    }
    layouts.emit.op('Identity', [value], layouts.emit.shape(name))
    layouts.graph.nodes.at(-1)!.outputs = [name]
    layouts.setPlain(name)
  }
}
