/** Files of other tools around `whittle quantize`: configurations that it reads, records that it writes. */
import { readFileSync } from 'node:fs'
import {
  configureQat,
  configureQuantization,
  type QatOptions,
  type Quantized,
  type QuantizeOptions,
  type Runtime,
} from '../api/index.ts'
import type { QuantizePlan } from '../compress/index.ts'
import { fail } from '../core/index.ts'
import { overridesFromPlan, recordFromPlan, writeAmctRecord, writeTensorQuantOverrides } from '../formats/index.ts'
import type { Model } from '../graph/index.ts'
import { checkWritable, StagedFiles, withFileErrors } from '../node/index.ts'
import type { OptionSpecs, OptionValues } from './options.ts'
import type { Terminal } from './terminal.ts'

/** Options on other tools' files. */
export const QUANTIZE_FILE_OPTIONS = {
  config: {
    kind: 'text',
    value: 'FILE',
    about: 'what is quantized how: AMCT’s JSON, .cfg or record.txt, or ONNX Runtime’s TensorQuantOverrides',
  },
  record: { kind: 'text', value: 'FILE', about: 'also writes scales and offsets as AMCT’s record.txt' },
  overrides: { kind: 'text', value: 'FILE', about: 'also writes them as ONNX Runtime’s TensorQuantOverrides' },
} as const satisfies OptionSpecs

type Options = OptionValues<typeof QUANTIZE_FILE_OPTIONS> & { readonly activations?: string | undefined }

/** Refuses options that need no model to be found wrong. */
export function checkQuantizeFiles(options: Options): void {
  for (const name of ['config', 'record', 'overrides'] as const)
    if (options[name] !== undefined && options.activations === 'none')
      fail('INVALID_ARGUMENT', `Option --${name}: is for activations; with --activations none there are none.`)
  for (const name of ['record', 'overrides'] as const) if (options[name] !== undefined) checkWritable(options[name])
}

/** The settings with those of the file of `--config` added. */
export async function withConfiguration<S extends QuantizeOptions>(
  model: Model,
  settings: S,
  options: Options,
  runtime: Runtime,
  terminal: Pick<Terminal, 'note'>,
): Promise<S> {
  const path = options.config
  if (path === undefined) return settings
  const text = withFileErrors('read', path, () => readFileSync(path, 'utf8'))
  const { options: configured, qat, warnings } = await configureQuantization(model, text, path, settings, runtime)
  for (const warning of warnings) terminal.note(warning)
  if (Object.keys(qat).length > 0)
    terminal.note(
      `${path} is a configuration of retraining; here its layers and bits count. Train with: whittle finetune --qat --config ${path}.`,
    )
  return { ...settings, ...configured }
}

/**
 * Options of quantization-aware training with those of the file of `--config` added.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for options that the file decides about.
 */
export async function withQatConfiguration(
  model: Model,
  qat: QatOptions,
  { config: path }: { readonly config?: string | undefined },
  runtime: Runtime,
  terminal: Pick<Terminal, 'note' | 'signal'>,
): Promise<QatOptions> {
  if (path === undefined) return qat
  const text = withFileErrors('read', path, () => readFileSync(path, 'utf8'))
  const { qat: configured, warnings } = await configureQat(model, text, path, qat, runtime, terminal.signal)
  for (const warning of warnings) terminal.note(warning)
  const decided = Object.values(configured.layers ?? {})
  for (const [name, own] of [
    ['algorithm', qat.algorithm],
    ['weights', qat.weights],
  ] as const)
    if (own !== undefined && decided.some((layer) => layer[name] !== undefined && layer[name] !== own))
      fail(
        'INVALID_ARGUMENT',
        `Option --qat-${name}: ${path} says it for each layer, and something else. Leave the option out, or the file.`,
      )
  return configured
}

/** Writes the files of `--record` and `--overrides`. */
export async function writeQuantizeFiles(
  { plan, float, record: written }: Quantized,
  options: Options,
  terminal: Pick<Terminal, 'note'>,
): Promise<void> {
  if (!float || !('activations' in plan)) return
  const quantized: QuantizePlan = plan
  const files = new StagedFiles()
  try {
    if (options.record !== undefined) {
      const { record, skips } = recordFromPlan(quantized, float, { balanced: written.improvements?.balanced })
      await files.writeText(options.record, writeAmctRecord(record))
      for (const { name, reason } of skips) terminal.note(`${options.record} leaves out '${name}': ${reason}`)
    }
    if (options.overrides !== undefined)
      await files.writeText(options.overrides, writeTensorQuantOverrides(overridesFromPlan(quantized)))
    files.commit()
  } finally {
    files.discard()
  }
}
