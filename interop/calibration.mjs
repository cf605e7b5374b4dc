// Ranges that Whittle's calibrators find on two networks, for interop/python/calibration.py to find by other means.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { calibrate, statisticNeeds, TensorStatistics } from 'whittle-nn/compress'
import { collectStatistics, createEvaluator, observeShapes } from 'whittle-nn/engine'
import { decodeModel } from 'whittle-nn/onnx'
import { Tensor } from 'whittle-nn/tensor'
import { encodeNpy } from './npy.mjs'

const UINT8 = { type: 'uint8' }
const INT8 = { type: 'int8', symmetric: true }
/** Name, options and target of every range. */
const CALIBRATORS = [
  ['minmax', { method: 'minmax' }, UINT8],
  ['moving-average', { method: 'moving-average' }, UINT8],
  ['percentile', { method: 'percentile', percentile: 99.99 }, UINT8],
  ['percentile-symmetric', { method: 'percentile', percentile: 99.99 }, INT8],
  ['entropy', { method: 'entropy', levels: 128 }, INT8],
  ['ifmr', { method: 'ifmr', maxPercentile: 0.9999, minPercentile: 0.9999 }, UINT8],
  ['ifmr-symmetric', { method: 'ifmr', maxPercentile: 0.9999, minPercentile: 0.9999 }, INT8],
  ['hfmg', { method: 'hfmg', numOfBins: 1024 }, UINT8],
]
/** Tensors of a network, at most, from its beginning to its end. */
const TENSORS = 20
/** Everything at once. */
const NEEDS = { histogram: true, extremes: true, hfmgBins: 1024 }

/** CIFAR-10 pictures, normalised, `[batch, 3, 32, 32]` each. */
function pictures(file, count, batch) {
  const bytes = readFileSync(file)
  const mean = [0.485, 0.456, 0.406]
  const deviation = [0.229, 0.224, 0.225]
  return Array.from({ length: count / batch }, (_, index) => {
    const data = new Float32Array(batch * 3072)
    for (let i = 0; i < data.length; i++) {
      const [row, at] = [index * batch + Math.floor(i / 3072), i % 3072]
      const channel = Math.floor(at / 1024)
      data[i] = (bytes[row * 3073 + 1 + at] / 255 - mean[channel]) / deviation[channel]
    }
    return data
  })
}

/** Smooth pictures in −1 … 1, from a few waves each. */
function waves(count, [channels, height, width]) {
  return Array.from({ length: count }, (_, index) => {
    const data = new Float32Array(channels * height * width)
    for (let i = 0; i < data.length; i++) {
      const [x, y, c] = [i % width, Math.floor(i / width) % height, Math.floor(i / (width * height))]
      const phase = index * 1.7 + c
      data[i] =
        0.5 * Math.sin(x * 0.05 * (index + 1) + phase) + 0.5 * Math.cos(y * 0.03 * (index + 2) - x * 0.01 * phase)
    }
    return data
  })
}

/** Writes each network's batches and what Whittle finds on them; `undefined` networks are left out. */
export async function calibrationCases(folder, shared) {
  const evaluator = createEvaluator(ort, { threads: 2 })
  const cifar = join(shared, 'data', 'cifar10', 'data_batch_1.bin')
  const networks = [
    ['resnet20-cifar10', [8, 3, 32, 32], () => pictures(cifar, 32, 8)],
    ['ultraface_rfb_320', [1, 3, 240, 320], () => waves(4, [3, 240, 320])],
  ]
  const cases = []
  for (const [name, shape, makeBatches] of networks) {
    const path = join(shared, 'models', 'onnx', `${name}.onnx`)
    if (!existsSync(path)) continue
    const model = decodeModel(readFileSync(path))
    const input = model.graph.inputs.find(({ name }) => !model.graph.initializers.has(name)).name
    const feeds = makeBatches().map((data) => ({ [input]: Tensor.of(data, shape) }))
    const observed = await observeShapes(evaluator, model, { feeds: feeds[0] })
    const produced = model.graph.nodes
      .filter(({ opType }) => ['Conv', 'Relu', 'Add', 'Gemm', 'GlobalAveragePool'].includes(opType))
      .map(({ outputs }) => outputs[0])
    const floats = produced.filter((tensor) => observed.get(tensor)?.dtype === 'float32')
    const every = Math.ceil(floats.length / TENSORS)
    const tensors = floats.filter((_, index) => index % every === 0)
    const batches = feeds.map((feed, index) => {
      const file = join(folder, `calibration-${name}-${index}.npy`)
      writeFileSync(file, encodeNpy(feed[input].data, shape))
      return file
    })
    const collect = (needs) =>
      collectStatistics(
        evaluator,
        model,
        tensors.map((tensor) => ({ tensor, statistics: new TensorStatistics(needs) })),
        () =>
          (async function* () {
            yield* feeds
          })(),
      )
    const full = await collect(NEEDS)
    const reduced = await collect(statisticNeeds({ method: 'minmax' }))
    const ranges = Object.fromEntries(
      tensors.map((tensor) => [
        tensor,
        Object.fromEntries(
          CALIBRATORS.map(([key, options, target]) => {
            const statistics = (key === 'minmax' ? reduced : full).get(tensor)
            const { min, max } = calibrate(statistics, options, target)
            return [key, [min, max]]
          }),
        ),
      ]),
    )
    cases.push({ name, model: path, input, batches, ranges })
  }
  return cases
}
