// npm run bench [-- SECTION…] [--threads 2] [--rounds 3] [--all]: speed and memory, ours and the peers' in turns.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findPython } from '../interop/python.mjs'
import { writeIntoDocument } from './document.mjs'
import { DATA, describeMachine, RESULTS, SCRATCH } from './environment.mjs'
import { setPatience } from './process.mjs'

const SECTIONS = {
  layers: 'one layer at AMCT’s published shapes: rank, factor and write; TensorLy and PyTorch beside it',
  network: 'inspect and decompose a 100 MB ResNet-50 from the command line',
  codec: 'load and save a 500 MB model',
  algebra: 'eigenproblems, subspaces and factors alone, warm',
  tensor: 'tensor algebra, CP and Tucker; TensorLy on numpy and on PyTorch beside it',
  training: 'training steps of six networks; PyTorch beside it',
  calibration: 'quantize ResNet-20 on 32 to 2,048 pictures: time and memory; onnxruntime.quantization beside it',
  int8: 'networks in integers and with smaller weights beside float32, native and in WebAssembly',
  browser: 'tensor algebra in headless Chromium (onnxruntime-web, threads) beside Node',
  latency: 'ResNet-20 and ResNet-56 before and after, in ONNX Runtime',
}

const HELP = `npm run bench -- [SECTION…] [options]

Sections (default: all)
${Object.entries(SECTIONS)
  .map(([name, about]) => `  ${name.padEnd(8)} ${about}`)
  .join('\n')}

Options
  --threads N  threads on both sides (default 2)
  --rounds N   turns of each contender; slow ones take fewer (default 3)
  --wait N     seconds to wait for a quiet machine before each run (default 10)
  --quick      one turn each, the three smaller shapes
  --all        peers also at (2048, 2048, 5, 5), which takes them minutes and gigabytes
  --only TEXT  layers, tensor, browser, training: only rows whose shape or method contains this
  --write      puts the tables into docs/performance.md

Peers run in Python where it is: WHITTLE_PYTHON (default python3), WHITTLE_TENSORLY (a checkout of TensorLy).
Results: a table here, and out/bench/results/SECTION.json.`

function readOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      threads: { type: 'string', default: '2' },
      rounds: { type: 'string' },
      wait: { type: 'string', default: '10' },
      quick: { type: 'boolean', default: false },
      all: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const count = (name, text) => {
    const value = Number(text)
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`--${name}: must be a whole number above 0; got '${text}'.`)
    return value
  }
  const unknown = positionals.find((name) => !Object.hasOwn(SECTIONS, name))
  if (unknown) throw new Error(`Section '${unknown}' does not exist; there are ${Object.keys(SECTIONS).join(', ')}.`)
  return {
    ...values,
    threads: count('threads', values.threads),
    rounds: count('rounds', values.rounds ?? (values.quick ? '1' : '3')),
    sections: positionals.length > 0 ? positionals : Object.keys(SECTIONS),
  }
}

async function main() {
  const options = readOptions()
  if (options.help) return console.log(HELP)
  setPatience(Number(options.wait))
  for (const folder of [DATA, SCRATCH, RESULTS]) mkdirSync(folder, { recursive: true })
  const python = await findPython(['numpy', 'scipy', 'torch', 'tensorly', 'onnx'])
  const machine = describeMachine(python)
  console.log(
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGB} GB; ${options.threads} threads on both sides`,
  )
  console.log(
    Object.entries(machine)
      .slice(3)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  )
  let missed = 0
  for (const name of options.sections) {
    console.log(`\n── ${name}: ${SECTIONS[name]} ──`)
    const started = performance.now()
    const { run } = await import(`./sections/${name}.mjs`)
    try {
      const { text, goals, results } = await run({ ...options, python, log: (line) => console.error(`  ${line}`) })
      const document = {
        section: name,
        date: new Date().toISOString(),
        machine,
        threads: options.threads,
        goals,
        results,
      }
      writeFileSync(join(RESULTS, `${name}.json`), `${JSON.stringify(document, undefined, 1)}\n`)
      console.log(`\n${text}`)
      for (const { goal, holds, found } of goals) console.log(`${holds ? 'holds ' : 'MISSED'}  ${goal}: ${found}`)
      if (options.write) writeIntoDocument(name, { text, goals, machine, threads: options.threads })
      missed += goals.filter((goal) => !goal.holds).length
    } catch (error) {
      missed++
      console.log(`FAILED  ${error.message}`)
    }
    console.log(`(${((performance.now() - started) / 1000).toFixed(0)} s)`)
  }
  rmSync(SCRATCH, { recursive: true, force: true })
  console.log(missed === 0 ? '\nEvery goal holds.' : `\n${missed} ${missed === 1 ? 'goal is' : 'goals are'} missed.`)
  process.exitCode = missed === 0 ? 0 : 2
}

try {
  await main()
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
