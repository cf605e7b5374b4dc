// node bench/quantize-rollback.mjs [MODEL W A DROP SAMPLES …]: both searches of roll-back on the same networks, with the
// evaluations that each needed. Models of the shared folder, CIFAR-10; calibrated by mse on 256 training images.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createNodeRuntime, datasets, loadModel, quantize } from '../dist/node/index.js'
import { formatPercent, formatTable } from '../dist/report/index.js'
import { SHARED } from './environment.mjs'

const ALLCONV = {
  name: 'allconv',
  geometryFor: 'pictures',
  scale: 1 / 255,
  mean: [0.485, 0.456, 0.406],
  std: [0.225, 0.225, 0.225],
}
const DEFAULT = [
  'resnet20-cifar10 4 4 1 2000',
  'resnet56-cifar10 4 4 2 1000',
  'cifar10_allconv_base 4 4 1 2000',
].flatMap((line) => line.split(' '))

const folder = join(SHARED, 'data', 'cifar10')
if (!existsSync(folder)) {
  console.error('Skipped: the shared models and data are not there (set WHITTLE_SHARED).')
  process.exit(0)
}

/** The first samples of a dataset, as a dataset. */
async function firstOf(dataset, limit) {
  const data = await dataset
  const part = { ...data, size: Math.min(data.size, limit) }
  part.batches = (options = {}) => data.batches({ ...options, limit: Math.min(limit, options.limit ?? limit) })
  return part
}

async function searched(network, weightBits, activationBits, maxDrop, samples, strategy, runtime) {
  const model = await loadModel(join(SHARED, 'models', 'onnx', `${network}.onnx`))
  const options = {
    data: datasets.cifar10(folder, { split: 'train' }),
    preprocess: network.startsWith('resnet') ? 'imagenet' : ALLCONV,
    weights: weightBits === 4 ? 'int4' : 'int8',
    activationBits,
    calibration: 'mse',
    maxDrop,
    evaluation: firstOf(datasets.cifar10(folder), samples),
    strategy,
  }
  try {
    const { record } = await quantize(model, options, runtime)
    const kept = record.layers.reduce((sum, layer) => sum + (layer.macs.before ?? 0), 0)
    return { ...record.rollback, share: kept / record.before.macs }
  } catch (error) {
    if (error.code !== 'CHECK_FAILED') throw error
    return { ...error.details, share: 0 }
  }
}

const runtime = await createNodeRuntime()
const given = process.argv.length > 2 ? process.argv.slice(2) : DEFAULT
const rows = []
for (let i = 0; i + 4 < given.length; i += 5) {
  const network = given[i]
  const [weights, activations, drop, samples] = given.slice(i + 1, i + 5).map(Number)
  for (const strategy of ['binary-search', 'greedy']) {
    const found = await searched(network, weights, activations, drop, samples, strategy, runtime)
    rows.push([
      network,
      `W${weights}A${activations}`,
      `${drop}`,
      strategy,
      formatPercent(found.original),
      formatPercent(found.quantized),
      found.status === 'original' ? 'nothing left' : formatPercent(found.final),
      `${found.rolledBack.length} of ${found.layers.length}`,
      formatPercent(found.share),
      String(found.evaluations),
      String(found.probes),
    ])
    process.stderr.write('.')
  }
}
process.stderr.write('\n')
const titles = 'network,bits,limit,strategy,float,all quantized,result,rolled back,MACs in integers,evaluations,probes'
console.log(formatTable(titles.split(','), rows))
