import {
  calibrationFeeds,
  findingText,
  guardSpeed,
  QUANTIZATION_SAMPLES,
  type Quantized,
  type QuantizedWithin,
  type QuantizeOptions,
  quantizeWithin,
  ROUNDING_METHODS,
  type RollbackOptions,
  type Runtime,
} from '../api/index.ts'
import { CALIBRATION_METHODS, type RollbackRecord } from '../compress/index.ts'
import { fail } from '../core/index.ts'
import type { Model } from '../graph/index.ts'
import { checkWritable, loadModel, recordPath } from '../node/index.ts'
import { formatMilliseconds, formatRecord, formatRollback } from '../report/index.ts'
import { defineCommand } from './command.ts'
import {
  DATA_OPTIONS,
  INPUT_SHAPE_OPTION,
  oneOf,
  openCalibrationData,
  readInputShapes,
  readPreprocess,
  runtimeFor,
} from './model-options.ts'
import type { OptionValues } from './options.ts'
import { checkQuantizeFiles, QUANTIZE_FILE_OPTIONS, withConfiguration, writeQuantizeFiles } from './quantize-files.ts'
import { checkRollback, failedRollback, ROLLBACK_OPTIONS, readRollback, writeAmctFiles } from './rollback.ts'
import { isGuarded, quantizeForTarget, readTarget, TARGET_OPTIONS } from './target.ts'
import type { Terminal } from './terminal.ts'
import { checkWeightFormats, runWeightFormats, WEIGHT_FORMAT_OPTIONS } from './weight-formats.ts'
import { writeResult } from './write-result.ts'

const ACTIVATIONS = ['uint8', 'int8', 'int16', 'none'] as const
const WEIGHTS = ['int8', 'int4'] as const

const OPTIONS = {
  output: { kind: 'text', short: 'o', value: 'OUT', about: 'the quantized model', required: true },
  activations: {
    kind: 'text',
    value: ACTIVATIONS.join('|'),
    about: 'type of activations (default uint8; none: weights alone, without data)',
  },
  weights: { kind: 'text', value: WEIGHTS.join('|'), about: 'type of weights (default int8)' },
  calibration: {
    kind: 'text',
    value: CALIBRATION_METHODS.join('|'),
    about: 'how the ranges of activations are found on the data (default minmax)',
  },
  'per-tensor': { kind: 'flag', about: 'one scale per weight instead of one per output channel' },
  'reduce-range': { kind: 'flag', about: '7 bits for weights, where products of 8 bits saturate' },
  equalize: { kind: 'flag', about: 'evens out the ranges of channels between layers first' },
  'absorb-biases': { kind: 'flag', about: 'moves what channels always carry into the biases of the next layers' },
  balance: { kind: 'flag', about: 'moves outliers of activations into weights first (SmoothQuant, DMQ)' },
  rounding: {
    kind: 'text',
    value: ROUNDING_METHODS.join('|'),
    about: 'how weights become integers: to nearest (default at 8 bits), or chosen on the data (default at 4: gptq)',
  },
  'correct-biases': { kind: 'flag', about: 'biases take up what rounding shifts outputs by in the mean' },
  'keep-activations': { kind: 'flag', about: 'keeps Relu and Clip where the limits of integers do their work' },
  only: { kind: 'list', value: 'GLOB', about: 'only layers whose names match (* and ?)' },
  skip: { kind: 'list', value: 'GLOB', about: 'not the nodes whose names match' },
  ...TARGET_OPTIONS,
  ...WEIGHT_FORMAT_OPTIONS,
  ...QUANTIZE_FILE_OPTIONS,
  ...ROLLBACK_OPTIONS,
  ...DATA_OPTIONS,
  ...INPUT_SHAPE_OPTION,
} as const

type Options = OptionValues<typeof OPTIONS> & {
  readonly seed: number | undefined
  readonly threads: number | undefined
}

/** `whittle quantize`. */
export const command = defineCommand({
  name: 'quantize',
  summary: 'Turns weights and activations into integers that ONNX Runtime computes with',
  usage: 'MODEL --data DATA -o OUT',
  models: [1, 1],
  options: OPTIONS,
  examples: [
    [
      'whittle quantize model.onnx --data images:./samples --preprocess imagenet -o small.onnx',
      'uint8 activations and int8 weights: what is fast on processors',
    ],
    [
      'whittle quantize model.onnx --data images:./samples --preprocess imagenet --calibration mse -o small.onnx',
      'the same, with ranges that lose the least to rounding and clipping together',
    ],
    [
      "whittle quantize model.onnx --data npz:samples.npz --skip '*/head/*' -o small.onnx",
      'without some layers; whittle inspect lists the names',
    ],
    [
      'whittle quantize model.onnx --data cifar10:./cifar10 --split train --max-drop 0.5 --evaluate cifar10:./cifar10 -o small.onnx',
      'with layers rolled back to floating point until top-1 drops by half a point at most',
    ],
    ['whittle quantize model.onnx --dtype fp16,q8,q4,q4f16 -o onnx', 'weights alone, without data, one file each'],
  ],
  async run({ models: [path], options, terminal }) {
    const { output } = options
    const started = performance.now()
    checkWeightFormats(options)
    if (options.dtype !== undefined)
      return runWeightFormats(path!, options, terminal, (model) => dataFor(options, model, terminal.signal))
    const choices = readChoices(options)
    checkRollback(options)
    checkQuantizeFiles(options)
    for (const target of [output, recordPath(output)]) checkWritable(target)
    const model = await loadModel(path!, terminal)
    const runtime = await runtimeFor(options)
    const unconfigured: QuantizeOptions = {
      ...choices,
      inputShapes: readInputShapes(options['input-shape'], model),
      data: await dataFor(options, model, terminal.signal),
      preprocess: readPreprocess(options.preprocess, model),
      signal: terminal.signal,
      onProgress: terminal.onProgress,
    }
    const configured = await withConfiguration(model, unconfigured, options, runtime, terminal)
    const { settings, warnings } = await readTarget(options, configured, runtime)
    for (const warning of warnings) terminal.note(warning)
    const limit = await readRollback(options, model, runtime, terminal)
    const within = limit && (await quantizeToLimit(model, { ...settings, ...limit }, options, terminal, runtime))
    const result = within
      ? isGuarded(settings, options)
        ? await guardSpeed(model, within, runtime, settings)
        : within
      : await quantizeForTarget(model, settings, options, runtime)
    const rollback = within?.record.rollback
    const findings = (result.findings ?? []).map(findingText)
    for (const finding of findings) terminal.note(`Warning: ${finding}`)
    const { record } = result
    const reported = { ...record, warnings: record.warnings.filter((warning) => !findings.includes(warning)) }
    await writeResult(output, result, terminal.signal)
    await writeQuantizeFiles(result, options, terminal)
    const milliseconds = performance.now() - started
    const head = { output, record: recordPath(output), milliseconds }
    terminal.print({ ...head, ...summary(result), ...(rollback && { rollback }) }, () =>
      [
        formatRecord(reported),
        ...(rollback ? [formatRollback(rollback)] : []),
        `Wrote ${output}, ${recordPath(output)} in ${formatMilliseconds(milliseconds)}.`,
      ].join('\n\n'),
    )
    return 0
  },
})

/** Quantizes with layers rolled back until the limit holds; AMCT's files are written also when it does not. */
async function quantizeToLimit(
  model: Model,
  settings: QuantizeOptions & RollbackOptions,
  options: Options,
  terminal: Terminal,
  runtime: Runtime,
): Promise<QuantizedWithin> {
  const folder = options['amct-output']
  const writeFiles = async (record: RollbackRecord): Promise<void> => {
    if (folder !== undefined) terminal.note(`Wrote ${(await writeAmctFiles(folder, record)).join(', ')}.`)
  }
  try {
    const result = await quantizeWithin(model, settings, runtime)
    await writeFiles(result.record.rollback)
    return result
  } catch (error) {
    const failed = failedRollback(error)
    if (failed) {
      await writeFiles(failed)
      terminal.note(formatRollback(failed))
    }
    throw error
  }
}

/** Options that need no file, so that mistakes in them show at once. */
function readChoices(options: Options): QuantizeOptions {
  const activations = oneOf('activations', options.activations, ACTIVATIONS)
  if (activations !== 'none' && options.data === undefined)
    fail(
      'INVALID_ARGUMENT',
      'Option --data: is needed to see the ranges of activations. Give some samples, or --activations none.',
    )
  if (activations === 'none')
    for (const name of [
      'calibration',
      'equalize',
      'absorb-biases',
      'balance',
      'rounding',
      'correct-biases',
      'keep-activations',
    ] as const)
      if (options[name] !== undefined && options[name] !== false)
        fail('INVALID_ARGUMENT', `Option --${name}: is for activations; with --activations none there are none.`)
  return {
    activations,
    weights: oneOf('weights', options.weights, WEIGHTS),
    calibration: oneOf('calibration', options.calibration, CALIBRATION_METHODS),
    perChannel: options['per-tensor'] ? false : undefined,
    reduceRange: options['reduce-range'],
    equalize: options.equalize,
    absorbBiases: options['absorb-biases'],
    balance: options.balance,
    rounding: oneOf('rounding', options.rounding, ROUNDING_METHODS),
    correctBiases: options['correct-biases'],
    keepRemovableActivations: options['keep-activations'],
    only: options.only,
    skip: options.skip,
    seed: options.seed,
  }
}

async function dataFor(options: Options, model: Model, signal: AbortSignal): Promise<QuantizeOptions['data']> {
  const dataset = await openCalibrationData(options, model)
  if (!dataset) return undefined
  if (dataset.size === 0) fail('INVALID_DATA', `Dataset '${dataset.name}' is empty.`)
  return calibrationFeeds(model, dataset, {
    preprocess: readPreprocess(options.preprocess, model),
    batch: options.batch,
    limit: options.limit ?? QUANTIZATION_SAMPLES,
    seed: options.seed,
    signal,
  })
}

function summary({ record }: Quantized) {
  const { before, after, layers, skips, warnings } = record
  return { before, after, layers, skips, warnings }
}
