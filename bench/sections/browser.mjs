// Tensor algebra in a browser (onnxruntime-web: WebAssembly with threads) beside Node, in turns.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { findBrowser } from '../browser-path.mjs'
import { DATA, ROOT } from '../environment.mjs'
import { summarize, takeTurns } from '../interleave.mjs'
import { measure } from '../process.mjs'

const CUBE = [200, 200, 200]
const OBLONG = [64, 128, 256]
const JOBS = [
  { kind: 'operations', shape: OBLONG },
  { kind: 'operations', shape: CUBE },
  { kind: 'parafac', shape: OBLONG, rank: 50, iterations: 100 },
  { kind: 'parafac', shape: CUBE, rank: 50, iterations: 100 },
  { kind: 'parafac', shape: [256, 256, 3, 3], rank: 64, iterations: 25 },
  { kind: 'tucker', shape: OBLONG, ranks: [20, 20, 20] },
  { kind: 'tucker', shape: CUBE, ranks: [20, 20, 20] },
]
const MOST = 4

const titleOf = ({ kind, rank, iterations, ranks }) =>
  ({ operations: '', parafac: `CP, rank ${rank}, ${iterations} sweeps`, tucker: `Tucker [${ranks}]` })[kind]

/** Runs the section. */
export async function run(options) {
  if (!findBrowser()) return { text: 'Skipped: no Chromium was found; CHROMIUM names one.', goals: [], results: [] }
  const rows = []
  for (const job of JOBS)
    if (`(${job.shape.join(', ')}) ${job.kind}`.includes(options.only)) rows.push(...(await runRows(job, options)))
  const columns = ['seconds in Node', 'in Chromium', '×', 'rel. error', 'in Chromium'].map((title) => ({
    title,
    align: 'right',
  }))
  const lines = rows.map(({ shape, title, node, browser, errors }) => [
    shape,
    title,
    node.toFixed(4),
    browser.toFixed(4),
    (browser / node).toFixed(2),
    ...errors.map((error) => error?.toFixed(5) ?? ''),
  ])
  return {
    text: formatTable([{ title: 'shape' }, { title: 'work' }, ...columns], lines),
    goals: rows.map(({ shape, title, node, browser, isolated }) => ({
      goal: `${shape} ${title} in the browser in at most ${MOST}× the time of Node`,
      holds: browser <= MOST * node && isolated,
      found: `${(browser / node).toFixed(2)}×${isolated ? '' : ', without threads: the page is not isolated'}`,
    })),
    results: rows,
  }
}

/** One row per decomposition, or per operation. */
async function runRows(job, { threads, rounds, log, quick }) {
  const name = job.shape.join('x')
  const shape = `(${job.shape.join(', ')})`
  log(`${shape} ${titleOf(job)}`)
  const data = join(DATA, `tensor-${name}.npy`)
  if (!existsSync(data)) await measure(process.execPath, [join(ROOT, 'bench', 'make-tensor.mjs'), name, data])
  const spec = JSON.stringify({ ...job, data, threads, calls: quick ? 5 : 15 })
  const contenders = [
    ['Node', 'our-tensor.mjs'],
    ['Chromium', 'in-browser.mjs'],
  ].map(([who, script]) => ({
    name: who,
    run: () => measure(process.execPath, [join(ROOT, 'bench', script), spec]),
  }))
  const entries = await takeTurns(contenders, { rounds, log })
  const failed = entries.find(({ failure }) => failure)
  if (failed) throw new Error(`${failed.name}: ${failed.failure}`)
  const [node, browser] = entries.map(({ runs }) => summarize(runs))
  const { isolated } = entries[1].runs[0]
  if (job.kind === 'operations')
    return Object.keys(node.split).map((title) => ({
      shape,
      title,
      node: node.split[title],
      browser: browser.split[title],
      errors: [undefined, undefined],
      isolated,
    }))
  const errors = entries.map(({ runs }) => runs[0].relativeError)
  return [{ shape, title: titleOf(job), node: node.seconds, browser: browser.seconds, errors, isolated }]
}
