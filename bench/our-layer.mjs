// Decomposes one convolution with the public library; prints one line of JSON.
import { createNodeRuntime, decompose, loadModel, saveModel } from 'whittle-nn/node'
import { usage } from './process.mjs'

const { model: path, out, method, rank, threads } = JSON.parse(process.argv[2])
const runtime = await createNodeRuntime({ threads })

const marks = { start: performance.now() }
const model = await loadModel(path)
marks.read = performance.now()
const onProgress = ({ stage, done }) => {
  if (stage === 'plan') marks.prepare ??= performance.now()
  if (stage === 'decompose' && done === 0) marks.plan ??= performance.now()
  if (stage === 'decompose') marks.factor = performance.now()
}
const result = await decompose(model, { method, rank, onProgress }, runtime)
marks.record = performance.now()
await saveModel(result.model, out)
marks.write = performance.now()

const seconds = (from, to) => (marks[to] - marks[from]) / 1000
const [layer] = result.record.layers
if (!layer) throw new Error(`Nothing was decomposed: ${result.record.skips.map((skip) => skip.reason).join(' ')}`)
const report = {
  seconds: seconds('start', 'write'),
  split: {
    read: seconds('start', 'read'),
    prepare: seconds('read', 'prepare'),
    plan: seconds('prepare', 'plan'),
    factor: seconds('plan', 'factor'),
    record: seconds('factor', 'record'),
    write: seconds('record', 'write'),
  },
  ranks: layer.ranks,
  reportedError: layer.relativeError,
  ...usage(),
}
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0))
