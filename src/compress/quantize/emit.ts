/** Editing a graph into its quantized form, in place on a clone. */
import { fail } from '../../core/index.ts'
import {
  createNode,
  float,
  type Graph,
  GraphIndex,
  type Model,
  NameGenerator,
  type Node,
  removeNodes,
  removeUnusedFrom,
  replaceUses,
  sortNodes,
} from '../../graph/index.ts'
import { sizeOf, Tensor } from '../../tensor/index.ts'
import { integerLimits, rangeOf } from './affine.ts'
import { dequantizeBias, quantizeBias } from './bias.ts'
import { quantizedInputs, quantizedOutputs, quantizeFactsOf } from './operators.ts'
import { INTEGER_TYPES, type Quantization, type Range } from './scheme.ts'
import type { ActivationStep, ConstantStep, QuantizePlan, QuantizeStep } from './step.ts'
import {
  dequantizeWeight,
  integersOf,
  integerTensor,
  quantizeWeight,
  type WeightError,
  weightError,
} from './weights.ts'

/** What applying a plan may use instead of the model's own numbers. */
export interface ApplyQuantizeOptions {
  /** Integers of weights, by the weight's name: rounded better than to nearest. */
  readonly rounded?: ReadonlyMap<string, Tensor> | undefined
  /** Biases in float, by the node's name; also for convolutions and Gemm nodes that have none. */
  readonly biases?: ReadonlyMap<string, Tensor> | undefined
}

/** What became of one layer's weight. */
export interface WeightOutcome extends WeightError {
  readonly step: QuantizeStep
  /** Elements of weight and bias. */
  readonly parameters: number
  /** Bytes of weight and bias, scales not among them. */
  readonly bytes: { readonly before: number; readonly after: number }
}

/** Opset from which the standard operators take a type: per channel 13, 4 and 16 bits 21. */
export function opsetOf({ type, axis }: Quantization): number {
  if (INTEGER_TYPES[type].bits !== 8) return 21
  return axis === null ? 10 : 13
}

/** Writes a plan into a model; used once. */
export class Emitter {
  readonly model: Model
  readonly #graph: Graph
  readonly #plan: QuantizePlan
  readonly #options: ApplyQuantizeOptions
  readonly #form: 'integers' | 'floats'
  readonly #names: NameGenerator
  readonly #nodes: Map<string, Node>
  readonly #activations: ReadonlyMap<string, ActivationStep>
  /** Dequantized value of a constant, by name and quantization. */
  readonly #constants = new Map<string, string>()
  /** Names of scale and zero point by value. */
  readonly #scales = new Map<string, readonly [string, string]>()
  /** Quantizations by name, to find those of inputs. */
  readonly #biased = new Set<string>()

  constructor(model: Model, plan: QuantizePlan, options: ApplyQuantizeOptions, form: 'integers' | 'floats') {
    this.model = model
    this.#graph = model.graph
    this.#plan = plan
    this.#options = options
    this.#form = form
    this.#names = new NameGenerator(model.graph)
    this.#nodes = new Map(model.graph.nodes.map((node) => [node.name, node]))
    this.#activations = new Map(plan.activations.map((step) => [step.tensor, step]))
  }

  run(): WeightOutcome[] {
    this.#checkOpset()
    const outcomes: WeightOutcome[] = []
    // Operands first: they are found by the names that the plan knows.
    const quantized = this.#plan.steps.map((step) => ({ step, node: this.#nodeOf(step) }))
    for (const { step, node } of quantized) {
      const input = this.#activations.get(node.inputs[0] ?? '')?.quantization
      for (const constant of step.constants ?? []) this.#replaceConstant(node, constant)
      if (step.weight) outcomes.push(this.#emitLayer(step, node, step.weight, input))
    }
    for (const { step, node } of quantized) if (step.removed) this.#remove(node)
    this.#emitActivations(quantized.filter(({ step }) => !step.removed).map(({ node }) => node))
    sortNodes(this.#graph)
    removeUnusedFrom(this.model)
    this.#sign()
    return outcomes
  }

  #nodeOf(step: QuantizeStep): Node {
    const node = this.#nodes.get(step.node)
    if (!node) fail('PLAN_MISMATCH', `The plan names node '${step.node}', which the model does not have.`)
    if (node.opType !== step.op)
      fail('PLAN_MISMATCH', `Node '${step.node}': the plan takes it for ${step.op}; it is ${node.opType}.`)
    return node
  }

  #checkOpset(): void {
    const opset = this.model.opsets.get('') ?? 1
    const all: { what: string; quantization: Quantization }[] = this.#plan.activations.map((step) => ({
      what: step.tensor,
      quantization: step.quantization,
    }))
    for (const { weight, constants = [] } of this.#plan.steps)
      for (const step of weight ? [weight, ...constants] : constants)
        all.push({ what: step.tensor, quantization: step.quantization })
    for (const { what, quantization } of all) {
      checkQuantization(what, quantization)
      const needed = opsetOf(quantization)
      if (opset < needed)
        fail(
          'UNSUPPORTED',
          `Value '${what}': type ${quantization.type}${quantization.axis === null ? '' : ' per channel'} needs opset ${needed}; the model has ${opset}. Lift the model first.`,
        )
    }
  }

  #initializer(name: string, node: Node): Tensor {
    const tensor = this.#graph.initializers.get(name)
    return (
      tensor ??
      fail('PLAN_MISMATCH', `${node.opType} '${node.name}': the plan names the constant '${name}', which is none.`)
    )
  }

  /** Makes a node read a constant's dequantized integers; the same ones as other nodes where they agree. */
  #replaceConstant(node: Node, step: ConstantStep): { integers: Tensor; original: Tensor } {
    const original = this.#initializer(step.tensor, node)
    const rounded = this.#options.rounded?.get(step.tensor)
    if (rounded && sizeOf(rounded.shape) !== original.size)
      fail(
        'SHAPE_MISMATCH',
        `Weight '${step.tensor}': its integers must have shape [${original.shape.join(', ')}]; got [${rounded.shape.join(', ')}].`,
      )
    const integers = rounded
      ? integerTensor(integersOf(rounded), original.shape, step.quantization.type)
      : quantizeWeight(original, step.quantization)
    const key = JSON.stringify([step.tensor, step.quantization])
    let name = this.#constants.get(key)
    if (name === undefined) {
      name = this.#emitConstant(step, integers)
      this.#constants.set(key, name)
    }
    node.inputs = node.inputs.map((input) => (input === step.tensor ? name : input))
    return { integers, original }
  }

  #emitConstant({ tensor, quantization }: ConstantStep, integers: Tensor): string {
    if (this.#form === 'floats') {
      const name = this.#names.fresh(`${tensor}_DequantizeLinear_Output`)
      this.#graph.initializers.set(name, dequantizeWeight(integers, quantization))
      return name
    }
    const stored = this.#names.fresh(`${tensor}_quantized`)
    this.#graph.initializers.set(stored, integers)
    const [scale, zeroPoint] = this.#emitScale(tensor, quantization)
    const output = this.#names.fresh(`${tensor}_DequantizeLinear_Output`)
    this.#graph.nodes.push(
      createNode(
        'DequantizeLinear',
        [stored, scale, zeroPoint],
        [output],
        quantization.axis === null ? {} : { axis: quantization.axis },
        this.#names.fresh(`${tensor}_DequantizeLinear`),
      ),
    )
    return output
  }

  #emitScale(tensor: string, { type, scale, zeroPoint, axis }: Quantization): readonly [string, string] {
    const shape = axis === null ? [] : [scale.length]
    const scaleName = this.#names.fresh(`${tensor}_scale`)
    const zeroName = this.#names.fresh(`${tensor}_zero_point`)
    this.#graph.initializers.set(scaleName, Tensor.of(Float32Array.from(scale), shape))
    this.#graph.initializers.set(zeroName, integerTensor(zeroPoint, shape, type))
    return [scaleName, zeroName]
  }

  #emitLayer(step: QuantizeStep, node: Node, weight: ConstantStep, input: Quantization | undefined): WeightOutcome {
    const { integers, original } = this.#replaceConstant(node, weight)
    const error = weightError(original, dequantizeWeight(integers, weight.quantization))
    const given = this.#options.biases?.get(step.node)
    const bias = given ?? (step.bias === undefined ? undefined : this.#initializer(step.bias, node))
    let biasBytes = { before: 0, after: 0 }
    if (bias) {
      biasBytes = { before: given && step.bias === undefined ? 0 : bias.byteLength, after: bias.byteLength }
      this.#emitBias(step, node, bias, weight, original, input)
    }
    return {
      step,
      ...error,
      parameters: original.size + (bias?.size ?? 0),
      bytes: {
        before: original.byteLength + biasBytes.before,
        after: integers.byteLength + biasBytes.after,
      },
    }
  }

  #emitBias(
    step: QuantizeStep,
    node: Node,
    bias: Tensor,
    weight: ConstantStep,
    original: Tensor,
    input: Quantization | undefined,
  ): void {
    const slot = quantizeFactsOf(node)?.role === 'layer' && node.opType !== 'MatMul' ? 2 : undefined
    if (slot === undefined)
      fail('INVALID_ARGUMENT', `${node.opType} '${node.name}': has no place for a bias. Add one after it.`)
    while (node.inputs.length <= slot) node.inputs.push('')
    const name = step.bias ?? `${weight.tensor}_bias`
    // Weights alone in integers: there is no scale to multiply with, and nothing is gained.
    if (!input) {
      if (this.#options.biases?.has(step.node)) {
        const own = this.#names.fresh(`${name}_corrected`)
        this.#graph.initializers.set(own, bias)
        node.inputs[slot] = own
      }
      return
    }
    const quantized = quantizeBias(bias, input, weight.quantization, original, node)
    // A bias has the scales of its node: the second node that reads it gets a copy of its own.
    const base = this.#biased.has(name) ? `${name}_${step.node}` : name
    this.#biased.add(name)
    if (this.#form === 'floats') {
      node.inputs[slot] = this.#names.fresh(`${base}_DequantizeLinear_Output`)
      this.#graph.initializers.set(node.inputs[slot], dequantizeBias(quantized))
      return
    }
    const stored = this.#names.fresh(`${base}_quantized`)
    const scale = this.#names.fresh(`${base}_quantized_scale`)
    const output = this.#names.fresh(`${base}_DequantizeLinear_Output`)
    const perChannel = quantized.scale.length > 1 || weight.quantization.axis !== null
    this.#graph.initializers.set(stored, quantized.integers)
    this.#graph.initializers.set(
      scale,
      Tensor.of(Float32Array.from(quantized.scale), perChannel ? [quantized.scale.length] : []),
    )
    this.#graph.nodes.push(
      createNode(
        'DequantizeLinear',
        [stored, scale],
        [output],
        perChannel ? { axis: 0 } : {},
        this.#names.fresh(`${base}_DequantizeLinear`),
      ),
    )
    node.inputs[slot] = output
  }

  /** Takes a Relu or Clip away: the node before it gives what it gave. */
  #remove(node: Node): void {
    const input = node.inputs[0]!
    const output = node.outputs[0]!
    const producer = this.#graph.nodes.find(({ outputs }) => outputs.includes(input))
    if (!producer || this.#graph.outputs.some(({ name }) => name === input))
      fail(
        'PLAN_MISMATCH',
        `${node.opType} '${node.name}': cannot be removed, its input is read elsewhere. Plan again.`,
      )
    removeNodes(this.#graph, new Set([node]))
    producer.outputs = producer.outputs.map((name) => (name === input ? output : name))
    this.#graph.valueInfos.delete(input)
  }

  #emitActivations(quantized: readonly Node[]): void {
    const index = new GraphIndex(this.#graph)
    const chosen = new Set(quantized)
    const known = new Set([
      ...this.#graph.inputs.map(({ name }) => name),
      ...this.#graph.nodes.flatMap((node) => node.outputs),
    ])
    // In the plan's order, so that shared scales are there when they are asked for.
    const ordered = [...this.#plan.activations].sort(
      (a, b) => Number(a.sharedWith !== undefined) - Number(b.sharedWith !== undefined),
    )
    const everywhere = new Map<string, string>()
    const pairs: Node[] = []
    for (const step of ordered) {
      if (!known.has(step.tensor))
        fail('PLAN_MISMATCH', `The plan names value '${step.tensor}', which the model does not have.`)
      const [scale, zeroPoint] = this.#scaleOf(step)
      const producer = index.producer(step.tensor)
      const facts = producer && quantizeFactsOf(producer)
      const isMade =
        producer !== undefined &&
        facts !== undefined &&
        chosen.has(producer) &&
        quantizedOutputs(producer, facts).includes(step.tensor)
      let source = step.tensor
      let output = this.#names.fresh(`${step.tensor}_DequantizeLinear_Output`)
      if (isMade && index.isOutput(step.tensor)) {
        source = this.#names.fresh(`${step.tensor}_QuantizeLinear_Input`)
        producer.outputs = producer.outputs.map((name) => (name === step.tensor ? source : name))
        output = step.tensor
      } else if (isMade) everywhere.set(step.tensor, output)
      else for (const user of index.users(step.tensor)) if (chosen.has(user)) readInstead(user, step.tensor, output)
      pairs.push(...this.#pair(step, source, output, scale, zeroPoint))
    }
    replaceUses(this.#graph, everywhere)
    this.#graph.nodes.push(...pairs)
  }

  #scaleOf(step: ActivationStep): readonly [string, string] {
    const shared = step.sharedWith === undefined ? undefined : this.#activations.get(step.sharedWith)
    if (
      step.sharedWith !== undefined &&
      shared &&
      JSON.stringify(shared.quantization) === JSON.stringify(step.quantization)
    ) {
      const found = this.#scales.get(step.sharedWith)
      if (found) return found
    }
    const own = this.#emitScale(step.tensor, step.quantization)
    this.#scales.set(step.tensor, own)
    return own
  }

  #pair({ tensor, quantization }: ActivationStep, source: string, output: string, scale: string, zero: string): Node[] {
    const nodes: Node[] = []
    let input = source
    const { type, bits } = quantization
    // QuantizeLinear uses the whole type; fewer bits are cut off before it.
    if (bits < INTEGER_TYPES[type].bits) {
      input = this.#names.fresh(`${tensor}_Clip_Output`)
      nodes.push(this.#clip(tensor, rangeOf(quantization), source, input))
    }
    const integers = this.#names.fresh(`${tensor}_QuantizeLinear_Output`)
    const nameOf = (op: string): string => this.#names.fresh(`${tensor}_${op}`)
    nodes.push(createNode('QuantizeLinear', [input, scale, zero], [integers], {}, nameOf('QuantizeLinear')))
    if (this.#form === 'integers') {
      nodes.push(createNode('DequantizeLinear', [integers, scale, zero], [output], {}, nameOf('DequantizeLinear')))
      return nodes
    }
    // ONNX Runtime quantizes float weights that it finds behind a DequantizeLinear once more, by a rule of its own
    // (its WeightBiasQuantization). A Clip that has nothing to do keeps it from that.
    const restored = this.#names.fresh(`${tensor}_DequantizeLinear_Restored`)
    const { min, max } = rangeOf(quantization)
    const step = quantization.scale[0]!
    nodes.push(createNode('DequantizeLinear', [integers, scale, zero], [restored], {}, nameOf('DequantizeLinear')))
    nodes.push(this.#clip(tensor, { min: min - step, max: max + step }, restored, output))
    return nodes
  }

  #clip(tensor: string, { min, max }: Range, source: string, output: string): Node {
    const name = this.#names.fresh(`${tensor}_Clip`)
    // Bounds are inputs from opset 11 on.
    if ((this.model.opsets.get('') ?? 1) < 11)
      return createNode('Clip', [source], [output], { min: float(min), max: float(max) }, name)
    const bounds = [min, max].map((value, end) => {
      const bound = this.#names.fresh(`${tensor}_${end === 0 ? 'least' : 'most'}`)
      this.#graph.initializers.set(bound, Tensor.of(Float32Array.of(value), []))
      return bound
    })
    return createNode('Clip', [source, ...bounds], [output], {}, name)
  }

  /** What onnxruntime.quantization writes into its models, so that tools take them for what they are. */
  #sign(): void {
    this.model.producerName = 'onnx.quantize'
    this.model.producerVersion = '0.1.0'
    this.model.metadata.set('onnx.infer', 'onnxruntime.quant')
  }
}

/** Makes a node read another value where its operator takes integers. */
function readInstead(node: Node, value: string, other: string): void {
  const facts = quantizeFactsOf(node)
  if (!facts) return
  for (const position of quantizedInputs(node, facts))
    if (node.inputs[position] === value) node.inputs[position] = other
}

function checkQuantization(what: string, { type, bits, scale, zeroPoint, axis }: Quantization): void {
  const problem = (text: string): never => fail('PLAN_MISMATCH', `Value '${what}': ${text}`)
  if (!Object.hasOwn(INTEGER_TYPES, type))
    problem(`type must be one of ${Object.keys(INTEGER_TYPES).join(', ')}; the plan says '${type}'.`)
  const { least, most } = integerLimits(type, bits)
  if (scale.length === 0 || scale.length !== zeroPoint.length || (axis === null && scale.length > 1))
    problem(`scales and zero points must be as many as channels; the plan has ${scale.length} and ${zeroPoint.length}.`)
  for (const [channel, value] of scale.entries()) {
    if (!(value > 0) || !Number.isFinite(value)) problem(`scales must be positive; the plan says ${value}.`)
    const zero = zeroPoint[channel]!
    if (!Number.isInteger(zero) || zero < least || zero > most)
      problem(`zero points must be integers of ${least} to ${most}; the plan says ${zero}.`)
  }
}
