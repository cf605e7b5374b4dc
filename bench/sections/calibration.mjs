// The whole quantization of a network by `whittle quantize` and by onnxruntime.quantization: time and peak memory
// against the number of samples. Every run is a process of its own, and all of it counts. Two floors stand beside them: a
// process of Node that does nothing, and one that runs the network on the pictures and does nothing else.
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { missing, PYTHON, pythonEnvironment } from '../../interop/python.mjs'
import { ROOT, SCRATCH, SHARED } from '../environment.mjs'
import { memoryPlot } from '../memory-plot.mjs'
import { measure } from '../process.mjs'

const MODEL = join(SHARED, 'models', 'onnx', 'resnet20-cifar10.onnx')
const CIFAR = join(SHARED, 'data', 'cifar10')
const SAMPLES = [32, 128, 512, 2048]
const BATCH = 32
/** Methods, and the share of the peer's time that is the goal. */
const METHODS = [
  ['minmax', 3],
  ['entropy', 5],
]

function ours(method, samples, threads) {
  const wrapper = join(ROOT, 'bench', 'measured-cli.mjs')
  const data = ['--data', `cifar10:${CIFAR}`, '--split', 'train', '--limit', String(samples), '--preprocess', 'cifar10']
  const how = ['--calibration', method, '--batch', String(BATCH), '--threads', String(threads), '--no-guard', '--quiet']
  const args = ['quantize', MODEL, '-o', join(SCRATCH, 'calibration-ours.onnx'), ...data, ...how]
  return measure(process.execPath, [wrapper, ...args])
}

function peer(method, samples, threads) {
  const script = join(ROOT, 'bench', 'peers', 'calibration.py')
  const out = join(SCRATCH, 'calibration-peer.onnx')
  const args = [script, MODEL, join(CIFAR, 'data_batch_1.bin'), String(samples), String(BATCH), method, out]
  return measure(PYTHON, args, { env: pythonEnvironment(threads) })
}

function inferenceAlone(samples, threads) {
  const script = join(ROOT, 'bench', 'calibration-floor.mjs')
  const pictures = join(CIFAR, 'data_batch_1.bin')
  return measure(process.execPath, [script, MODEL, pictures, ...[samples, BATCH, threads].map(String)])
}

/** Node as it starts and ends; what it says of itself is the object that `measure` wants. */
function nodeStart() {
  const code =
    'const u = process.resourceUsage(); console.log(JSON.stringify({ cpu: (u.userCPUTime + u.systemCPUTime) / 1e6, peakMB: u.maxRSS * 1024 / 1e6 }))'
  return measure(process.execPath, ['-e', code])
}

/** The floors, as rows without a peer. */
async function floors(counts, rounds, threads, log) {
  const rows = []
  const add = async (method, samples, run) => {
    log(`${method}${samples === undefined ? '' : `, ${samples} samples`}`)
    const runs = []
    for (let round = 0; round < Math.min(rounds, 3); round++) runs.push(await run())
    rows.push({ method, samples, ours: best(runs, threads), peer: undefined })
  }
  await add('node start', undefined, nodeStart)
  for (const samples of counts) await add('inference alone', samples, () => inferenceAlone(samples, threads))
  return rows
}

/** Seconds by CPU time with one thread, which other processes hardly change; else from start to exit. */
const best = (runs, threads) => ({
  seconds: Math.min(...runs.map(({ cpu, wall }) => (threads === 1 ? cpu : wall))),
  peakMB: Math.min(...runs.map(({ peakMB }) => peakMB)),
})

/** Runs the section. */
export async function run({ threads, rounds, quick, python, log }) {
  if (!existsSync(MODEL))
    return {
      text: 'Skipped: ResNet-20 is not there; WHITTLE_SHARED names the folder of test models.',
      goals: [],
      results: [],
    }
  const reason = missing(python, ['numpy', 'onnx'])
  const results = []
  const counts = quick ? SAMPLES.slice(0, 2) : SAMPLES
  for (const [method] of METHODS)
    for (const samples of counts) {
      const runs = { ours: [], peer: [] }
      // In turns, so that a slower spell of the machine meets both.
      for (let round = 0; round < Math.min(rounds, samples > 512 ? 1 : 3); round++) {
        log(`${method}, ${samples} samples`)
        runs.ours.push(await ours(method, samples, threads))
        if (!reason) runs.peer.push(await peer(method, samples, threads))
      }
      results.push({
        method,
        samples,
        ours: best(runs.ours, threads),
        peer: reason ? undefined : best(runs.peer, threads),
      })
    }
  if (!quick && !reason) writeFileSync(join(ROOT, 'docs', 'calibration-memory.svg'), memoryPlot(results))
  const right = (title) => ({ title, align: 'right' })
  const columns = [
    'calibration',
    right('samples'),
    right('whittle s'),
    right('ORT s'),
    right('ORT/whittle'),
    right('whittle MB'),
    right('ORT MB'),
  ]
  const number = (value, digits) => (value === undefined ? '–' : value.toFixed(digits))
  const shown = [...results, ...(await floors(counts, rounds, threads, log))]
  const rows = shown.map(({ method, samples, ours: mine, peer: its }, index) => [
    index > 0 && shown[index - 1].method === method ? '' : method,
    samples === undefined ? '–' : String(samples),
    number(mine.seconds, 2),
    number(its?.seconds, 2),
    number(its && its.seconds / mine.seconds, 1),
    number(mine.peakMB, 0),
    number(its?.peakMB, 0),
  ])
  const goals = reason ? [] : METHODS.map(([method, factor]) => goalOf(method, factor, results))
  return { text: [formatTable(columns, rows), ...(reason ? [reason] : [])].join('\n'), goals, results }
}

function goalOf(method, factor, results) {
  const ratios = results
    .filter((row) => row.method === method)
    .map(({ ours: mine, peer: its }) => its.seconds / mine.seconds)
  const least = Math.min(...ratios)
  return {
    goal: `quantize with ${method} takes at most 1/${factor} of onnxruntime.quantization's time`,
    holds: least >= factor,
    found: `1/${least.toFixed(1)} at worst, 1/${Math.max(...ratios).toFixed(1)} at best`,
  }
}
