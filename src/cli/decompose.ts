import { calibrationFeeds, type Decomposed, type DecomposeOptions, decompose } from '../api/index.ts'
import { FORM_NAMES, formatDecomposeInfo, parseBudget, parseRankPolicy } from '../compress/index.ts'
import { fail } from '../core/index.ts'
import type { Model } from '../graph/index.ts'
import { checkWritable, loadModel, recordPath } from '../node/index.ts'
import { formatMilliseconds, formatRecord } from '../report/index.ts'
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
import { writeResult } from './write-result.ts'

const METHODS = ['auto', ...FORM_NAMES] as const
const CP_STAGES = [3, 4, 5] as const
const MODES = ['FCFK', 'FCSK', 'SCFK', 'SCSK'] as const

const OPTIONS = {
  output: { kind: 'text', short: 'o', value: 'OUT', about: 'the decomposed model', required: true },
  method: {
    kind: 'text',
    value: METHODS.join('|'),
    about: 'kind of decomposition (default auto: the best of tucker, spatial, channel and svd for each layer)',
  },
  rank: {
    kind: 'text',
    value: 'POLICY',
    about: 'evbmf, amct, energy=0.9, error=0.1, ratio=0.25 or a number (default energy=0.9)',
  },
  budget: {
    kind: 'text',
    value: 'macs=0.5',
    about: 'share of MACs (macs=) or parameters (params=) to keep, over all layers',
  },
  align: { kind: 'count', value: 'N', about: 'ranks are multiples of this (default 16; 1 for none)' },
  mode: { kind: 'text', value: MODES.join('|'), about: 'orientation of spatial SVD, by AMCT’s names' },
  'cp-stages': {
    kind: 'count',
    value: 'N',
    about: 'of cp: 3 keeps the kernel whole, 4 (5 in 3-D) splits its axes (default: whichever is better)',
  },
  'cp-plain': { kind: 'flag', about: 'cp by alternating least squares alone, without the guard against degeneracy' },
  only: { kind: 'list', value: 'GLOB', about: 'only layers whose names match (* and ?)' },
  skip: { kind: 'list', value: 'GLOB', about: 'not the layers whose names match' },
  info: { kind: 'text', value: 'FILE', about: 'writes decompose_info.json, for replay' },
  sequential: {
    kind: 'flag',
    about: 'with --data: fits each layer to what the compressed ones before it deliver; slower, more accurate',
  },
  ...DATA_OPTIONS,
  ...INPUT_SHAPE_OPTION,
} as const

type Options = OptionValues<typeof OPTIONS> & {
  readonly seed: number | undefined
  readonly threads: number | undefined
}

/** `whittle decompose`. */
export const command = defineCommand({
  name: 'decompose',
  summary: 'Replaces convolutions and linear layers by chains of smaller ones',
  usage: 'MODEL -o OUT',
  models: [1, 1],
  options: OPTIONS,
  examples: [
    ['whittle decompose model.onnx -o small.onnx --budget macs=0.5', 'half the MACs with the least error'],
    [
      'whittle decompose model.onnx -o small.onnx --budget macs=0.5 --data images:./samples --preprocess imagenet',
      'the same, fitted to what the layers compute on data',
    ],
    [
      'whittle decompose model.onnx -o small.onnx --method cp --budget macs=0.5 --align 4',
      'chains of pointwise and depthwise convolutions: takes longer, loses least',
    ],
    [
      'whittle decompose model.onnx -o small.onnx --method spatial --rank amct --info decompose_info.json',
      'as AMCT does',
    ],
  ],
  async run({ models: [path], options, terminal }) {
    const { output, info } = options
    const started = performance.now()
    const choices = readChoices(options)
    for (const target of [output, recordPath(output), ...(info === undefined ? [] : [info])]) checkWritable(target)
    const model = await loadModel(path!, terminal)
    const runtime = await runtimeFor(options)
    const result = await decompose(
      model,
      {
        ...choices,
        inputShapes: readInputShapes(options['input-shape'], model),
        data: await dataFor(options, model, terminal.signal),
        signal: terminal.signal,
        onProgress: terminal.onProgress,
      },
      runtime,
    )
    await writeResult(
      output,
      result,
      terminal.signal,
      info === undefined ? {} : { [info]: formatDecomposeInfo(result.info) },
    )
    const milliseconds = performance.now() - started
    terminal.print({ output, record: recordPath(output), info: info ?? null, milliseconds, ...summary(result) }, () =>
      [
        formatRecord(result.record),
        `Wrote ${[output, recordPath(output), ...(info === undefined ? [] : [info])].join(', ')} in ${formatMilliseconds(milliseconds)}.`,
      ].join('\n\n'),
    )
    return 0
  },
})

/** Options that need no file, so that mistakes in them show at once. */
function readChoices(options: Options): DecomposeOptions {
  if (options.rank !== undefined && options.budget !== undefined)
    fail('INVALID_ARGUMENT', 'Options --rank and --budget: exclude each other; a budget chooses the ranks. Give one.')
  if (options.sequential && options.data === undefined)
    fail('INVALID_ARGUMENT', 'Option --sequential: fits layers to data and needs --data. Give some, or leave it out.')
  const method = oneOf('method', options.method, METHODS)
  const forCp = options['cp-stages'] !== undefined ? 'cp-stages' : options['cp-plain'] ? 'cp-plain' : undefined
  if (forCp !== undefined && method !== 'cp')
    fail('INVALID_ARGUMENT', `Option --${forCp}: belongs to method cp; got ${method ?? 'auto'}. Add --method cp.`)
  return {
    method,
    rank: options.rank === undefined ? undefined : parseRankPolicy(options.rank),
    budget: options.budget === undefined ? undefined : parseBudget(options.budget),
    mode: oneOf('mode', options.mode, MODES),
    cpStages: readCpStages(options['cp-stages']),
    cpGuard: !options['cp-plain'],
    align: options.align,
    only: options.only,
    skip: options.skip,
    seed: options.seed,
    sequential: options.sequential,
  }
}

function readCpStages(value: number | undefined): DecomposeOptions['cpStages'] {
  if (value === undefined) return undefined
  const found = CP_STAGES.find((stages) => stages === value)
  return found ?? fail('INVALID_ARGUMENT', `Option --cp-stages: must be one of ${CP_STAGES.join(', ')}; got ${value}.`)
}

async function dataFor(options: Options, model: Model, signal: AbortSignal): Promise<DecomposeOptions['data']> {
  const dataset = await openCalibrationData(options, model)
  if (!dataset) return undefined
  if (dataset.size === 0) fail('INVALID_DATA', `Dataset '${dataset.name}' is empty.`)
  return calibrationFeeds(model, dataset, {
    preprocess: readPreprocess(options.preprocess, model),
    batch: options.batch,
    limit: options.limit,
    seed: options.seed,
    signal,
  })
}

function summary({ record }: Decomposed) {
  const { before, after, layers, skips, warnings } = record
  return { before, after, layers, skips, warnings }
}
