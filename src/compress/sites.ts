/**
 * Sites: the nodes that carry a weight, described in one vocabulary for all operators.
 *
 * Only the main graph has sites; weights inside subgraphs are reported as skips. Everything a method needs to know of
 * a layer is read here once, so that methods never look at attributes themselves.
 */
import { fail } from '../core/index.ts'
import {
  forEachNode,
  type Graph,
  GraphIndex,
  intAttribute,
  intsAttribute,
  type Model,
  type Node,
  stringAttribute,
  subgraphsOf,
  usedNames,
  type WeightFacts,
  weightFactsOf,
} from '../graph/index.ts'
import { isFloat, type Tensor } from '../tensor/index.ts'
import type { Skip } from './method.ts'

/** Shapes of values as observed in a run, by name. */
export type ObservedShapes = ReadonlyMap<string, { readonly shape: readonly number[] }>

/** A weight-carrying node. */
export interface Site {
  /** The node's name. */
  readonly name: string
  readonly op: string
  readonly kind: WeightFacts['kind']
  readonly node: Node
  readonly weightName: string
  readonly weight: Tensor
  /** Name of the bias value, if there is one. */
  readonly biasName: string | undefined
  /** The bias when it is constant. */
  readonly bias: Tensor | undefined
  /** Input channels (features), over all groups. */
  readonly inputs: number
  /** Output channels (features), over all groups. */
  readonly outputs: number
  readonly group: number
  /** Kernel extents; `[]` for linear layers. */
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** Begin of every axis, then end of every axis. */
  readonly pads: readonly number[]
  readonly autoPad: string
  /** ConvTranspose only. */
  readonly outputPadding: readonly number[] | undefined
  /** ConvTranspose's explicit `output_shape`, if given. */
  readonly fixedOutput: readonly number[] | undefined
  /** Whether a linear layer's weight is stored `[out, in]`. */
  readonly weightIsOutputFirst: boolean
  /** Shape of the node's data input, when observed. */
  readonly inputShape: readonly number[] | undefined
  /** Shape of the node's output, when observed. */
  readonly outputShape: readonly number[] | undefined
}

/** The sites of a model, and every weight-carrying node that is none, with the reason. */
export interface SiteList {
  readonly sites: readonly Site[]
  readonly skips: readonly Skip[]
}

/**
 * Finds the sites of a model.
 *
 * @throws WhittleError `INVALID_MODEL` when a weight does not fit its operator (axes, groups).
 */
export function findSites(model: Model, shapes: ObservedShapes = new Map()): SiteList {
  const index = new GraphIndex(model.graph)
  const sites: Site[] = []
  const skips: Skip[] = []
  for (const node of model.graph.nodes) {
    const facts = weightFactsOf(node)
    if (facts) {
      const site = siteOf(node, facts, index, model.graph, shapes)
      if (typeof site === 'string') skips.push({ name: node.name, reason: site })
      else sites.push(site)
    } else {
      const reason = otherWeights(node, model, index)
      if (reason !== undefined) skips.push({ name: node.name, reason })
    }
    for (const subgraph of subgraphsOf(node))
      forEachNode(subgraph, (inner) => {
        if (weightFactsOf(inner))
          skips.push({ name: inner.name, reason: `It is inside the ${node.opType} '${node.name}'.` })
      })
  }
  return { sites, skips }
}

/** Operators with weights that no method here decomposes. */
const OTHER_WEIGHTED: ReadonlySet<string> = new Set(
  'ConvInteger DeformConv Einsum GRU LSTM MatMulInteger QLinearConv QLinearMatMul RNN'.split(' '),
)

/** Why a node that is no site is left alone although it carries weights; `undefined` when it carries none. */
function otherWeights(node: Node, model: Model, index: GraphIndex): string | undefined {
  const called = model.functions.find(({ name, domain }) => name === node.opType && domain === node.domain)
  const inside = called?.nodes.find((inner) => weightFactsOf(inner) !== undefined)
  if (inside) return `It calls the function '${node.opType}', which holds the ${inside.opType} '${inside.name}'.`
  const isStandard = node.domain === '' || node.domain === 'ai.onnx'
  if (!isStandard || !OTHER_WEIGHTED.has(node.opType)) return undefined
  const hasWeight = node.inputs.slice(1).some((name) => index.constant(name) !== undefined)
  return hasWeight ? `Operator ${node.opType} is not decomposed.` : undefined
}

function siteOf(
  node: Node,
  facts: WeightFacts,
  index: GraphIndex,
  graph: Graph,
  shapes: ObservedShapes,
): Site | string {
  const weightName = node.inputs[facts.weightInput] ?? ''
  const weight = index.constant(weightName)
  if (!weight) {
    if (graph.initializers.has(weightName)) return `Its weight '${weightName}' is also a graph input and may change.`
    if (graph.sparseInitializers.has(weightName)) return `Its weight '${weightName}' is stored sparsely.`
    if (facts.kind === 'linear' && index.constant(node.inputs[0] ?? ''))
      return 'Its weight is the left operand; only right ones are decomposed.'
    const producer = index.producer(weightName)
    if (producer?.opType === 'DequantizeLinear' && index.constant(producer.inputs[0]!))
      return 'Its weight is quantized already.'
    return producer && !dependsOnInput(weightName, index, graph)
      ? `Its weight is computed by ${producer.opType} '${producer.name}'.`
      : 'Both its operands are activations; it has no weight.'
  }
  if (!isFloat(weight.dtype)) return `Its weight is of type ${weight.dtype}, not floating point.`
  const biasName = (facts.biasInput === undefined ? '' : node.inputs[facts.biasInput]) || undefined
  const common = {
    name: node.name,
    op: node.opType,
    kind: facts.kind,
    node,
    weightName,
    weight,
    biasName,
    bias: biasName === undefined ? undefined : index.constant(biasName),
    inputShape: shapes.get(node.inputs[0] ?? '')?.shape,
    outputShape: shapes.get(node.outputs[0] ?? '')?.shape,
  }
  return facts.kind === 'linear' ? linearSite(common) : convolutionSite(common)
}

/** Whether a value is computed from an input of the graph, rather than from constants alone. */
function dependsOnInput(value: string, index: GraphIndex, graph: Graph): boolean {
  const inputs = new Set(graph.inputs.map((input) => input.name))
  const seen = new Set<string>()
  const open = [value]
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (inputs.has(name)) return true
    const producer = index.producer(name)
    if (!producer || seen.has(name)) continue
    seen.add(name)
    open.push(...usedNames(producer))
  }
  return false
}

type Common = Pick<
  Site,
  'name' | 'op' | 'kind' | 'node' | 'weightName' | 'weight' | 'biasName' | 'bias' | 'inputShape' | 'outputShape'
>

function linearSite(common: Common): Site | string {
  const { node, weight } = common
  if (weight.shape.length !== 2)
    return `Its weight has shape [${weight.shape.join(', ')}]; only matrices are decomposed.`
  const outputFirst = node.opType === 'Gemm' && intAttribute(node, 'transB', 0) !== 0
  const [rows, cols] = weight.shape as [number, number]
  return {
    ...common,
    inputs: outputFirst ? cols : rows,
    outputs: outputFirst ? rows : cols,
    group: 1,
    kernel: [],
    strides: [],
    dilations: [],
    pads: [],
    autoPad: 'NOTSET',
    outputPadding: undefined,
    fixedOutput: undefined,
    weightIsOutputFirst: outputFirst,
  }
}

function convolutionSite(common: Common): Site {
  const { node, weight, kind } = common
  const where = `${node.opType} '${node.name}'`
  if (weight.shape.length < 3)
    fail('INVALID_MODEL', `${where}: its weight must have at least 3 axes; it has shape [${weight.shape.join(', ')}].`)
  const kernel = weight.shape.slice(2)
  const rank = kernel.length
  const group = intAttribute(node, 'group', 1)
  const [first, second] = weight.shape as [number, number]
  if (group < 1 || first % group !== 0)
    fail('INVALID_MODEL', `${where}: group must divide ${first} channels; got group ${group}. Re-export the layer.`)
  const ones = new Array<number>(rank).fill(1)
  const checked = (name: string, fallback: number[], length: number): number[] => {
    const values = intsAttribute(node, name, fallback)
    if (values.length !== length)
      fail('INVALID_MODEL', `${where}: attribute '${name}' must have ${length} entries; it has ${values.length}.`)
    return values
  }
  const transposed = kind === 'transposed-convolution'
  return {
    ...common,
    inputs: transposed ? first : second * group,
    outputs: transposed ? second * group : first,
    group,
    kernel,
    strides: checked('strides', ones, rank),
    dilations: checked('dilations', ones, rank),
    pads: checked('pads', new Array<number>(2 * rank).fill(0), 2 * rank),
    autoPad: stringAttribute(node, 'auto_pad', 'NOTSET'),
    outputPadding: transposed ? checked('output_padding', new Array<number>(rank).fill(0), rank) : undefined,
    fixedOutput: transposed ? intsAttribute(node, 'output_shape', undefined) : undefined,
    weightIsOutputFirst: !transposed,
  }
}
