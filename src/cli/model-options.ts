/** Options that several commands share, and what they are turned into. */
import { readFileSync } from 'node:fs'
import type { Runtime } from '../api/index.ts'
import { fail, messageOf } from '../core/index.ts'
import {
  type Dataset,
  modelInputs,
  PRESETS,
  type Preprocess,
  type PresetName,
  parsePreprocess,
  pictureExtentOf,
} from '../data/index.ts'
import { requiredInputs } from '../engine/index.ts'
import type { Model } from '../graph/index.ts'
import { createNodeRuntime, DATA_FORMS, openDataset, withFileErrors } from '../node/index.ts'
import { nearest } from './nearest.ts'
import type { OptionSpecs, OptionValues } from './options.ts'

/** `--input-shape`. */
export const INPUT_SHAPE_OPTION = {
  'input-shape': {
    kind: 'repeat',
    value: 'NAME:1x3x224x224',
    about: 'shape of an input that the model leaves open, batch first; NAME: may be left out when there is one input',
  },
} as const satisfies OptionSpecs

/** `--data` and what goes with it. */
export const DATA_OPTIONS = {
  data: { kind: 'text', value: 'DATA', about: `one of ${DATA_FORMS.join(', ')}` },
  split: {
    kind: 'text',
    value: 'train|test',
    about: 'part of the data, where it has parts (default: train to fit to, if it is there; test to measure on)',
  },
  limit: { kind: 'count', value: 'N', about: 'at most this many samples' },
  batch: { kind: 'count', value: 'N', about: 'samples per run, where the model leaves it open (default 64)' },
  preprocess: {
    kind: 'text',
    value: 'NAME|FILE',
    about: `${PRESETS.join(', ')}, or a preprocessor_config.json (default: what the model says, else none)`,
  },
  'data-type': { kind: 'text', value: 'TYPE', about: 'element type of bin: data (default float32)' },
} as const satisfies OptionSpecs

/** An input's shape as given on the command line. */
interface GivenShape {
  readonly name: string | undefined
  readonly shape: readonly number[]
}

/** Reads `NAME:1x3x224x224`, AMCT's `NAME:1,3,224,224`, and several of them between semicolons. */
function parseShapes(texts: readonly string[]): GivenShape[] {
  const parts = texts.flatMap((text) => text.split(';')).filter((text) => text !== '')
  return parts.map((text) => {
    // Names may hold colons themselves (`input:0`), so the last part that is all numbers is the shape.
    const match = /^(?:(.+):)?(\d+(?:[x,]\d+)*)$/.exec(text.trim())
    if (!match) fail('INVALID_ARGUMENT', `Option --input-shape: '${text}' is not understood; write NAME:1x3x224x224.`)
    return { name: match[1], shape: match[2]!.split(/[x,]/).map(Number) }
  })
}

/**
 * The shapes given for a model's inputs.
 *
 * @throws WhittleError `INVALID_ARGUMENT` when one is not understood, without name, or given twice.
 */
export function readInputShapes(texts: readonly string[], model: Model): Record<string, readonly number[]> {
  const inputs = requiredInputs(model).map((input) => input.name)
  const shapes: Record<string, readonly number[]> = {}
  for (const { name: given, shape } of parseShapes(texts)) {
    const name = given ?? (inputs.length === 1 ? inputs[0] : undefined)
    if (name === undefined)
      fail(
        'INVALID_ARGUMENT',
        `Option --input-shape: [${shape.join(', ')}] needs the name of its input, one of ${inputs.map((input) => `'${input}'`).join(', ')}.`,
      )
    if (Object.hasOwn(shapes, name)) fail('INVALID_ARGUMENT', `Option --input-shape: input '${name}' is given twice.`)
    shapes[name] = shape
  }
  return shapes
}

/** Opens the dataset that the options name, if they name one. */
export async function openData(
  options: OptionValues<typeof DATA_OPTIONS> & { readonly 'input-shape'?: readonly string[] },
  model: Model,
): Promise<Dataset | undefined> {
  if (options.data === undefined) {
    for (const name of ['split', 'limit', 'preprocess', 'data-type'] as const)
      if (options[name] !== undefined)
        fail('INVALID_ARGUMENT', `Option --${name}: describes data, and there are none. Add --data ${DATA_FORMS[0]}.`)
    return undefined
  }
  const inputShape = Object.entries(readInputShapes(options['input-shape'] ?? [], model))
    .map(([name, shape]) => `${name}:${shape.join(',')}`)
    .join(';')
  return openDataset(options.data, {
    // openDataset itself says what is wrong with another word.
    split: options.split as 'train' | 'test' | undefined,
    inputShape: inputShape === '' ? undefined : inputShape,
    dataType: options['data-type'],
  })
}

/** Whether a dataset has a part to learn from and one to measure on. */
export function hasParts(data: string | undefined): boolean {
  return data !== undefined && /^(cifar10|mnist):/.test(data)
}

/** {@link openData} for samples that something is fitted to: of data with parts the training part, where it is there. */
export async function openCalibrationData(
  options: Parameters<typeof openData>[0],
  model: Model,
): Promise<Dataset | undefined> {
  if (options.split !== undefined || !hasParts(options.data)) return openData(options, model)
  return openData({ ...options, split: 'train' }, model).catch(() => openData(options, model))
}

/** Reads `--preprocess`: a preset, or a file. */
export function readPreprocess(choice: string | undefined, model: Model): PresetName | Preprocess | undefined {
  if (choice === undefined) return undefined
  if ((PRESETS as readonly string[]).includes(choice)) return choice as PresetName
  const near = nearest(choice, PRESETS)
  if (!/[./\\]/.test(choice))
    fail(
      'INVALID_ARGUMENT',
      `Preprocessing '${choice}' is none of ${PRESETS.join(', ')}, nor a file. ${near ? `Did you mean '${near}'?` : 'Give one of these, or the path of a preprocessor_config.json.'}`,
    )
  const text = withFileErrors('read', choice, () => readFileSync(choice, 'utf8'))
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    return fail('INVALID_FILE', `File '${choice}' is not valid JSON: ${messageOf(error)}.`)
  }
  return parsePreprocess(json, pictureExtentOf(modelInputs(model)))
}

/**
 * The choice that an option's text names.
 *
 * @throws WhittleError `INVALID_ARGUMENT` naming the nearest choice.
 */
export function oneOf<T extends string>(name: string, value: string | undefined, choices: readonly T[]): T | undefined {
  if (value === undefined) return undefined
  const found = choices.find((choice) => choice === value)
  if (found !== undefined) return found
  const near = nearest(value, choices)
  return fail(
    'INVALID_ARGUMENT',
    `Option --${name}: must be one of ${choices.join(', ')}; got '${value}'.${near ? ` Did you mean '${near}'?` : ''}`,
  )
}

/** The runtime of one command. */
export function runtimeFor(options: { readonly threads: number | undefined }): Promise<Runtime> {
  return createNodeRuntime({ threads: options.threads })
}
