// The networks and data of the quantization study: calibration samples are never among those that are tested on.
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { decodeNpy, tensorDataset } from 'whittle-nn/data'
import { datasets, loadModel } from 'whittle-nn/node'
import { dsCnn } from './ds-cnn.mjs'

/** Some samples of a dataset, by their numbers. */
function subset(dataset, indices) {
  const { name, hasLabels, inputNames, sampleShapes } = dataset
  return {
    name,
    size: indices.length,
    hasLabels,
    inputNames,
    sampleShapes,
    withGeometry: dataset.withGeometry && ((geometry) => subset(dataset.withGeometry(geometry), indices)),
    async *batches({ batch = 64, limit = indices.length, signal } = {}) {
      const end = Math.min(limit, indices.length)
      for (let at = 0; at < end; at += batch)
        yield dataset.read(Int32Array.from(indices.slice(at, Math.min(end, at + batch))), signal)
    },
  }
}

/** Every nth sample from a first one, and the others, whose numbers are `ids`. */
function split(dataset, every, first = 0) {
  const all = Array.from({ length: dataset.size }, (_, i) => i)
  const ids = all.filter((i) => i % every !== first)
  return {
    train: subset(
      dataset,
      all.filter((i) => i % every === first),
    ),
    test: subset(dataset, ids),
    ids,
  }
}

const custom = (values) => ({ name: 'custom', geometryFor: 'pictures', scale: 1, mean: [], std: [], ...values })

/**
 * Networks by name: `{ model, train, test, preprocess }`. `ds-cnn@1` to `ds-cnn@4` calibrate on another fifth of the
 * samples than `ds-cnn` and test on the others.
 */
export async function openNetwork(name, shared) {
  const [base, fold] = name.split('@')
  if (base === 'ds-cnn') {
    const folder = join(shared, 'data', 'kws01')
    const [x, y] = await Promise.all(
      ['mfcc_1000x49x10_f32.npy', 'labels_1000_u8.npy'].map((file) => decodeNpy(readFileSync(join(folder, file)))),
    )
    const data = tensorDataset([x.reshape([1000, 1, 49, 10])], Int32Array.from(y.data), 'kws01')
    return { model: dsCnn(shared), ...split(data, 5, Number(fold ?? 0)), preprocess: custom({}) }
  }
  const model = await loadModel(name.endsWith('.onnx') ? name : join(shared, 'models', 'onnx', `${name}.onnx`))
  if (name.startsWith('squeezenet')) {
    const data = await datasets.images(join(shared, 'data', 'imagenet-sample'))
    return { model, ...split(data, 4), preprocess: custom({ channels: 'bgr', mean: [104, 117, 123] }) }
  }
  const cifar = join(shared, 'data', 'cifar10')
  const [train, test] = await Promise.all(['train', 'test'].map((part) => datasets.cifar10(cifar, { split: part })))
  const preprocess = {
    cifar10_allconv_base: custom({ scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.225] }),
    cifar10_resnet_4b: 'cifar10',
  }[basename(name, '.onnx')]
  return { model, train, test, preprocess: preprocess ?? 'imagenet' }
}
