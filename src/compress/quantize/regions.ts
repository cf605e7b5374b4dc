/**
 * Which nodes of a network work on integers, and which values have to become integers for that.
 *
 * Integers start at layers (nodes with weights, and products of two activations) and go on through nodes that compute
 * with them or move them. Everything else stays in float, between a DequantizeLinear and a QuantizeLinear.
 */
import { fail, matchesAny } from '../../core/index.ts'
import {
  floatAttribute,
  forEachModelNode,
  forEachNode,
  GraphIndex,
  intAttribute,
  type Model,
  type Node,
  subgraphsOf,
  weightFactsOf,
} from '../../graph/index.ts'
import { type DType, isFloat, type Tensor, toFloat32 } from '../../tensor/index.ts'
import type { Skip } from '../method.ts'
import {
  type NodeFacts,
  QUANTIZED_OPERATORS,
  type QuantizeFacts,
  type QuantizeRole,
  quantizedInputs,
  quantizedOutputs,
  quantizeFactsOf,
  weightAxis,
} from './operators.ts'
import type { Range } from './scheme.ts'

/** Shapes and element types of values as observed in a run. */
export type ObservedValues = ReadonlyMap<string, { readonly shape: readonly number[]; readonly dtype?: DType }>

/** Options of {@link findQuantizable}. */
export interface QuantizableOptions {
  /** Only layers whose names match one of these patterns (`*`, `?`); absent or empty: all. */
  readonly only?: readonly string[] | undefined
  /** No nodes whose names match one of these. */
  readonly skip?: readonly string[] | undefined
  /** Operators that may work on integers; absent: all that have an integer form. */
  readonly operators?: ReadonlySet<string> | undefined
  /** Reasons to leave nodes alone, by name, that somebody else found (roll-back, a target). */
  readonly excluded?: ReadonlyMap<string, string> | undefined
  /** Whether Relu and Clip after a quantized node stay although the integers' limits do their work; default false. */
  readonly keepRemovableActivations?: boolean | undefined
}

/** A node that can work on integers. */
export interface QuantizableNode {
  readonly name: string
  readonly op: string
  readonly role: QuantizeRole
  /** The weight of a layer and the axis its scales may go along. */
  readonly weight: { readonly tensor: string; readonly axis: number | null } | undefined
  readonly bias: string | undefined
  /** Activations it reads as integers. */
  readonly inputs: readonly string[]
  /** Constants besides weight and bias that it reads as integers. */
  readonly constants: readonly string[]
  /** Values it gives as integers. */
  readonly outputs: readonly string[]
  /** A Relu or Clip that the limits of its output's integers can replace, because nothing else reads its input. */
  readonly removable: boolean
}

/** A value that becomes integers. */
export interface QuantizableTensor {
  readonly name: string
  /** The value whose range, scale and zero point it has. */
  readonly sharedWith: string | undefined
  /** Range to take; nothing has to be measured. */
  readonly fixedRange: Range | undefined
  /** Range that measured ones are cut to. */
  readonly bounds: Range | undefined
}

/** What can be quantized in a model. */
export interface Quantizable {
  readonly nodes: readonly QuantizableNode[]
  /** In the order of the nodes; those without `sharedWith` and `fixedRange` need a measured range. */
  readonly tensors: readonly QuantizableTensor[]
  /** Nodes that compute with floats and are left alone, with the reason. */
  readonly skips: readonly Skip[]
}

/**
 * Finds what can be quantized.
 *
 * @param model prepared: weights are initializers, names are unique, nodes are sorted.
 * @param shapes what `observeShapes` found for it.
 * @throws WhittleError `INVALID_ARGUMENT` when the model is quantized already, or a pattern matches no node.
 */
export function findQuantizable(model: Model, shapes: ObservedValues, options: QuantizableOptions = {}): Quantizable {
  assertFloatModel(model)
  checkPatterns(model, options)
  return new Finder(model, shapes, options).find()
}

/** Whether a model has operators that only quantization brings. */
export function isQuantized(model: Model): boolean {
  return quantizedOperators(model).size > 0
}

function quantizedOperators(model: Model): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  forEachModelNode(model, ({ opType }) => {
    if (QUANTIZED_OPERATORS.has(opType)) counts.set(opType, (counts.get(opType) ?? 0) + 1)
  })
  return counts
}

/**
 * Throws for a model that has integer layers already.
 *
 * @throws WhittleError `INVALID_ARGUMENT` naming the operators that say so.
 */
export function assertFloatModel(model: Model): void {
  const counts = quantizedOperators(model)
  if (counts.size === 0) return
  const found = [...counts].map(([op, count]) => `${count} ${op}`).join(', ')
  fail(
    'INVALID_ARGUMENT',
    `Model '${model.graph.name}': must be in float to be quantized; it is quantized already (${found}). Quantize the model it was made from.`,
  )
}

function checkPatterns(model: Model, { only = [], skip = [] }: QuantizableOptions): void {
  for (const [name, patterns] of Object.entries({ only, skip }))
    for (const pattern of patterns)
      if (!model.graph.nodes.some((node) => matchesAny(node.name, [pattern])))
        fail('INVALID_ARGUMENT', `Option ${name}: pattern '${pattern}' matches no node. 'inspect' lists the names.`)
}

class Finder {
  readonly #model: Model
  readonly #index: GraphIndex
  readonly #shapes: ObservedValues
  readonly #options: QuantizableOptions
  readonly #facts: NodeFacts
  /** Nodes that will work on integers. */
  readonly #chosen = new Set<Node>()
  readonly #reasons = new Map<Node, string>()
  /** Values that become integers. */
  readonly #values = new Set<string>()
  /** What {@link #isReadAsIntegers} has found out. */
  readonly #isRead = new Map<string, boolean>()
  readonly #opset: number

  constructor(model: Model, shapes: ObservedValues, options: QuantizableOptions) {
    this.#model = model
    this.#index = new GraphIndex(model.graph)
    this.#shapes = shapes
    this.#options = options
    this.#opset = model.opsets.get('') ?? 1
    this.#facts = {
      constant: (name) => (name === undefined || name === '' ? undefined : this.#index.constant(name)),
      isUsed: (name) => this.#index.isOutput(name) || this.#index.users(name).length > 0,
    }
  }

  find(): Quantizable {
    for (const node of this.#model.graph.nodes) {
      if (!this.#computesFloats(node)) continue
      const reason = this.#refusal(node)
      if (reason === undefined) this.#chosen.add(node)
      else this.#reasons.set(node, reason)
    }
    this.#dropEnds()
    this.#chooseValues()
    const chosen = this.#model.graph.nodes.filter((node) => this.#chosen.has(node))
    const nodes = chosen.map((node) => this.#describe(node))
    const skips = this.#model.graph.nodes.flatMap((node) => {
      const reason = this.#reasons.get(node)
      return [...(reason === undefined ? [] : [{ name: node.name, reason }]), ...layersInside(node)]
    })
    return { nodes, tensors: this.#tensors(chosen, nodes), skips }
  }

  #isFloat(name: string): boolean {
    const dtype = this.#index.constant(name)?.dtype ?? this.#shapes.get(name)?.dtype
    return dtype !== undefined && isFloat(dtype)
  }

  #computesFloats(node: Node): boolean {
    return node.inputs.some((name) => name !== '' && !this.#index.constant(name) && this.#isFloat(name))
  }

  /** Why a node stays in float; `undefined` when it does not. Nodes before it have been decided on. */
  #refusal(node: Node): string | undefined {
    const { operators, skip = [], excluded } = this.#options
    const facts = quantizeFactsOf(node)
    if (!facts) return `Operator ${node.opType} has no integer form.`
    if (matchesAny(node.name, skip)) return 'It is excluded by the option skip.'
    const other = excluded?.get(node.name)
    if (other !== undefined) return other
    if (operators && !operators.has(node.opType))
      return `Operator ${node.opType} is not faster in integers on the target.`
    if (this.#opset < (facts.opset ?? 10))
      return `Operator ${node.opType} takes integers from opset ${facts.opset ?? 10} on; the model has ${this.#opset}.`
    return this.#operandRefusal(node, facts) ?? facts.refuse?.(node, this.#facts) ?? this.#neighbourRefusal(node, facts)
  }

  #operandRefusal(node: Node, facts: QuantizeFacts): string | undefined {
    for (const position of quantizedInputs(node, facts)) {
      const name = node.inputs[position] ?? ''
      const dtype = this.#index.constant(name)?.dtype ?? this.#shapes.get(name)?.dtype
      if (dtype !== 'float32') return `Its input '${name}' is of type ${dtype ?? 'unknown'}, not float32.`
      const constant = this.#index.constant(name)
      if (!constant && this.#model.graph.initializers.has(name))
        return `Its input '${name}' is a constant that the graph's inputs may replace.`
      if (constant && toFloat32(constant).some((value) => !(Math.abs(value) < LARGEST_CONSTANT)))
        return `Its constant '${name}' has numbers that no scale can hold.`
    }
    if (facts.role === 'layer') return this.#layerRefusal(node)
    if (quantizedInputs(node, facts).every((position) => this.#index.constant(node.inputs[position]!)))
      return 'It works on constants.'
    return undefined
  }

  #layerRefusal(node: Node): string | undefined {
    if (node.opType === 'MatMul') return this.#onlyRefusal(node)
    const weightName = node.inputs[1] ?? ''
    const weight = this.#index.constant(weightName)
    if (!weight) return `Its weight '${weightName}' is not constant.`
    if (weight.dtype !== 'float32') return `Its weight is of type ${weight.dtype}, not float32.`
    if (weight.size === 0) return 'Its weight is empty.'
    if (node.opType === 'Gemm') {
      const alpha = floatAttribute(node, 'alpha', 1)
      const beta = floatAttribute(node, 'beta', 1)
      if (alpha !== 1 || ((node.inputs[2] ?? '') !== '' && beta !== 1))
        return `Its factors alpha ${alpha} and beta ${beta} must be 1.`
    }
    return this.#biasRefusal(node, weight) ?? this.#onlyRefusal(node)
  }

  #biasRefusal(node: Node, weight: Tensor): string | undefined {
    const name = node.inputs[2] ?? ''
    if (name === '') return undefined
    const bias = this.#index.constant(name)
    if (!bias) return `Its bias '${name}' is not constant.`
    const channels = outputChannels(node, weight)
    if (bias.size !== channels && bias.size !== 1)
      return `Its bias '${name}' has shape [${bias.shape.join(', ')}]; one number per output is needed.`
    if (bias.size > 1 && bias.shape[bias.shape.length - 1] !== channels)
      return `Its bias '${name}' of shape [${bias.shape.join(', ')}] does not go along the outputs.`
    return undefined
  }

  #onlyRefusal(node: Node): string | undefined {
    const { only = [] } = this.#options
    return only.length > 0 && !matchesAny(node.name, only)
      ? 'It is not among those that the option only names.'
      : undefined
  }

  /** Nodes that are no layers follow integers; they do not start them. */
  #neighbourRefusal(node: Node, facts: QuantizeFacts): string | undefined {
    if (facts.role === 'layer') return undefined
    const reads = quantizedInputs(node, facts).map((position) => node.inputs[position]!)
    return reads.some((name) => this.#isInteger(name)) ? undefined : 'None of its inputs comes in integers.'
  }

  #isInteger(name: string): boolean {
    const producer = this.#index.producer(name)
    return producer !== undefined && this.#chosen.has(producer)
  }

  /** Whether a chosen node computes with a value's integers, itself or behind nodes that only move them. */
  #isReadAsIntegers(name: string): boolean {
    const known = this.#isRead.get(name)
    if (known !== undefined) return known
    const read = this.#index.users(name).some((user) => {
      if (!this.#chosen.has(user)) return false
      const facts = quantizeFactsOf(user)!
      if (!quantizedInputs(user, facts).some((position) => user.inputs[position] === name)) return false
      if (facts.role === 'layer' || facts.role === 'computed') return true
      return quantizedOutputs(user, facts).some((output) => this.#isReadAsIntegers(output))
    })
    this.#isRead.set(name, read)
    return read
  }

  /** Takes back nodes that would be rounded at the end of the network for nobody. */
  #dropEnds(): void {
    for (const node of [...this.#chosen].reverse()) {
      const facts = quantizeFactsOf(node)!
      // In this order all that comes after a node is decided on, so that what was found out stays true.
      if (facts.role !== 'computed' || quantizedOutputs(node, facts).some((name) => this.#isReadAsIntegers(name)))
        continue
      this.#chosen.delete(node)
      this.#reasons.set(node, AT_END)
    }
    this.#isRead.clear()
  }

  /** Which values become integers. Nodes that move or clip none go back to float. */
  #chooseValues(): void {
    for (const node of this.#model.graph.nodes) {
      if (!this.#chosen.has(node)) continue
      const facts = quantizeFactsOf(node)!
      const computes = facts.role === 'layer' || facts.role === 'computed'
      if (computes)
        for (const position of quantizedInputs(node, facts)) {
          const name = node.inputs[position]!
          if (!this.#index.constant(name)) this.#values.add(name)
        }
      const outputs = quantizedOutputs(node, facts).filter((name) => this.#isOutputQuantized(node, name, facts))
      for (const name of outputs) this.#values.add(name)
      if (computes || outputs.length > 0) continue
      this.#chosen.delete(node)
      this.#reasons.set(node, AT_END)
    }
  }

  #isOutputQuantized(node: Node, name: string, facts: QuantizeFacts): boolean {
    if (this.#isReadAsIntegers(name)) return true
    if (facts.role === 'moved') return !facts.passive && this.#values.has(node.inputs[0]!)
    if (facts.role !== 'clipped') return !facts.floatOutput
    return this.#isRemovable(node) && !quantizeFactsOf(this.#index.producer(node.inputs[0]!)!)!.floatOutput
  }

  #describe(node: Node): QuantizableNode {
    const facts = quantizeFactsOf(node)!
    const reads = quantizedInputs(node, facts).map((position) => node.inputs[position]!)
    const weightName = facts.role === 'layer' ? (node.inputs[1] ?? '') : ''
    const weight = weightName === '' ? undefined : this.#index.constant(weightName)
    const bias = weight ? (node.inputs[2] ?? '') : ''
    const isConstant = (name: string): boolean => this.#index.constant(name) !== undefined
    return {
      name: node.name,
      op: node.opType,
      role: facts.role,
      weight: weight && { tensor: weightName, axis: weightAxis(node, weight) },
      bias: bias === '' ? undefined : bias,
      inputs: [...new Set(reads.filter((name) => !isConstant(name)))],
      constants: [...new Set(reads.filter((name) => isConstant(name) && name !== weightName))],
      outputs: quantizedOutputs(node, facts).filter((name) => this.#values.has(name)),
      removable: facts.role === 'clipped' && this.#isRemovable(node),
    }
  }

  /** Whether nothing but this Relu or Clip reads the output of a node that makes new numbers. */
  #isRemovable(node: Node): boolean {
    const input = node.inputs[0]!
    const producer = this.#index.producer(input)
    if (this.#options.keepRemovableActivations || !producer || !this.#chosen.has(producer)) return false
    const role = quantizeFactsOf(producer)!.role
    return (role === 'layer' || role === 'computed') && this.#index.isUsedOnlyBy(input, node)
  }

  #tensors(chosen: readonly Node[], nodes: readonly QuantizableNode[]): QuantizableTensor[] {
    const tensors = new Map<string, QuantizableTensor>()
    const root = (name: string): string => {
      const shared = tensors.get(name)?.sharedWith
      return shared === undefined ? name : shared
    }
    const add = (name: string, sharedWith?: string): void => {
      if (!tensors.has(name)) tensors.set(name, this.#tensor(name, sharedWith))
    }
    for (const { inputs, outputs, role } of nodes) {
      for (const name of inputs) add(name)
      for (const name of outputs) {
        if (role === 'moved') add(name, root(inputs[0]!))
        else add(name)
      }
    }
    this.#shareWithClipped(chosen, nodes, tensors)
    return [...tensors.values()]
  }

  /** The only reader of a value being a Relu or Clip, the value has that one's range: the rest is cut off anyway. */
  #shareWithClipped(
    chosen: readonly Node[],
    nodes: readonly QuantizableNode[],
    tensors: Map<string, QuantizableTensor>,
  ): void {
    for (const [position, node] of chosen.entries()) {
      const { role, outputs } = nodes[position]!
      const input = node.inputs[0]!
      const output = outputs[0]
      if (role !== 'clipped' || output === undefined || !this.#index.isUsedOnlyBy(input, node)) continue
      const own = tensors.get(input)
      if (!own || own.sharedWith !== undefined || own.fixedRange) continue
      const target = tensors.get(output)?.sharedWith ?? output
      tensors.set(input, { ...own, bounds: undefined, sharedWith: target })
      for (const [name, tensor] of tensors)
        if (tensor.sharedWith === input) tensors.set(name, { ...tensor, sharedWith: target })
    }
  }

  #tensor(name: string, sharedWith: string | undefined): QuantizableTensor {
    const producer = this.#index.producer(name)
    const facts = producer && quantizeFactsOf(producer)
    const fixed = sharedWith === undefined && producer && this.#chosen.has(producer) ? facts?.fixedRange : undefined
    const bounds = sharedWith === undefined && producer ? facts?.bounds?.(producer, this.#facts) : undefined
    return { name, sharedWith, fixedRange: fixed, bounds }
  }
}

/** Layers in the subgraphs of a node, which stay as they are. */
function layersInside(node: Node): Skip[] {
  const skips: Skip[] = []
  for (const subgraph of subgraphsOf(node))
    forEachNode(subgraph, (inner) => {
      if (weightFactsOf(inner))
        skips.push({ name: inner.name, reason: `It is inside the ${node.opType} '${node.name}'.` })
    })
  return skips
}

const AT_END = 'Nothing after it works on integers, so that it would only lose accuracy.'

/** Constants beyond stand for infinity (masks of attention). */
const LARGEST_CONSTANT = 1e30

/** Output channels (features) of a layer, over all groups. */
export function outputChannels(node: Node, weight: Tensor): number {
  switch (node.opType) {
    case 'ConvTranspose':
      return weight.shape[1]! * intAttribute(node, 'group', 1)
    case 'Gemm':
      return weight.shape[intAttribute(node, 'transB', 0) !== 0 ? 0 : 1]!
    case 'Conv':
      return weight.shape[0]!
    default:
      return weight.shape[weight.shape.length - 1]!
  }
}
