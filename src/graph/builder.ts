/** Builds graphs: `const y = b.op('MatMul', [x, w])`. Used for engine kernels, apply steps and gradients. */
import type { DType, Tensor } from '../tensor/index.ts'
import { type AttributeInput, makeAttributes } from './attributes.ts'
import { createGraph, createModel, type Dimension, type Graph, type Model, type Node, tensorType } from './model.ts'

/** Adds nodes and constants to a new graph; values are handled by name. */
export class GraphBuilder {
  readonly graph: Graph
  #count = 0

  constructor(name = 'graph') {
    this.graph = createGraph(name)
  }

  #fresh(prefix: string): string {
    return `${prefix}_${this.#count++}`
  }

  /** Declares a graph input and returns its name. */
  input(name: string, dtype: DType, shape: readonly Dimension[] | undefined): string {
    this.graph.inputs.push({ name, type: tensorType(dtype, shape) })
    return name
  }

  /** Adds an initializer and returns its name. */
  constant(tensor: Tensor, name = this.#fresh('constant')): string {
    this.graph.initializers.set(name, tensor)
    return name
  }

  /** Adds a node with one output and returns that output's name; `domain` is given as `domain::Op`. */
  op(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeInput | undefined>> = {},
    output?: string,
  ): string {
    return this.ops(opType, inputs, attributes, [output ?? this.#fresh(opType)])[0]!
  }

  /** Adds a node with the given outputs. */
  ops(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeInput | undefined>>,
    outputs: readonly string[],
  ): readonly string[] {
    this.graph.nodes.push(createNode(opType, inputs, outputs, attributes, this.#fresh(`node_${opType}`)))
    return outputs
  }

  /** Declares a graph output. */
  output(name: string, dtype: DType | undefined, shape?: readonly Dimension[]): void {
    this.graph.outputs.push({ name, type: tensorType(dtype, shape) })
  }

  /** The finished model. @param opset version of the standard operator set, default 17. */
  model(opset = 17): Model {
    return createModel(this.graph, opset)
  }
}

/** A node of the standard domain, or of another when the operator is written `domain::Op`. */
export function createNode(
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, AttributeInput | undefined>> = {},
  name = '',
): Node {
  const split = opType.split('::')
  return {
    name,
    opType: split[split.length - 1]!,
    domain: split.length > 1 ? split[0]! : '',
    overload: '',
    inputs: [...inputs],
    outputs: [...outputs],
    attributes: makeAttributes(attributes),
  }
}
