// The mathematics under the decomposition of a layer, in this process: node bench/linear-algebra.mjs
// [--layers 512x5,1024x3] [--threads 2] [--rounds 3]. Best of the rounds; layers are those of synthetic-weights.mjs.
import { parseArgs } from 'node:util'
import { amctRankOfMatrix, leadingLeftSubspace, matrixFactors, modeGram, tucker2 } from 'whittle-nn/decompose'
import { createNodeRuntime } from 'whittle-nn/node'
import { formatTable } from 'whittle-nn/report'
import { syntheticWeight } from './synthetic-weights.mjs'

const { values: options } = parseArgs({
  options: {
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

const lines = []
for (const text of options.layers.split(',').filter(Boolean)) lines.push(...(await layer(text)))
console.log(
  formatTable(
    [{ title: 'layer' }, { title: 'work' }, { title: 'seconds', align: 'right' }, { title: 'relative error or rank' }],
    lines,
  ),
)
process.exit(0)
