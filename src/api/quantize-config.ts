/** Options of quantization from other tools' configuration files. */
import { findQuantizable } from '../compress/index.ts'
import { observeShapes } from '../engine/index.ts'
import { type QuantizationChoices, type QuantizationConfigFile, readQuantizationConfig } from '../formats/index.ts'
import type { Model } from '../graph/index.ts'
import type { LayerQatOptions, RoundingOptions } from '../retrain/index.ts'
import type { QuantizeOptions } from './quantize.ts'
import { prepareForQuantization } from './quantize-prepare.ts'
import type { Runtime } from './runtime.ts'

/** A configuration file, and the options that do what it says. */
export interface ConfiguredQuantization {
  readonly options: QuantizeOptions
  readonly file: QuantizationConfigFile
  /** Settings of layers for quantization-aware training; empty for other files. */
  readonly qat: Readonly<Record<string, LayerQatOptions>>
  /** What could not be taken over as written. */
  readonly warnings: readonly string[]
}

/** Keys of values that share a scale are those of the value they share it with; the first of several settings stays. */
function byRoot<T>(settings: ReadonlyMap<string, T>, roots: ReadonlyMap<string, string>, warnings: string[]) {
  const found = new Map<string, T>()
  for (const [name, setting] of settings) {
    const root = roots.get(name) ?? name
    const first = found.get(root)
    if (first === undefined) found.set(root, setting)
    else if (JSON.stringify(first) !== JSON.stringify(setting))
      warnings.push(
        `Value '${name}' shares its scale with '${root}', for which the file says something else; the first setting decides.`,
      )
  }
  return found
}

const merged = <T>(given: ReadonlyMap<string, T> | undefined, found: ReadonlyMap<string, T>): ReadonlyMap<string, T> =>
  new Map([...(given ?? []), ...found])

/** Learned rounding, which is for the whole network here. */
function roundingOf({ adaRound, layers }: QuantizationChoices, warnings: string[]): RoundingOptions | undefined {
  const [first, ...others] = [...adaRound.values()]
  if (!first) return undefined
  if (others.some((other) => JSON.stringify(other) !== JSON.stringify(first)))
    warnings.push('Layers ask for AdaRound with different parameters; those of the first hold for all.')
  if (adaRound.size < layers.size)
    warnings.push(
      `AdaRound is asked for in ${adaRound.size} of ${layers.size} layers; roundings are learned in all of them.`,
    )
  const { iterations, regularization, beta, warmStart } = first
  return { method: 'adaround', iterations, regularization, betas: beta, warmUp: warmStart }
}

/** What options cannot say. */
function untold({ levels, unfolded }: QuantizationChoices): string[] {
  const warnings: string[] = []
  if (levels.size > 0)
    warnings.push(`The configuration asks for non-uniform weights in ${levels.size} layers; they get uniform ones.`)
  if (unfolded === 'all' || unfolded.length > 0)
    warnings.push(
      'Batch normalisations are folded into the layers before them, also where the configuration asks for none of it.',
    )
  return warnings
}

/**
 * Reads a configuration file of another tool for a model: AMCT's JSON, `.cfg` and `record.txt`, ONNX Runtime's
 * `TensorQuantOverrides`; told apart by contents.
 *
 * @param model as it is given to {@link quantize}.
 * @param given options that the file's are added to; where both speak of the same layer or value, the file decides.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN` for what is wrong in the file; and as {@link quantize}.
 */
export async function configureQuantization(
  model: Model,
  text: string,
  fileName: string,
  given: QuantizeOptions,
  runtime: Pick<Runtime, 'evaluator'>,
): Promise<ConfiguredQuantization> {
  const { inputShapes, signal } = given
  const prepared = await prepareForQuantization(model, { inputShapes, signal }, runtime)
  const file = readQuantizationConfig(text, fileName, prepared.model)
  const { choices } = file
  const warnings = [...choices.warnings, ...untold(choices)]
  const shapes = await observeShapes(runtime.evaluator, prepared.model, { inputShapes, signal })
  const { only, skip, keepRemovableActivations } = given
  const excluded = merged(given.excluded, choices.excluded)
  const { tensors } = findQuantizable(prepared.model, shapes, { only, skip, keepRemovableActivations, excluded })
  const roots = new Map(tensors.map(({ name, sharedWith }) => [name, sharedWith ?? name]))
  // What made the file rounds to nearest unless it says AdaRound.
  const rounding = given.rounding ?? roundingOf(choices, warnings) ?? 'nearest'
  const qat: Record<string, LayerQatOptions> = {}
  for (const [name, { clip, fixedMin, weights }] of choices.retrain)
    qat[name] = { algorithm: 'ulq', weights, clip, fixedMin }
  return {
    file,
    qat,
    warnings,
    options: {
      ...given,
      rounding,
      excluded,
      layers: merged(given.layers, choices.layers),
      tensors: merged(given.tensors, byRoot(choices.tensors, roots, warnings)),
      calibrations: merged(given.calibrations, byRoot(choices.calibration, roots, warnings)),
      ranges: merged(given.ranges, byRoot(choices.ranges, roots, [])),
      ...(choices.balance.size > 0 ? { balanceLayers: merged(given.balanceLayers, choices.balance) } : {}),
    },
  }
}
