/** `--target` and the guard on speed of `whittle quantize`. */
import {
  optionsForTarget,
  type Quantized,
  type QuantizeOptions,
  quantize,
  quantizeGuarded,
  type Runtime,
  type SpeedGuardRecord,
} from '../api/index.ts'
import { TARGET_NAMES } from '../compress/index.ts'
import type { Model } from '../graph/index.ts'
import { oneOf } from './model-options.ts'
import type { OptionSpecs, OptionValues } from './options.ts'

/** The target that `onnxruntime-node` is. */
const OWN = 'node-cpu'

/** Options about where the model will run. */
export const TARGET_OPTIONS = {
  target: {
    kind: 'text',
    value: TARGET_NAMES.join('|'),
    about: 'where the model will run (default node-cpu, which is measured; onnx: nowhere in particular)',
  },
  'no-guard': {
    kind: 'flag',
    about: 'does not measure the result beside the original, and takes nothing back that is slower',
  },
} as const satisfies OptionSpecs

type Options = OptionValues<typeof TARGET_OPTIONS> & { readonly config?: string | undefined }

/** Whether the result is measured beside the original. */
export function isGuarded({ target, activations }: QuantizeOptions, options: Options): boolean {
  return target === OWN && activations !== 'none' && !options['no-guard']
}

/**
 * Options of quantization for the target that was asked for.
 *
 * @throws WhittleError `INVALID_ARGUMENT` for unknown targets and flavours that are slow there.
 */
export async function readTarget(
  options: Options,
  settings: QuantizeOptions,
  runtime: Runtime,
): Promise<{ readonly settings: QuantizeOptions; readonly warnings: readonly string[] }> {
  // A configuration file says itself what is written.
  const target = oneOf('target', options.target, TARGET_NAMES) ?? (options.config === undefined ? OWN : 'onnx')
  if (settings.activations === 'none') return { settings: { ...settings, target }, warnings: [] }
  const { signal } = settings
  const found = await optionsForTarget({ ...settings, target }, runtime, { own: OWN, signal })
  return { settings: found.options, warnings: found.warnings }
}

/** Quantizes, with the guard on speed where the target is the machine's own. */
export async function quantizeForTarget(
  model: Model,
  settings: QuantizeOptions,
  options: Options,
  runtime: Runtime,
): Promise<Quantized & { readonly speed?: SpeedGuardRecord }> {
  return isGuarded(settings, options) ? quantizeGuarded(model, settings, runtime) : quantize(model, settings, runtime)
}
