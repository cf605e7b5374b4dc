// AdaRound's optimisation as Whittle runs it, in files, for the same optimisation by PyTorch on the same rows.
// Alone: node interop/adaround.mjs
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNodeRuntime } from 'whittle-nn/node'
import { randomTensor, Tensor } from 'whittle-nn/tensor'
import { learnUnit } from '../dist/retrain/rounding/learn.js'
import { rowUnit } from '../dist/retrain/rounding/row-unit.js'
import { alphaOf } from '../dist/retrain/rounding/soft-rounding.js'
import { encodeNpy } from './npy.mjs'
import { PYTHON, pythonEnvironment } from './python.mjs'

const SETTINGS = { steps: 2000, strength: 0.05, betas: [20, 2], warmUp: 0.2, learningRate: 0.01, seed: 0 }

/** Rows with a share in common, and what a weight makes of them. */
function layer(outputs, length, count, seed) {
  const own = randomTensor([count, length], { seed, dtype: 'float32' }).data
  const shared = randomTensor([count], { seed: seed + 1, dtype: 'float32' }).data
  const inputs = Float32Array.from(own, (value, i) => Math.max(0, 0.6 * value + shared[Math.floor(i / length)]))
  const weight = Float32Array.from(randomTensor([outputs, length], { seed: seed + 2 }).data, (value) => 0.2 * value)
  const product = (w) => {
    const out = new Float32Array(count * outputs)
    for (let n = 0; n < count; n++)
      for (let o = 0; o < outputs; o++) {
        let sum = 0
        for (let j = 0; j < length; j++) sum += inputs[n * length + j] * w[o * length + j]
        out[n * outputs + o] = sum
      }
    return out
  }
  return { inputs, weight, product }
}

/** Learns some layers; returns what adaround.py reads. */
export async function adaroundCases(folder) {
  const { evaluator } = await createNodeRuntime({ threads: 1 })
  const relu = { opType: 'Relu', domain: '', inputs: ['y'], outputs: ['z'], attributes: new Map() }
  const cases = []
  for (const [at, [outputs, length, step]] of [
    [4, 18, 0.2],
    [16, 36, 0.15],
    [8, 64, 0.3],
  ].entries()) {
    const count = 512
    const { inputs, weight, product } = layer(outputs, length, count, 10 * at + 1)
    const all = (value) => new Float64Array(weight.length).fill(value)
    const float32Step = Math.fround(step)
    const grid = { weight: Float64Array.from(weight), step: all(float32Step), least: all(-128), most: all(127) }
    const map = { group: 1, groupOutputs: outputs, rowLength: length }
    const graph = { nodes: [relu], inputs: [], outputs: [], initializers: new Map() }
    const unit = rowUnit(map, grid, new Float32Array(outputs), count, relu, { graph, opsets: new Map([['', 18]]) })
    const wanted = product(weight)
    const data = {
      inputs: new Map([['x', Tensor.of(inputs, [1, count, length])]]),
      target: Tensor.of(wanted, [1, count, outputs]),
      batches: 1,
    }
    const lower = Float64Array.from(weight, (value) => Math.floor(value / float32Step))
    const start = Float32Array.from(weight, (value, i) => alphaOf(value / float32Step - lower[i]))
    const name = `${outputs} × ${length}`
    const learned = await learnUnit(evaluator, unit, data, new Map([['weight', start]]), SETTINGS, name)
    const shares = learned.shares.get('weight')
    const lossOf = (levels) => {
      const out = product(Float32Array.from(levels, (level) => level * float32Step))
      return out.reduce((sum, value, i) => sum + (Math.max(value, 0) - Math.max(wanted[i], 0)) ** 2, 0) / count
    }
    const save = (end, values, shape) => {
      const path = join(folder, `adaround-${at}-${end}.npy`)
      writeFileSync(path, encodeNpy(values, shape))
      return path
    }
    cases.push({
      name,
      step: float32Step,
      steps: SETTINGS.steps,
      rate: SETTINGS.learningRate,
      strength: SETTINGS.strength,
      betas: SETTINGS.betas,
      warm: SETTINGS.warmUp,
      inputs: save('inputs', inputs, [count, length]),
      outputs: save('outputs', wanted, [count, outputs]),
      weight: save('weight', weight, [outputs, length]),
      losses: [...learned.losses],
      nearest: lossOf(Float64Array.from(weight, (value) => Math.round(value / float32Step))),
      found: lossOf(lower.map((level, i) => level + (shares[i] >= 0.5 ? 1 : 0))),
    })
  }
  return cases
}

if (process.argv[1] === import.meta.filename) {
  const folder = mkdtempSync(join(tmpdir(), 'whittle-adaround-'))
  try {
    const path = join(folder, 'adaround.json')
    writeFileSync(path, JSON.stringify(await adaroundCases(folder)))
    const script = join(import.meta.dirname, 'python', 'adaround.py')
    const env = { ...process.env, ...pythonEnvironment(1) }
    console.log(execFileSync(PYTHON, [script, path], { encoding: 'utf8', env }))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
