/**
 * The intermediate representation: ONNX's model as plain, mutable objects that refer to values by name.
 *
 * It knows no bytes and no protobuf. What algorithms have no use for (doc strings, device configurations, fields of
 * later versions …) travels along in `preserved`, in wire form, and is written back by the codec.
 * Scopes: a subgraph sees the names of the graphs around it. Nodes are in topological order after decoding checks.
 */
import type { DType, Tensor } from '../tensor/index.ts'

/** Wire-form bytes of the fields of a message that the IR does not model; only the codec looks inside. */
export type Preserved = Uint8Array

/** A dimension: a length, a symbolic name, or `null` when unknown. */
export type Dimension = number | string | null

/** The type of a value. */
export type ValueType =
  | {
      readonly kind: 'tensor'
      /** `undefined` when the model does not say. */
      readonly dtype: DType | undefined
      /** `undefined` when even the number of axes is unknown. */
      readonly shape: readonly Dimension[] | undefined
      /** The original TypeProto when it carries more (denotations); absent on types we made. */
      readonly encoded?: Uint8Array | undefined
    }
  | { readonly kind: 'sequence' | 'map' | 'optional' | 'sparse' | 'opaque'; readonly encoded: Uint8Array }

/** A named, typed value: a graph's input or output, or a note about an inner value. */
export interface ValueInfo {
  readonly name: string
  readonly type: ValueType | undefined
  readonly preserved?: Preserved | undefined
}

/** An attribute's value; `ref` stands for a function's formal attribute. */
export type Attribute =
  | { readonly kind: 'float'; readonly value: number; readonly preserved?: Preserved | undefined }
  | { readonly kind: 'int'; readonly value: bigint; readonly preserved?: Preserved | undefined }
  | { readonly kind: 'string'; readonly value: Uint8Array; readonly preserved?: Preserved | undefined }
  | {
      readonly kind: 'tensor'
      readonly value: Tensor
      readonly name: string
      /** The tensor's own doc string and metadata. */
      readonly notes?: Preserved | undefined
      readonly preserved?: Preserved | undefined
    }
  | { readonly kind: 'graph'; readonly value: Graph; readonly preserved?: Preserved | undefined }
  | { readonly kind: 'floats'; readonly value: readonly number[]; readonly preserved?: Preserved | undefined }
  | { readonly kind: 'ints'; readonly value: readonly bigint[]; readonly preserved?: Preserved | undefined }
  | { readonly kind: 'strings'; readonly value: readonly Uint8Array[]; readonly preserved?: Preserved | undefined }
  | { readonly kind: 'graphs'; readonly value: readonly Graph[]; readonly preserved?: Preserved | undefined }
  /** The name of the enclosing function's attribute; `type` is the AttributeProto.AttributeType code. */
  | { readonly kind: 'ref'; readonly value: string; readonly type: number; readonly preserved?: Preserved | undefined }
  /** Tensor lists, sparse tensors, types, and whatever later versions add: the whole AttributeProto, kept as it is. */
  | { readonly kind: 'other'; readonly encoded: Uint8Array; readonly preserved?: undefined }

/** One operator application. Empty strings in `inputs` and `outputs` stand for omitted optional ones. */
export interface Node {
  /** Unique in its model after {@link ensureUniqueNames}; may be empty in files. */
  name: string
  opType: string
  /** `''` is the standard ONNX domain (also written `ai.onnx`). */
  domain: string
  overload: string
  inputs: string[]
  outputs: string[]
  attributes: Map<string, Attribute>
  preserved?: Preserved | undefined
}

/** A graph or subgraph. */
export interface Graph {
  name: string
  nodes: Node[]
  inputs: ValueInfo[]
  outputs: ValueInfo[]
  /** Notes on inner values, by name. */
  valueInfos: Map<string, ValueInfo>
  /** Constant values by name; a name that is also an input is only that input's default. */
  initializers: Map<string, Tensor>
  /** Sparse initializers by name, as encoded SparseTensorProto. */
  sparseInitializers: Map<string, Uint8Array>
  /** `preserved` bytes of initializers that carry doc strings or metadata, by name. */
  initializerNotes: Map<string, Preserved>
  preserved?: Preserved | undefined
}

/** A model-local function. */
export interface FunctionDefinition {
  name: string
  domain: string
  overload: string
  inputs: string[]
  outputs: string[]
  /** Names of attributes without default. */
  attributes: string[]
  /** Attributes with default. */
  attributeDefaults: Map<string, Attribute>
  nodes: Node[]
  opsets: Map<string, number>
  preserved?: Preserved | undefined
}

/** A model: a graph, the operator sets it is written in, and what the file says about itself. */
export interface Model {
  irVersion: number
  /** Version of each imported operator set; key `''` is the standard domain. */
  opsets: Map<string, number>
  producerName: string
  producerVersion: string
  graph: Graph
  functions: FunctionDefinition[]
  metadata: Map<string, string>
  preserved?: Preserved | undefined
}

/** An empty graph. */
export function createGraph(name: string): Graph {
  return {
    name,
    nodes: [],
    inputs: [],
    outputs: [],
    valueInfos: new Map(),
    initializers: new Map(),
    sparseInitializers: new Map(),
    initializerNotes: new Map(),
  }
}

/** A model around a graph. @param opset version of the standard operator set; default 17 (IR version 8). */
export function createModel(graph: Graph, opset = 17): Model {
  return {
    irVersion: opset >= 21 ? 10 : opset >= 19 ? 9 : 8,
    opsets: new Map([['', opset]]),
    producerName: 'whittle',
    producerVersion: '',
    graph,
    functions: [],
    metadata: new Map(),
  }
}

/** The type of a tensor value. */
export function tensorType(dtype: DType | undefined, shape: readonly Dimension[] | undefined): ValueType {
  return { kind: 'tensor', dtype, shape }
}

function cloneAttribute(attribute: Attribute): Attribute {
  if (attribute.kind === 'graph') return { ...attribute, value: cloneGraph(attribute.value) }
  if (attribute.kind === 'graphs') return { ...attribute, value: attribute.value.map(cloneGraph) }
  return attribute
}

/** A copy of a node; subgraphs are copied too, tensors are shared. */
export function cloneNode(node: Node): Node {
  return {
    ...node,
    inputs: [...node.inputs],
    outputs: [...node.outputs],
    attributes: new Map([...node.attributes].map(([name, value]) => [name, cloneAttribute(value)])),
  }
}

/** A copy of a graph's structure; tensors are shared. */
export function cloneGraph(graph: Graph): Graph {
  return {
    ...graph,
    nodes: graph.nodes.map(cloneNode),
    inputs: [...graph.inputs],
    outputs: [...graph.outputs],
    valueInfos: new Map(graph.valueInfos),
    initializers: new Map(graph.initializers),
    sparseInitializers: new Map(graph.sparseInitializers),
    initializerNotes: new Map(graph.initializerNotes),
  }
}

/** A copy of a model's structure; tensors are shared, so it is cheap and may be edited freely. */
export function cloneModel(model: Model): Model {
  return {
    ...model,
    opsets: new Map(model.opsets),
    graph: cloneGraph(model.graph),
    functions: model.functions.map((definition) => ({
      ...definition,
      inputs: [...definition.inputs],
      outputs: [...definition.outputs],
      attributes: [...definition.attributes],
      attributeDefaults: new Map(definition.attributeDefaults),
      nodes: definition.nodes.map(cloneNode),
      opsets: new Map(definition.opsets),
    })),
    metadata: new Map(model.metadata),
  }
}
