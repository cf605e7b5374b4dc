// npm run study [-- --models resnet20-cifar10,resnet56-cifar10 --budgets 0.75,0.5,0.33 --align 16 --limit 5000]:
// accuracy of CIFAR-10 ResNets after decomposition to MAC budgets, without fine-tuning: per method, fitted to the
// weights alone and to data. Prints a table and writes out/study/decompose-accuracy.json.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  calibrationFeeds,
  collectSiteMoments,
  createNodeRuntime,
  decompose,
  evaluate,
  loadModel,
  openDataset,
} from '../dist/node/index.js'

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'resnet20-cifar10,resnet56-cifar10' },
    budgets: { type: 'string', default: '0.75,0.5,0.33' },
    methods: { type: 'string', default: 'auto,tucker,spatial,channel' },
    align: { type: 'string', default: '16' },
    samples: { type: 'string', default: '512' },
    limit: { type: 'string', default: '5000' },
  },
})
const shared = process.env.WHITTLE_SHARED ?? '../shared'
const cifar = join(shared, 'data/cifar10')
if (!existsSync(cifar)) {
  console.log(`Skipped: ${cifar} does not exist; set WHITTLE_SHARED to the folder with models/ and data/.`)
  process.exit(0)
}

const runtime = await createNodeRuntime()
const list = (text) => text.split(',')
const percent = (value) => `${(100 * value).toFixed(2)} %`
const results = []
for (const name of list(values.models)) {
  const model = await loadModel(join(shared, 'models/onnx', `${name}.onnx`))
  const train = await openDataset(`cifar10:${cifar}`, { split: 'train' })
  const test = await openDataset(`cifar10:${cifar}`, { split: 'test' })
  const accuracy = async (subject) =>
    (await evaluate(subject, { data: test, preprocess: 'imagenet', limit: Number(values.limit) }, runtime)).top1
  const feeds = calibrationFeeds(model, train, { preprocess: 'imagenet', limit: Number(values.samples), seed: 0 })
  const started = performance.now()
  const moments = await collectSiteMoments(model, feeds, {}, runtime)
  console.log(
    `${name}: moments of ${values.samples} training images in ${((performance.now() - started) / 1e3).toFixed(1)} s`,
  )
  console.log(`${name}: original ${percent(await accuracy(model))} on ${values.limit} test images`)
  console.log(`  budget  align  method   fitted to  MACs kept  parameters kept  accuracy`)
  for (const budget of list(values.budgets).map(Number))
    for (const method of list(values.methods))
      for (const fitted of ['weights', 'data']) {
        const options = { method, align: Number(values.align), budget: { metric: 'macs', fraction: budget } }
        try {
          const { model: small, record } = await decompose(
            model,
            fitted === 'data' ? { ...options, moments } : options,
            runtime,
          )
          const row = {
            model: name,
            budget,
            align: options.align,
            method,
            fitted,
            macs: record.after.macs / record.before.macs,
            parameters: record.after.parameters / record.before.parameters,
            top1: await accuracy(small),
          }
          results.push(row)
          console.log(
            `  ${String(budget).padEnd(6)}  ${String(row.align).padEnd(5)}  ${method.padEnd(7)}  ${fitted.padEnd(9)}  ` +
              `${row.macs.toFixed(3).padEnd(9)}  ${row.parameters.toFixed(3).padEnd(15)}  ${percent(row.top1)}`,
          )
        } catch (error) {
          console.log(
            `  ${String(budget).padEnd(6)}  ${String(options.align).padEnd(5)}  ${method.padEnd(7)}  ${fitted.padEnd(9)}  ${error.message}`,
          )
        }
      }
}
mkdirSync('out/study', { recursive: true })
writeFileSync('out/study/decompose-accuracy.json', `${JSON.stringify(results, null, 2)}\n`)
