// Writes a network of ResNet-50's structure and size (25.6 M parameters, 102 MB) with generated weights whose spectra
// decay: resnet50.mjs OUT. Structure: He et al., "Deep residual learning for image recognition", CVPR 2016, with the
// stride in the 3×3 convolution, as most trained copies have it.
import { float, GraphBuilder } from 'whittle-nn/graph'
import { createNodeRuntime, saveModel } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { normal, syntheticWeight } from './synthetic-weights.mjs'

const STAGES = [
  { blocks: 3, width: 64, stride: 1 },
  { blocks: 4, width: 128, stride: 2 },
  { blocks: 6, width: 256, stride: 2 },
  { blocks: 3, width: 512, stride: 2 },
]
const CLASSES = 1000
const EXPANSION = 4

const { matrices } = await createNodeRuntime()
const builder = new GraphBuilder('resnet50')
let stream = 0

async function convolution(x, name, { inputs, outputs, kernel, stride = 1 }) {
  stream += 4
  const weight = await syntheticWeight(matrices, { outputs, inputs, kernel, stream })
  const w = builder.constant(Tensor.of(weight, [outputs, inputs, kernel, kernel]), `${name}.weight`)
  const pad = Math.floor(kernel / 2)
  const attributes = { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad] }
  return builder.op('Conv', [x, w], attributes)
}

/** Statistics near those of unit activations; `gain` keeps the sums of residual blocks bounded. */
function batchNorm(x, name, channels, gain = 1) {
  stream += 4
  const vector = (seed, base, spread) =>
    Tensor.of(
      Float32Array.from({ length: channels }, (_, i) => base + spread * normal(stream + seed, i)),
      [channels],
    )
  const parameters = {
    weight: vector(1, gain, 0.1 * gain),
    bias: vector(2, 0, 0.1),
    running_mean: vector(3, 0, 0.1),
    running_var: vector(4, 1, 0.1),
  }
  const names = Object.entries(parameters).map(([key, tensor]) => builder.constant(tensor, `${name}.${key}`))
  return builder.op('BatchNormalization', [x, ...names], { epsilon: float(1e-5) })
}

const relu = (x) => builder.op('Relu', [x])

async function bottleneck(x, name, { inputs, width, stride }) {
  const outputs = width * EXPANSION
  let y = await convolution(x, `${name}.conv1`, { inputs, outputs: width, kernel: 1 })
  y = relu(batchNorm(y, `${name}.bn1`, width))
  y = await convolution(y, `${name}.conv2`, { inputs: width, outputs: width, kernel: 3, stride })
  y = relu(batchNorm(y, `${name}.bn2`, width))
  y = await convolution(y, `${name}.conv3`, { inputs: width, outputs, kernel: 1 })
  y = batchNorm(y, `${name}.bn3`, outputs, 0.25)
  let shortcut = x
  if (inputs !== outputs || stride !== 1) {
    shortcut = await convolution(x, `${name}.downsample.0`, { inputs, outputs, kernel: 1, stride })
    shortcut = batchNorm(shortcut, `${name}.downsample.1`, outputs)
  }
  return relu(builder.op('Add', [y, shortcut]))
}

let x = builder.input('input', 'float32', [1, 3, 224, 224])
x = await convolution(x, 'conv1', { inputs: 3, outputs: 64, kernel: 7, stride: 2 })
x = relu(batchNorm(x, 'bn1', 64))
x = builder.op('MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] })
let inputs = 64
for (const [s, { blocks, width, stride }] of STAGES.entries())
  for (let b = 0; b < blocks; b++) {
    x = await bottleneck(x, `layer${s + 1}.${b}`, { inputs, width, stride: b === 0 ? stride : 1 })
    inputs = width * EXPANSION
  }
x = builder.op('Flatten', [builder.op('GlobalAveragePool', [x])], { axis: 1 })
stream += 4
const fc = await syntheticWeight(matrices, { outputs: CLASSES, inputs, kernel: 1, stream })
const fcWeight = builder.constant(Tensor.of(fc, [CLASSES, inputs]), 'fc.weight')
const fcBias = builder.constant(Tensor.of(new Float32Array(CLASSES), [CLASSES]), 'fc.bias')
builder.output(builder.op('Gemm', [x, fcWeight, fcBias], { transB: 1 }, 'logits'), 'float32', [1, CLASSES])

// Nodes are named after their weights, as an export from PyTorch names them.
const model = builder.model()
for (const node of model.graph.nodes) {
  const weight = node.inputs.find((name) => name.endsWith('.weight'))
  if (weight) node.name = `/${weight.slice(0, -'.weight'.length).replaceAll('.', '/')}/${node.opType}`
}
await saveModel(model, process.argv[2])
process.stdout.write('{}\n', () => process.exit(0))
