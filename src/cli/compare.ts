import { analyseQuantization, calibrationFeeds, type QuantizationAnalysis } from '../api/index.ts'
import { fail } from '../core/index.ts'
import {
  compareModels,
  hasQuantization,
  type ModelComparison,
  randomFeeds,
  type ValueDifference,
} from '../engine/index.ts'
import type { TensorMap } from '../graph/index.ts'
import { loadModel } from '../node/index.ts'
import { formatAnalysis, formatError, formatTable } from '../report/index.ts'
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
  summary:
    'Compares two models on the same inputs: outputs, and inner values that both have under one name; of a quantized model, every layer alone and in the whole, in order of damage',
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
    [
      'whittle compare model.onnx small.int8.onnx --data images:./samples --preprocess imagenet --limit 64',
      'which layers of a quantized model, from any tool, do the most damage',
    ],
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
    const source = data?.name ?? 'random inputs'
    const head = { a: pathA, b: pathB, data: source }
    const isAnalysis = !options['outputs-only'] && hasQuantization(b) && !hasQuantization(a)
    let found: Pick<ModelComparison, 'outputs'>
    if (isAnalysis) {
      const analysis = await analyseQuantization(a, b, { data: feeds, signal, onProgress }, { evaluator })
      found = analysis
      terminal.print({ ...head, ...analysisAsJson(analysis) }, () => describeAnalysis(analysis, source))
    } else {
      const layers = !options['outputs-only']
      const comparison = await compareModels(evaluator, a, b, feeds(), { layers, signal, onProgress })
      found = comparison
      terminal.print({ ...head, ...asJson(comparison) }, () => describe(comparison, source))
    }
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
const finite = (value: ValueDifference) => ({ ...value, sqnr: Number.isFinite(value.sqnr) ? value.sqnr : null })

function asJson({ batches, outputs, layers }: ModelComparison) {
  return { batches, outputs: outputs.map(finite), layers: layers.map(finite) }
}

function analysisAsJson({ batches, outputs, layers, unmatched }: QuantizationAnalysis) {
  const both = layers.map((layer) => ({
    ...layer,
    alone: finite(layer.alone),
    accumulated: finite(layer.accumulated),
  }))
  return { batches, outputs: outputs.map(finite), layers: both, unmatched }
}

function describeAnalysis({ batches, outputs, layers, unmatched }: QuantizationAnalysis, source: string): string {
  const lost = unmatched.length > 0 ? [`Nothing in A by name for: ${unmatched.join(', ')}`] : []
  return [
    'Layers by what each does alone, worst first:',
    formatAnalysis(layers),
    '',
    describe({ batches, outputs, layers: [] }, source),
    ...lost,
  ].join('\n')
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
  return `${table}\n\n${batches} ${plural} of ${source}${layers.length > 0 ? '; outputs are last' : ''}`
}
