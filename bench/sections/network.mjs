// A whole network from the command line, as a user runs it: wall time and peak memory of the `whittle` processes.
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { DATA, ROOT, SCRATCH } from '../environment.mjs'
import { median } from '../interleave.mjs'
import { measure } from '../process.mjs'

const SECONDS = 30
const MEGABYTES = 1000

/** Runs the section. */
export async function run({ threads, rounds, log }) {
  const model = join(DATA, 'resnet50.onnx')
  if (!existsSync(model)) {
    log('making the network …')
    await measure(process.execPath, [join(ROOT, 'bench', 'resnet50.mjs'), model])
  }
  const out = join(SCRATCH, 'resnet50-half.onnx')
  const commands = {
    inspect: ['inspect', model],
    'decompose --budget macs=0.5': ['decompose', model, '-o', out, '--budget', 'macs=0.5'],
  }
  const runs = Object.fromEntries(Object.keys(commands).map((name) => [name, []]))
  for (let round = 0; round < Math.min(2, rounds); round++)
    for (const [name, args] of Object.entries(commands)) {
      const result = await measure(process.execPath, [
        join(ROOT, 'bench', 'measured-cli.mjs'),
        ...args,
        '--json',
        '--quiet',
        '--threads',
        String(threads),
      ])
      log(`${name}: ${result.wall.toFixed(1)} s, ${Math.round(result.peakMB)} MB`)
      runs[name].push(result)
    }
  const rows = Object.entries(runs).map(([name, all]) => ({
    name,
    seconds: median(all.map((one) => one.wall)),
    least: Math.min(...all.map((one) => one.wall)),
    peakMB: Math.max(...all.map((one) => one.peakMB)),
    others: median(all.map((one) => one.others ?? 0)),
    output: JSON.parse(all[0].output),
  }))
  const [inspected, decomposed] = rows
  const { before, after } = decomposed.output
  const seconds = rows.reduce((sum, row) => sum + row.seconds, 0)
  const peak = Math.max(...rows.map((row) => row.peakMB))
  const table = formatTable(
    [{ title: 'command' }, ...['seconds', 'least', 'peak MB', 'others'].map((title) => ({ title, align: 'right' }))],
    rows.map((row) => [
      row.name,
      row.seconds.toFixed(1),
      row.least.toFixed(1),
      row.peakMB.toFixed(0),
      row.others.toFixed(1),
    ]),
  )
  const size = (path) => `${(statSync(path).size / 1e6).toFixed(1)} MB`
  const change = `parameters ${before.parameters} → ${after.parameters}, MACs ${before.macs} → ${after.macs}, file ${size(model)} → ${size(out)}`
  return {
    text: `${table}\n${inspected.output.layers.length} layers; ${change}`,
    goals: [
      {
        goal: `inspect and decompose together under ${SECONDS} s and ${MEGABYTES} MB`,
        holds: seconds < SECONDS && peak < MEGABYTES,
        found: `${seconds.toFixed(1)} s, ${Math.round(peak)} MB`,
      },
      {
        goal: 'at most half the MACs',
        holds: after.macs <= 0.5 * before.macs,
        found: `${((100 * after.macs) / before.macs).toFixed(2)} %`,
      },
    ],
    results: rows.map(({ output, ...row }) => row),
  }
}
