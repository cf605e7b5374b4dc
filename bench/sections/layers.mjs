// One layer at a time, at AMCT's published shapes. Each row: ours and the peers in turns, each run a fresh process.
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { missing, PYTHON, pythonEnvironment } from '../../interop/python.mjs'
import { DATA, ROOT, SCRATCH } from '../environment.mjs'
import { summarize, takeTurns } from '../interleave.mjs'
import { measure } from '../process.mjs'

/** Output channels, input channels, kernel extent; seconds by AMCT's documentation (Xeon E5-2699 v4). */
const SHAPES = [
  { channels: 512, kernel: 5, amct: 25 },
  { channels: 1024, kernel: 3, amct: 16 },
  { channels: 1024, kernel: 5, amct: 78 },
  { channels: 2048, kernel: 3, amct: 63 },
  { channels: 2048, kernel: 5, amct: 430 },
]
const LARGEST = SHAPES.at(-1)

/** The upper end of the range that AMCT clamps its rank to, rounded as AMCT rounds: L/4, a multiple of 16 here. */
const amctUpperRank = ({ channels, kernel }) =>
  Math.max(16, Math.floor((Math.floor((channels * kernel) / 4) + 8) / 16) * 16)

const METHODS = [
  {
    name: 'tucker',
    title: 'Tucker-2, ranks C/4',
    rank: (shape) => shape.channels / 4,
    policy: (rank) => ({ kind: 'fixed', rank }),
    peers: [
      { name: 'TensorLy, numpy', modules: ['numpy', 'tensorly'], job: { method: 'tucker', backend: 'numpy' } },
      {
        name: 'TensorLy, PyTorch',
        modules: ['numpy', 'torch', 'tensorly'],
        job: { method: 'tucker', backend: 'pytorch' },
      },
    ],
  },
  {
    name: 'spatial',
    title: 'spatial SVD, AMCT’s rank given',
    rank: amctUpperRank,
    policy: (rank) => ({ kind: 'fixed', rank }),
    peers: [{ name: 'torch.svd_lowrank', modules: ['numpy', 'torch'], job: { method: 'spatial' } }],
  },
  {
    name: 'spatial-amct',
    title: 'spatial SVD, AMCT’s rank estimated',
    rank: () => undefined,
    policy: () => ({ kind: 'amct' }),
    peers: [],
  },
]

/** Runs the section. */
export async function run(options) {
  const rows = []
  const shapes = options.quick ? SHAPES.slice(0, 3) : SHAPES
  for (const shape of shapes)
    for (const method of METHODS) {
      const label = `${labelOf(shape)} ${method.name}`
      // All 10,240 singular values of the largest: minutes on one thread.
      const isSlow = shape === LARGEST && method.name === 'spatial-amct'
      if (label.includes(options.only) && (!isSlow || options.all)) rows.push(await runRow(shape, method, options))
    }
  return { text: tableOf(rows), goals: goalsOf(rows), results: rows }
}

const labelOf = ({ channels, kernel }) => `(${channels}, ${channels}, ${kernel}, ${kernel})`

/** The weight as an ONNX model for us and as a NumPy file for the peers; made once. */
async function dataOf({ channels, kernel }) {
  const base = join(DATA, `conv-${channels}x${channels}x${kernel}x${kernel}`)
  const paths = { model: `${base}.onnx`, weight: `${base}.npy` }
  if (!existsSync(paths.model) || !existsSync(paths.weight))
    await measure(process.execPath, [join(ROOT, 'bench', 'make-conv.mjs'), String(channels), String(kernel), base])
  return paths
}

async function runRow(shape, method, options) {
  const { threads, rounds, log, python } = options
  const rank = method.rank(shape)
  log(`${labelOf(shape)} ${method.title}${rank ? ` (rank ${rank})` : ''}`)
  const data = await dataOf(shape)
  const outputs = []
  const folder = (index) => {
    const path = join(SCRATCH, `layer-${index}`)
    mkdirSync(path, { recursive: true })
    outputs[index] = path
    return path
  }
  const contenders = [
    {
      name: 'whittle',
      run: () => {
        const job = { model: data.model, out: join(folder(0), 'model.onnx'), threads }
        const spec = { ...job, method: method.name === 'tucker' ? 'tucker' : 'spatial', rank: method.policy(rank) }
        return measure(process.execPath, [join(ROOT, 'bench', 'our-layer.mjs'), JSON.stringify(spec)])
      },
    },
  ]
  const skipped = []
  for (const peer of method.peers) {
    const reason =
      shape === LARGEST && !options.all
        ? 'takes minutes and gigabytes here; --all runs it'
        : missing(python, peer.modules)
    if (reason) {
      skipped.push({ name: peer.name, reason })
      log(`${peer.name}: skipped: ${reason}`)
      continue
    }
    const index = contenders.length
    contenders.push({
      name: peer.name,
      run: () => {
        const job = { ...peer.job, weight: data.weight, out: folder(index), rank, threads }
        const script = join(ROOT, 'bench', 'peers', 'layer.py')
        return measure(PYTHON, [script, JSON.stringify(job)], { env: pythonEnvironment(threads) })
      },
    })
  }
  const entries = await takeTurns(contenders, { rounds, log })
  const results = []
  for (const [index, { name, runs, failure }] of entries.entries()) {
    if (failure) results.push({ name, failure })
    else {
      const { relativeError } = await measure(process.execPath, [
        join(ROOT, 'bench', 'layer-error.mjs'),
        JSON.stringify({ weight: data.weight, factors: outputs[index] }),
      ])
      const extra = runs[0].ranks ? { ranks: runs[0].ranks, reportedError: runs[0].reportedError } : {}
      results.push({ name, ...summarize(runs), relativeError, ...extra })
    }
  }
  for (const path of outputs) if (path) rmSync(path, { recursive: true, force: true })
  return { shape: labelOf(shape), ...shape, method: method.name, title: method.title, rank, results, skipped }
}

const number = (value, digits) => (value === undefined ? '' : value.toFixed(digits))

function tableOf(rows) {
  const columns = ['shape', 'method', 'by', 'rank'].map((title) => ({ title }))
  const right = ['seconds', 'least', 'factor', 'rel. error', 'peak MB', 'ours faster', 'others'].map((title) => ({
    title,
    align: 'right',
  }))
  const lines = []
  for (const [at, row] of rows.entries()) {
    if (at > 0 && rows[at - 1].shape !== row.shape) lines.push(['-'])
    const ours = row.results[0]
    for (const [index, result] of row.results.entries()) {
      const rank = ours.ranks ? [...new Set(Object.values(ours.ranks))].join(', ') : String(row.rank ?? '')
      const head = index === 0 ? [row.shape, row.title, result.name, rank] : ['', '', result.name, '']
      lines.push(
        result.failure
          ? [...head, 'failed', '', '', '', '', '', '']
          : [
              ...head,
              number(result.seconds, 2),
              number(result.least, 2),
              number(result.split.factor, 2),
              number(result.relativeError, 4),
              number(result.peakMB, 0),
              index > 0 && !ours.failure ? `${(result.seconds / ours.seconds).toFixed(1)}×` : '',
              number(result.others, 1),
            ],
      )
    }
  }
  const notes = [
    'seconds: median of reading, ranking, factoring and writing, without process start and imports; factor: that part.',
    'others: CPUs that other processes kept busy meanwhile; figures with more than a few tenths are rough.',
    ...new Set(rows.flatMap((row) => row.skipped.map(({ name, reason }) => `${name} skipped: ${reason}`))),
    ...rows.flatMap((row) =>
      row.results.filter((r) => r.failure).map((r) => `${r.name} at ${row.shape}: ${r.failure}`),
    ),
  ]
  return `${formatTable([...columns, ...right], lines)}\n${notes.join('\n')}`
}

function goalsOf(rows) {
  const goals = []
  for (const row of rows) {
    const [ours, ...peers] = row.results
    if (ours.failure) {
      goals.push({ goal: `${row.shape} ${row.method}`, holds: false, found: ours.failure })
      continue
    }
    const measured = peers.filter((peer) => !peer.failure)
    const fastest = measured.sort((a, b) => a.seconds - b.seconds)[0]
    if (fastest) {
      const ratio = fastest.seconds / ours.seconds
      // Two threads that wait for each other suffer out of proportion when a third takes their core.
      const busy = Math.max(ours.others ?? 0, fastest.others ?? 0) > 0.3 ? '; MACHINE NOT QUIET, no verdict' : ''
      if (row.method === 'tucker')
        goals.push({
          goal: `${row.shape} Tucker-2 at least 8× faster than TensorLy`,
          holds: ratio >= 8,
          found: `${ratio.toFixed(1)}× (${fastest.name}), error ${ours.relativeError.toFixed(4)} against ${fastest.relativeError.toFixed(4)}${busy}`,
        })
      else
        goals.push({
          goal: `${row.shape} spatial SVD no slower than torch.svd_lowrank at no larger error`,
          holds: ratio >= 1 && ours.relativeError <= fastest.relativeError,
          found: `${ratio.toFixed(2)}×, error ${ours.relativeError.toFixed(4)} against ${fastest.relativeError.toFixed(4)}${busy}`,
        })
    }
    if (row.shape === labelOf(LARGEST) && row.method !== 'spatial-amct')
      goals.push({
        goal: `${row.shape} ${row.method} in at most 20 s and 2.5 GB`,
        holds: ours.seconds <= 20 && ours.peakMB <= 2500,
        found: `${ours.seconds.toFixed(1)} s, ${Math.round(ours.peakMB)} MB (AMCT documents 430 s, 32 GB)`,
      })
  }
  return goals
}
