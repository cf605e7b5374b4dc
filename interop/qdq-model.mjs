// A quantized model made by onnxruntime.quantization in Python: read, evaluated and analysed by Whittle.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { analyseQuantization } from 'whittle-nn'
import { preset, tensorDataset } from 'whittle-nn/data'
import { createNodeRuntime, evaluate, loadModel, openDataset } from 'whittle-nn/node'
import { Tensor } from 'whittle-nn/tensor'
import { encodeNpy } from './npy.mjs'

const IMAGES = 128
const BATCH = 32
/** Decibels between ONNX Runtime's own error of an activation and ours. */
const TOLERANCE = 0.1
const { mean, std } = preset('imagenet')

/**
 * Writes images and labels for qdq_model.py.
 *
 * @param source path of the ONNX model.
 * @param data folder of CIFAR-10.
 * @returns the job, and a function that looks at what Python made.
 */
export async function qdqJob(folder, source, data) {
  const at = (name) => join(folder, `qdq-${name}`)
  const dataset = await openDataset(`cifar10:${data}`)
  const { inputs, labels } = await dataset.read(Int32Array.from({ length: IMAGES }, (_, i) => i))
  const plane = 32 * 32
  const pixels = Float32Array.from(inputs[0].data, (value, i) => {
    const channel = Math.floor(i / plane) % 3
    return (value / 255 - mean[channel]) / std[channel]
  })
  const shape = [IMAGES, 3, 32, 32]
  writeFileSync(at('images.npy'), encodeNpy(pixels, shape))
  writeFileSync(at('labels.npy'), encodeNpy(Float32Array.from(labels), [IMAGES]))
  const job = {
    model: source,
    images: at('images.npy'),
    labels: at('labels.npy'),
    output: at('model.onnx'),
    errors: at('errors.json'),
  }
  return { job, compare: () => compare(job, Tensor.of(pixels, shape), labels) }
}

async function compare(job, images, labels) {
  const runtime = await createNodeRuntime()
  const [original, quantized] = [await loadModel(job.model), await loadModel(job.output)]
  const expected = JSON.parse(readFileSync(job.errors, 'utf8'))
  const problems = []
  const data = async function* () {
    for (let start = 0; start < IMAGES; start += BATCH) {
      const row = images.size / IMAGES
      yield { input: Tensor.of(images.data.slice(start * row, (start + BATCH) * row), [BATCH, 3, 32, 32]) }
    }
  }
  const { layers, unmatched } = await analyseQuantization(original, quantized, { data }, runtime)
  if (unmatched.length > 0) problems.push(`without counterpart: ${unmatched.join(', ')}`)
  let worst = 0
  let compared = 0
  for (const { value, accumulated } of layers) {
    if (expected.errors[value] === undefined) continue
    compared++
    worst = Math.max(worst, Math.abs(accumulated.sqnr - expected.errors[value]))
  }
  if (worst > TOLERANCE) problems.push(`signal to noise differs by ${worst.toFixed(2)} dB`)
  if (compared < 20)
    problems.push(`only ${compared} activations of ${Object.keys(expected.errors).length} were compared`)
  const set = tensorDataset([images], labels, 'images')
  for (const [name, model] of Object.entries({ float: original, quantized })) {
    const { top1 } = await evaluate(model, { data: set, preprocess: 'none' }, runtime)
    // One picture whose two best classes are all but equal may go either way.
    if (Math.abs(top1 - expected[name]) > 1.01 / IMAGES)
      problems.push(`${name}: top-1 ${top1}, in Python ${expected[name]}`)
  }
  const [first] = layers
  return {
    problems,
    found: `${compared} activations, signal to noise within ${worst.toFixed(3)} dB of ONNX Runtime's own; most damaged alone: ${first.name}, ${first.alone.sqnr.toFixed(1)} dB`,
  }
}
