// Training steps beside PyTorch: same network, weights, samples, threads; forward, backward, SGD with momentum.
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { missing, PYTHON, pythonEnvironment } from '../../interop/python.mjs'
import { ROOT, SCRATCH } from '../environment.mjs'
import { summarize, takeTurns } from '../interleave.mjs'
import { measure } from '../process.mjs'
import { NETWORKS } from '../training-networks.mjs'

const LAYOUTS = ['default', 'channels_last']
const MOST_MEMORY = 1.3
const MOST_SHARE = 0.05
const MOST_DIFFERENCE = 1e-4
/** Small enough that rounding is not amplified over the steps that are compared. */
const LEARNING_RATE = 1e-4

/** Runs the section. */
export async function run(options) {
  const rows = []
  for (const network of Object.keys(NETWORKS).filter((name) => name.includes(options.only)))
    rows.push(await runRow(network, options))
  return { text: tableOf(rows), goals: rows.flatMap(goalsOf), results: rows }
}

async function runRow(network, { threads, rounds, quick, log, python }) {
  log(network)
  const dump = join(SCRATCH, `training-${network}`)
  const own = join(ROOT, 'bench', 'our-training.mjs')
  const job = { network, threads, runs: quick ? 1 : 2, lr: LEARNING_RATE }
  const ours = (extra) => () => measure(process.execPath, [own, JSON.stringify({ ...job, ...extra })])
  await ours({ dump })()
  const contenders = [
    { name: 'whittle', run: ours({}) },
    { name: 'whittle, standard operators', run: ours({ kernels: 'standard' }) },
    { name: 'whittle, products alone', run: ours({ products: true }) },
  ]
  const reason = missing(python, ['torch', 'numpy'])
  if (reason) log(`PyTorch skipped: ${reason}`)
  else
    for (const layout of LAYOUTS) {
      const args = [join(ROOT, 'bench', 'peers', 'training.py'), JSON.stringify({ ...job, dump, layout })]
      const env = pythonEnvironment(threads)
      contenders.push({ name: `PyTorch, ${layout}`, run: () => measure(PYTHON, args, { env }) })
    }
  const entries = await takeTurns(contenders, { rounds, log })
  const results = entries.map(({ name, runs, failure }) =>
    failure
      ? { name, failure }
      : {
          name,
          ...summarize(runs),
          losses: runs[0].losses,
          share: Math.min(...runs.map((one) => one.share)),
          processor: Math.min(...runs.map((one) => one.processor)),
        },
  )
  return { network, batch: NETWORKS[network].batch, results, skipped: reason }
}

const milliseconds = (value) => (value * 1000).toFixed(1)

/** The faster of PyTorch's layouts. */
function fastest(results) {
  const peers = results.filter(({ name, failure }) => name.startsWith('PyTorch') && !failure)
  return peers.sort((a, b) => a.least - b.least)[0]
}

function tableOf(rows) {
  const lines = rows.flatMap(({ network, batch, results }) => {
    const peer = fastest(results)
    return results.map((result, index) => {
      const head = index === 0 ? [network, String(batch), result.name] : ['', '', result.name]
      if (result.failure) return [...head, 'failed', '', '', '', '', '', '']
      const { least, seconds, peakMB, share, processor, others } = result
      const ratio = peer && !result.name.startsWith('PyTorch') ? `${(peer.least / least).toFixed(2)}×` : ''
      const outside = Number.isFinite(share) ? `${(share * 100).toFixed(1)} %` : ''
      const shown = [
        milliseconds(least),
        milliseconds(seconds),
        milliseconds(processor),
        ratio,
        peakMB.toFixed(0),
        outside,
      ]
      return [...head, ...shown, (others ?? 0).toFixed(1)]
    })
  })
  const columns = [
    { title: 'network' },
    { title: 'batch', align: 'right' },
    { title: 'by' },
    ...['least ms', 'median ms', 'CPU ms', 'PyTorch / ours', 'peak MB', 'outside', 'others'].map((title) => ({
      title,
      align: 'right',
    })),
  ]
  const notes = [
    'ms per step: forward, backward, SGD with momentum and weight decay; the least over all rounds, and their median.',
    'products alone: convolutions and matrix products of the step, by ONNX Runtime’s profiler: the floor of what is left.',
    'CPU ms: least processor time of a step; with --threads 1 it hardly depends on what else runs.',
    'PyTorch / ours: with the faster of PyTorch’s layouts. outside: share of a step outside ONNX Runtime.',
    'others: CPUs that other processes kept busy meanwhile; figures with more than a few tenths are rough.',
    'TensorFlow.js skipped: tfjs-node does not install here, its wasm backend cannot train convolutions, and on cpu one step of two 3×3 convolutions of 64 channels takes minutes.',
    ...new Set(rows.flatMap(({ skipped }) => (skipped ? [`PyTorch skipped: ${skipped}`] : []))),
    ...rows.flatMap(({ network, results }) =>
      results.filter(({ failure }) => failure).map(({ name, failure }) => `${network}, ${name}: ${failure}`),
    ),
  ]
  return `${formatTable(columns, lines)}\n${notes.join('\n')}`
}

function goalsOf({ network, results }) {
  const [ours] = results
  if (ours.failure) return [{ goal: network, holds: false, found: ours.failure }]
  const goals = [
    {
      goal: `${network}: at most ${MOST_SHARE * 100} % of a step outside ONNX Runtime`,
      holds: ours.share <= MOST_SHARE,
      found: `${(ours.share * 100).toFixed(1)} %`,
    },
  ]
  const peer = fastest(results)
  if (!peer) return goals
  const busy = Math.max(ours.others ?? 0, peer.others ?? 0) > 0.3 ? '; MACHINE NOT QUIET, no verdict' : ''
  const speed = peer.least / ours.least
  const wanted = NETWORKS[network].goal
  const memory =
    ours.peakMB /
    Math.min(...results.filter(({ name }) => name.startsWith('PyTorch')).map((one) => one.peakMB ?? Infinity))
  const difference = Math.max(...ours.losses.map((loss, at) => Math.abs(loss / peer.losses[at] - 1)))
  goals.unshift(
    {
      goal: `${network}: at least ${wanted.toFixed(1)} × PyTorch’s speed`,
      holds: speed >= wanted,
      found: `${speed.toFixed(2)} × (${peer.name})${busy}`,
    },
    {
      goal: `${network}: at most ${MOST_MEMORY} × PyTorch’s memory`,
      holds: memory <= MOST_MEMORY,
      found: `${memory.toFixed(2)} ×`,
    },
    {
      goal: `${network}: losses of five steps within ${MOST_DIFFERENCE} of PyTorch’s`,
      holds: difference <= MOST_DIFFERENCE,
      found: difference.toExponential(0),
    },
  )
  return goals
}
