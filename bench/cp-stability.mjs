// npm run study:cp [-- --models resnet20-cifar10,resnet56-cifar10 --budgets 0.5,0.33 --stages 4,3 --limit 1000]:
// CP chains in trained networks by alternating least squares alone and with the guard against degeneracy, at the same
// ranks (those of a MAC budget), without fine-tuning. Per network: the error of the weights; how large the terms are that cancel each other
// (‖terms‖ / ‖W‖, 1 where they are orthogonal); the sensitivity, what noise of variance 1 in all factors adds to the
// squared error (Phan et al., "Stable low-rank tensor decomposition for compression of convolutional neural network",
// ECCV 2020, section 3), per element of the weight; top-1 as it is, and with every factor rounded to 6 bits.
// Prints a table and writes out/study/cp-stability.json.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createNodeRuntime, decompose, evaluate, loadModel, openDataset } from '../dist/node/index.js'
import { formatTable } from '../dist/report/index.js'
import { Tensor } from '../dist/tensor/index.js'

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'resnet20-cifar10,resnet56-cifar10' },
    budgets: { type: 'string', default: '0.5,0.33' },
    stages: { type: 'string', default: '4,3' },
    limit: { type: 'string', default: '1000' },
  },
})
const shared = process.env.WHITTLE_SHARED ?? '../shared'
const cifar = join(shared, 'data/cifar10')
if (!existsSync(cifar)) {
  console.log(`Skipped: ${cifar} does not exist; set WHITTLE_SHARED to the folder with models/ and data/.`)
  process.exit(0)
}

const sumOfSquares = (numbers) => numbers.reduce((sum, value) => sum + value * value, 0)

/** Squared lengths of the columns of every factor of a CP chain, `{ extent, lengths: [rank] }`. */
function factorsOf(model, nodes) {
  return Object.entries(nodes).map(([role, { weight_name }]) => {
    const { shape, data } = model.graph.initializers.get(weight_name)
    // The last stage is [out, rank], all others [rank, extent].
    const isLast = role === 'last'
    const rank = shape[isLast ? 1 : 0]
    const extent = data.length / rank
    const lengths = new Float64Array(rank)
    for (let at = 0; at < data.length; at++) lengths[isLast ? at % rank : Math.floor(at / extent)] += data[at] ** 2
    return { extent, lengths }
  })
}

/** Σ‖terms‖² and Σ_k extent_k Σ_r Π_{m≠k} ‖a_m,r‖² of a CP chain. */
function stabilityOf(factors) {
  const rank = factors[0].lengths.length
  let terms = 0
  let sensitivity = 0
  for (let r = 0; r < rank; r++) {
    const product = factors.reduce((all, { lengths }) => all * lengths[r], 1)
    terms += product
    for (const { extent, lengths } of factors) if (lengths[r] > 0) sensitivity += (extent * product) / lengths[r]
  }
  return { terms, sensitivity }
}

/** The model with the weights of the chains rounded to 6 bits, one scale per tensor. */
function roundedTo6Bits(model, names) {
  const initializers = new Map(model.graph.initializers)
  for (const name of names) {
    const { data, shape } = initializers.get(name)
    const scale = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 31 || 1
    initializers.set(
      name,
      Tensor.of(
        data.map((value) => Math.round(value / scale) * scale),
        shape,
      ),
    )
  }
  return { ...model, graph: { ...model.graph, initializers } }
}

/** Means over the layers, but for the size of the terms, where the worst layer counts. */
function stabilityOfLayers(original, { model, record, info }) {
  const squaredErrors = record.layers.map(({ relativeError }) => relativeError ** 2)
  const layers = info.map(({ ori_layer_info: { name }, decom_nodes: nodes }) => {
    const weight = original.graph.initializers.get(`${name}.weight`)
    const energy = sumOfSquares(weight.data)
    const { terms, sensitivity } = stabilityOf(factorsOf(model, nodes))
    return { terms: Math.sqrt(terms / energy), sensitivity: sensitivity / weight.data.length }
  })
  const mean = (numbers) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length
  return {
    relativeError: Math.sqrt(mean(squaredErrors)),
    terms: Math.max(...layers.map((layer) => layer.terms)),
    sensitivity: mean(layers.map((layer) => layer.sensitivity)),
  }
}

const runtime = await createNodeRuntime()
const list = (text) => text.split(',')
const percent = (value) => `${(100 * value).toFixed(1)} %`
const results = []
for (const name of list(values.models)) {
  const model = await loadModel(join(shared, 'models/onnx', `${name}.onnx`))
  const test = await openDataset(`cifar10:${cifar}`, { split: 'test' })
  const accuracy = async (subject) =>
    (await evaluate(subject, { data: test, preprocess: 'imagenet', limit: Number(values.limit) }, runtime)).top1
  console.log(`${name}: original ${percent(await accuracy(model))} on ${values.limit} test images`)
  for (const stages of list(values.stages).map(Number))
    for (const budget of list(values.budgets).map(Number))
      for (const guard of [false, true]) {
        const started = performance.now()
        const options = { method: 'cp', budget: `macs=${budget}`, align: 4, cpStages: stages, cpGuard: guard }
        const decomposed = await decompose(model, options, runtime)
        const seconds = (performance.now() - started) / 1e3
        const names = decomposed.info.flatMap(({ decom_nodes: nodes }) =>
          Object.values(nodes).map(({ weight_name }) => weight_name),
        )
        const { before, after, layers } = decomposed.record
        results.push({
          model: name,
          stages,
          budget,
          guard,
          layers: layers.length,
          macs: after.macs / before.macs,
          ...stabilityOfLayers(model, decomposed),
          top1: await accuracy(decomposed.model),
          top1In6Bits: await accuracy(roundedTo6Bits(decomposed.model, names)),
          seconds,
        })
        process.stderr.write('.')
      }
}
process.stderr.write('\n')
const right = (title) => ({ title, align: 'right' })
console.log(
  formatTable(
    [
      'network',
      'chain',
      right('budget'),
      'method',
      ...['MACs kept', 'error', 'terms', 'sensitivity', 'top-1', '6 bits', 'seconds'].map(right),
    ],
    results.map((row) => [
      row.model,
      `CP-${row.stages}`,
      String(row.budget),
      row.guard ? 'guarded' : 'plain ALS',
      percent(row.macs),
      row.relativeError.toFixed(4),
      row.terms.toFixed(2),
      row.sensitivity.toPrecision(3),
      percent(row.top1),
      percent(row.top1In6Bits),
      row.seconds.toFixed(1),
    ]),
  ),
)
mkdirSync('out/study', { recursive: true })
writeFileSync('out/study/cp-stability.json', `${JSON.stringify(results, null, 2)}\n`)
