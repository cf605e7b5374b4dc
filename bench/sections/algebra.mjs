// The mathematics under decomposition without files and networks: eigenproblems and singular values beside LAPACK, in
// turns, each process the best of its rounds; then the steps of decomposing a layer, warm.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { formatTable } from 'whittle-nn/report'
import { missing, PYTHON, pythonEnvironment } from '../../interop/python.mjs'
import { DATA, ROOT } from '../environment.mjs'
import { summarize, takeTurns } from '../interleave.mjs'
import { measure, waitForQuiet } from '../process.mjs'

const SIZES = [512, 1024, 2048]
const KINDS = {
  eigen: { title: 'symmetric eigenproblem', peer: 'numpy eigh' },
  svd: { title: 'singular values, exact', peer: 'numpy svd' },
}
const MOST_RESIDUAL = 1e-12
const MOST_TIME = 2

/** Runs the section. */
export async function run(options) {
  const rows = []
  for (const kind of Object.keys(KINDS)) for (const n of SIZES) rows.push(await runRow(kind, n, options))
  await waitForQuiet()
  const { threads, rounds } = options
  const args = [join(ROOT, 'bench', 'linear-algebra.mjs'), '--threads', String(threads), '--rounds', String(rounds)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return { text: `${tableOf(rows)}\n\n${stdout.trim()}`, goals: rows.flatMap(goalsOf), results: rows }
}

async function runRow(kind, n, { threads, rounds, log, python }) {
  log(`${KINDS[kind].title}, n = ${n}`)
  const data = join(DATA, `${kind}-${n}.npy`)
  if (!existsSync(data))
    await measure(process.execPath, [join(ROOT, 'bench', 'make-matrix.mjs'), kind, String(n), data])
  const job = JSON.stringify({ kind, data, threads, repeats: n > 1024 ? 2 : 4 })
  const contenders = [
    { name: 'whittle', run: () => measure(process.execPath, [join(ROOT, 'bench', 'our-eigen.mjs'), job]) },
  ]
  const reason = missing(python, ['numpy'])
  if (reason) log(`numpy skipped: ${reason}`)
  else
    contenders.push({
      name: KINDS[kind].peer,
      run: () => measure(PYTHON, [join(ROOT, 'bench', 'peers', 'eigen.py'), job], { env: pythonEnvironment(threads) }),
    })
  const entries = await takeTurns(contenders, { rounds, log })
  const results = entries.map(({ name, runs, failure }) =>
    failure
      ? { name, failure }
      : { name, ...summarize(runs), residual: runs[0].residual, orthogonality: runs[0].orthogonality },
  )
  return { kind, n, results, skipped: reason }
}

const seconds = (value) => (value === undefined || value === null ? '' : value.toFixed(3))
const exponent = (value) => (value === undefined ? '' : value.toExponential(0))

function tableOf(rows) {
  const right = ['n', 'all', 'quarter', 'values', 'residual', 'orthogonality', 'peak MB', 'others']
  const lines = rows.flatMap(({ kind, n, results }) =>
    results.map((result, index) => {
      const head = index === 0 ? [KINDS[kind].title, result.name, String(n)] : ['', result.name, '']
      if (result.failure) return [...head, 'failed', '', '', '', '', '', '']
      const { split, residual, orthogonality, peakMB, others } = result
      return [
        ...head,
        seconds(split.all),
        seconds(split.quarter),
        seconds(split.values),
        exponent(residual),
        exponent(orthogonality),
        peakMB.toFixed(0),
        (others ?? 0).toFixed(1),
      ]
    }),
  )
  for (const { kind, n, results } of rows)
    if (kind === 'svd' && !results[0].failure)
      lines.push([
        'the same by the Gram matrix',
        'whittle',
        String(n),
        '',
        seconds(results[0].split['quarter, by Gram']),
        '',
        '',
        '',
        '',
        '',
      ])
  const notes = [
    'seconds; quarter: every value computed, and the leading quarter of the vectors (LAPACK: evr, those values alone).',
    'residual: ‖AV − UΛ‖ / ‖A‖ of what was computed: ours of the quarter, LAPACK’s of all.',
    ...new Set(rows.flatMap(({ skipped }) => (skipped ? [`numpy skipped: ${skipped}`] : []))),
    ...rows.flatMap(({ kind, n, results }) =>
      results.filter(({ failure }) => failure).map(({ name, failure }) => `${name}, ${kind} ${n}: ${failure}`),
    ),
  ]
  const columns = [{ title: 'work' }, { title: 'by' }, ...right.map((title) => ({ title, align: 'right' }))]
  return `${formatTable(columns, lines)}\n${notes.join('\n')}`
}

function goalsOf({ kind, n, results: [ours, peer] }) {
  const what = `${KINDS[kind].title}, n = ${n}`
  if (ours.failure) return [{ goal: what, holds: false, found: ours.failure }]
  const goals = [
    {
      goal: `${what}: residual at most ${MOST_RESIDUAL}`,
      holds: ours.residual <= MOST_RESIDUAL,
      found: exponent(ours.residual),
    },
  ]
  if (!peer || peer.failure) return goals
  const ratio = ours.split.quarter / peer.split.all
  const subset = peer.split.quarter ? `, ${(ours.split.quarter / peer.split.quarter).toFixed(2)}× that of evr` : ''
  const busy = Math.max(ours.others ?? 0, peer.others ?? 0) > 0.3 ? '; MACHINE NOT QUIET, no verdict' : ''
  goals.push({
    goal: `${what}: a quarter of the vectors in at most ${MOST_TIME}× the time of ${peer.name}`,
    holds: ratio <= MOST_TIME,
    found: `${ratio.toFixed(2)}×${subset}${busy}`,
  })
  return goals
}
