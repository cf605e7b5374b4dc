/** `--dtype` of `whittle quantize`: weights in smaller formats, without data, one file each. */
import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type QuantizeWeightsOptions, quantizeWeights, type WeightsQuantized } from '../api/index.ts'
import { parseWeightFormats, type WeightFormat, weightFormatFile } from '../compress/index.ts'
import { fail } from '../core/index.ts'
import type { Model } from '../graph/index.ts'
import { checkWritable, loadModel, recordPath, StagedFiles, stageModel, withFileErrors } from '../node/index.ts'
import { formatMilliseconds, formatTable } from '../report/index.ts'
import { oneOf, readInputShapes, runtimeFor } from './model-options.ts'
import type { OptionSpecs, OptionValues } from './options.ts'
import type { Terminal } from './terminal.ts'

const CODES = ['nf4', 'fp4'] as const
const LAYOUTS = ['matmul-nbits', 'qdq'] as const
const LEVELS = [0, 1, 2, 4] as const

/** Options of weights alone. */
export const WEIGHT_FORMAT_OPTIONS = {
  dtype: {
    kind: 'text',
    value: 'LIST',
    about:
      'weights alone, no data needed (with some, overflow of float16 is seen): fp32, fp16, q8, int8, uint8, q4, q4f16, bnb4; several with commas, into the folder OUT, named as transformers.js does',
  },
  block: {
    kind: 'count',
    value: 'N',
    about: 'with --dtype q4, q4f16, bnb4: numbers that share a scale (default 32; bnb4 64)',
  },
  asymmetric: { kind: 'flag', about: 'with --dtype q4, q4f16: zero points for blocks' },
  'four-bit': {
    kind: 'text',
    value: LAYOUTS.join('|'),
    about: 'with --dtype q4, q4f16: ONNX Runtime’s operator (default), or standard ONNX of opset 21',
  },
  'accuracy-level': {
    kind: 'count',
    value: 'N',
    least: 0,
    about:
      'with --dtype q4, q4f16: what products are computed in; 0 as the runtime likes (default), 1 float32, 2 float16, 4 int8',
  },
  embeddings: { kind: 'flag', about: 'with --dtype q4, q4f16: tables that Gather reads in 4 bits too' },
  codes: { kind: 'text', value: CODES.join('|'), about: 'with --dtype bnb4: kind of codes (default nf4)' },
} as const satisfies OptionSpecs

type Options = OptionValues<typeof WEIGHT_FORMAT_OPTIONS> & {
  readonly output: string
  readonly only: readonly string[]
  readonly skip: readonly string[]
  readonly 'per-tensor': boolean
  readonly 'reduce-range': boolean
  readonly 'input-shape': readonly string[]
  readonly threads: number | undefined
}

/** Options that say how activations are quantized; there are none with `--dtype`. */
const OTHERS = 'activations weights calibration equalize balance correct-biases keep-activations max-drop target'.split(
  ' ',
)

/** Refuses options of weights alone without `--dtype`, and those of activations with it. */
export function checkWeightFormats(options: Options & Readonly<Record<string, unknown>>): void {
  const isGiven = (name: string): boolean => options[name] !== undefined && options[name] !== false
  if (options.dtype === undefined) {
    const found = Object.keys(WEIGHT_FORMAT_OPTIONS).find((name) => isGiven(name))
    if (found !== undefined) fail('INVALID_ARGUMENT', `Option --${found}: belongs to weights alone. Add --dtype q4.`)
    return
  }
  const other = OTHERS.find((name) => isGiven(name))
  if (other !== undefined)
    fail('INVALID_ARGUMENT', `Option --${other}: is for activations; --dtype is about weights alone. Leave one out.`)
  for (const format of parseWeightFormats(options.dtype)) settingsFor(format, options)
}

const FOUR_BIT: readonly WeightFormat[] = ['q4', 'q4f16']
const BLOCKED: readonly WeightFormat[] = [...FOUR_BIT, 'bnb4']
const EIGHT_BIT: readonly WeightFormat[] = ['q8', 'int8', 'uint8']

/** The settings among the options that a format knows. */
function settingsFor(format: WeightFormat, options: Options): QuantizeWeightsOptions {
  const pick = <T>(formats: readonly WeightFormat[], value: T): T | undefined =>
    formats.includes(format) ? value : undefined
  const level = options['accuracy-level']
  const accuracyLevel = LEVELS.find((known) => known === level)
  if (level !== undefined && accuracyLevel === undefined)
    fail('INVALID_ARGUMENT', `Option --accuracy-level: must be one of ${LEVELS.join(', ')}; got ${level}.`)
  const layout = oneOf('four-bit', options['four-bit'], LAYOUTS)
  return {
    format,
    block: pick(BLOCKED, options.block),
    symmetric: pick(FOUR_BIT, options.asymmetric ? false : undefined),
    fourBit: pick(FOUR_BIT, layout),
    accuracyLevel: pick(FOUR_BIT, accuracyLevel),
    codes: pick(['bnb4'], oneOf('codes', options.codes, CODES)),
    embeddings: pick(FOUR_BIT, options.embeddings || undefined),
    perChannel: pick(EIGHT_BIT, options['per-tensor'] ? false : undefined),
    bits: pick(EIGHT_BIT, options['reduce-range'] ? 7 : undefined),
    only: options.only,
    skip: options.skip,
  }
}

/**
 * Runs `whittle quantize MODEL --dtype …`.
 *
 * @param dataFor opens the data that were given, if any.
 * @returns the exit code.
 */
export async function runWeightFormats(
  path: string,
  options: Options,
  terminal: Terminal,
  dataFor: (model: Model) => Promise<QuantizeWeightsOptions['data']>,
): Promise<number> {
  const started = performance.now()
  const formats = parseWeightFormats(options.dtype!)
  const outputs = outputsOf(path, formats, options.output)
  for (const output of outputs) for (const target of [output, recordPath(output)]) checkWritable(target)
  const model = await loadModel(path, terminal)
  const runtime = await runtimeFor(options)
  const inputShapes = readInputShapes(options['input-shape'], model)
  const { signal, onProgress } = terminal
  const data = await dataFor(model)
  const files = new StagedFiles()
  const results: WeightsQuantized[] = []
  try {
    for (const [at, format] of formats.entries()) {
      const settings = { ...settingsFor(format, options), data, inputShapes, signal, onProgress }
      const result = await quantizeWeights(model, settings, runtime)
      await stageModel(files, result.model, outputs[at]!, { signal })
      await files.writeText(recordPath(outputs[at]!), `${JSON.stringify(result.record, null, 2)}\n`)
      results.push(result)
    }
    files.commit()
  } finally {
    files.discard()
  }
  const milliseconds = performance.now() - started
  const summaries = results.map(({ record, plan }, at) => ({
    format: formats[at]!,
    output: outputs[at]!,
    record: recordPath(outputs[at]!),
    before: record.before,
    after: record.after,
    layers: record.layers,
    islands: plan.float16?.islands ?? [],
    skips: record.skips,
    warnings: record.warnings,
  }))
  terminal.print({ milliseconds, models: summaries }, () => textOf(summaries, milliseconds))
  return 0
}

/** One file for one format; else a file for each in a folder, which is made where it is missing. */
function outputsOf(path: string, formats: readonly WeightFormat[], output: string): string[] {
  if (formats.length === 1 && /\.onnx$/i.test(output)) return [output]
  if (/\.onnx$/i.test(output))
    fail(
      'INVALID_ARGUMENT',
      `Option --output: must be a folder for several formats; got '${output}', which is one file's name.`,
    )
  withFileErrors('write', output, () => mkdirSync(output, { recursive: true }))
  return formats.map((format) => join(output, weightFormatFile(basename(path), format)))
}

interface Summary {
  readonly format: WeightFormat
  readonly output: string
  readonly before: { readonly bytes: number }
  readonly after: { readonly bytes: number }
  readonly layers: readonly { readonly relativeError: number }[]
  readonly islands: readonly { readonly node: string; readonly reason: string }[]
  readonly skips: readonly unknown[]
  readonly warnings: readonly string[]
}

function textOf(summaries: readonly Summary[], milliseconds: number): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(2)
  const rows = summaries.map(({ format, output, before, after, layers, islands, skips }) => [
    format,
    output,
    megabytes(after.bytes),
    `${((100 * after.bytes) / before.bytes).toFixed(1)} %`,
    String(layers.length),
    layers.length === 0 ? '' : Math.max(...layers.map(({ relativeError }) => relativeError)).toFixed(4),
    islands.length === 0 ? '' : String(islands.length),
    String(skips.length),
  ])
  const columns = [
    'format',
    'file',
    right('weights MB'),
    right('of before'),
    right('layers'),
    right('largest error'),
    right('in float32'),
    right('left alone'),
  ]
  const warnings = [...new Set(summaries.flatMap((summary) => summary.warnings))]
  return [
    formatTable(columns, rows),
    ...(warnings.length > 0 ? [warnings.map((warning) => `Note: ${warning}`).join('\n')] : []),
    `Wrote ${summaries.length} ${summaries.length === 1 ? 'model' : 'models'} with records in ${formatMilliseconds(milliseconds)}.`,
  ].join('\n\n')
}
