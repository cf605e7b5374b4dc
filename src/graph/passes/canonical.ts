/** One form for algorithms to see: opset 17, the attributes of convolutions written out, nodes in order. */
import { fail } from '../../core/index.ts'
import { DTYPES, type DType, isFloat, type Tensor } from '../../tensor/index.ts'
import { intAttribute, intsAttribute, makeAttribute, stringAttribute, subgraphsOf } from '../attributes.ts'
import { GraphIndex } from '../graph-index.ts'
import { cloneModel, type Graph, type Model, type Node, type ValueInfo } from '../model.ts'
import { NameGenerator } from '../names.ts'
import { weightFactsOf } from '../operators.ts'
import { forEachGraph, forEachNode, sortNodes } from '../traverse.ts'
import type { Pass } from './pass.ts'
import { STANDARD_OPERATORS } from './standard-operators.ts'
import { UPGRADES, type UpgradeContext } from './upgrade-rules.ts'

/** The version of the standard operator set that models are lifted to. */
export const CANONICAL_OPSET = 17
const OLDEST_OPSET = 7

/**
 * Lifts models of opset 7 to 16 to opset 17, gives convolutions all their attributes, writes the standard domain as
 * `''`, and sorts nodes. A model with an operator that has no rule stays at its opset; `changes` says why.
 */
export const canonical: Pass = {
  name: 'canonical',
  run: async (model) => {
    const clone = cloneModel(model)
    normalizeDomain(clone)
    const from = clone.opsets.get('') ?? 1
    const lifted = liftClone(clone, CANONICAL_OPSET)
    const result = lifted.model ?? clone
    const changes: string[] = []
    if (lifted.reason !== undefined) changes.push(`Kept at opset ${from}: ${lifted.reason}`)
    else if (lifted.model) changes.push(`Lifted from opset ${from} to ${CANONICAL_OPSET}.`)
    if (sortNodes(result.graph)) changes.push('Nodes sorted.')
    const filled = fillConvolutions(result.graph)
    if (filled > 0) changes.push(`Default attributes of ${filled} convolution${filled === 1 ? '' : 's'} written out.`)
    return { model: result, changes }
  },
}

function normalizeDomain(model: Model): void {
  const version = model.opsets.get('ai.onnx')
  if (version !== undefined && !model.opsets.has('')) model.opsets.set('', version)
  model.opsets.delete('ai.onnx')
  forEachNode(model.graph, (node) => {
    if (node.domain === 'ai.onnx') node.domain = ''
  })
}

/**
 * A clone of a model, lifted to an opset if it is of an earlier one, with the standard domain written as `''`.
 *
 * @param opset 8 to 21.
 * @throws WhittleError `UNSUPPORTED` saying why the model cannot be lifted.
 * @see ONNX docs/Changelog.md
 */
export function liftOpset(model: Model, opset: number): Model {
  const clone = cloneModel(model)
  normalizeDomain(clone)
  const lifted = liftClone(clone, opset)
  if (lifted.reason !== undefined)
    fail(
      'UNSUPPORTED',
      `Model '${model.graph.name}': opset ${opset} or later is needed; it has opset ${clone.opsets.get('') ?? 1} and cannot be lifted: ${lifted.reason}`,
    )
  return lifted.model ?? clone
}

/** The lifted model, or why it stays; neither when it is of that opset or a later one. */
function liftClone(model: Model, target: number): { model?: Model; reason?: string } {
  const from = model.opsets.get('') ?? 1
  if (from >= target) return {}
  if (from < OLDEST_OPSET) return { reason: `operators before opset ${OLDEST_OPSET} broadcast by other rules.` }
  if (model.functions.length > 0) return { reason: 'its functions import operator sets of their own.' }
  const lifted = cloneModel(model)
  const names = new NameGenerator(lifted.graph)
  const floatType = onlyFloatType(lifted)
  for (let version = from + 1; version <= target; version++) {
    const reason = upgradeGraph(lifted.graph, version, names, floatType)
    if (reason !== undefined) return { reason }
  }
  let unknown: Node | undefined
  // Opsets 18 to 21 took no operator away, so that what such a model has is in later ones too.
  if (from < 18)
    forEachNode(lifted.graph, (node) => {
      if (node.domain === '' && !STANDARD_OPERATORS.has(node.opType)) unknown ??= node
    })
  if (unknown) return { reason: `${unknown.opType} '${unknown.name}' is not an operator of opset ${target}.` }
  lifted.opsets.set('', target)
  lifted.irVersion = Math.max(lifted.irVersion, target >= 21 ? 10 : target >= 19 ? 9 : 8)
  return { model: lifted }
}

function upgradeGraph(
  graph: Graph,
  version: number,
  names: NameGenerator,
  floatType: DType | undefined,
): string | undefined {
  for (const node of graph.nodes)
    for (const subgraph of subgraphsOf(node)) {
      const reason = upgradeGraph(subgraph, version, names, floatType)
      if (reason !== undefined) return reason
    }
  const context = upgradeContext(graph, names, floatType)
  const nodes: Node[] = []
  for (const node of graph.nodes) {
    const rules = node.domain === '' && Object.hasOwn(UPGRADES, node.opType) ? UPGRADES[node.opType] : undefined
    const outcome = rules?.[version]?.(node, context)
    if (typeof outcome === 'string') return outcome
    nodes.push(...(outcome ?? [node]))
  }
  graph.nodes = nodes
  return undefined
}

function upgradeContext(graph: Graph, names: NameGenerator, floatType: DType | undefined): UpgradeContext {
  const index = new GraphIndex(graph)
  const infos = new Map<string, ValueInfo>([
    ...graph.valueInfos,
    ...[...graph.inputs, ...graph.outputs].map((info): [string, ValueInfo] => [info.name, info]),
  ])
  const tensorInfo = (name: string) => {
    const type = infos.get(name)?.type
    return type?.kind === 'tensor' ? type : undefined
  }
  return {
    constant: (name) => (name === undefined || name === '' ? undefined : index.constant(name)),
    dtype: (name) => graph.initializers.get(name)?.dtype ?? tensorInfo(name)?.dtype ?? floatType,
    rank: (name) => graph.initializers.get(name)?.shape.length ?? tensorInfo(name)?.shape?.length,
    isUsed: (name) => index.isOutput(name) || index.users(name).length > 0,
    addConstant: (tensor, hint) => {
      const name = names.fresh(hint)
      graph.initializers.set(name, tensor)
      return name
    },
    fresh: (hint) => names.fresh(hint),
  }
}

/** The floating-point type of a model that has only one; the operators that ask work on floats alone. */
function onlyFloatType(model: Model): DType | undefined {
  const types = new Set<DType>()
  const add = (dtype: DType | undefined): void => {
    if (dtype && isFloat(dtype)) types.add(dtype)
  }
  const addTensor = (tensor: Tensor): void => add(tensor.dtype)
  forEachGraph(model.graph, (graph) => {
    for (const { type } of [...graph.inputs, ...graph.outputs, ...graph.valueInfos.values()])
      if (type?.kind === 'tensor') add(type.dtype)
    for (const tensor of graph.initializers.values()) addTensor(tensor)
    for (const node of graph.nodes) {
      for (const attribute of node.attributes.values()) if (attribute.kind === 'tensor') addTensor(attribute.value)
      if (node.opType === 'Cast') {
        const to = intAttribute(node, 'to', 0)
        add((Object.keys(DTYPES) as DType[]).find((dtype) => DTYPES[dtype].code === to))
      }
    }
  })
  const [only] = types
  return types.size === 1 ? only : undefined
}

/** Writes out what Conv and ConvTranspose leave to defaults, where the weight's shape tells it. */
function fillConvolutions(graph: Graph): number {
  let filled = 0
  forEachGraph(graph, (inner) => {
    const index = new GraphIndex(inner)
    for (const node of inner.nodes) {
      const facts = weightFactsOf(node)
      if (!facts || facts.kind === 'linear') continue
      const weight = index.constant(node.inputs[facts.weightInput] ?? '')
      if (weight && weight.shape.length >= 3 && fillConvolution(node, weight.shape.slice(2))) filled++
    }
  })
  return filled
}

function fillConvolution(node: Node, kernel: readonly number[]): boolean {
  const before = node.attributes.size
  const padding = stringAttribute(node, 'auto_pad', 'NOTSET')
  const ones = kernel.map(() => 1)
  const set = (name: string, values: readonly number[]): void => {
    if (!intsAttribute(node, name, undefined)) node.attributes.set(name, makeAttribute(values))
  }
  set('kernel_shape', kernel)
  set('strides', ones)
  set('dilations', ones)
  if (!node.attributes.has('group')) node.attributes.set('group', makeAttribute(1))
  const explicit = padding === 'NOTSET' || padding === 'VALID' || padding === ''
  if (explicit && !node.attributes.has('output_shape')) {
    if (padding === 'VALID') node.attributes.delete('pads')
    const removed = node.attributes.delete('auto_pad')
    set(
      'pads',
      [...kernel, ...kernel].map(() => 0),
    )
    return removed || node.attributes.size !== before
  }
  return node.attributes.size !== before
}
