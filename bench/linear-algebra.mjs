// The mathematics under decomposition, in this process: node bench/linear-algebra.mjs [--sizes 512,1024,2048]
// [--layers 512x5,1024x3] [--threads 2] [--rounds 3]. Best of the rounds; numpy's eigh beside it where Python has numpy.
//
// Eigenproblems are Gram matrices of decaying rows; layers are those of synthetic-weights.mjs.
import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import {
  amctRankOfMatrix,
  leadingLeftSubspace,
  matrixFactors,
  modeGram,
  symmetricEigen,
  tucker2,
} from 'whittle-nn/decompose'
import { createNodeRuntime } from 'whittle-nn/node'
import { formatTable } from 'whittle-nn/report'
import { findPython, missing, PYTHON, pythonEnvironment } from '../interop/python.mjs'
import { normal, syntheticWeight } from './synthetic-weights.mjs'

const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '512,1024,2048' },
    layers: { type: 'string', default: '512x5,1024x3' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
  },
})
const rounds = Number(options.rounds)
const { matrices: engine } = await createNodeRuntime({ threads: Number(options.threads) })

/** The best time in seconds, and the last result. */
async function best(work, times = rounds) {
  let seconds = Number.POSITIVE_INFINITY
  let result
  for (let round = 0; round < times; round++) {
    const start = performance.now()
    result = await work()
    seconds = Math.min(seconds, (performance.now() - start) / 1000)
  }
  return { seconds, result }
}

function decayingRows(n, columns) {
  const data = new Float64Array(n * columns)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < columns; j++) data[i * columns + j] = normal(7, i * columns + j) * Math.exp((-6 * i) / n)
  return { rows: n, cols: columns, data }
}

/** ‖A V − V diag(values)‖ / ‖A‖ and ‖VᵀV − I‖ / √count. */
async function eigenErrors(a, { values, vectors }) {
  const image = (await engine.multiply(a, vectors)).data
  const count = values.length
  let residual = 0
  for (let at = 0; at < image.length; at++) residual += (image[at] - vectors.data[at] * values[at % count]) ** 2
  const products = (await engine.multiply(vectors, vectors, { transposeA: true })).data
  let deviation = 0
  for (let at = 0; at < products.length; at++) deviation += (products[at] - (at % (count + 1) === 0 ? 1 : 0)) ** 2
  const norm = Math.sqrt(a.data.reduce((sum, value) => sum + value * value, 0))
  return { residual: Math.sqrt(residual) / norm, orthogonality: Math.sqrt(deviation / count) }
}

const NUMPY = `
import sys, time, numpy
for n in map(int, sys.argv[1].split(',')):
    rows = numpy.random.default_rng(0).standard_normal((n, 2 * n)) * numpy.exp(-6 * numpy.arange(n) / n)[:, None]
    a = rows @ rows.T
    times = []
    for f in (numpy.linalg.eigh, numpy.linalg.eigvalsh):
        best = 1e9
        for _ in range(int(sys.argv[2])):
            start = time.perf_counter(); f(a); best = min(best, time.perf_counter() - start)
        times.append(best)
    print(n, *times)
`

async function eigenproblems(sizes) {
  const python = await findPython(['numpy'])
  const reason = missing(python, ['numpy'])
  const peers = new Map()
  if (reason) console.log(`numpy skipped: ${reason}`)
  else {
    const env = { ...process.env, ...pythonEnvironment(Number(options.threads)) }
    const text = execFileSync(PYTHON, ['-c', NUMPY, sizes.join(','), String(rounds)], { env, encoding: 'utf8' })
    for (const line of text.trim().split('\n')) {
      const [n, all, values] = line.split(' ').map(Number)
      peers.set(n, { all, values })
    }
  }
  const lines = []
  for (const n of sizes) {
    const a = await engine.gram(decayingRows(n, 2 * n))
    const all = await best(() => symmetricEigen(engine, a))
    const quarter = await best(() => symmetricEigen(engine, a, { count: n / 4 }))
    const values = await best(() => symmetricEigen(engine, a, { vectors: false }))
    const { residual, orthogonality } = await eigenErrors(a, all.result)
    const peer = peers.get(n)
    lines.push([
      String(n),
      all.seconds.toFixed(3),
      quarter.seconds.toFixed(3),
      values.seconds.toFixed(3),
      residual.toExponential(0),
      orthogonality.toExponential(0),
      peer ? peer.all.toFixed(3) : '',
      peer ? peer.values.toFixed(3) : '',
    ])
  }
  return formatTable(
    ['n', 'all', 'quarter', 'values', 'residual', 'orthogonality', 'numpy eigh', 'eigvalsh'].map((title) => ({
      title,
      align: 'right',
    })),
    lines,
  )
}

/** [o, i, y, x] → the matrix [(i, y), (o, x)] of a spatial decomposition. */
function spatialMatrix(weight, channels, kernel) {
  const data = new Float32Array(weight.length)
  for (let o = 0; o < channels; o++)
    for (let i = 0; i < channels; i++)
      for (let y = 0; y < kernel; y++)
        for (let x = 0; x < kernel; x++)
          data[((i * kernel + y) * channels + o) * kernel + x] = weight[((o * channels + i) * kernel + y) * kernel + x]
  return { rows: channels * kernel, cols: channels * kernel, data }
}

async function layer(text) {
  const [channels, kernel] = text.split('x').map(Number)
  const taps = kernel * kernel
  const weight = await syntheticWeight(engine, { outputs: channels, inputs: channels, kernel })
  const dims = [channels, channels, taps]
  const lines = []
  const row = (what, { seconds, result }, detail) =>
    lines.push([`(${channels}, ${channels}, ${kernel}, ${kernel})`, what, seconds.toFixed(3), detail(result)])
  for (const products of ['float64', 'float32'])
    row(
      `Gram matrix of the inputs, ${products}`,
      await best(() => modeGram(engine, weight, dims, { products })),
      () => '',
    )
  for (const iterations of [0, 1, 2])
    row(
      `Tucker-2 at a quarter, ${iterations} sweeps`,
      await best(() => tucker2(engine, { data: weight, dims }, [channels / 4, channels / 4], { iterations })),
      ({ relativeError }) => relativeError.toFixed(5),
    )
  const matrix = spatialMatrix(weight, channels, kernel)
  const rank = (channels * kernel) / 4
  const kernelOf = { outputChannels: channels, inputChannels: channels, kernelHeight: kernel, kernelWidth: kernel }
  row(
    `AMCT’s rank`,
    await best(() => amctRankOfMatrix(engine, matrix, kernelOf)),
    (found) => `${found.rank} (raw ${found.estimated ? 'about ' : ''}${found.raw})`,
  )
  for (const iterations of [1, 2, 3])
    row(
      `spatial SVD at rank ${rank}, ${iterations} iterations`,
      await best(() => matrixFactors(engine, matrix, rank, { iterations, method: 'range' })),
      ({ relativeError }) => relativeError.toFixed(5),
    )
  if (channels * kernel <= 3072)
    row(
      `the same by the Gram matrix`,
      await best(() => leadingLeftSubspace(engine, matrix, rank, { method: 'gram' }), 1),
      () => 'least error',
    )
  return lines
}

console.log(await eigenproblems(options.sizes.split(',').filter(Boolean).map(Number)))
const lines = []
for (const text of options.layers.split(',').filter(Boolean)) lines.push(...(await layer(text)))
console.log(
  formatTable(
    [{ title: 'layer' }, { title: 'work' }, { title: 'seconds', align: 'right' }, { title: 'relative error or rank' }],
    lines,
  ),
)
process.exit(0)
