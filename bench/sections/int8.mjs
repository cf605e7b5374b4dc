// Networks in integers beside float32 on ONNX Runtime: native, and WebAssembly in Node.
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { ROOT } from '../environment.mjs'
import { measure } from '../process.mjs'

const BOTH = ['int8', 'tucker', 'tucker int8']
const FLAVOURS = ['int8', 's8s8', 'u8u8']
const FORMATS = ['fp16', 'q8', 'q4', 'q4 embeddings', 'q4f16', 'bnb4']
const TITLES = {
  convolutions: '8 × (Conv 3×3, 128 ch., 28², Relu)',
  vgg16: 'VGG-16, CIFAR',
  resnet18: 'ResNet-18, CIFAR',
  resnet56: 'ResNet-56, trained',
  encoder: 'encoder, MiniLM-L6 size, random weights',
  vit: 'ViT, trained',
}
/** Names of variants; `float32` is the first of each job. */
const NAMES = {
  int8: 'int8 (uint8 × int8)',
  s8s8: 'int8 × int8',
  u8u8: 'uint8 × uint8',
  s16s8: 'int16 × int8',
  u8s4: 'uint8 × int4',
  tucker: 'Tucker-2 at C/4',
  'tucker int8': 'Tucker-2 at C/4, int8',
}

const JOBS = [
  { network: 'convolutions', runtime: 'node', batch: 1, threads: 1, runs: 60, variants: ['int8'] },
  { network: 'vgg16', runtime: 'node', batch: 64, threads: 1, runs: 9, variants: BOTH },
  { network: 'resnet18', runtime: 'node', batch: 64, threads: 1, runs: 9, variants: BOTH },
  { network: 'convolutions', runtime: 'node', batch: 1, runs: 60, variants: [...FLAVOURS, 's16s8', 'u8s4'] },
  { network: 'vgg16', runtime: 'node', batch: 64, runs: 9, variants: BOTH },
  { network: 'vgg16', runtime: 'node', batch: 1, runs: 60, variants: BOTH },
  { network: 'resnet18', runtime: 'node', batch: 64, runs: 9, variants: BOTH },
  { network: 'resnet18', runtime: 'node', batch: 1, runs: 60, variants: [...BOTH, 's8s8', 'u8u8'] },
  { network: 'resnet56', runtime: 'node', batch: 64, runs: 15, variants: ['int8'] },
  { network: 'resnet56', runtime: 'node', batch: 1, runs: 100, variants: ['int8'] },
  { network: 'convolutions', runtime: 'wasm', batch: 1, runs: 15, variants: FLAVOURS },
  { network: 'vgg16', runtime: 'wasm', batch: 1, runs: 15, variants: BOTH },
  { network: 'resnet18', runtime: 'wasm', batch: 1, runs: 15, variants: [...BOTH, 's8s8'] },
  { network: 'resnet56', runtime: 'wasm', batch: 1, runs: 15, variants: ['int8'] },
  { network: 'encoder', runtime: 'node', batch: 1, runs: 15, variants: FORMATS },
  {
    network: 'vit',
    runtime: 'node',
    batch: 1,
    runs: 100,
    variants: FORMATS.filter((name) => name !== 'q4 embeddings'),
  },
]

const GOALS = [
  { network: 'convolutions', batch: 1, variant: 'int8', least: 3.5 },
  { network: 'vgg16', batch: 64, variant: 'tucker int8', least: 9 },
  { network: 'resnet18', batch: 64, variant: 'tucker int8', least: 13 },
]

/** Runs the section. */
export async function run({ threads, log, quick, only }) {
  const results = []
  const rows = []
  const notes = []
  for (const job of JOBS) {
    const used = job.threads ?? threads
    const title = `${TITLES[job.network]}, ${job.runtime}, batch ${job.batch}, threads ${used}`
    if (!`${job.network} ${title}`.includes(only)) continue
    log(title)
    const spec = { ...job, threads: used, runs: quick ? Math.ceil(job.runs / 3) : job.runs }
    let found
    try {
      found = await measure(process.execPath, [join(ROOT, 'bench', 'our-int8.mjs'), JSON.stringify(spec)])
    } catch (error) {
      notes.push(`${title} skipped: ${error.message}`)
      continue
    }
    for (const [at, { name, median, least, cpu, megabytes }] of found.rows.entries()) {
      // With one thread, CPU time is what the network takes, whatever else the machine does.
      const speedup = used === 1 ? found.rows[0].cpu / cpu : found.rows[0].least / least
      results.push({
        ...job,
        threads: used,
        variant: name,
        median,
        least,
        cpu,
        megabytes,
        speedup,
        others: found.others,
      })
      rows.push([
        at === 0 ? TITLES[job.network] : '',
        at === 0 ? job.runtime : '',
        at === 0 ? String(job.batch) : '',
        at === 0 ? String(used) : '',
        NAMES[name] ?? name,
        megabytes.toFixed(megabytes < 10 ? 2 : 1),
        median.toFixed(2),
        least.toFixed(2),
        cpu.toFixed(2),
        `${speedup.toFixed(2)}×`,
        at === 0 ? (found.others?.toFixed(1) ?? '') : '',
      ])
    }
  }
  const right = (title) => ({ title, align: 'right' })
  const columns = [
    'network',
    'runtime',
    right('batch'),
    right('threads'),
    'model',
    right('MB'),
    right('median ms'),
    right('least ms'),
    right('CPU ms'),
    right('faster'),
    right('others'),
  ]
  const basis = 'faster: by the least time of all runs, on one thread by the least CPU time.'
  return { text: [formatTable(columns, rows), basis, ...notes].join('\n'), goals: goalsOf(results), results }
}

function goalsOf(results) {
  const goals = []
  for (const { network, batch, variant, least } of GOALS)
    for (const row of results)
      if (row.runtime === 'node' && row.network === network && row.batch === batch && row.variant === variant)
        goals.push({
          goal: `${TITLES[network]}, batch ${batch}, threads ${row.threads}: ${NAMES[variant]} at least ${least} × as fast as float32`,
          holds: row.speedup >= least,
          found: `${row.speedup.toFixed(1)} ×`,
        })
  // The guard takes slower ones back; here nothing is taken back.
  for (const row of results.filter(({ variant }) => variant === 'int8'))
    goals.push({
      goal: `${TITLES[row.network]}, ${row.runtime}, batch ${row.batch}, threads ${row.threads}: int8 not slower than float32`,
      holds: row.speedup >= 1,
      found: `${row.speedup.toFixed(2)} ×`,
    })
  return goals
}
