/** A CIFAR-shaped network small enough to build in a test, and data for it. */
import { createRandom } from '../../src/core/index.ts'
import { GraphBuilder, type Model } from '../../src/graph/index.ts'
import { sizeOf, Tensor } from '../../src/tensor/index.ts'

/** A tensor of normally distributed numbers, scaled down by its fan-in. */
export function randomTensor(seed: number, shape: readonly number[]): Tensor {
  const random = createRandom(seed)
  const scale = 1 / Math.sqrt(sizeOf(shape.slice(1)))
  return Tensor.of(
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal() * scale),
    shape,
  )
}

/** Options of {@link smallNetwork}. */
export interface SmallNetworkOptions {
  readonly channels?: number
  readonly classes?: number
  /** Shape of the input; default `['N', 3, 32, 32]`. */
  readonly input?: readonly (number | string)[]
}

/** Conv 3×3 → Relu → Conv 3×3 → Relu → global average → Gemm. */
export function smallNetwork({
  channels = 32,
  classes = 10,
  input = ['N', 3, 32, 32],
}: SmallNetworkOptions = {}): Model {
  const b = new GraphBuilder('small')
  const x = b.input('image', 'float32', input)
  const w1 = b.constant(randomTensor(1, [channels, 3, 3, 3]), 'stem.weight')
  const w2 = b.constant(randomTensor(2, [channels, channels, 3, 3]), 'body.weight')
  const bias = b.constant(randomTensor(3, [channels]), 'body.bias')
  const w3 = b.constant(randomTensor(4, [classes, channels]), 'head.weight')
  const pads = { pads: [1, 1, 1, 1] }
  const stem = b.op('Relu', [b.op('Conv', [x, w1], pads)])
  const body = b.op('Relu', [b.op('Conv', [stem, w2, bias], pads)])
  const pooled = b.op('Flatten', [b.op('GlobalAveragePool', [body])])
  b.op('Gemm', [pooled, w3], { transB: 1 }, 'scores')
  b.output('scores', 'float32', [typeof input[0] === 'number' ? input[0] : 'N', classes])
  const model = b.model()
  const names = ['stem', 'stem/relu', 'body', 'body/relu', 'pool', 'flatten', 'head']
  for (const [i, node] of model.graph.nodes.entries()) node.name = names[i]!
  return model
}

/** CIFAR-10's binary layout: per picture a label and 3072 bytes. */
export function cifarBatch(count: number, labelOf: (i: number) => number = (i) => i % 10): Uint8Array {
  const random = createRandom(7)
  const bytes = new Uint8Array(count * 3073)
  for (let i = 0; i < bytes.length; i++) bytes[i] = i % 3073 === 0 ? labelOf(i / 3073) : random.integer(256)
  return bytes
}
