// Gradients of whole networks for PyTorch to compare: with fixed statistics of batch normalisations and with the batch's.
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gradient, toTrainingBatchNorm } from 'whittle-nn/autodiff'
import { observeShapes, withOutputs } from 'whittle-nn/engine'
import { cloneModel, createNode } from 'whittle-nn/graph'
import { createNodeRuntime, loadModel } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { encodeNpy } from './npy.mjs'
import { PYTHON, pythonEnvironment } from './python.mjs'

const BATCH = 8
const CLASSES = 10
const LABELS = Array.from({ length: BATCH }, (_, i) => (3 * i + 1) % CLASSES)

/** Adds the mean cross entropy of a network's logits. */
export function withLoss(model, labels) {
  const clone = cloneModel(model)
  const { graph } = clone
  const logits = graph.outputs[0].name
  const target = new Float32Array(labels.length * CLASSES)
  for (const [row, label] of labels.entries()) target[row * CLASSES + label] = -1 / labels.length
  graph.initializers.set('whittle_target', Tensor.of(target, [labels.length, CLASSES]))
  graph.nodes.push(
    createNode('LogSoftmax', [logits], ['whittle_log'], { axis: -1 }, 'whittle_log'),
    createNode('Mul', ['whittle_log', 'whittle_target'], ['whittle_product'], {}, 'whittle_product'),
    createNode('ReduceSum', ['whittle_product'], ['whittle_loss'], { keepdims: 0 }, 'whittle_loss'),
  )
  return withOutputs(clone, ['whittle_loss'])
}

/** The parameters of a network: floating-point initializers but for the statistics of batch normalisations. */
export function parametersOf({ graph }) {
  const used = new Set(graph.nodes.flatMap(({ inputs }) => inputs))
  for (const { opType, inputs } of graph.nodes)
    if (opType === 'BatchNormalization') for (const name of inputs.slice(3)) used.delete(name)
  return [...graph.initializers].flatMap(([name, { dtype, size }]) =>
    dtype === 'float32' && used.has(name) && name !== 'whittle_target' && size > 1 ? [name] : [],
  )
}

/** Computes loss, gradients and statistics, and writes them into a folder. */
async function runOf({ evaluator }, network, images, training, prefix) {
  const model = withLoss(network, LABELS)
  const feeds = { [model.graph.inputs[0].name]: images }
  const types = await observeShapes(evaluator, model, { feeds })
  const form = training ? toTrainingBatchNorm(model, types) : { model, types, statistics: [] }
  const withRespectTo = parametersOf(model)
  const result = gradient(form.model, { loss: 'whittle_loss', withRespectTo, types: form.types })
  const statistics = Object.fromEntries(
    form.statistics.flatMap((one) => [
      [one.runningMean, one.batchMean],
      [one.runningVariance, one.batchVariance],
    ]),
  )
  const outputs = ['whittle_loss', ...result.gradients.values(), ...Object.values(statistics)]
  const executable = await evaluator.load(withOutputs(result.model, [...new Set(outputs)]))
  const found = await executable.run(feeds)
  await executable.release()
  let count = 0
  const write = (names) =>
    Object.fromEntries(
      names.map(([name, value]) => {
        const path = `${prefix}-${count++}.npy`
        writeFileSync(path, encodeNpy(found[value].data, found[value].shape))
        return [name, path]
      }),
    )
  return {
    loss: found.whittle_loss.data[0],
    gradients: write([...result.gradients]),
    statistics: write(Object.entries(statistics)),
  }
}

/** Float32 elements of a NumPy file of version 1. */
function readImages(path) {
  const bytes = readFileSync(path)
  const start = 10 + bytes.readUInt16LE(8)
  return Tensor.of(new Float32Array(new Uint8Array(bytes.subarray(start)).buffer), [BATCH, 3, 32, 32])
}

/**
 * Has PyTorch export networks, computes their gradients and writes them; returns the job of gradients.py.
 *
 * @param resnet path of ResNet-20.
 */
export async function gradientJob(folder, resnet) {
  const script = join(import.meta.dirname, 'python', 'gradients.py')
  await promisify(execFile)(PYTHON, [script, 'export', folder], { env: { ...process.env, ...pythonEnvironment() } })
  const runtime = await createNodeRuntime()
  const images = readImages(join(folder, 'images.npy'))
  const job = { images: join(folder, 'images.npy'), labels: LABELS }
  for (const name of ['resnet20', 'mobilenet', 'vgg', 'transformer']) {
    const path = name === 'resnet20' ? resnet : join(folder, `${name}.onnx`)
    const network = await loadModel(path)
    const runs = {}
    for (const mode of name === 'transformer' ? ['training'] : ['frozen', 'training'])
      runs[mode] = await runOf(runtime, network, images, mode === 'training', join(folder, `${name}-${mode}`))
    job[name] = { model: path, runs }
  }
  return job
}
