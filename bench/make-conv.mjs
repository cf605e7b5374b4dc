// Writes one convolution's weight as an ONNX model and as a NumPy file: make-conv.mjs CHANNELS KERNEL BASE.
import { writeFileSync } from 'node:fs'
import { GraphBuilder } from 'whittle-nn/graph'
import { createNodeRuntime, saveModel } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { encodeNpy } from '../interop/npy.mjs'
import { syntheticWeight } from './synthetic-weights.mjs'

const [channels, kernel] = process.argv.slice(2, 4).map(Number)
const base = process.argv[4]
const shape = [channels, channels, kernel, kernel]
const { matrices } = await createNodeRuntime()
const weight = await syntheticWeight(matrices, { outputs: channels, inputs: channels, kernel })

writeFileSync(`${base}.npy`, encodeNpy(weight, shape))

const builder = new GraphBuilder('layer')
const extent = 8
const x = builder.input('x', 'float32', [1, channels, extent, extent])
const w = builder.constant(Tensor.of(weight, shape), 'conv.weight')
const pad = Math.floor(kernel / 2)
const y = builder.op('Conv', [x, w], { kernel_shape: [kernel, kernel], pads: [pad, pad, pad, pad] }, 'y')
builder.output(y, 'float32', [1, channels, extent, extent])
await saveModel(builder.model(), `${base}.onnx`)
process.stdout.write('{}\n', () => process.exit(0))
