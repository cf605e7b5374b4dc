// What Tucker-2 of one layer cannot go below in a fresh process: reading the weight, making sessions, and the products
// with the weight that a random start and one sweep need; no eigenproblems, no checks, nothing written.
//
//   node bench/tucker-floor.mjs CHANNELS KERNEL [threads]
//
// Prints one line of JSON: milliseconds of the first round (cold) and of the quickest of five more (warm). The weight is
// the one that `npm run bench -- layers` made.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createMatrixEngine } from 'whittle-nn/engine'
import { loadModel, loadOnnxRuntime } from 'whittle-nn/node'
import { toFloat32 } from 'whittle-nn/tensor'
import { DATA } from './environment.mjs'

const [channels, kernel, threads = 2] = process.argv.slice(2).map(Number)
const path = join(DATA, `conv-${channels}x${channels}x${kernel}x${kernel}.onnx`)
const rank = channels / 4
const taps = kernel * kernel
const basis = (rows) => ({ rows, cols: channels, data: new Float32Array(rows * channels).fill(1 / channels) })
const ort = await loadOnnxRuntime()

async function round(engine, read) {
  const marks = [performance.now()]
  const mark = () => marks.push(performance.now())
  const data = await read()
  mark()
  const tensor = { data, dims: [channels, channels, taps] }
  const width = Math.min(Math.max(rank, Math.ceil((2 * channels) / taps)), Math.ceil((3 * channels) / taps))
  await engine.contractedGram(tensor, basis(width), 1)
  mark()
  await engine.contractedGram(tensor, basis(rank), 0)
  mark()
  const { contracted } = await engine.contractedGram(tensor, basis(rank), 1, { keep: true })
  await engine.multiplySlices(basis(rank), { dims: [rank, channels, taps], data: contracted })
  mark()
  const [reading, start, outputs, inputs] = marks.slice(1).map((at, i) => at - marks[i])
  return { total: marks.at(-1) - marks[0], reading, start, outputs, inputs }
}

const fromModel = async () => toFloat32((await loadModel(path)).graph.initializers.get('conv.weight'))
const engine = createMatrixEngine(ort, { threads })
const cold = await round(engine, fromModel)
let warm = cold
for (let i = 0; i < 5; i++) {
  const again = await round(engine, fromModel)
  if (again.total < warm.total) warm = again
}
const whole = performance.now()
readFileSync(path)
const readSync = performance.now() - whole
const rounded = (times) =>
  Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, Math.round(ms * 10) / 10]))
console.log(
  JSON.stringify({ channels, kernel, cold: rounded(cold), warm: rounded(warm), readSync: Math.round(readSync) }),
)
process.exit(0)
