// Quantized models of ours with the ranges they were made from, for onnxruntime.quantization to be given the same.
import { join } from 'node:path'
import { calibrateModel, createRandom, planFrom, prepareForQuantization } from 'whittle-nn'
import { applyQuantize } from 'whittle-nn/compress'
import { randomFeeds } from 'whittle-nn/engine'
import { GraphBuilder } from 'whittle-nn/graph'
import { calibrationFeeds, createNodeRuntime, datasets, loadModel, saveModel } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'

// Not int4: ours are symmetric, −7 … 7; the peer's scale is that of −8 … 7.
const SCHEMES = [
  { name: 'uint8 × int8 per channel' },
  { name: 'uint8 × int8 per tensor', perChannel: false },
  { name: 'int8 × int8 per channel', activations: 'int8' },
  { name: 'symmetric int8 × int8', activations: 'int8', activationsSymmetric: true },
  { name: 'uint8 × uint8 per tensor', weights: 'uint8', perChannel: false },
  { name: 'uint16 × int8 per channel', activations: 'uint16' },
]

/** Every kind of layer, one with a bias far too large for its scale. */
function layerModel() {
  const random = createRandom(5)
  const b = new GraphBuilder('layers')
  const normal = (shape, name, scale = 1) => {
    const size = shape.reduce((product, extent) => product * extent, 1)
    return b.constant(
      Tensor.of(
        Float32Array.from({ length: size }, () => scale * random.normal()),
        shape,
      ),
      name,
    )
  }
  const named = (name, op, inputs, attributes) => {
    const output = b.op(op, inputs, attributes, `${name}_out`)
    b.graph.nodes.at(-1).name = name
    return output
  }
  const same = { pads: [1, 1, 1, 1] }
  let x = b.input('x', 'float32', [2, 4, 10, 10])
  x = named('conv', 'Conv', [x, normal([8, 4, 3, 3], 'conv.w'), normal([8], 'conv.b')], same)
  x = named('relu', 'Relu', [x])
  x = named('depthwise', 'Conv', [x, normal([8, 1, 3, 3], 'depthwise.w')], { ...same, group: 8 })
  x = named('overflow', 'Conv', [x, normal([8, 8, 1, 1], 'overflow.w', 1e-7), normal([8], 'overflow.b', 3000)], {})
  x = named('leaky', 'LeakyRelu', [x], {})
  x = named('up', 'ConvTranspose', [x, normal([8, 6, 2, 2], 'up.w'), normal([6], 'up.b')], { strides: [2, 2] })
  x = named('pool', 'MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2] })
  const y = named('sigmoid', 'Sigmoid', [x], {})
  x = named('gate', 'Mul', [x, y], {})
  x = named('join', 'Concat', [x, y], { axis: 1 })
  x = named('average', 'GlobalAveragePool', [x], {})
  x = named('flat', 'Flatten', [x], {})
  x = named('gemm', 'Gemm', [x, normal([20, 12], 'gemm.w'), normal([20], 'gemm.b')], { transB: 1 })
  x = named('gemm2', 'Gemm', [x, normal([20, 16], 'gemm2.w'), normal([16], 'gemm2.b')], {})
  x = named('matmul', 'MatMul', [x, normal([16, 5], 'matmul.w')], {})
  b.output(x, 'float32', [2, 5])
  return b.model()
}

/** Writes float and quantized models into a folder; returns what quantization.py reads. */
export async function quantizationCases(folder, resnet, cifar) {
  const runtime = await createNodeRuntime({ threads: 1 })
  const layers = layerModel()
  const subjects = [
    {
      name: 'layers',
      model: layers,
      data: async function* () {
        yield randomFeeds(layers, { seed: 3 })
      },
    },
  ]
  if (resnet) {
    const model = await loadModel(resnet)
    const data = calibrationFeeds(model, await datasets.cifar10(cifar, { split: 'train' }), {
      preprocess: 'imagenet',
      limit: 64,
    })
    subjects.push({ name: 'resnet20', model, data })
  }
  const cases = []
  for (const { name, model, data } of subjects)
    for (const [position, scheme] of SCHEMES.entries()) {
      const { name: title, ...options } = scheme
      const types = [options.activations, options.weights].filter(Boolean)
      const prepared = await prepareForQuantization(model, { types }, runtime)
      const calibrated = await calibrateModel(prepared.model, options, { data, complete: true }, runtime)
      const basis = { model: prepared.model, calibrated, planOptions: options, warnings: [] }
      const plan = planFrom(basis)
      const float = join(folder, `${name}-${position}.onnx`)
      const quantized = join(folder, `${name}-${position}-quantized.onnx`)
      await saveModel(prepared.model, float)
      await saveModel(applyQuantize(prepared.model, plan).model, quantized)
      cases.push({
        name: `${name}, ${title}`,
        float,
        quantized,
        activations: options.activations ?? 'uint8',
        weights: options.weights ?? 'int8',
        perChannel: options.perChannel ?? true,
        symmetric: options.activationsSymmetric ?? false,
        nodes: plan.steps.map(({ node }) => node),
        ranges: Object.fromEntries([...calibrated.ranges].map(([tensor, { min, max }]) => [tensor, [min, max]])),
      })
    }
  return cases
}
