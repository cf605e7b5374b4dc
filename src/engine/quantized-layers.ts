/**
 * Which value of a quantized network stands for which of the original, and what of it computes one layer.
 *
 * Quantizers keep the names of values, put `x → QuantizeLinear → DequantizeLinear` behind them, fold batch
 * normalisations, and leave out activation functions that the integers' limits replace: the convolution's output then
 * carries the name of the activation's, before it is clipped. So what consumers of `x` see is the end of its
 * QuantizeLinear–DequantizeLinear pair, and that is what is paired. Where a name is not kept, the node's name decides.
 */
import { GraphIndex, type Model, type Node, subgraphsOf, usedNames } from '../graph/index.ts'

/** A layer of a quantized network beside the value of the original that it computes. */
export interface LayerPair {
  /** Name of the node in the quantized network; the input's name for an input that is quantized. */
  readonly name: string
  readonly op: string
  /** Value of the original. */
  readonly original: string
  /** Value of the quantized network that stands for it. */
  readonly quantized: string
  /** Names of the quantized network's nodes that compute the value from `feeds`, in order. */
  readonly part: ReadonlySet<Node>
  /** Values that `part` reads, and the original's values that stand for them. */
  readonly feeds: ReadonlyMap<string, string>
}

/** The layers of two networks that were paired. */
export interface PairedLayers {
  readonly layers: readonly LayerPair[]
  /** Nodes of the quantized network whose outputs have no counterpart. */
  readonly unmatched: readonly string[]
}

/** Whether a node is one half of a quantization; the standard operators and ONNX Runtime's own. */
export function isQuantization(node: Node | undefined, op?: 'QuantizeLinear' | 'DequantizeLinear'): boolean {
  if (!node) return false
  return op ? node.opType === op : node.opType === 'QuantizeLinear' || node.opType === 'DequantizeLinear'
}

/** Whether a network has numbers quantized at run time or weights stored as integers between float operators. */
export function hasQuantization(model: Model): boolean {
  return model.graph.nodes.some((node) => isQuantization(node))
}

/** How {@link pairLayers} pairs. */
export interface PairOptions {
  /**
   * Pair each node's own output with that of the original's node of that name, before it is quantized and before an
   * activation function that was left out: what AMCT compares. Default: what the consumers see.
   */
  readonly bare?: boolean | undefined
}

/**
 * Pairs the layers of a quantized network with the original's values.
 *
 * Layers are the nodes of the main graph that depend on its inputs, other than the quantizations themselves.
 *
 * @param inputs inputs of the quantized network by those of the original.
 */
export function pairLayers(
  original: Model,
  quantized: Model,
  inputs: ReadonlyMap<string, string>,
  options: PairOptions = {},
): PairedLayers {
  const pairing = new Pairing(original, quantized, inputs)
  const layers: LayerPair[] = []
  const unmatched: string[] = []
  for (const node of quantized.graph.nodes) {
    if (pairing.isQuantizing(node) || pairing.isConstant(node)) continue
    const found = options.bare ? pairing.bareLayer(node) : pairing.layer(node)
    // Subgraphs read values by names that the parts do not keep.
    if (found && ![...found.part].some((inner) => subgraphsOf(inner).length > 0)) layers.push(found)
    else unmatched.push(node.name)
  }
  const quantizedInputs = options.bare ? [] : [...inputs].flatMap(([from, to]) => pairing.input(from, to) ?? [])
  return { layers: [...quantizedInputs, ...layers], unmatched }
}

/** Operators that quantizers fold away or leave out, so that the value behind them is what is computed. */
const FOLDED: ReadonlySet<string> = new Set(['BatchNormalization'])
const CLIPPING: ReadonlySet<string> = new Set(['Relu', 'Clip'])
/** ONNX Runtime's name for what was an output and is quantized now. */
const BEFORE_OUTPUT = '_QuantizeLinear_Input'

class Pairing {
  readonly #original: GraphIndex
  readonly #quantized: GraphIndex
  readonly #constants = new Set<string>()
  readonly #originalValues = new Set<string>()
  readonly #quantizedValues = new Set<string>()
  readonly #inputs: ReadonlyMap<string, string>

  constructor(original: Model, quantized: Model, inputs: ReadonlyMap<string, string>) {
    this.#original = new GraphIndex(original.graph)
    this.#quantized = new GraphIndex(quantized.graph)
    this.#inputs = new Map([...inputs].map(([from, to]) => [to, from]))
    for (const { name } of original.graph.inputs) this.#originalValues.add(name)
    for (const node of original.graph.nodes) for (const name of node.outputs) this.#originalValues.add(name)
    this.#originalValues.delete('')
    const free = new Set(quantized.graph.inputs.map((input) => input.name))
    for (const name of quantized.graph.initializers.keys()) if (!free.has(name)) this.#constants.add(name)
    for (const node of quantized.graph.nodes) {
      const constant = usedNames(node).every((name) => name === '' || this.#constants.has(name))
      for (const name of node.outputs) {
        this.#quantizedValues.add(name)
        if (constant) this.#constants.add(name)
      }
    }
  }

  /** Whether a node is part of a quantization: its halves, and a Clip before them that stands for fewer bits. */
  isQuantizing(node: Node): boolean {
    if (isQuantization(node)) return true
    const [output = ''] = node.outputs
    if (node.opType !== 'Clip' || this.#originalValues.has(output)) return false
    const users = this.#quantized.users(output)
    return users.length > 0 && users.every((user) => isQuantization(user, 'QuantizeLinear'))
  }

  isConstant(node: Node): boolean {
    return node.outputs.every((name) => name === '' || this.#constants.has(name))
  }

  layer(node: Node): LayerPair | undefined {
    const own = node.outputs[0] ?? ''
    const original = own === '' ? undefined : this.#counterpart(own)
    return original === undefined ? undefined : this.#pair(node.name, node, original, this.#seen(own))
  }

  /** The node's own output beside that of the original's node of that name. */
  bareLayer(node: Node): LayerPair | undefined {
    const twin = this.#original.node(node.name)
    const [own = '', value = ''] = [node.outputs[0], twin?.outputs[0]]
    return twin?.opType === node.opType && own !== '' && value !== ''
      ? this.#pair(node.name, node, value, own)
      : undefined
  }

  /** An input that is quantized. */
  input(original: string, quantized: string): LayerPair | undefined {
    const seen = this.#seen(quantized)
    return seen === quantized ? undefined : this.#pair(quantized, undefined, original, seen)
  }

  #pair(name: string, node: Node | undefined, original: string, quantized: string): LayerPair {
    const part = new Set<Node>()
    const feeds = new Map<string, string>()
    this.#collect(quantized, node, part, feeds)
    return { name, op: node?.opType ?? 'input', original, quantized, part, feeds }
  }

  /** What computes a value from values that have counterparts; quantizations in between belong to it. */
  #collect(value: string, own: Node | undefined, part: Set<Node>, feeds: Map<string, string>): void {
    const open = [value]
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (name === '' || feeds.has(name)) continue
      const producer = this.#quantized.producer(name)
      if (producer && part.has(producer)) continue
      const isWithin =
        producer !== undefined && (producer === own || this.isQuantizing(producer) || this.#constants.has(name))
      const counterpart = isWithin || this.#constants.has(name) ? undefined : this.#counterpart(name)
      if (counterpart !== undefined) feeds.set(name, counterpart)
      else if (producer) {
        part.add(producer)
        open.push(...usedNames(producer))
      }
    }
  }

  /** What consumers see of a value: the end of the quantization behind it, if there is one. */
  #seen(value: string): string {
    const first = this.#quantized.users(value).find((node) => this.isQuantizing(node) && node.inputs[0] === value)
    const quantize = first?.opType === 'Clip' ? this.#quantized.users(first.outputs[0]!)[0] : first
    if (!isQuantization(quantize, 'QuantizeLinear') || !quantize) return value
    const users = this.#quantized.users(quantize.outputs[0] ?? '')
    return users.find((node) => isQuantization(node, 'DequantizeLinear'))?.outputs[0] ?? value
  }

  /** The original's value that a value of the quantized network, before its own quantization, stands for. */
  #counterpart(value: string): string | undefined {
    const input = this.#inputs.get(value)
    if (input !== undefined) return input
    const stem = value.endsWith(BEFORE_OUTPUT) ? value.slice(0, -BEFORE_OUTPUT.length) : value
    let found = this.#originalValues.has(stem) ? stem : this.#byNode(value)
    const clips = this.#seen(value) !== value
    while (found !== undefined) {
      const users: readonly Node[] = this.#original.users(found)
      const next = users.length === 1 && !this.#original.isOutput(found) ? users[0]! : undefined
      const leftOut = next && (FOLDED.has(next.opType) || (clips && CLIPPING.has(next.opType)))
      if (!leftOut || next.inputs[0] !== found || this.#isInQuantized(next)) break
      found = next.outputs[0]!
    }
    return found
  }

  #isInQuantized(node: Node): boolean {
    return this.#quantized.node(node.name)?.opType === node.opType || this.#quantizedValues.has(node.outputs[0]!)
  }

  #byNode(value: string): string | undefined {
    const producer = this.#quantized.producer(value)
    const twin = producer && this.#original.node(producer.name)
    if (!producer || twin?.opType !== producer.opType) return undefined
    return twin.outputs[producer.outputs.indexOf(value)] || undefined
  }
}
