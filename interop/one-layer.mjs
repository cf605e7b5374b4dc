// One-layer models, decomposed by every form, for the comparison of reconstruction errors.
import { join } from 'node:path'
import { GraphBuilder } from 'whittle-nn/graph'
import { createNodeRuntime, decompose, saveModel } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { normal, syntheticWeight } from '../bench/synthetic-weights.mjs'

const CONVOLUTIONS = [
  { outputs: 64, inputs: 64, kernel: 3 },
  { outputs: 96, inputs: 48, kernel: 3 },
  { outputs: 40, inputs: 72, kernel: 5 },
]
const LINEAR = [
  { outputs: 200, inputs: 300, transB: 1 },
  { outputs: 120, inputs: 80, transB: 0 },
]

function convolutionModel(weight, { outputs, inputs, kernel }) {
  const builder = new GraphBuilder('layer')
  const x = builder.input('x', 'float32', [1, inputs, 12, 12])
  const w = builder.constant(Tensor.of(weight, [outputs, inputs, kernel, kernel]), 'layer.weight')
  const pad = Math.floor(kernel / 2)
  builder.output(builder.op('Conv', [x, w], { pads: [pad, pad, pad, pad] }, 'y'), 'float32', [1, outputs, 12, 12])
  return builder.model()
}

function linearModel(weight, { outputs, inputs, transB }) {
  const builder = new GraphBuilder('layer')
  const x = builder.input('x', 'float32', [1, inputs])
  const shape = transB ? [outputs, inputs] : [inputs, outputs]
  const w = builder.constant(Tensor.of(weight, shape), 'layer.weight')
  builder.output(builder.op('Gemm', [x, w], { transB }, 'y'), 'float32', [1, outputs])
  return builder.model()
}

/** Writes originals and decomposed models into a folder; returns what factors.py reads. */
export async function oneLayerCases(folder) {
  const runtime = await createNodeRuntime()
  const cases = []
  const add = async (name, model, method, ranks, modes = [undefined]) => {
    const original = join(folder, `${name}.onnx`)
    await saveModel(model, original)
    for (const rank of ranks)
      for (const mode of modes) {
        const result = await decompose(model, { method, rank: { kind: 'fixed', rank }, mode }, runtime)
        const [layer] = result.record.layers
        const [step] = result.plan.steps
        if (!layer) throw new Error(`${name}, ${method}: ${result.record.skips[0]?.reason}`)
        const decomposed = join(folder, `${name}-${method}-${rank}${mode ?? ''}.onnx`)
        await saveModel(result.model, decomposed)
        const { form, variant, ranks: chosen } = step
        const title = `${name} ${form} ${variant} rank ${rank}`
        cases.push({ name: title, original, decomposed, form, variant, ranks: chosen, reported: layer.relativeError })
      }
  }
  for (const [index, layer] of CONVOLUTIONS.entries()) {
    const weight = await syntheticWeight(runtime.matrices, { ...layer, stream: 100 * index })
    const model = convolutionModel(weight, layer)
    const name = `conv-${layer.outputs}x${layer.inputs}x${layer.kernel}`
    await add(name, model, 'tucker', [8, 16, 24])
    await add(name, model, 'spatial', [8, 24, 40], ['SCFK', 'SCSK'])
    await add(name, model, 'channel', [8, 20])
  }
  for (const [index, layer] of LINEAR.entries()) {
    const size = layer.outputs * layer.inputs
    const noise = Float32Array.from({ length: size }, (_, i) => normal(900 + index, i) / Math.sqrt(layer.inputs))
    await add(`gemm-${layer.outputs}x${layer.inputs}`, linearModel(noise, layer), 'svd', [4, 20, 40])
  }
  return cases
}
