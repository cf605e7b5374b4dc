/**
 * Layers by their usual names, for the builders of this folder: a node is called after its path (`layer1.0.conv1`), its
 * weights as PyTorch's `state_dict` has them (`layer1.0.conv1.weight`), and its output is the path again.
 *
 * Weights are zero until {@link initialize} fills them.
 */
import { fail } from '../core/index.ts'
import { type AttributeInput, createNode, float, GraphBuilder, type Model } from '../graph/index.ts'
import { sizeOf, Tensor } from '../tensor/index.ts'

/** Options of every network. */
export interface NetworkOptions {
  /** Classes of the last layer; default 10. */
  readonly classes?: number | undefined
  /** Seed of the weights; default 0. Equal seeds give equal weights on every platform. */
  readonly seed?: number | undefined
}

/** Options of a convolution. */
export interface ConvolutionOptions {
  /** Edge of the kernel; default 3. The padding keeps the extent at stride 1. */
  readonly kernel?: number | undefined
  /** Default 1. */
  readonly stride?: number | undefined
  /** Default 1. */
  readonly group?: number | undefined
  /** Whether it has a bias; default no, since a batch normalisation follows. */
  readonly bias?: boolean | undefined
}

/** A tensor of zeros or ones that takes memory when it is first read. */
function filled(shape: readonly number[], value: 0 | 1): Tensor {
  return Tensor.lazy('float32', shape, () => new Uint8Array(new Float32Array(sizeOf(shape)).fill(value).buffer))
}

/** Checks a count that a network is built with. @throws WhittleError `INVALID_ARGUMENT`. */
export function checkCount(name: string, value: number, least = 1): void {
  if (!(Number.isSafeInteger(value) && value >= least))
    fail('INVALID_ARGUMENT', `Option ${name}: must be a whole number of at least ${least}; got ${value}.`)
}

/** Builds a network for pictures `[batch, 3, size, size]`; values are handled by name. */
export class NetworkBuilder {
  readonly #builder: GraphBuilder
  readonly #channels = new Map<string, number>()

  constructor(name: string) {
    this.#builder = new GraphBuilder(name)
  }

  /** The picture input. @param size edge in pixels, or `undefined` for any. */
  pictures(size: number | undefined): string {
    const x = this.#builder.input('input', 'float32', ['batch', 3, size ?? 'height', size ?? 'width'])
    this.#channels.set(x, 3)
    return x
  }

  /** Channels of a value. */
  channels(value: string): number {
    return this.#channels.get(value)!
  }

  /** A node whose name and output are `path`. */
  node(
    opType: string,
    path: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeInput | undefined>> = {},
    channels = this.channels(inputs[0]!),
  ): string {
    this.#builder.graph.nodes.push(createNode(opType, inputs, [path], attributes, path))
    this.#channels.set(path, channels)
    return path
  }

  /** A constant that is no weight. */
  constant(tensor: Tensor, name: string): string {
    return this.#builder.constant(tensor, name)
  }

  #weight(name: string, shape: readonly number[], value: 0 | 1 = 0): string {
    return this.#builder.constant(filled(shape, value), name)
  }

  /** A convolution to `out` channels. */
  conv(path: string, x: string, out: number, options: ConvolutionOptions = {}): string {
    const { kernel = 3, stride = 1, group = 1, bias = false } = options
    const inputs = [x, this.#weight(`${path}.weight`, [out, this.channels(x) / group, kernel, kernel])]
    if (bias) inputs.push(this.#weight(`${path}.bias`, [out]))
    const pad = (kernel - 1) >> 1
    const attributes = {
      dilations: [1, 1],
      group,
      kernel_shape: [kernel, kernel],
      pads: [pad, pad, pad, pad],
      strides: [stride, stride],
    }
    return this.node('Conv', path, inputs, attributes, out)
  }

  /** A batch normalisation in inference form, as files have it; ε 1e-5, momentum 0.9 (PyTorch's 0.1). */
  batchNorm(path: string, x: string): string {
    const shape = [this.channels(x)]
    const inputs = [
      x,
      this.#weight(`${path}.weight`, shape, 1),
      this.#weight(`${path}.bias`, shape),
      this.#weight(`${path}.running_mean`, shape),
      this.#weight(`${path}.running_var`, shape, 1),
    ]
    return this.node('BatchNormalization', path, inputs, { epsilon: float(1e-5), momentum: float(0.9) })
  }

  /** Global average, flattened: `[N, C, H, W]` → `[N, C]`. */
  pool(path: string, x: string): string {
    return this.node('Flatten', `${path}.flatten`, [this.node('GlobalAveragePool', path, [x])], { axis: 1 })
  }

  /** A linear layer with bias, `[N, C]` → `[N, out]`. */
  linear(path: string, x: string, out: number): string {
    const weight = this.#weight(`${path}.weight`, [out, this.channels(x)])
    return this.node('Gemm', path, [x, weight, this.#weight(`${path}.bias`, [out])], { transB: 1 }, out)
  }

  /** The finished model. @param logits its output. */
  model(logits: string): Model {
    const last = this.#builder.graph.nodes.at(-1)!
    last.outputs = ['logits']
    this.#builder.output('logits', 'float32', ['batch', this.channels(logits)])
    return this.#builder.model()
  }
}
