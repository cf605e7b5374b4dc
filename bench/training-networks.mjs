// The networks whose training steps are measured, for pictures [batch, 3, 32, 32].
import { createNode, float, GraphBuilder, initialize, resnet18Cifar, resnet20, vgg11, vgg16Bn } from 'whittle-nn'
import { Tensor } from 'whittle-nn/tensor'

/** Layers one after the other: convolutions with batch normalisation and Relu, poolings, a linear layer at the end. */
function chain(name, layers) {
  const b = new GraphBuilder(name)
  const filled = (shape, value, of) =>
    b.constant(Tensor.of(new Float32Array(shape.reduce((size, extent) => size * extent, 1)).fill(value), shape), of)
  const node = (opType, inputs, attributes, path) => {
    b.graph.nodes.push(createNode(opType, inputs, [path], attributes, path))
    return path
  }
  let y = b.input('input', 'float32', ['batch', 3, 32, 32])
  let channels = 3
  for (const [index, layer] of layers.entries()) {
    if (layer === 'pool') {
      y = node('MaxPool', [y], { kernel_shape: [2, 2], strides: [2, 2] }, `pool${index}`)
      continue
    }
    const { out, kernel = 3, stride = 1, depthwise = false } = layer
    const [path, pad, group] = [`layer${index}`, (kernel - 1) >> 1, depthwise ? channels : 1]
    const weight = filled([out, channels / group, kernel, kernel], 0, `${path}.weight`)
    const attributes = { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad], group }
    y = node('Conv', [y, weight], attributes, path)
    const statistics = [1, 0, 0, 1].map((value, at) => filled([out], value, `${path}.norm.${at}`))
    y = node('BatchNormalization', [y, ...statistics], { epsilon: float(1e-5), momentum: float(0.9) }, `${path}.norm`)
    y = node('Relu', [y], {}, `${path}.relu`)
    channels = out
  }
  y = node('Flatten', [node('GlobalAveragePool', [y], {}, 'average')], { axis: 1 }, 'flatten')
  node('Gemm', [y, filled([10, channels], 0, 'head.weight'), filled([10], 0, 'head.bias')], { transB: 1 }, 'logits')
  b.output('logits', 'float32', ['batch', 10])
  return initialize(b.model(), { seed: 0 })
}

/** Two convolutions of 32, 64 and 128 channels each, pooled in between. */
const smallVgg = () =>
  chain(
    'small-vgg',
    [32, 32, 'pool', 64, 64, 'pool', 128, 128].map((out) => (out === 'pool' ? out : { out })),
  )

/** Five depthwise convolutions, each followed by a pointwise one, after a stem of 32 channels. */
function depthwise() {
  const layers = [{ out: 32 }]
  let channels = 32
  for (const [out, stride] of [
    [64, 1],
    [128, 2],
    [128, 1],
    [256, 2],
    [256, 1],
  ]) {
    layers.push({ out: channels, stride, depthwise: true }, { out, kernel: 1 })
    channels = out
  }
  return chain('depthwise', layers)
}

/** By name: how it is built, its batch, and the speed to reach as a multiple of PyTorch's. */
export const NETWORKS = {
  'ResNet-20': { build: () => resnet20({ shortcut: 'B' }), batch: 64, goal: 1 },
  'small VGG': { build: smallVgg, batch: 64, goal: 1 },
  depthwise: { build: depthwise, batch: 64, goal: 1 },
  'VGG-11': { build: vgg11, batch: 64, goal: 1 },
  'VGG-16': { build: vgg16Bn, batch: 64, goal: 1.2 },
  'ResNet-18': { build: resnet18Cifar, batch: 32, goal: 1.2 },
}
