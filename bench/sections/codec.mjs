// Loading and saving a model of 524 MB: time, and peak memory of the process in multiples of the file.
import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { missing, PYTHON, pythonEnvironment } from '../../interop/python.mjs'
import { DATA, ROOT, SCRATCH } from '../environment.mjs'
import { summarize, takeTurns } from '../interleave.mjs'
import { measure } from '../process.mjs'

const MOST = 1.2
const STEPS = { load: 'load', save: 'load and save' }

/** Runs the section. */
export async function run({ python, threads, rounds, log }) {
  const model = join(DATA, 'large.onnx')
  const copy = join(SCRATCH, 'copy.onnx')
  const ours = (...args) => measure(process.execPath, [join(ROOT, 'bench', 'our-codec.mjs'), ...args])
  if (!existsSync(model)) {
    log('making the model …')
    await ours('make', model)
  }
  const size = statSync(model).size / 1e6
  const reason = missing(python, ['onnx'])
  const peer = (...args) =>
    measure(PYTHON, [join(ROOT, 'bench', 'peers', 'codec.py'), ...args], { env: pythonEnvironment(threads) })
  const rows = []
  for (const [step, title] of Object.entries(STEPS)) {
    log(title)
    const contenders = [{ name: 'whittle', run: () => ours(step, model, copy) }]
    if (!reason) contenders.push({ name: 'onnx (Python)', run: () => peer(step, model, copy) })
    for (const { name, runs, failure } of await takeTurns(contenders, { rounds, log })) {
      if (failure) throw new Error(failure)
      rows.push({ step, title, name, ...summarize(runs), times: Math.max(...runs.map((one) => one.peakMB)) / size })
    }
  }
  rmSync(copy, { force: true })
  const { peakMB: bare } = await ours('none')
  const right = (title) => ({ title, align: 'right' })
  const table = formatTable(
    ['step', 'by', right('seconds'), right('least'), right('peak MB'), right('× file')],
    rows.map((row) => [
      row.title,
      row.name,
      row.seconds.toFixed(2),
      row.least.toFixed(2),
      row.peakMB.toFixed(0),
      row.times.toFixed(2),
    ]),
  )
  const notes = [`The file has ${size.toFixed(0)} MB; Node with the library alone takes ${bare.toFixed(0)} MB of ours.`]
  if (reason) notes.push(`onnx (Python) skipped: ${reason}`)
  return {
    text: [table, ...notes].join('\n'),
    goals: rows
      .filter((row) => row.name === 'whittle')
      .map((row) => ({
        goal: `${row.title} ${size.toFixed(0)} MB in at most ${MOST} × its size`,
        holds: row.times <= MOST,
        found: `${row.times.toFixed(2)} ×, Node itself included`,
      })),
    results: rows,
  }
}
