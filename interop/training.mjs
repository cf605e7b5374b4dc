// Training steps of ResNet-20 by ONNX Runtime, for PyTorch to repeat: optimizers, schedules of one graph, clipping,
// label smoothing, distillation, running statistics.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { observeShapes } from 'whittle-nn/engine'
import { createNodeRuntime, loadModel } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { createTrainingStep, prepareNetwork } from 'whittle-nn/train'
import { normal } from '../bench/synthetic-weights.mjs'
import { encodeNpy } from './npy.mjs'

const STEPS = 4
const BATCH = 8
const RATES = [0.02, 0.015, 0.01, 0.005]

const CASES = {
  sgd: {
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0.01 },
    loss: [{ kind: 'cross-entropy', labelSmoothing: 0.1 }],
    clip: { norm: 0.5 },
  },
  adamw: { optimizer: { kind: 'adamw', weightDecay: 0.1 }, loss: [{ kind: 'cross-entropy' }], rate: 0.05 },
  rmsprop: {
    optimizer: { kind: 'rmsprop', momentum: 0.5, weightDecay: 0.001 },
    loss: [
      { kind: 'cross-entropy', weight: 0.3 },
      { kind: 'distillation', weight: 0.7, temperature: 3 },
    ],
    // Its steps have the size of the rate however small the gradient: at ten times this rate, moving the images by 1e-7
    // moves the weights by 2e-3 of their way.
    rate: 0.005,
  },
}

/**
 * Trains and writes samples and trained weights into a folder; returns the job of training.py.
 *
 * @param source path of the ONNX model, which is also the teacher of its own copy.
 */
export async function trainingJob(folder, source) {
  const { evaluator } = await createNodeRuntime({ threads: 1 })
  const model = await loadModel(source)
  const count = STEPS * BATCH
  const shape = [count, 3, 32, 32]
  const pixels = Float32Array.from({ length: count * 3072 }, (_, i) => normal(8, i))
  const labels = Int32Array.from({ length: count }, (_, i) => (i * 7) % 10)
  const at = (name) => join(folder, name)
  writeFileSync(at('training-images.npy'), encodeNpy(pixels, shape))
  const observe = (network, options) => observeShapes(evaluator, network, options)
  const prepared = await prepareNetwork(model, observe, { batch: BATCH })
  const cases = {}
  for (const [name, { rate = 1, ...options }] of Object.entries(CASES)) {
    const training = await createTrainingStep(evaluator, prepared.model, {
      ...options,
      teacher: prepared,
      types: prepared.types,
    })
    const rates = RATES.map((value) => value * rate)
    const { losses } = await training.steps({ inputs: [Tensor.of(pixels, shape)], labels }, rates)
    const weights = {}
    for (const [parameter, tensor] of training.weights()) {
      weights[parameter] = at(`trained-${name}-${Object.keys(weights).length}.npy`)
      writeFileSync(weights[parameter], encodeNpy(tensor.data, tensor.shape))
    }
    await training.release()
    cases[name] = { ...options, rates, losses: [...losses], weights }
  }
  return { model: source, images: at('training-images.npy'), labels: [...labels], batch: BATCH, cases }
}
