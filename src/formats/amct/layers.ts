/**
 * A model's layers as AMCT sees them: their types, and the names that its files may give them.
 *
 * AMCT's PyTorch edition names modules (`layer1.0.conv1`), its ONNX edition nodes (`/layer1/layer1.0/conv1/Conv`). Both
 * are understood: a module's name is found in the names that torch.onnx.export gives its weight and its node.
 */
import { GraphIndex, intAttribute, intsAttribute, type Model, type Node } from '../../graph/index.ts'
import type { Tensor } from '../../tensor/index.ts'
import { LAYER_TYPES, type LayerTypeFacts, TYPE_ALIASES } from './layer-types.ts'

/** A node of the model. */
export interface AmctLayer {
  /** Name of the node. */
  readonly node: string
  /** Name of the PyTorch module it came from; the node's name when that is not known. */
  readonly module: string
  /** Type in AMCT's PyTorch edition (`Conv2d`, `Linear` …), or the operator's name. */
  readonly type: string
  /** Everything a configuration may call the type. */
  readonly types: readonly string[]
  /** `undefined` when AMCT does not quantize layers of this type. */
  readonly facts: LayerTypeFacts | undefined
  /** Why this very layer is not quantized, although its type could be. */
  readonly refusal: string | undefined
  /** Whether weights of 4 bits can be packed along the input channels: no groups, and an even number of them. */
  readonly packsFourBits: boolean
  /** Name of the weight, when there is one. */
  readonly weight: string | undefined
  /** Name of the data input. */
  readonly input: string
  /** Names of all inputs. */
  readonly inputs: readonly string[]
}

/** The layers of a model by every name they answer to. */
export interface AmctLayers {
  readonly all: readonly AmctLayer[]
  /** The layer of a node's or module's name. */
  find(name: string): AmctLayer | undefined
}

const WEIGHTED = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'LSTM', 'GRU'])

/** `layer1.0.conv1` of `/layer1/layer1.0/conv1/Conv`: a part that repeats the one before it stands for both. */
function moduleOfNode(name: string): string | undefined {
  const parts = name.split('/').filter((part) => part !== '')
  if (!name.startsWith('/') || parts.length < 2) return undefined
  const path: string[] = []
  for (const part of parts.slice(0, -1)) {
    if (path.length > 0 && part.startsWith(`${path.at(-1)}.`)) path.pop()
    path.push(part)
  }
  return path.join('.')
}

function moduleOf(node: Node, weight: string | undefined): string {
  const suffix = weight === undefined ? undefined : /^(.+)\.weight(?:_ih_l0)?$/.exec(weight)?.[1]
  return suffix ?? moduleOfNode(node.name) ?? node.name
}

function typeOf(node: Node, weight: Tensor | undefined): { type: string; alias: string } {
  const plain = { type: node.opType, alias: node.opType }
  if (node.domain !== '' && node.domain !== 'ai.onnx') return plain
  const axes = (weight?.shape.length ?? 0) - 2
  switch (node.opType) {
    case 'Conv': {
      const isDepthwise = axes === 2 && intAttribute(node, 'group', 1) > 1 && weight?.shape[1] === 1
      return { type: `Conv${axes}d`, alias: isDepthwise ? 'Conv2d/depthwise' : `Conv${axes}d` }
    }
    case 'ConvTranspose':
      return { type: `ConvTranspose${axes}d`, alias: `ConvTranspose${axes}d` }
    case 'Gemm':
    case 'MatMul':
      return { type: 'Linear', alias: `Linear/${node.opType}` }
    case 'AveragePool': {
      const kernel = intsAttribute(node, 'kernel_shape', undefined)
      return kernel?.length === 2 ? { type: 'AvgPool2d', alias: 'AvgPool2d' } : plain
    }
    default:
      return plain
  }
}

function refusalOf(node: Node, weight: Tensor | undefined, isShared: boolean): string | undefined {
  if (!WEIGHTED.has(node.opType)) return undefined
  if (weight === undefined) return 'its weight is not constant'
  if (isShared) return 'its weight is shared with another node'
  if (node.opType === 'Gemm' && intAttribute(node, 'transA', 0) !== 0) return 'its input is transposed (transA)'
  if (node.opType === 'MatMul' && weight.shape.length !== 2)
    return `its weight must have two axes; it has shape [${weight.shape.join(', ')}]`
  if (
    node.opType === 'Conv' &&
    weight.shape.length === 5 &&
    (intsAttribute(node, 'dilations', [1, 1, 1])[0] ?? 1) !== 1
  )
    return 'it is dilated in depth'
  return undefined
}

function packsFourBits(node: Node, weight: Tensor | undefined): boolean {
  if (weight === undefined) return true
  if (intAttribute(node, 'group', 1) > 1) return false
  const isOutputFirst = node.opType === 'Conv' || (node.opType === 'Gemm' && intAttribute(node, 'transB', 0) !== 0)
  const inputs = weight.shape[isOutputFirst ? 1 : 0] ?? 0
  return inputs % 2 === 0
}

function layerOf(node: Node, index: GraphIndex): AmctLayer {
  const name = WEIGHTED.has(node.opType) ? node.inputs[1] : undefined
  const weight = name === undefined ? undefined : index.constant(name)
  const { type, alias } = typeOf(node, weight)
  const facts = Object.hasOwn(LAYER_TYPES, type) ? LAYER_TYPES[type] : undefined
  return {
    node: node.name,
    module: moduleOf(node, name),
    type,
    types: facts ? [type, ...(TYPE_ALIASES[alias] ?? [])] : [type],
    facts,
    refusal: refusalOf(node, weight, name !== undefined && index.users(name).length > 1),
    packsFourBits: packsFourBits(node, weight),
    weight: weight ? name : undefined,
    input: node.inputs[0] ?? '',
    inputs: node.inputs,
  }
}

/**
 * The layers of a model's main graph, in the order of its nodes.
 *
 * Weights have to be initializers (`prepareModel` makes them so) and nodes need unique names.
 */
export function amctLayers(model: Model): AmctLayers {
  const index = new GraphIndex(model.graph)
  const all = model.graph.nodes.map((node) => layerOf(node, index))
  const byName = new Map<string, AmctLayer>()
  for (const layer of all) byName.set(layer.node, layer)
  // A module's name belongs to its quantizable node, not to what else was exported from the module (a bias Add …).
  for (const layer of all) if (layer.facts && !byName.has(layer.module)) byName.set(layer.module, layer)
  for (const layer of all) if (!byName.has(layer.module)) byName.set(layer.module, layer)
  return { all, find: (name) => byName.get(name) }
}

/** The layers that AMCT's quantization reaches. */
export function quantizableLayers(layers: AmctLayers): (AmctLayer & { readonly facts: LayerTypeFacts })[] {
  return layers.all.filter(
    (layer): layer is AmctLayer & { facts: LayerTypeFacts } => layer.facts !== undefined && layer.refusal === undefined,
  )
}
