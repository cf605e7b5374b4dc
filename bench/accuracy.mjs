// npm run accuracy [-- --model TEXT] [--batch N]: evaluates every labelled model of the shared folder against its README.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { evaluateModel, modelInputs, parsePreprocess, pictureExtentOf } from '../dist/data/index.js'
import { createNodeRuntime, loadModel, openDataset } from '../dist/node/index.js'
import { formatTable } from '../dist/report/index.js'
import { RESULTS, ROOT, SHARED } from './environment.mjs'

const percent = (share) => (share === null ? '–' : (100 * share).toFixed(2))

async function evaluateRow({ evaluator }, expected, batch) {
  const model = await loadModel(join(SHARED, 'models', 'onnx', expected.model))
  const [kind, name] = expected.data.split(':')
  const dataset = await openDataset(`${kind}:${join(SHARED, 'data', name)}`)
  const preprocess = parsePreprocess(expected.preprocess, pictureExtentOf(modelInputs(model)))
  const { top1, top5, loss, samples, milliseconds } = await evaluateModel(evaluator, model, dataset, {
    preprocess,
    batch,
  })
  const within = expected.within || 0.00005
  const holds =
    Math.abs(top1 - expected.top1) <= within &&
    (expected.top5 === undefined || Math.abs(top5 - expected.top5) <= within)
  return { ...expected, measured: { top1, top5, loss, samples, milliseconds }, holds }
}

const { values } = parseArgs({ options: { model: { type: 'string', default: '' }, batch: { type: 'string' } } })
if (!existsSync(SHARED)) {
  console.error('Skipped: the shared models and data are not there (set WHITTLE_SHARED).')
  process.exit(0)
}
const { models } = JSON.parse(readFileSync(join(ROOT, 'test', 'fixtures', 'labelled-models.json'), 'utf8'))
const runtime = await createNodeRuntime()
const rows = []
for (const expected of models.filter(({ model }) => model.includes(values.model))) {
  rows.push(await evaluateRow(runtime, expected, values.batch && Number(values.batch)))
  process.stderr.write('.')
}
process.stderr.write('\n')
const numbers = ['samples', 'top-1 %', 'stated %', '± %', 'top-5 %', 'loss', 'seconds', 'holds']
console.log(
  formatTable(
    ['model', 'data', 'preprocess', ...numbers.map((title) => ({ title, align: 'right' }))],
    rows.map(({ model, data, preprocess, top1, within, measured, holds }) => [
      model,
      data,
      typeof preprocess === 'string' ? preprocess : JSON.stringify(preprocess),
      String(measured.samples),
      percent(measured.top1),
      percent(top1),
      within === 0 ? '0' : (100 * within).toFixed(1),
      percent(measured.top5),
      measured.loss.toFixed(4),
      (measured.milliseconds / 1000).toFixed(1),
      holds ? 'yes' : 'NO',
    ]),
  ),
)
mkdirSync(RESULTS, { recursive: true })
writeFileSync(join(RESULTS, 'accuracy.json'), `${JSON.stringify(rows, null, 1)}\n`)
process.exitCode = rows.every(({ holds }) => holds) ? 0 : 2
