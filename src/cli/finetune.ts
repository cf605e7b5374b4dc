import type { FinetuneRecord, QatOptions } from '../api/index.ts'
import { CALIBRATION_METHODS } from '../compress/index.ts'
import { fail, WhittleError } from '../core/index.ts'
import type { Dataset } from '../data/index.ts'
import { checkWritable, type FinetuneOptions, finetune, loadModel, openDataset, recordPath } from '../node/index.ts'
import { formatMilliseconds, formatPercent, formatTable } from '../report/index.ts'
import { type HistoryEntry, type LossTerm, type Optimizer, parseAugmentation, parseSchedule } from '../train/index.ts'
import { defineCommand } from './command.ts'
import {
  DATA_OPTIONS,
  hasParts,
  INPUT_SHAPE_OPTION,
  oneOf,
  openData,
  readPreprocess,
  runtimeFor,
} from './model-options.ts'
import type { OptionValues } from './options.ts'
import { withQatConfiguration } from './quantize-files.ts'
import { writeResult } from './write-result.ts'

const OPTIONS = {
  output: { kind: 'text', short: 'o', value: 'OUT', about: 'the trained model', required: true },
  ...DATA_OPTIONS,
  data: { ...DATA_OPTIONS.data, required: true },
  split: { ...DATA_OPTIONS.split, about: 'part of the data to train on, where it has parts (default train)' },
  limit: { ...DATA_OPTIONS.limit, about: 'at most this many training samples' },
  batch: { ...DATA_OPTIONS.batch, about: 'samples per batch (default 64)' },
  ...INPUT_SHAPE_OPTION,
  evaluate: {
    kind: 'text',
    value: 'DATA|none',
    about: 'labelled data that decide which weights are kept (default: the test split of cifar10: and mnist:)',
  },
  'evaluate-limit': { kind: 'count', value: 'N', about: 'at most this many samples are evaluated' },
  'evaluate-every': { kind: 'count', value: 'STEPS', about: 'steps between evaluations (default: an epoch)' },
  patience: { kind: 'count', value: 'N', about: 'stop after so many evaluations that were no better' },
  teacher: { kind: 'text', value: 'ORIGINAL', about: 'network to learn from; labels are optional then' },
  'teacher-weight': { kind: 'number', value: 'W', least: 0, about: 'share of the teacher in the loss (default 0.5)' },
  temperature: { kind: 'number', value: 'T', least: 0, about: 'temperature of the teacher’s answers (default 4)' },
  'label-smoothing': { kind: 'number', value: 'E', least: 0, about: 'share of labels spread over all classes' },
  epochs: { kind: 'count', value: 'N', about: 'passes over the data (default 1)' },
  steps: { kind: 'count', value: 'N', about: 'steps in all, instead of epochs' },
  accumulate: { kind: 'count', value: 'N', about: 'batches whose gradients make one step (default 1)' },
  optimizer: { kind: 'text', value: 'sgd|adam|adamw|rmsprop', about: 'default sgd, with momentum 0.9' },
  lr: { kind: 'number', value: 'RATE', least: 0, about: 'learning rate (default 0.01; adam and adamw 0.001)' },
  momentum: { kind: 'number', value: 'M', least: 0, about: 'of sgd and rmsprop' },
  nesterov: { kind: 'flag', about: 'Nesterov momentum, with sgd' },
  'weight-decay': { kind: 'number', value: 'D', least: 0, about: 'default 5e-4 with sgd, 0.01 with adamw, else 0' },
  'decay-weights-only': { kind: 'flag', about: 'no weight decay on biases and normalisations' },
  schedule: {
    kind: 'text',
    value: 'KIND',
    about: 'constant, step:every=0.3,gamma=0.1, cosine (default) or one-cycle; with warmup=0.05',
  },
  augment: { kind: 'text', value: 'LIST', about: 'any of crop=4,flip,cutout=8,mixup=0.2 (default none)' },
  freeze: { kind: 'list', value: 'GLOB', about: 'layers and parameters that stay as they are (* and ?)' },
  'clip-norm': {
    kind: 'number',
    value: 'NORM',
    least: 0,
    about: 'most that the norm of all gradients may be (default 1; 0: any)',
  },
  ema: { kind: 'number', value: 'SHARE', least: 0, about: 'average the weights, keeping this share, e.g. 0.999' },
  checkpoint: { kind: 'text', value: 'DIR', about: 'folder for checkpoints, to resume after any interruption' },
  'checkpoint-every': { kind: 'count', value: 'STEPS', about: 'steps between checkpoints (default: an epoch)' },
  resume: { kind: 'flag', about: 'go on from the checkpoint, if there is one' },
  qat: {
    kind: 'text',
    value: 'int8|w4a8|w4a4',
    bare: 'int8',
    about: 'train with rounding and write integers: 8 bits each (default), weights of 4, or both of 4',
  },
  'qat-algorithm': {
    kind: 'text',
    value: 'ulq|lsq|lsq+',
    about: 'how ranges of activations are learned (default ulq)',
  },
  'qat-weights': { kind: 'text', value: 'arq|ulq|lsq', about: 'where scales of weights come from (default arq)' },
  'qat-calibration': {
    kind: 'text',
    value: CALIBRATION_METHODS.join('|'),
    about: 'how the ranges are found that training starts from (default mse)',
  },
  'qat-rate': { kind: 'number', value: 'FACTOR', least: 0, about: 'learning rate of ranges over that of weights' },
  config: {
    kind: 'text',
    value: 'FILE',
    about:
      'with --qat: which layers, bits and ranges; AMCT’s configuration of retraining, JSON or .cfg, or what quantize reads',
  },
  workers: { kind: 'count', value: 'N', least: 0, about: 'threads that prepare samples (default 1)' },
} as const

type Options = OptionValues<typeof OPTIONS> & { readonly seed: number | undefined }

/** `whittle finetune`. */
export const command = defineCommand({
  name: 'finetune',
  summary: 'Trains a model further, on labels, on a teacher’s answers, or on both',
  usage: 'MODEL --data DATA -o OUT',
  models: [1, 1],
  options: OPTIONS,
  examples: [
    [
      'whittle finetune small.onnx -o tuned.onnx --data cifar10:./cifar-10-batches-bin --preprocess imagenet --teacher model.onnx --epochs 3',
      'win back what decomposition cost, with the original as teacher',
    ],
    [
      'whittle finetune model.onnx -o int4.onnx --data cifar10:./cifar10 --preprocess imagenet --qat w4a4 --teacher model.onnx',
      'weights and activations of 4 bits, trained to be',
    ],
    [
      'whittle finetune model.onnx -o int8.onnx --data cifar10:./cifar10 --preprocess imagenet --qat --config retrain.cfg',
      'as a configuration of AMCT says',
    ],
    [
      'whittle finetune net.onnx -o out.onnx --data cifar10:./cifar10 --epochs 60 --lr 0.1 --augment crop=4,flip --checkpoint ./run --resume',
      'a long run that goes on where it was interrupted',
    ],
  ],
  async run({ models: [path], options, terminal }) {
    const { output } = options
    const started = performance.now()
    const settings = readSettings(options)
    for (const target of [output, recordPath(output)]) checkWritable(target)
    const model = await loadModel(path!, terminal)
    const teacher = options.teacher === undefined ? undefined : await loadModel(options.teacher, terminal)
    const data = (await openData({ ...options, split: options.split ?? 'train' }, model))!
    const evaluation = await evaluationFor(options)
    if (!evaluation) terminal.note('No samples to evaluate on: the last weights are kept. Give --evaluate DATA.')
    if (!evaluation && options.patience !== undefined)
      fail('INVALID_ARGUMENT', 'Option --patience: needs data to evaluate on, and there are none. Add --evaluate DATA.')
    const runtime = await runtimeFor(options)
    const { model: tuned, record } = await finetune(
      model,
      {
        ...settings,
        qat: settings.qat && (await withQatConfiguration(model, settings.qat, options, runtime, terminal)),
        loss: lossOf(options, data.hasLabels),
        data,
        evaluation,
        teacher,
        preprocess: readPreprocess(options.preprocess, model),
        signal: terminal.signal,
        onProgress: terminal.onProgress,
        onEntry: (entry) => terminal.note(describeEntry(entry)),
      },
      runtime,
    ).catch((error: unknown) => throwInterrupted(error, options.checkpoint))
    await writeResult(output, { model: tuned, record }, terminal.signal)
    const milliseconds = performance.now() - started
    const { plan: _, ...rest } = record
    terminal.print({ output, record: recordPath(output), ...rest, milliseconds }, () =>
      describe(record, output, milliseconds),
    )
    return 0
  },
})

/** Says how an interrupted training goes on. */
function throwInterrupted(error: unknown, checkpoint: string | undefined): never {
  if (!(error instanceof WhittleError && error.code === 'ABORTED' && checkpoint !== undefined)) throw error
  const advice = `Interrupted; the same command with --resume goes on from the checkpoint in '${checkpoint}'.`
  throw new WhittleError('ABORTED', advice, { details: { advice }, cause: error })
}

/** Options that need no file, so that mistakes in them show at once. */
function readSettings(
  options: Options,
): Omit<FinetuneOptions, 'data' | 'qat'> & { readonly qat: QatOptions | undefined } {
  if (options.resume && options.checkpoint === undefined)
    fail('INVALID_ARGUMENT', 'Option --resume: needs the folder of the checkpoints; add --checkpoint DIR.')
  if (options.epochs !== undefined && options.steps !== undefined)
    fail('INVALID_ARGUMENT', 'Options --epochs and --steps: exclude each other. Give one.')
  if (options.teacher === undefined)
    for (const name of ['teacher-weight', 'temperature'] as const)
      if (options[name] !== undefined)
        fail('INVALID_ARGUMENT', `Option --${name}: is about a teacher, and there is none. Add --teacher MODEL.`)
  const weight = options['teacher-weight']
  if (weight !== undefined && weight > 1)
    fail('INVALID_ARGUMENT', `Option --teacher-weight: must be in 0 … 1; got ${weight}.`)
  return {
    epochs: options.epochs,
    steps: options.steps,
    batch: options.batch,
    limit: options.limit,
    accumulate: options.accumulate,
    optimizer: optimizerOf(options),
    lr: options.lr,
    schedule: options.schedule === undefined ? undefined : parseSchedule(options.schedule),
    augmentation: options.augment === undefined ? undefined : parseAugmentation(options.augment),
    freeze: options.freeze,
    decayWeightsOnly: options['decay-weights-only'],
    clip: clipOf(options['clip-norm']),
    ema: options.ema,
    seed: options.seed,
    evaluateEvery: options['evaluate-every'],
    evaluationLimit: options['evaluate-limit'],
    patience: options.patience,
    checkpoint: options.checkpoint,
    checkpointEvery: options['checkpoint-every'],
    resume: options.resume,
    workers: options.workers,
    qat: qatOf(options),
  }
}

/** Quantization-aware training, where it was asked for. */
function qatOf(options: Options): QatOptions | undefined {
  const { qat } = options
  const given = ['qat-algorithm', 'qat-weights', 'qat-calibration', 'qat-rate', 'config'] as const
  const extra = given.find((name) => options[name] !== undefined)
  if (qat === undefined) {
    if (extra !== undefined) fail('INVALID_ARGUMENT', `Option --${extra}: is about training with rounding. Add --qat.`)
    return undefined
  }
  return {
    bits: oneOf('qat', qat, ['int8', 'w4a8', 'w4a4']),
    algorithm: oneOf('qat-algorithm', options['qat-algorithm'], ['ulq', 'lsq', 'lsq+']),
    weights: oneOf('qat-weights', options['qat-weights'], ['arq', 'ulq', 'lsq']),
    calibration: oneOf('qat-calibration', options['qat-calibration'], CALIBRATION_METHODS),
    rangeRate: options['qat-rate'],
    // A configuration file says itself what is written.
    ...(options.config === undefined ? { target: 'node-cpu', own: 'node-cpu' } : { target: 'onnx' }),
  }
}

function clipOf(norm: number | undefined): FinetuneOptions['clip'] {
  if (norm === undefined) return undefined
  return norm === 0 ? {} : { norm }
}

function optimizerOf(options: Options): Optimizer {
  const { optimizer: kind = 'sgd', momentum, nesterov, 'weight-decay': decay } = options
  for (const [name, given, kinds] of [
    ['momentum', momentum !== undefined, ['sgd', 'rmsprop']],
    ['nesterov', nesterov, ['sgd']],
  ] as const)
    if (given && ['adam', 'adamw', 'rmsprop'].includes(kind) && !kinds.some((own) => own === kind))
      fail(
        'INVALID_ARGUMENT',
        `Option --${name}: is about ${kinds.join(' and ')}; the optimizer is ${kind}. Leave it out.`,
      )
  const weightDecay = decay ?? (kind === 'sgd' ? 5e-4 : undefined)
  // The library says what is wrong with a kind that it does not know.
  return {
    kind: kind as 'sgd',
    ...(weightDecay === undefined ? {} : { weightDecay }),
    ...(momentum === undefined ? {} : { momentum }),
    ...(nesterov ? { nesterov } : {}),
  }
}

/** The loss that the options describe; `undefined` for the library's default. */
function lossOf(options: Options, hasLabels: boolean): readonly LossTerm[] | undefined {
  const { teacher, temperature, 'teacher-weight': share, 'label-smoothing': smoothing } = options
  if (temperature === undefined && share === undefined && smoothing === undefined) return undefined
  const taught = teacher === undefined ? 0 : hasLabels ? (share ?? 0.5) : 1
  if (smoothing !== undefined && taught === 1)
    fail(
      'INVALID_ARGUMENT',
      `Option --label-smoothing: is about labels, and the loss uses none${hasLabels ? ' because --teacher-weight is 1' : ': the data have none'}. Leave it out.`,
    )
  const terms: LossTerm[] = []
  if (taught < 1) terms.push({ kind: 'cross-entropy', weight: 1 - taught, labelSmoothing: smoothing ?? 0 })
  if (taught > 0) terms.push({ kind: 'distillation', weight: taught, temperature: temperature ?? 4 })
  return terms
}

/** What accuracy is measured on while training. */
async function evaluationFor({ evaluate, data, split }: Options): Promise<Dataset | undefined> {
  if (evaluate === 'none') return undefined
  if (evaluate !== undefined) return openDataset(evaluate)
  const isApart = hasParts(data) && split !== 'test'
  return isApart ? openDataset(data, { split: 'test' }).catch(() => undefined) : undefined
}

function describeEntry({ step, epoch, loss, accuracy, evaluation }: HistoryEntry): string {
  const measured = evaluation
    ? ` · evaluated: ${formatPercent(evaluation.top1)}, loss ${evaluation.loss.toFixed(4)}`
    : ''
  return `epoch ${epoch.toFixed(2)} · step ${step} · loss ${loss.toFixed(4)} · ${formatPercent(accuracy)}${measured}`
}

function describe(record: FinetuneRecord, output: string, milliseconds: number): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  const shown = (metric: string, value: number | null): string =>
    value === null ? '–' : metric.startsWith('top') ? formatPercent(value) : value.toFixed(4)
  const table = formatTable(
    ['measured', right('before'), right('after'), 'data'],
    record.measured.map(({ metric, before, after, data, samples }) => [
      metric,
      shown(metric, before),
      shown(metric, after),
      `${samples} samples of ${data}`,
    ]),
  )
  const pace =
    `${record.steps} steps (weights of step ${record.bestStep}), ${record.samplesPerSecond.toFixed(0)} samples per second, ` +
    `the engine waited ${formatPercent(record.idleShare)} of the time for samples.`
  return [
    table,
    pace,
    ...record.warnings,
    `Wrote ${output}, ${recordPath(output)} in ${formatMilliseconds(milliseconds)}.`,
  ].join('\n\n')
}
