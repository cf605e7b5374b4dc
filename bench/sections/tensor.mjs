// Tensor algebra and decompositions beside TensorLy on numpy and on PyTorch: the same tensors, the same threads.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { missing, PYTHON, pythonEnvironment } from '../../interop/python.mjs'
import { DATA, ROOT } from '../environment.mjs'
import { median, summarize, takeTurns } from '../interleave.mjs'
import { measure } from '../process.mjs'

const CUBE = [200, 200, 200]
const OBLONG = [64, 128, 256]
const SMALL_KERNEL = [256, 256, 3, 3]
const LARGE_KERNEL = [512, 512, 3, 3]

const cp = (shape, rank, iterations) => ({ kind: 'parafac', shape, rank, iterations })
const JOBS = [
  { kind: 'operations', shape: CUBE },
  { kind: 'operations', shape: OBLONG },
  cp(CUBE, 50, 100),
  cp(OBLONG, 50, 100),
  cp(SMALL_KERNEL, 64, 25),
  cp(SMALL_KERNEL, 128, 25),
  cp(LARGE_KERNEL, 64, 25),
  cp(LARGE_KERNEL, 128, 25),
  { kind: 'tucker', shape: CUBE, ranks: [20, 20, 20] },
  { kind: 'tucker', shape: OBLONG, ranks: [20, 20, 20] },
]

const PEERS = [
  { name: 'TensorLy, numpy', modules: ['numpy', 'tensorly'], backend: 'numpy' },
  { name: 'TensorLy, PyTorch', modules: ['numpy', 'torch', 'tensorly'], backend: 'pytorch' },
]

/** What the issue asks of decompositions, and what of operations. */
const FASTER = { parafac: 3, tucker: 3, operations: 1 }
/** The operation that each floor is one of. */
const FLOORS = {
  unfold: 'unfold, all modes',
  'Khatri–Rao': 'Khatri–Rao, without 0',
  'product 0': 'mode product 0',
  'product 1': 'mode product 1',
  'product 2': 'mode product 2',
}
/** Errors from different random starts differ by this much. */
const SLACK = 1.01

const shapeText = (shape) => `(${shape.join(', ')})`
const titleOf = ({ kind, rank, iterations, ranks }) =>
  ({ operations: 'operations', parafac: `CP, rank ${rank}, ${iterations} sweeps`, tucker: `Tucker [${ranks}]` })[kind]

/** Runs the section. */
export async function run(options) {
  const rows = []
  for (const job of JOBS)
    if (`${shapeText(job.shape)} ${titleOf(job)}`.includes(options.only)) rows.push(await runRow(job, options))
  return { text: textOf(rows), goals: rows.flatMap(goalsOf), results: rows }
}

async function dataOf(shape) {
  const name = shape.join('x')
  const path = join(DATA, `tensor-${name}.npy`)
  if (!existsSync(path)) await measure(process.execPath, [join(ROOT, 'bench', 'make-tensor.mjs'), name, path])
  return path
}

async function runRow(job, { threads, rounds, log, python, quick }) {
  log(`${shapeText(job.shape)} ${titleOf(job)}`)
  const spec = { ...job, data: await dataOf(job.shape), threads, calls: quick ? 10 : 20 }
  const ours = [join(ROOT, 'bench', 'our-tensor.mjs'), JSON.stringify(spec)]
  const contenders = [{ name: 'whittle', run: () => measure(process.execPath, ours) }]
  const skipped = []
  for (const { name, modules, backend } of PEERS) {
    const reason = missing(python, modules)
    if (reason) {
      skipped.push({ name, reason })
      log(`${name}: skipped: ${reason}`)
      continue
    }
    const theirs = [join(ROOT, 'bench', 'peers', 'tensor.py'), JSON.stringify({ ...spec, backend })]
    contenders.push({ name, run: () => measure(PYTHON, theirs, { env: pythonEnvironment(threads) }) })
  }
  const entries = await takeTurns(contenders, { rounds, log })
  const results = entries.map(({ name, runs, failure }) =>
    failure
      ? { name, failure }
      : { name, ...summarize(runs), ...(job.kind === 'operations' ? floorsOf(runs) : aboutFirst(runs)) },
  )
  return { ...job, title: titleOf(job), results, skipped }
}

const aboutFirst = (runs) => ({ relativeError: runs[0].relativeError, first: median(runs.map(({ first }) => first)) })

/** Medians of what only ours measures. */
function floorsOf(runs) {
  const names = Object.keys(runs[0].floors ?? {})
  return { floors: Object.fromEntries(names.map((name) => [name, median(runs.map(({ floors }) => floors[name]))])) }
}

const right = (titles) => titles.map((title) => ({ title, align: 'right' }))
const measured = ({ results }) => results.filter(({ failure }) => !failure)
const ratioText = (ratio) => (ratio === undefined ? '' : `${ratio.toFixed(ratio < 10 ? 2 : 1)}×`)

/** The faster of the peers in one number, `undefined` without any. */
function fastest(row, secondsOf) {
  const [, ...peers] = measured(row)
  return peers.sort((a, b) => secondsOf(a) - secondsOf(b))[0]
}

function textOf(rows) {
  const operations = rows.filter(({ kind }) => kind === 'operations')
  const decompositions = rows.filter(({ kind }) => kind !== 'operations')
  const notes = [
    'seconds: the median of calls in a row; ours faster: how many times as long the peer takes;',
    'floor: what an operation cannot be faster than here, as medians of calls in a row: memory that has to be written by',
    'one thread of JavaScript, and the product alone in the runtime, into memory that is there already.',
    'memory: the peak of the whole process after the first call, libraries included.',
    'others: CPUs that other processes kept busy meanwhile; figures with more than a few tenths are rough.',
    ...new Set(rows.flatMap(({ skipped }) => skipped.map(({ name, reason }) => `${name} skipped: ${reason}`))),
    ...rows.flatMap((row) =>
      row.results
        .filter(({ failure }) => failure)
        .map(({ name, failure }) => `${name} at ${shapeText(row.shape)} ${row.title}: ${failure}`),
    ),
  ]
  const tables = [operations.map(operationsTable).join('\n\n'), decompositionsTable(decompositions)]
  return [...tables.filter(Boolean), notes.join('\n')].join('\n\n')
}

function operationsTable(row) {
  const [ours, ...peers] = row.results
  if (ours.failure) return `${shapeText(row.shape)}: ${ours.failure}`
  const milliseconds = (result, name) => (result.failure ? 'failed' : (1000 * result.split[name]).toFixed(2))
  const lines = Object.keys(ours.split).map((name) => {
    const best = fastest(row, ({ split }) => split[name])
    return [
      name,
      ...row.results.map((result) => milliseconds(result, name)),
      ratioText(best && best.split[name] / ours.split[name]),
    ]
  })
  for (const [name, seconds] of Object.entries(ours.floors ?? {})) {
    const operation = FLOORS[name.slice('floor of '.length).split(':')[0]]
    const best = fastest(row, ({ split }) => split[operation])
    const ratio = ratioText(best && best.split[operation] / seconds)
    lines.push([name, (1000 * seconds).toFixed(2), ...peers.map(() => ''), ratio])
  }
  const memory = (result) => (result.failure ? '' : result.peakMB.toFixed(0))
  const others = (result) => (result.failure ? '' : (result.others ?? 0).toFixed(1))
  lines.push(['-'], ['peak MB', ...row.results.map(memory), ''], ['others', ...row.results.map(others), ''])
  return formatTable(
    [
      { title: `${shapeText(row.shape)}, ms per call` },
      ...right(['whittle', ...peers.map(({ name }) => name), 'ours faster']),
    ],
    lines,
  )
}

function decompositionsTable(rows) {
  if (rows.length === 0) return ''
  const lines = rows.flatMap((row) =>
    row.results.map((result, index) => {
      const head = index === 0 ? [shapeText(row.shape), row.title, result.name] : ['', '', result.name]
      if (result.failure) return [...head, 'failed', '', '', '', '', '']
      const ours = row.results[0]
      return [
        ...head,
        result.seconds.toFixed(3),
        result.first.toFixed(3),
        result.relativeError.toFixed(5),
        result.peakMB.toFixed(0),
        index > 0 && !ours.failure ? ratioText(result.seconds / ours.seconds) : '',
        (result.others ?? 0).toFixed(1),
      ]
    }),
  )
  return formatTable(
    [
      { title: 'shape' },
      { title: 'decomposition' },
      { title: 'by' },
      ...right(['seconds', 'first call', 'rel. error', 'peak MB', 'ours faster', 'others']),
    ],
    lines,
  )
}

function goalsOf(row) {
  const [ours] = row.results
  const what = `${shapeText(row.shape)} ${row.title}`
  if (ours.failure) return [{ goal: what, holds: false, found: ours.failure }]
  const peers = measured(row).slice(1)
  if (peers.length === 0) return []
  const busy =
    Math.max(...measured(row).map(({ others }) => others ?? 0)) > 0.3 ? '; MACHINE NOT QUIET, no verdict' : ''
  // Against the peer that speed is compared with; an empty process of Node with ONNX Runtime has more than NumPy's.
  const faster = fastest(row, ({ seconds }) => seconds)
  const memory = {
    goal: `${what}: memory no more than theirs`,
    holds: ours.peakMB <= faster.peakMB,
    found: `${ours.peakMB.toFixed(0)} MB against ${faster.peakMB.toFixed(0)} (${faster.name})`,
  }
  const speed = (goal, secondsOf) => {
    const best = fastest(row, secondsOf)
    const ratio = secondsOf(best) / secondsOf(ours)
    const found = `${ratioText(ratio)} (${best.name})${busy}`
    return { best, goal, holds: ratio >= FASTER[row.kind], found }
  }
  if (row.kind === 'operations')
    return [
      ...Object.keys(ours.split).map((name) => {
        const { goal, holds, found } = speed(
          `${shapeText(row.shape)} ${name} at least as fast as TensorLy`,
          ({ split }) => split[name],
        )
        return { goal, holds, found }
      }),
      memory,
    ]
  const { best, goal, holds, found } = speed(`${what} at least 3× faster than TensorLy`, ({ seconds }) => seconds)
  const error = Math.min(...peers.map(({ relativeError }) => relativeError))
  return [
    { goal, holds, found },
    {
      goal: `${what}: error at most theirs + 1 %`,
      holds: ours.relativeError <= SLACK * error,
      found: `${ours.relativeError.toFixed(5)} against ${error.toFixed(5)}${best.relativeError === error ? '' : ` (${best.name}: ${best.relativeError.toFixed(5)})`}`,
    },
    memory,
  ]
}
