import { fail } from '../core/index.ts'
import { type EvaluateOptions, evaluateModel, type ModelEvaluation } from '../data/index.ts'
import { loadModel } from '../node/index.ts'
import { formatMilliseconds, formatPercent, formatTable } from '../report/index.ts'
import { defineCommand } from './command.ts'
import { DATA_OPTIONS, INPUT_SHAPE_OPTION, openData, readPreprocess, runtimeFor } from './model-options.ts'

/** `whittle evaluate`. */
export const command = defineCommand({
  name: 'evaluate',
  summary: 'Measures top-1, top-5 and loss on labelled data, of several models side by side',
  usage: 'MODEL...',
  models: [1, Number.POSITIVE_INFINITY],
  options: {
    ...DATA_OPTIONS,
    data: { ...DATA_OPTIONS.data, required: true },
    ...INPUT_SHAPE_OPTION,
    output: { kind: 'text', value: 'NAME', about: 'output with the class scores (default: the first)' },
    'min-accuracy': { kind: 'number', value: 'PERCENT', least: 0, about: 'exit with 2 when a top-1 is lower' },
    'max-drop': {
      kind: 'number',
      value: 'POINTS',
      least: 0,
      about: 'exit with 2 when a top-1 is more percentage points below the first model’s',
    },
  },
  examples: [
    ['whittle evaluate model.onnx --data cifar10:./cifar-10-batches-bin --preprocess imagenet', 'accuracy of a model'],
    [
      'whittle evaluate model.onnx small.onnx --data images:./val --preprocess imagenet --max-drop 0.5',
      'fail when the second lost more than half a point',
    ],
  ],
  async run({ models: paths, options, terminal }) {
    if (options['max-drop'] !== undefined && paths.length < 2)
      fail('INVALID_ARGUMENT', 'Option --max-drop: compares with the first model; give two models or more.')
    const { evaluator } = await runtimeFor(options)
    const results: (ModelEvaluation & { model: string })[] = []
    for (const [i, path] of paths.entries()) {
      const model = await loadModel(path, terminal)
      const data = (await openData(options, model))!
      const evaluation: EvaluateOptions = {
        preprocess: readPreprocess(options.preprocess, model),
        batch: options.batch,
        limit: options.limit,
        output: options.output,
        signal: terminal.signal,
        onProgress: (progress) =>
          terminal.onProgress({ ...progress, item: paths.length > 1 ? `model ${i + 1} of ${paths.length}` : path }),
      }
      const result = await evaluateModel(evaluator, model, data, evaluation)
      if (result.preprocessFrom === 'default' && i === 0)
        terminal.note('Values go in as they are, 0 … 255; if the model was trained otherwise, give --preprocess.')
      results.push({ model: path, ...result })
    }
    terminal.print({ data: results[0]!.data, samples: results[0]!.samples, models: results }, () => describe(results))
    const broken = checks(results, options)
    for (const sentence of broken) process.stderr.write(`${sentence}\n`)
    return broken.length > 0 ? 2 : 0
  },
})

type Result = ModelEvaluation & { readonly model: string }

function describe(results: readonly Result[]): string {
  const first = results[0]!
  const right = (title: string) => ({ title, align: 'right' as const })
  const points = (result: Result): string => {
    const change = (result.top1 - first.top1) * 100
    return result === first ? '' : `${change < 0 ? '−' : '+'}${Math.abs(change).toFixed(2)} pts`
  }
  const several = results.length > 1
  const table = formatTable(
    ['model', right('top-1'), ...(several ? [right('change')] : []), right('top-5'), right('loss'), right('time')],
    results.map((result) => [
      result.model,
      formatPercent(result.top1),
      ...(several ? [points(result)] : []),
      result.top5 === null ? '–' : formatPercent(result.top5),
      result.loss.toFixed(4),
      formatMilliseconds(result.milliseconds),
    ]),
  )
  return `${table}\n\n${first.samples} samples of ${first.data}, preprocessing ${first.preprocess.name}`
}

/** What was asked for and does not hold. */
function checks(
  results: readonly Result[],
  options: { readonly 'min-accuracy': number | undefined; readonly 'max-drop': number | undefined },
): string[] {
  const { 'min-accuracy': least, 'max-drop': most } = options
  const first = results[0]!
  return results.flatMap((result) => {
    const found: string[] = []
    if (least !== undefined && result.top1 * 100 < least)
      found.push(`Model '${result.model}': top-1 must be at least ${least} %; it is ${formatPercent(result.top1)}.`)
    const drop = (first.top1 - result.top1) * 100
    if (most !== undefined && drop > most + 1e-9)
      found.push(`Model '${result.model}': top-1 may drop by ${most} points; it dropped by ${drop.toFixed(2)}.`)
    return found
  })
}
