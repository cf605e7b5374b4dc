/**
 * A network with fake quantization: the floats that its quantized form computes with, as standard operators, and the
 * ranges and scales as parameters that are trained with the weights.
 */
import type { GradientRules } from '../../autodiff/index.ts'
import {
  type ActivationStep,
  affineParameters,
  dequantizeWeight,
  INTEGER_TYPES,
  type QuantizePlan,
  type QuantizeStep,
  quantizedInputs,
  quantizedOutputs,
  quantizeFactsOf,
  quantizeWeight,
} from '../../compress/index.ts'
import { fail } from '../../core/index.ts'
import {
  cloneModel,
  type Graph,
  GraphIndex,
  liftOpset,
  type Model,
  modelWeights,
  type Node,
  sortNodes,
  weightFactsOf,
} from '../../graph/index.ts'
import { sizeOf } from '../../tensor/index.ts'
import type { ParameterGroup } from '../../train/index.ts'
import {
  type ActivationQuantizer,
  createActivationQuantizer,
  emitActivationQuantizer,
  type Groups,
} from './activations.ts'
import { roundBias } from './biases.ts'
import { checkQuantizerOptions, type LayerQatOptions, type QuantizerOptions } from './options.ts'
import { asGradientRules } from './rules.ts'
import { addWeightQuantizer, type PlacedWeight, type WeightQuantizer } from './weights.ts'
import { FakeQuantWriter } from './writer.ts'

/** A network in its training form. */
export interface FakeQuantized {
  /** A clone, of opset 18 or later. Values keep their names and are rounded; weights keep theirs and are not. */
  readonly model: Model
  readonly rules: GradientRules
  /** Names of the learned ranges and scales. */
  readonly parameters: readonly string[]
  /** Their settings: no weight decay, their own rate, scaled gradients, bounds. */
  readonly groups: readonly ParameterGroup[]
  /** Constants that are rounded once and not trained. */
  readonly frozen: readonly string[]
  readonly activations: readonly ActivationQuantizer[]
  readonly weights: readonly WeightQuantizer[]
}

/** Shapes of values with batch 1, by name. */
type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>

/** Operators that give their input's own numbers, in float as in integers. */
const KEEPS_NUMBERS = new Set(
  'DepthToSpace Expand Flatten Gather Identity MaxPool Reshape Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze'.split(
    ' ',
  ),
)

/** Operators whose results are never below 0. */
const POSITIVE = new Set('Relu Sigmoid Softmax HardSigmoid Softplus'.split(' '))

/**
 * Puts fake quantization where a plan quantizes.
 *
 * @param model `planned`, or the same with normalisations not folded: values and layers are found by name.
 * @param planned the model that the plan was made for.
 * @param shapes of its values, for the number of elements per sample.
 * @throws WhittleError `PLAN_MISMATCH` when it has no such value or layer; `UNSUPPORTED` for asymmetric weights.
 */
export function toFakeQuantized(
  model: Model,
  planned: Model,
  plan: QuantizePlan,
  shapes: Shapes,
  options: QuantizerOptions = {},
): FakeQuantized {
  checkQuantizerOptions(options)
  const clone = liftOpset(cloneModel(model), 18)
  const { graph } = clone
  const maker = new Maker({ graph, planned, plan, shapes, options })
  maker.quantizeWeights()
  maker.quantizeConstants()
  maker.quantizeActivations()
  maker.roundBiases()
  sortNodes(graph)
  const weights = modelWeights(clone)
  return {
    model: clone,
    rules: asGradientRules(maker.writer.rules),
    parameters: maker.groups.flatMap(({ match }) => match),
    groups: maker.groups,
    // What would be trained otherwise.
    frozen: maker.frozen.filter((name) => weights.has(name)),
    activations: [...maker.activations.values()],
    weights: maker.weights.map(({ quantizer }) => quantizer),
  }
}

interface Source {
  readonly graph: Graph
  readonly planned: Model
  readonly plan: QuantizePlan
  readonly shapes: Shapes
  readonly options: QuantizerOptions
}

class Maker {
  readonly writer: FakeQuantWriter
  readonly groups: Groups = []
  readonly frozen: string[] = []
  /** By the tensor whose scale they are. */
  readonly activations = new Map<string, ActivationQuantizer>()
  readonly weights: PlacedWeight[] = []
  readonly #graph: Graph
  readonly #index: GraphIndex
  readonly #planned: GraphIndex
  readonly #plan: QuantizePlan
  /** Steps by node. */
  readonly #chosen: ReadonlyMap<string, QuantizeStep>
  /** Values of quantized weights, by weight and kind. */
  readonly #rounded = new Map<string, PlacedWeight>()
  readonly #shapes: Shapes
  readonly #options: QuantizerOptions
  readonly #steps: ReadonlyMap<string, ActivationStep>

  constructor({ graph, planned, plan, shapes, options }: Source) {
    this.#graph = graph
    this.#index = new GraphIndex(graph)
    this.#planned = new GraphIndex(planned.graph)
    this.#plan = plan
    this.#chosen = new Map(plan.steps.map((step) => [step.node, step]))
    this.#shapes = shapes
    this.#options = options
    this.#steps = new Map(plan.activations.map((step) => [step.tensor, step]))
    this.writer = new FakeQuantWriter(graph)
    for (const name of Object.keys(options.layers ?? {}))
      if (!this.#index.node(name))
        fail('NOT_FOUND', `Option qat: layers names '${name}', and the model has no such layer.`)
  }

  get #rate(): number {
    return this.#options.rangeRate ?? 1
  }

  #node(name: string): Node {
    return (
      this.#index.node(name) ??
      fail('PLAN_MISMATCH', `Plan: quantizes '${name}', and the model has no such layer. Make a plan for this model.`)
    )
  }

  quantizeWeights(): void {
    const { layers = {}, weights = 'arq', initial = 'mse' } = this.#options
    for (const { node: name, weight } of this.#plan.steps) {
      if (!weight) continue
      const node = this.#node(name)
      const at = weightFactsOf(node)?.weightInput ?? 1
      const source = node.inputs[at] ?? ''
      if (!this.#graph.initializers.has(source))
        fail('PLAN_MISMATCH', `Plan: quantizes the weight of '${name}', which is no constant of the model.`)
      const algorithm = layers[name]?.weights ?? weights
      const { quantization } = weight
      // Layers that share a weight share its scales.
      const key = JSON.stringify([source, algorithm, quantization.type, quantization.bits, quantization.axis])
      const known = this.#rounded.get(key)
      if (known) {
        this.weights.push({ ...known, quantizer: { ...known.quantizer, node: name } })
        node.inputs[at] = known.value
        continue
      }
      const added = addWeightQuantizer(this.writer, { node: name, weight: source, quantization }, algorithm, {
        groups: this.groups,
        rate: this.#rate,
        initial,
      })
      this.#rounded.set(key, added)
      this.weights.push(added)
      node.inputs[at] = added.value
    }
  }

  /** Other constants are rounded here and stay. */
  quantizeConstants(): void {
    for (const { node: name, constants } of this.#plan.steps)
      for (const { tensor, quantization } of constants ?? []) {
        const node = this.#node(name)
        const given = this.#graph.initializers.get(tensor)
        if (!given) fail('PLAN_MISMATCH', `Plan: quantizes the constant '${tensor}', which the model does not have.`)
        const rounded = dequantizeWeight(quantizeWeight(given, quantization), quantization)
        const own = this.writer.constant(`${tensor}_rounded`, rounded)
        node.inputs = node.inputs.map((input) => (input === tensor ? own : input))
        this.frozen.push(own)
      }
  }

  quantizeActivations(): void {
    for (const step of this.#plan.activations) {
      if (this.#keepsNumbers(step)) continue
      const { tensor } = step
      const root = this.#rootOf(step)
      const quantizer = this.activations.get(root.tensor) ?? this.#create(root)
      const isPositive = this.#isPositive(tensor)
      const prefix = `fake_quant/${tensor}`
      const producer = this.#index.producer(tensor)
      if (!producer && !this.#graph.inputs.some(({ name }) => name === tensor))
        fail('PLAN_MISMATCH', `Plan: quantizes '${tensor}', and the model has no such value.`)
      if (producer && this.#isMade(tensor)) {
        const x = this.writer.fresh(`${tensor}/float`)
        producer.outputs = producer.outputs.map((output) => (output === tensor ? x : output))
        emitActivationQuantizer(this.writer, quantizer, { x, output: tensor, isPositive, prefix })
        continue
      }
      const output = this.writer.fresh(`${tensor}/rounded`)
      for (const user of this.#index.users(tensor)) this.#readInstead(user, tensor, output)
      emitActivationQuantizer(this.writer, quantizer, { x: tensor, output, isPositive, prefix })
    }
  }

  /** Biases are stored in steps of the scales of input and weight multiplied, which few bits make coarse. */
  roundBiases(): void {
    for (const { quantizer, scaleValue } of this.weights) {
      if (this.#chosen.get(quantizer.node)?.bias === undefined) continue
      const input = this.#steps.get(this.#planned.node(quantizer.node)?.inputs[0] ?? '')
      const activation = input && this.activations.get(this.#rootOf(input).tensor)
      if (!activation) continue
      const scales = { activation: activation.scaleValue, weight: scaleValue }
      const node = this.#node(quantizer.node)
      const [user, ...others] = this.#index.users(node.outputs[0]!)
      const isFolded = user?.opType === 'BatchNormalization' && others.length === 0 && !this.#planned.node(user.name)
      this.frozen.push(...roundBias(this.writer, node, isFolded ? user : undefined, scales))
    }
  }

  /** Whether the value comes out of a node that works on integers: then all who read it read the rounded one. */
  #isMade(tensor: string): boolean {
    let producer = this.#planned.producer(tensor)
    let value = tensor
    for (; producer && this.#chosen.get(producer.name)?.removed; producer = this.#planned.producer(value))
      value = producer.inputs[0] ?? ''
    const facts = producer && quantizeFactsOf(producer)
    return (
      producer !== undefined &&
      facts !== undefined &&
      this.#chosen.has(producer.name) &&
      quantizedOutputs(producer, facts).includes(value)
    )
  }

  /** Makes a node that works on integers read another value. */
  #readInstead(user: Node, tensor: string, output: string): void {
    const step = this.#chosen.get(user.name)
    const facts = quantizeFactsOf(user)
    if (!step || step.removed || !facts) return
    for (const position of quantizedInputs(user, facts))
      if (user.inputs[position] === tensor) user.inputs[position] = output
  }

  #rootOf(step: ActivationStep): ActivationStep {
    let root = step
    for (let count = 0; root.sharedWith !== undefined && count < this.#steps.size; count++)
      root = this.#steps.get(root.sharedWith) ?? { ...root, tensor: root.sharedWith }
    return root
  }

  /** Whether the value is one that has been rounded, moved. */
  #keepsNumbers(step: ActivationStep): boolean {
    const producer = this.#planned.producer(step.tensor)
    if (!producer || !this.#chosen.has(producer.name) || this.#chosen.get(producer.name)?.removed) return false
    if (!KEEPS_NUMBERS.has(producer.opType) && producer.opType !== 'Relu') return false
    const source = this.#steps.get(producer.inputs[0] ?? '')
    return source !== undefined && this.#rootOf(source).tensor === this.#rootOf(step).tensor
  }

  #create(root: ActivationStep): ActivationQuantizer {
    const layer = this.#layerReading(root.tensor)
    const { algorithm = 'ulq', fixedMin } = { ...this.#options, ...withoutUndefined(layer) }
    const shape = this.#shapes.get(root.tensor)?.shape ?? []
    const quantizer = createActivationQuantizer(
      this.writer,
      layer.clip ? clipped(root, layer.clip) : root,
      { algorithm, fixedMin, isPositive: this.#isPositive(root.tensor) },
      { groups: this.groups, elements: sizeOf(shape.slice(1)), rate: this.#rate },
    )
    this.activations.set(root.tensor, quantizer)
    return quantizer
  }

  /** Settings of the first layer that reads a value. */
  #layerReading(tensor: string): LayerQatOptions {
    const { layers = {} } = this.#options
    const reader = this.#index.users(tensor).find(({ name }) => layers[name] !== undefined)
    return reader ? layers[reader.name]! : {}
  }

  /** Whether nothing below 0 comes out of what makes a value. */
  #isPositive(tensor: string): boolean {
    const producer = this.#index.producer(tensor)
    if (!producer) return false
    if (POSITIVE.has(producer.opType)) return true
    if (producer.opType === 'Clip') {
      const bound = this.#graph.initializers.get(producer.inputs[1] ?? '')
      return bound?.dtype === 'float32' && Number(bound.data[0]) >= 0
    }
    const passes = KEEPS_NUMBERS.has(producer.opType) || /^(Global)?(Average|Max)Pool$/.test(producer.opType)
    return passes && this.#isPositive(producer.inputs[0] ?? '')
  }
}

function withoutUndefined(layer: LayerQatOptions): LayerQatOptions {
  return Object.fromEntries(Object.entries(layer).filter(([, value]) => value !== undefined))
}

/** A step that starts from another range. */
function clipped(step: ActivationStep, clip: { readonly min: number; readonly max: number }): ActivationStep {
  const { type, bits, zeroPoint } = step.quantization
  const symmetric = zeroPoint[0] === 0 && INTEGER_TYPES[type].signed
  const { scale, zeroPoint: zero } = affineParameters(clip, { type, bits, symmetric })
  return { ...step, range: clip, quantization: { ...step.quantization, scale: [scale], zeroPoint: [zero] } }
}
