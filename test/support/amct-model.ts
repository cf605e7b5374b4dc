import { createGraph, createModel, createNode, type Model, tensorType } from '../../src/graph/index.ts'
import { randomTensor } from './tensors.ts'

/**
 * A network with the names that torch.onnx.export gives: two convolutions, a depthwise one, a pooling layer, a
 * transposed convolution and two linear layers.
 */
export function amctModel(): Model {
  const graph = createGraph('amct')
  const weight = (name: string, shape: number[]) => graph.initializers.set(name, randomTensor(shape, name.length))
  graph.inputs.push({ name: 'input', type: tensorType('float32', [1, 3, 8, 8]) })
  graph.outputs.push({ name: 'scores', type: tensorType('float32', [1, 4]) })
  weight('conv1.weight', [8, 3, 3, 3])
  weight('conv1.bias', [8])
  weight('layer1.0.conv2.weight', [8, 1, 3, 3])
  weight('layer1.0.conv3.weight', [6, 8, 1, 1])
  weight('up.weight', [6, 4, 2, 2])
  weight('fc.weight', [5, 4])
  weight('fc.bias', [5])
  weight('last', [5, 4])
  const pads = [1, 1, 1, 1]
  graph.nodes.push(
    createNode('Conv', ['input', 'conv1.weight', 'conv1.bias'], ['a'], { pads }, '/conv1/Conv'),
    createNode('Relu', ['a'], ['b'], {}, '/relu/Relu'),
    createNode('Conv', ['b', 'layer1.0.conv2.weight'], ['c'], { pads, group: 8 }, '/layer1/layer1.0/conv2/Conv'),
    createNode('Conv', ['c', 'layer1.0.conv3.weight'], ['d'], {}, '/layer1/layer1.0/conv3/Conv'),
    createNode('ConvTranspose', ['d', 'up.weight'], ['e'], { strides: [2, 2] }, '/up/ConvTranspose'),
    createNode('AveragePool', ['e'], ['f'], { kernel_shape: [16, 16] }, '/pool/AveragePool'),
    createNode('Flatten', ['f'], ['g'], {}, '/Flatten'),
    createNode('Gemm', ['g', 'fc.weight', 'fc.bias'], ['h'], { transB: 1 }, '/fc/Gemm'),
    createNode('MatMul', ['h', 'last'], ['scores'], {}, '/MatMul'),
  )
  return createModel(graph, 13)
}
