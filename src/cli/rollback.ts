/** `--max-drop` of `whittle quantize`: its options, what they are turned into, and AMCT's files of a roll-back. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type RollbackOptions, type Runtime, top1Evaluation } from '../api/index.ts'
import { AMCT_ROLLBACK_FILES, amctRollbackFiles, type RollbackRecord } from '../compress/index.ts'
import { fail, WhittleError } from '../core/index.ts'
import { resolvePreprocess } from '../data/index.ts'
import type { Model } from '../graph/index.ts'
import { checkWritable, StagedFiles, withFileErrors } from '../node/index.ts'
import { type DATA_OPTIONS, hasParts, oneOf, openData, readPreprocess } from './model-options.ts'
import type { OptionSpecs, OptionValues } from './options.ts'
import type { Terminal } from './terminal.ts'

const STRATEGIES = ['greedy', 'binary-search'] as const

/** Options of a roll-back. */
export const ROLLBACK_OPTIONS = {
  'max-drop': {
    kind: 'number',
    value: 'POINTS',
    least: 0,
    about:
      'rolls layers back until top-1 is at most this many percentage points below the original’s; else exit with 2',
  },
  evaluate: {
    kind: 'text',
    value: 'DATA',
    about: 'with --max-drop: labelled data that top-1 is measured on (default: the test part of --data, or all of it)',
  },
  'evaluate-limit': { kind: 'count', value: 'N', about: 'with --max-drop: at most this many samples of them' },
  strategy: {
    kind: 'text',
    value: STRATEGIES.join('|'),
    about:
      'with --max-drop: which layers are tried; by measured gain per bit operation (default), or AMCT’s binary search over the least similar ones',
  },
  'amct-output': { kind: 'text', value: 'DIR', about: 'with --max-drop: writes AMCT’s three JSON files of the search' },
} as const satisfies OptionSpecs

type Options = OptionValues<typeof ROLLBACK_OPTIONS> &
  OptionValues<typeof DATA_OPTIONS> & {
    readonly 'input-shape'?: readonly string[]
    readonly activations?: string | undefined
  }

/** Refuses options that need no file to be found wrong. */
export function checkRollback(options: Options): void {
  oneOf('strategy', options.strategy, STRATEGIES)
  if (options['max-drop'] !== undefined) {
    if (options.activations === 'none')
      fail('INVALID_ARGUMENT', 'Option --max-drop: rolls back layers with quantized activations; there are none.')
    if (options['amct-output'] !== undefined)
      for (const name of Object.values(AMCT_ROLLBACK_FILES)) {
        const folder = options['amct-output']
        withFileErrors('write', folder, () => mkdirSync(folder, { recursive: true }))
        checkWritable(join(folder, name))
      }
    return
  }
  for (const name of ['evaluate', 'evaluate-limit', 'strategy', 'amct-output'] as const)
    if (options[name] !== undefined)
      fail('INVALID_ARGUMENT', `Option --${name}: belongs to a roll-back. Add --max-drop 0.5.`)
}

/**
 * What the options ask for; `undefined` when it is no roll-back.
 *
 * @throws WhittleError `INVALID_DATA` when the data have no labels.
 */
export async function readRollback(
  options: Options,
  model: Model,
  { evaluator }: Pick<Runtime, 'evaluator'>,
  terminal: Terminal,
): Promise<RollbackOptions | undefined> {
  const maxDrop = options['max-drop']
  if (maxDrop === undefined) return undefined
  const own = options.evaluate
  // Another dataset has its own split and is of a known kind; `--split` says which samples calibrate.
  const chosen = own === undefined ? options : { ...options, data: own, split: undefined }
  // Without a split, data with parts calibrate with one and measure with the other.
  const dataset = (await openData(chosen, model))!
  if (!dataset.hasLabels)
    fail(
      'INVALID_DATA',
      `Dataset '${dataset.name}' has no labels; --max-drop measures top-1. Give labelled data with --evaluate.`,
    )
  if (own === undefined && (options.split !== undefined || !hasParts(options.data)))
    terminal.note(`Top-1 is measured on ${dataset.name}, calibration samples among them; --evaluate names other data.`)
  const { preprocess } = resolvePreprocess(model, readPreprocess(options.preprocess, model))
  const evaluation = top1Evaluation(evaluator, dataset, {
    preprocess,
    batch: options.batch,
    limit: options['evaluate-limit'],
  })
  return { maxDrop, evaluation, strategy: oneOf('strategy', options.strategy, STRATEGIES) }
}

/** Writes AMCT's files into the folder that was asked for. */
export async function writeAmctFiles(folder: string, record: RollbackRecord): Promise<string[]> {
  const contents = amctRollbackFiles(record, record.layers)
  const files = new StagedFiles()
  const paths: string[] = []
  try {
    for (const kind of ['ranking', 'config', 'record'] as const) {
      const path = join(folder, AMCT_ROLLBACK_FILES[kind])
      await files.writeText(path, `${JSON.stringify(contents[kind], null, 2)}\n`)
      paths.push(path)
    }
    files.commit()
  } finally {
    files.discard()
  }
  return paths
}

/** The record of a roll-back that came to nothing, from what was thrown. */
export function failedRollback(error: unknown): RollbackRecord | undefined {
  const details = error instanceof WhittleError && error.code === 'CHECK_FAILED' ? error.details : null
  const isRecord = typeof details === 'object' && details !== null && 'trials' in details && 'strategy' in details
  return isRecord ? (details as RollbackRecord) : undefined
}
