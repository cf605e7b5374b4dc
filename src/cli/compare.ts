import { calibrationFeeds } from '../api/index.ts'
import { fail } from '../core/index.ts'
import { compareModels, type ModelComparison, randomFeeds, type ValueDifference } from '../engine/index.ts'
import type { TensorMap } from '../graph/index.ts'
import { loadModel } from '../node/index.ts'
import { formatError, formatTable } from '../report/index.ts'
import { defineCommand } from './command.ts'
import {
  DATA_OPTIONS,
  INPUT_SHAPE_OPTION,
  openData,
  readInputShapes,
  readPreprocess,
  runtimeFor,
} from './model-options.ts'

/** Random batches that are compared when there are no data. */
const RANDOM_BATCHES = 4

/** `whittle compare`. */
export const command = defineCommand({
  name: 'compare',
  summary: 'Compares two models on the same inputs: outputs, and inner values that both have under one name',
  usage: 'A B',
  models: [2, 2],
  options: {
    ...DATA_OPTIONS,
    data: { ...DATA_OPTIONS.data, about: `${DATA_OPTIONS.data.about} (default: random inputs)` },
    ...INPUT_SHAPE_OPTION,
    'outputs-only': { kind: 'flag', about: 'not the inner values; lets ONNX Runtime optimise the models' },
    'max-error': {
      kind: 'number',
      value: 'E',
      least: 0,
      about: 'exit with 2 when an output’s relative error is larger',
    },
  },
  examples: [
    ['whittle compare model.onnx small.onnx', 'on random inputs'],
    ['whittle compare model.onnx small.onnx --data images:./samples --preprocess imagenet --limit 64', 'on data'],
    ['whittle compare model.onnx again.onnx --outputs-only --max-error 1e-5', 'fail unless they compute the same'],
  ],
  async run({ models: [pathA, pathB], options, terminal }) {
    const { signal, onProgress } = terminal
    const [a, b] = [await loadModel(pathA!, terminal), await loadModel(pathB!, terminal)]
    const inputShapes = readInputShapes(options['input-shape'], a)
    const data = await openData(options, a)
    const { limit, batch } = options
    const seed = options.seed ?? 0
    const random = async function* (): AsyncIterable<TensorMap> {
      for (let i = 0; i < RANDOM_BATCHES; i++) yield randomFeeds(a, { seed: seed + i, inputShapes, batch })
    }
    const preprocess = readPreprocess(options.preprocess, a)
    const feeds = data ? calibrationFeeds(a, data, { preprocess, batch, limit, seed, signal }) : random
    const { evaluator } = await runtimeFor(options)
    const found = await compareModels(evaluator, a, b, feeds(), {
      layers: !options['outputs-only'],
      signal,
      onProgress,
    })
    const source = data?.name ?? 'random inputs'
    terminal.print({ a: pathA, b: pathB, data: source, ...asJson(found) }, () => describe(found, source))
    const bound = options['max-error']
    const beyond = found.outputs.filter((output) => bound !== undefined && !(output.relativeError <= bound))
    for (const { name, relativeError } of beyond)
      fail(
        'CHECK_FAILED',
        `Output '${name}': its relative error must be at most ${bound}; it is ${formatError(relativeError)}.`,
      )
    return 0
  },
})

/** JSON has no infinity: the SQNR of equal values is null. */
function asJson({ batches, outputs, layers }: ModelComparison) {
  const finite = (list: readonly ValueDifference[]) =>
    list.map((value) => ({ ...value, sqnr: Number.isFinite(value.sqnr) ? value.sqnr : null }))
  return { batches, outputs: finite(outputs), layers: finite(layers) }
}

function describe({ batches, outputs, layers }: ModelComparison, source: string): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  const row = ({ name, relativeError, sqnr, cosine, maxAbsolute, nonFinite }: ValueDifference): string[] => [
    name,
    formatError(relativeError),
    Number.isFinite(sqnr) ? `${sqnr.toFixed(1)} dB` : 'equal',
    cosine.toFixed(6),
    formatError(maxAbsolute),
    nonFinite > 0 ? `${nonFinite} not finite` : '',
  ]
  const table = formatTable(
    ['value', right('relative error'), right('SQNR'), right('cosine'), right('largest'), ''],
    [...layers.map(row), ...(layers.length > 0 ? [['-']] : []), ...outputs.map(row)],
  )
  const plural = batches === 1 ? 'batch' : 'batches'
  return `${table}\n\n${batches} ${plural} of ${source}; outputs are last`
}
