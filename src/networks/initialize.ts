/**
 * Random weights for a network of any origin, by PyTorch's formulas (`torch.nn.init`).
 *
 * Sources: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015 (Kaiming); Glorot, Bengio, "Understanding the
 * difficulty of training deep feedforward neural networks", 2010 (Xavier).
 */
import { createRandom, fail } from '../core/index.ts'
import { cloneModel, intAttribute, type Model, type Node, type WeightFacts, weightFactsOf } from '../graph/index.ts'
import { fromNumbers, isFloat, sizeOf, type Tensor } from '../tensor/index.ts'

/** The activation that follows, which the spread of the weights has to make up for. */
export type Nonlinearity = 'linear' | 'sigmoid' | 'tanh' | 'relu' | 'leaky_relu' | 'selu'

/** Options of {@link initialize}. */
export interface InitializeOptions {
  /** Default 0. Each weight has its own sequence, of this seed and its name. */
  readonly seed?: number | undefined
  /** Default `'kaiming'`. */
  readonly scheme?: 'kaiming' | 'xavier' | undefined
  /** Whether Kaiming keeps the spread of activations (`'fan_in'`, default) or of gradients; Xavier takes both. */
  readonly mode?: 'fan_in' | 'fan_out' | undefined
  /** Default `'normal'`. */
  readonly distribution?: 'normal' | 'uniform' | undefined
  /** Default `'relu'` for Kaiming, `'linear'` for Xavier, as PyTorch's functions have it in practice. */
  readonly nonlinearity?: Nonlinearity | undefined
  /** Slope below zero of a leaky ReLU; default 0.01. */
  readonly slope?: number | undefined
}

/** The gain of an activation, `torch.nn.init.calculate_gain`. @param slope of a leaky ReLU. */
export function gainOf(nonlinearity: Nonlinearity, slope = 0.01): number {
  const gains: Readonly<Record<Nonlinearity, number>> = {
    linear: 1,
    sigmoid: 1,
    tanh: 5 / 3,
    relu: Math.SQRT2,
    leaky_relu: Math.sqrt(2 / (1 + slope ** 2)),
    selu: 3 / 4,
  }
  return (
    gains[nonlinearity] ??
    fail(
      'INVALID_ARGUMENT',
      `Option nonlinearity: must be one of ${Object.keys(gains).join(', ')}; got '${nonlinearity}'.`,
    )
  )
}

/**
 * Gives a network new random weights.
 *
 * Weights of convolutions and linear layers are drawn; their biases become 0; batch normalisations get scale 1, bias 0,
 * mean 0, variance 1. Everything else, a constant of an elementwise operator for example, stays as it is. A weight that
 * several layers share is drawn once, for the first of them.
 *
 * @returns a clone; nodes and names are those of `model`.
 * @throws WhittleError `INVALID_ARGUMENT` for an unknown option; `UNSUPPORTED` for weights that are no floating-point
 *   initializers (make them so with the pass `constantsToInitializers`).
 */
export function initialize(model: Model, options: InitializeOptions = {}): Model {
  const { seed = 0, scheme = 'kaiming', mode = 'fan_in', distribution = 'normal' } = options
  choose('scheme', scheme, ['kaiming', 'xavier'])
  choose('mode', mode, ['fan_in', 'fan_out'])
  choose('distribution', distribution, ['normal', 'uniform'])
  const gain = gainOf(options.nonlinearity ?? (scheme === 'kaiming' ? 'relu' : 'linear'), options.slope)
  const clone = cloneModel(model)
  const { initializers } = clone.graph
  const done = new Set<string>()
  const fill = (name: string | undefined, make: (tensor: Tensor) => Float64Array): void => {
    const tensor = name === undefined ? undefined : initializers.get(name)
    if (!name || !tensor || done.has(name) || !isFloat(tensor.dtype)) return
    done.add(name)
    initializers.set(name, fromNumbers(make(tensor), tensor.shape, tensor.dtype))
  }
  const constant = (value: number) => (tensor: Tensor) => new Float64Array(tensor.size).fill(value)
  for (const node of clone.graph.nodes) {
    const facts = weightFactsOf(node)
    if (facts) {
      const name = node.inputs[facts.weightInput]!
      const weight = initializers.get(name)
      if (!weight && facts.kind !== 'linear')
        fail(
          'UNSUPPORTED',
          `${node.opType} '${node.name}': its weight must be an initializer; '${name}' is computed. Fold constants first.`,
        )
      fill(name, (tensor) => {
        const [fanIn, fanOut] = fansOf(node, facts, tensor.shape)
        const fan = scheme === 'xavier' ? (fanIn + fanOut) / 2 : mode === 'fan_in' ? fanIn : fanOut
        return draw(tensor.size, gain / Math.sqrt(fan), distribution, seedOf(seed, name))
      })
      if (facts.biasInput !== undefined) fill(node.inputs[facts.biasInput], constant(0))
    } else if (node.opType === 'BatchNormalization') {
      for (const [position, value] of [1, 0, 0, 1].entries()) fill(node.inputs[position + 1], constant(value))
    }
  }
  return clone
}

function choose<T extends string>(name: string, value: T, choices: readonly T[]): void {
  if (!choices.includes(value))
    fail('INVALID_ARGUMENT', `Option ${name}: must be one of ${choices.join(', ')}; got '${value}'.`)
}

/**
 * Fan in and fan out as PyTorch counts them: axis 1 and axis 0 of its weight, times the kernel. Its convolutions have
 * ONNX's layouts, its linear layers `[out, in]`.
 */
function fansOf(node: Node, facts: WeightFacts, shape: readonly number[]): [number, number] {
  const [first = 1, second = 1, ...kernel] = facts.kind === 'linear' ? shape.slice(-2) : shape
  const receptive = sizeOf(kernel)
  const swapped = facts.kind === 'linear' && intAttribute(node, 'transB', 0) === 0
  return swapped ? [first, second] : [second * receptive, first * receptive]
}

function draw(count: number, std: number, distribution: 'normal' | 'uniform', seed: number): Float64Array {
  const random = createRandom(seed)
  const bound = Math.sqrt(3) * std
  const next = distribution === 'normal' ? () => std * random.normal() : () => bound * (2 * random.uniform() - 1)
  return Float64Array.from({ length: count }, next)
}

/** A seed for one weight (FNV-1a over its name), so that adding a layer leaves the others as they are. */
function seedOf(seed: number, name: string): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash
}
