// The demonstration: a trained ResNet-20 with half its multiplications, on real pictures, through the public API.
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  benchmark,
  createNodeRuntime,
  datasets,
  decompose,
  evaluate,
  formatBytes,
  formatChange,
  formatCount,
  formatMilliseconds,
  formatPercent,
  formatRanks,
  formatTable,
  loadModel,
  recordPath,
  StagedFiles,
  stageModel,
} from 'whittle-nn/node'

const FRACTION = 0.5
const INPUT = join('examples', 'models', 'resnet20-cifar10.onnx')
const DATA = join('examples', 'data', 'cifar10')
const OUTPUT = join('out', 'resnet20-half.onnx')

process.chdir(join(import.meta.dirname, '..'))
mkdirSync('out', { recursive: true })
const say = (text) => console.error(text)
const runtime = await createNodeRuntime()

const original = await loadModel(INPUT)
say(`Decomposing ${INPUT} to ${FRACTION * 100} % of its MACs, fitted to 250 training pictures …`)
const { model, record } = await decompose(
  original,
  {
    method: 'cp',
    budget: { metric: 'macs', fraction: FRACTION },
    align: 8,
    data: datasets.cifar10(DATA, { split: 'train' }),
  },
  runtime,
)

say('Measuring both networks on 750 test pictures they have not seen …')
const test = await datasets.cifar10(DATA, { split: 'test' })
const accuracy = [original, model].map((subject) => () => evaluate(subject, { data: test }, runtime))
const [before, after] = [await accuracy[0](), await accuracy[1]()]
const subjects = [
  { name: 'before', model: original },
  { name: 'after', model },
]
const [slow, fast] = await benchmark(runtime.evaluator, subjects, { runs: 200, warmup: 20 })

const command = 'npm run demo'
const measured = [
  { metric: 'top1', before: before.top1, after: after.top1, data: before.data, samples: before.samples, command },
  {
    metric: 'latency',
    before: slow.milliseconds.median,
    after: fast.milliseconds.median,
    data: 'random inputs, batch 1',
    samples: slow.runs,
    command,
  },
]
const files = new StagedFiles()
await stageModel(files, model, OUTPUT)
await files.writeText(recordPath(OUTPUT), `${JSON.stringify({ ...record, measured }, null, 2)}\n`)
files.commit()

const change = (format, a, b) => [format(a), format(b), formatChange(a, b)]
const total = (label, ...cells) => [label, '', '', '', ...cells]
const points = (after.top1 - before.top1) * 100
const right = (title) => ({ title, align: 'right' })
const table = formatTable(
  ['layer', 'method', 'rank', right('parameters'), right('MACs before'), right('after'), right('change')],
  [
    ...record.layers.map(({ name, method, ranks, parameters, macs }) => [
      name,
      method,
      formatRanks(ranks),
      `${formatCount(parameters.before)} → ${formatCount(parameters.after)}`,
      ...change(formatCount, macs.before, macs.after),
    ]),
    ...record.skips.map(({ name }) => [name, 'left alone']),
    ['-'],
    total('parameters', ...change(formatCount, record.before.parameters, record.after.parameters)),
    total('MACs', ...change(formatCount, record.before.macs, record.after.macs)),
    total('file', ...change(formatBytes, statSync(INPUT).size, statSync(OUTPUT).size)),
    total('latency', ...change(formatMilliseconds, slow.milliseconds.median, fast.milliseconds.median)),
    total(
      `top-1 of ${before.samples} pictures`,
      formatPercent(before.top1),
      formatPercent(after.top1),
      `${points < 0 ? '−' : '+'}${Math.abs(points).toFixed(2)} pts`,
    ),
  ],
)
console.log(`\n${table}\n\nWrote ${OUTPUT} and ${recordPath(OUTPUT)}. Nothing was fine-tuned.`)
