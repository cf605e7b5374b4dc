// npm run study:quantize [-- --models resnet20-cifar10 --sections calibrators,outlier,ranges,bits,levels --limit 5000]:
// accuracy of quantized networks by calibrator, with a planted outlier, with one scale per weight before and after
// equalisation, and at 8 and 4 bits with everything that makes up for it. Rows that out/study/quantize-accuracy.json
// already has are not measured again; --redo measures those of the chosen sections anew. Prints Markdown tables.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  applyQuantize,
  clusterIntegers,
  clusterModel,
  findQuantizable,
  observeShapes,
  planFrom,
  prepareForQuantization,
  quantizationBasis,
  quantize,
  quantizeWeight,
} from 'whittle-nn'
import { calibrationFeeds, createNodeRuntime, evaluate } from 'whittle-nn/node'
import { Tensor, toFloat32 } from 'whittle-nn/tensor'
import { learnedVariants } from './quantize-learned.mjs'
import { openNetwork } from './quantize-networks.mjs'
import { scrambleChannels } from './scramble-channels.mjs'

const SECTIONS = ['calibrators', 'outlier', 'ranges', 'bits', 'levels']
const { values } = parseArgs({
  options: {
    models: {
      type: 'string',
      default: 'resnet20-cifar10,resnet56-cifar10,ds-cnn,cifar10_allconv_base,squeezenet1_f32',
    },
    sections: { type: 'string', default: SECTIONS.join() },
    only: { type: 'string' },
    bits: { type: 'string' },
    samples: { type: 'string', default: '256' },
    limit: { type: 'string', default: '5000' },
    epochs: { type: 'string', default: '2' },
    without: { type: 'string' },
    redo: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
  },
})
const shared = process.env.WHITTLE_SHARED ?? '../shared'
if (!existsSync(join(shared, 'data', 'cifar10'))) {
  console.log(`Skipped: ${shared} has no data/cifar10; set WHITTLE_SHARED to the folder with models/ and data/.`)
  process.exit(0)
}

const FOLDER = join('out', 'study')
const RESULTS = join(FOLDER, 'quantize-accuracy.json')
mkdirSync(FOLDER, { recursive: true })
let rows = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : []
const isSame = (a, b) => ['model', 'section', 'bits', 'variant', 'limit', 'samples'].every((key) => a[key] === b[key])
function keep(row) {
  // Another process may have added rows meanwhile.
  rows = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : []
  rows = [...rows.filter((other) => !isSame(other, row)), row]
  writeFileSync(`${RESULTS}.part`, `${JSON.stringify(rows, null, 2)}\n`)
  renameSync(`${RESULTS}.part`, RESULTS)
}

const CALIBRATORS = ['minmax', 'moving-average', 'percentile', 'entropy', 'mse', 'ifmr', 'hfmg']
const BITS = {
  W8A8: {},
  W4A8: { weightBits: 4 },
  W4A4: { weightBits: 4, activationBits: 4, calibration: 'mse' },
}
const PER_TENSOR = { perChannel: false }
/** Variants of the section on ranges: weights with one scale each, then what helps them. */
const RANGES = {
  'per tensor': PER_TENSOR,
  'per tensor, equalised': { ...PER_TENSOR, equalize: true },
  'per tensor, equalised, biases absorbed': { ...PER_TENSOR, equalize: true, absorbBiases: true },
  'per tensor, equalised, biases corrected': { ...PER_TENSOR, equalize: true, correctBiases: true },
  'per tensor, biases corrected': { ...PER_TENSOR, correctBiases: true },
  'per tensor, balanced': { ...PER_TENSOR, balance: true },
  'per channel': {},
}
const ROUNDINGS = {
  naive: { weightAlgorithm: 'minmax', rounding: 'nearest' },
  nearest: { rounding: 'nearest' },
  equalised: { equalize: true, rounding: 'nearest' },
  'biases corrected': { correctBiases: true, rounding: 'nearest' },
  'equalised, biases corrected': { equalize: true, correctBiases: true, rounding: 'nearest' },
}

/** Of so many samples one has an outlier: what touches it is a smaller share of all numbers than a squared error minds. */
const OUTLIER_SAMPLES = 1024

/** Feeds in which the corner of the first sample is a hundred times as large as any number should be. */
const withOutlier = (feeds) =>
  async function* () {
    let first = true
    for await (const batch of feeds()) {
      if (!first) yield batch
      else
        yield Object.fromEntries(
          Object.entries(batch).map(([name, tensor]) => {
            const numbers = Float32Array.from(toFloat32(tensor))
            const largest = numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
            numbers[0] = 100 * largest
            return [name, Tensor.of(numbers, tensor.shape)]
          }),
        )
      first = false
    }
  }

/** The first and the last layer, and what they read, at 8 bits: as everybody does who goes below. */
async function edgesOf(model, runtime) {
  const prepared = await prepareForQuantization(model, {}, runtime)
  const shapes = await observeShapes(runtime.evaluator, prepared.model)
  const { nodes, tensors } = findQuantizable(prepared.model, shapes)
  const weighted = nodes.filter(({ weight }) => weight)
  const edges = [weighted[0], weighted.at(-1)]
  const roots = new Map(tensors.map(({ name, sharedWith }) => [name, sharedWith ?? name]))
  return {
    layers: new Map(edges.map(({ name }) => [name, { bits: 8 }])),
    tensors: new Map(edges.flatMap(({ inputs }) => inputs.map((name) => [roots.get(name) ?? name, { bits: 8 }]))),
  }
}

/** What is measured of one network: rows without their result, each with a function that makes the network. */
async function plannedRows(name, network, runtime) {
  const { model, train, preprocess } = network
  const limit = Number(values.samples)
  const feeds = calibrationFeeds(model, train, { preprocess, limit, seed: 0 })
  const many = calibrationFeeds(model, train, { preprocess, limit: OUTLIER_SAMPLES, seed: 0 })
  const run =
    (subject, options, data = feeds) =>
    async () =>
      (await quantize(subject, { data, ...options }, runtime)).model
  const { model: scrambled, pairs } = await scrambleChannels(model)
  const edges = await edgesOf(model, runtime)
  const row = (section, bits, variant, make) => ({ key: { model: name, section, bits, variant }, make })
  return [
    row('calibrators', 'float', 'float', async () => model),
    ...CALIBRATORS.map((method) => row('calibrators', 'W8A8', method, run(model, { calibration: method }))),
    ...CALIBRATORS.map((method) =>
      row('outlier', 'W8A8', method, run(model, { calibration: method }, withOutlier(many))),
    ),
    ...Object.entries(RANGES).map(([variant, options]) => row('ranges', 'W8A8', variant, run(model, options))),
    ...Object.entries(pairs > 0 ? RANGES : {}).map(([variant, options]) =>
      row('ranges', 'W8A8, channels scaled by 2⁻⁴ … 2⁴', variant, run(scrambled, options)),
    ),
    ...Object.entries(BITS).flatMap(([bits, chosen]) => {
      const options = bits === 'W8A8' ? chosen : { ...chosen, ...edges }
      return [
        ...Object.entries(ROUNDINGS).map(([variant, extra]) =>
          row('bits', bits, variant, run(model, { ...options, ...extra })),
        ),
        ...learnedVariants({
          ...{ model, bits, options, feeds, network, runtime },
          epochs: Number(values.epochs),
          withLong: values.only !== undefined,
        }).map(([variant, make]) => row('bits', bits, variant, make)),
      ]
    }),
    ...[32, 16].flatMap((levels) => [
      row('levels', 'float activations', `codebooks of ${levels}`, async () => clusterModel(model, { levels }).model),
      row('levels', 'W8A8', `${levels} integers per weight`, () => withFewIntegers(model, feeds, levels, runtime)),
    ]),
  ]
}

/** 8-bit weights of a few different integers: AMCT's NUQ. */
async function withFewIntegers(model, data, levels, runtime) {
  const basis = await quantizationBasis(model, { data }, runtime)
  const plan = planFrom(basis)
  const rounded = new Map()
  for (const { weight } of plan.steps) {
    if (!weight) continue
    const float = basis.model.graph.initializers.get(weight.tensor)
    rounded.set(weight.tensor, clusterIntegers(quantizeWeight(float, weight.quantization), levels))
  }
  return applyQuantize(basis.model, plan, { rounded }).model
}

const percent = (value) => `${(100 * value).toFixed(2)} %`

async function measure(name, runtime) {
  const network = await openNetwork(name, shared)
  const limit = Math.min(Number(values.limit), network.test.size)
  const wanted = values.sections.split(',')
  for (const { key, make } of await plannedRows(name, network, runtime)) {
    const samples = key.section === 'outlier' ? OUTLIER_SAMPLES : Number(values.samples)
    const row = { ...key, limit, samples }
    if (!wanted.includes(key.section) || (values.only && !key.variant.includes(values.only))) continue
    if (values.bits && key.bits !== values.bits) continue
    if (values.without?.split(',').includes(key.variant)) continue
    if (!values.redo && rows.some((other) => isSame(other, row))) continue
    const started = performance.now()
    try {
      const subject = await make()
      const made = performance.now()
      const options = { data: network.test, preprocess: network.preprocess, limit }
      const { top1 } = await evaluate(subject, options, runtime)
      keep({ ...row, top1, seconds: Number(((made - started) / 1e3).toFixed(1)) })
      console.log(`${name}  ${key.section}  ${key.bits}  ${key.variant}: ${percent(top1)}`)
    } catch (error) {
      console.log(`${name}  ${key.section}  ${key.bits}  ${key.variant}: ${error.message}`)
    }
  }
}

/** Tables in Markdown: a row per network and bits, a column per variant. */
function printTables() {
  const limit = Number(values.limit)
  for (const section of values.sections.split(',')) {
    const own = rows.filter((row) => row.section === section && row.limit <= limit)
    const variants = [...new Set(own.map(({ variant }) => variant))].filter((variant) => variant !== 'float')
    const lines = [...new Set(own.map(({ model, bits }) => `${model}|${bits}`))].filter(
      (key) => !key.endsWith('|float'),
    )
    console.log(
      `\n| ${['network', 'bits', 'float', ...variants].join(' | ')} |\n|${' --- |'.repeat(variants.length + 3)}`,
    )
    for (const line of lines) {
      const [model, bits] = line.split('|')
      const float = rows.find((row) => row.model === model && row.variant === 'float' && row.limit <= limit)
      const cells = variants.map((variant) => {
        const found = own.find((row) => row.model === model && row.bits === bits && row.variant === variant)
        return found ? percent(found.top1) : ''
      })
      console.log(`| ${[model, bits, float ? percent(float.top1) : '', ...cells].join(' | ')} |`)
    }
  }
}

if (!values.table) {
  const runtime = await createNodeRuntime()
  for (const name of values.models.split(',')) await measure(name, runtime)
}
printTables()
