// npm run study:rollback [-- --networks 'resnet20-cifar10 4 4 1 1000,…' --roundings nearest,gptq --strategies greedy --redo]:
// both searches of roll-back on the same networks, with the evaluations that each needed. A network is its name, the
// bits of weights and activations, the limit in points of top-1, and the test images it is measured on. Models of the
// shared folder, CIFAR-10; ranges by mse on 256 training images. Rows that out/study/rollback.json already has are not
// measured again. Prints a Markdown table.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createNodeRuntime, quantize } from 'whittle-nn/node'
import { SHARED } from './environment.mjs'
import { openNetwork } from './quantize-networks.mjs'

const { values } = parseArgs({
  options: {
    networks: {
      type: 'string',
      default: 'resnet20-cifar10 4 4 1 2000,resnet56-cifar10 4 4 2 1000,cifar10_allconv_base 4 4 1 2000',
    },
    roundings: { type: 'string', default: 'nearest,gptq' },
    strategies: { type: 'string', default: 'binary-search,greedy' },
    redo: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
  },
})
if (!existsSync(join(SHARED, 'data', 'cifar10'))) {
  console.log(
    'Skipped: the shared models and data are not there; set WHITTLE_SHARED to the folder with models/ and data/.',
  )
  process.exit(0)
}

const FOLDER = join('out', 'study')
const RESULTS = join(FOLDER, 'rollback.json')
mkdirSync(FOLDER, { recursive: true })
const KEYS = ['network', 'bits', 'limit', 'samples', 'rounding', 'strategy']
const isSame = (a, b) => KEYS.every((key) => a[key] === b[key])
const read = () => (existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : [])

/** The first samples of a dataset, as a dataset. */
function firstOf(data, limit) {
  const batches = (options = {}) => data.batches({ ...options, limit: Math.min(limit, options.limit ?? limit) })
  return { ...data, size: Math.min(data.size, limit), batches }
}

async function searched({ network, bits, limit, samples, rounding, strategy }, runtime) {
  const { model, train, test, preprocess } = await openNetwork(network, SHARED)
  const [weightBits, activationBits] = bits.match(/\d+/g).map(Number)
  const options = {
    data: train,
    preprocess,
    weights: weightBits === 4 ? 'int4' : 'int8',
    activationBits,
    calibration: 'mse',
    rounding,
    maxDrop: limit,
    evaluation: firstOf(test, samples),
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

const wanted = values.networks.split(',').flatMap((line) => {
  const [network, weights, activations, limit, samples] = line.trim().split(/\s+/)
  const key = { network, bits: `W${weights}A${activations}`, limit: Number(limit), samples: Number(samples) }
  return values.roundings
    .split(',')
    .flatMap((rounding) => values.strategies.split(',').map((strategy) => ({ ...key, rounding, strategy })))
})
if (!values.table) {
  const runtime = await createNodeRuntime()
  for (const key of wanted) {
    if (!values.redo && read().some((row) => isSame(row, key))) continue
    const started = performance.now()
    const { original, quantized, final, status, rolledBack, layers, evaluations, probes, share } = await searched(
      key,
      runtime,
    )
    const seconds = Math.round((performance.now() - started) / 100) / 10
    const counts = { rolledBack: rolledBack.length, layers: layers.length, evaluations, probes, share, seconds }
    const row = { ...key, original, quantized, final, status, ...counts }
    writeFileSync(RESULTS, `${JSON.stringify([...read().filter((other) => !isSame(other, key)), row], null, 2)}\n`)
    console.log(`${KEYS.map((name) => key[name]).join('  ')}: ${row.rolledBack} of ${row.layers} rolled back`)
  }
}

const percent = (share) => `${(100 * share).toFixed(2)} %`
const cells = read()
  .filter((row) => wanted.some((key) => isSame(row, key)))
  .map((row) => [
    `${row.network}, ${row.samples.toLocaleString('en')}`,
    row.bits,
    `${row.limit}`,
    row.rounding,
    `${percent(row.original)} → ${percent(row.quantized)}`,
    row.strategy,
    row.status === 'original' ? 'nothing left' : percent(row.final),
    `${row.rolledBack} of ${row.layers}`,
    percent(row.share),
    row.evaluations,
    row.probes,
  ])
const titles =
  'network, images|bits|limit, points|rounding|float → all quantized|search|result|rolled back|MACs in integers|evaluations|probes'
console.log(`\n| ${titles.split('|').join(' | ')} |\n|${' --- |'.repeat(titles.split('|').length)}`)
for (const row of cells) console.log(`| ${row.join(' | ')} |`)
