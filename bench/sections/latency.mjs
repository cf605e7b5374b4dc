// Original against decomposed networks in ONNX Runtime, runs interleaved by `whittle benchmark`.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { formatTable } from 'whittle-nn/report'
import { ROOT, SCRATCH, SHARED } from '../environment.mjs'
import { measure } from '../process.mjs'

const NETWORKS = ['resnet20-cifar10', 'resnet56-cifar10']
const HALF = ['--budget', 'macs=0.5']
const VARIANTS = [
  { name: 'auto, ranks aligned to 16', args: HALF },
  { name: 'auto, not aligned', args: [...HALF, '--align', '1'] },
  { name: 'spatial, aligned to 16', args: [...HALF, '--method', 'spatial'] },
  // Aligned to 16, Tucker-2 cannot halve networks this narrow.
  { name: 'tucker, aligned to 8', args: [...HALF, '--method', 'tucker', '--align', '8'] },
]
const BATCHES = [1, 64]

async function whittle(...args) {
  const wrapper = join(ROOT, 'bench', 'measured-cli.mjs')
  const { output } = await measure(process.execPath, [wrapper, ...args, '--json', '--quiet'])
  return JSON.parse(output)
}

/** Runs the section. */
export async function run({ threads, log }) {
  const rows = []
  const notes = []
  const results = []
  for (const name of NETWORKS) {
    const original = join(SHARED, 'models', 'onnx', `${name}.onnx`)
    if (!existsSync(original)) {
      notes.push(`${name} skipped: its file is not there; WHITTLE_SHARED names the folder of test models.`)
      continue
    }
    const models = [{ name: 'original', path: original, macs: 1 }]
    for (const variant of VARIANTS) {
      const path = join(SCRATCH, `${name}-${models.length}.onnx`)
      const { before, after } = await whittle('decompose', original, '-o', path, ...variant.args)
      models.push({ name: variant.name, path, macs: after.macs / before.macs })
    }
    for (const batch of BATCHES) {
      log(`${name}, batch ${batch}`)
      const paths = models.map((model) => model.path)
      const options = ['--batch', String(batch), '--runs', batch === 1 ? '100' : '20', '--threads', String(threads)]
      const measured = (await whittle('benchmark', ...paths, ...options)).models
      for (const [at, { milliseconds, ratio }] of measured.entries()) {
        const row = { network: name, batch, variant: models[at].name, macs: models[at].macs, milliseconds, ratio }
        results.push(row)
        rows.push([
          at === 0 ? name : '',
          at === 0 ? String(batch) : '',
          row.variant,
          `${(100 * row.macs).toFixed(1)} %`,
          milliseconds.median.toFixed(2),
          milliseconds.min.toFixed(2),
          ratio.toFixed(2),
          (milliseconds.min / measured[0].milliseconds.min).toFixed(2),
        ])
      }
    }
  }
  const right = (title) => ({ title, align: 'right' })
  const columns = [
    'network',
    right('batch'),
    'model',
    right('MACs'),
    right('median ms'),
    right('least ms'),
    right('× time'),
    right('× least'),
  ]
  return { text: [formatTable(columns, rows), ...notes].join('\n'), goals: [], results }
}
