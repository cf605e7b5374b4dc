/** Adds fake quantization to a graph, as standard operators. */
import { createNode, type Graph, NameGenerator } from '../../graph/index.ts'
import { fromNumbers, Tensor } from '../../tensor/index.ts'
import type { FakeQuantNodes, NodeRules } from './rules.ts'

/** Nodes, constants and rules as they are added to a graph that the caller owns. */
export class FakeQuantWriter {
  readonly graph: Graph
  readonly rules: NodeRules = new Map()
  readonly #names: NameGenerator
  readonly #numbers = new Map<number, string>()
  #always: string | undefined

  constructor(graph: Graph) {
    this.graph = graph
    this.#names = new NameGenerator(graph)
  }

  /** A name that nothing has yet. */
  fresh(wanted: string): string {
    return this.#names.fresh(wanted)
  }

  /** Adds a node. @returns its output and its name. */
  node(
    opType: string,
    inputs: readonly string[],
    prefix: string,
    output?: string,
    attributes: Readonly<Record<string, number>> = {},
  ): { readonly value: string; readonly name: string } {
    const name = this.#names.fresh(`${prefix}/${opType}`)
    const value = output ?? this.#names.fresh(`${name}_output`)
    this.graph.nodes.push(createNode(opType, inputs, [value], attributes, name))
    return { value, name }
  }

  /** The value of a new node. */
  op(opType: string, inputs: readonly string[], prefix: string): string {
    return this.node(opType, inputs, prefix).value
  }

  /** An initializer under a new name. */
  constant(wanted: string, tensor: Tensor): string {
    const name = this.#names.fresh(wanted)
    this.graph.initializers.set(name, tensor)
    return name
  }

  /** One float32 number without axes; equal ones are one. */
  number(value: number): string {
    const known = this.#numbers.get(value)
    if (known !== undefined) return known
    const name = this.constant('fake_quant/number', fromNumbers(Float64Array.of(value), [], 'float32'))
    this.#numbers.set(value, name)
    return name
  }

  /** The constant `true`. */
  get always(): string {
    this.#always ??= this.constant('fake_quant/always', Tensor.of(Uint8Array.of(1), [], 'bool'))
    return this.#always
  }

  /** A list of integers. */
  integers(wanted: string, values: readonly number[]): string {
    return this.constant(wanted, Tensor.int64(values))
  }

  /** s · round(clip(x / s, low, high)). @param low, high values, in units of the scale. */
  fakeQuantize(
    x: string,
    scale: string,
    [low, high]: readonly [string, string],
    prefix: string,
    output?: string,
  ): { readonly y: string; readonly nodes: FakeQuantNodes } {
    const divide = this.node('Div', [x, scale], prefix)
    const clip = this.node('Clip', [divide.value, low, high], prefix)
    const round = this.op('Round', [clip.value], prefix)
    const multiply = this.node('Mul', [round, scale], prefix, output)
    const names = { divide: divide.name, clip: clip.name, multiply: multiply.name }
    return { y: multiply.value, nodes: { ...names, v: divide.value, c: clip.value, scale } }
  }
}
