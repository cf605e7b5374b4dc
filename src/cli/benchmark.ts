import { type BenchmarkResult, benchmark } from '../engine/index.ts'
import { loadModel } from '../node/index.ts'
import { formatCount, formatMilliseconds, formatTable } from '../report/index.ts'
import { defineCommand } from './command.ts'
import { INPUT_SHAPE_OPTION, readInputShapes, runtimeFor } from './model-options.ts'

/** `whittle benchmark`. */
export const command = defineCommand({
  name: 'benchmark',
  summary: 'Measures latency and throughput on random inputs, runs of several models interleaved',
  usage: 'MODEL...',
  models: [1, Number.POSITIVE_INFINITY],
  options: {
    runs: { kind: 'count', value: 'N', about: 'measured runs of each model (default 20)' },
    warmup: { kind: 'count', value: 'N', least: 0, about: 'runs of each before measuring (default 3)' },
    batch: { kind: 'count', value: 'N', about: 'samples per run, where the model leaves it open (default 1)' },
    ...INPUT_SHAPE_OPTION,
  },
  examples: [
    ['whittle benchmark model.onnx small.onnx', 'latency of both, and how many times as fast the second is'],
    ['whittle benchmark model.onnx small.onnx --batch 32 --runs 50 --threads 1', 'throughput on one core'],
  ],
  async run({ models: paths, options, terminal }) {
    const { evaluator } = await runtimeFor(options)
    const { runs, warmup, batch, seed } = options
    const models = await Promise.all(paths.map((path) => loadModel(path, terminal)))
    // Shapes name inputs; models that are compared have the same ones.
    const inputShapes = readInputShapes(options['input-shape'], models[0]!)
    const subjects = models.map((model, i) => ({ name: paths[i]!, model }))
    const { signal, onProgress } = terminal
    const results = await benchmark(evaluator, subjects, { runs, warmup, batch, seed, inputShapes, signal, onProgress })
    terminal.print({ models: results.map(({ name, ...rest }) => ({ model: name, ...rest })) }, () => describe(results))
    return 0
  },
})

function describe(results: readonly BenchmarkResult[]): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  const { runs, batch } = results[0]!
  const table = formatTable(
    ['model', right('median'), right('least'), right('90 %'), right('samples/s'), right('time')],
    results.map(({ name, milliseconds, samplesPerSecond, ratio }) => [
      name,
      formatMilliseconds(milliseconds.median),
      formatMilliseconds(milliseconds.min),
      formatMilliseconds(milliseconds.p90),
      formatCount(Math.round(samplesPerSecond)),
      `× ${ratio.toFixed(2)}`,
    ]),
  )
  return `${table}\n\n${runs} interleaved runs of batch ${batch}; time relative to the first model`
}
