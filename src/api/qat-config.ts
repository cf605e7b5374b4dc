/** Options of quantization-aware training from other tools' configuration files. */
import type { QuantizationConfigFile } from '../formats/index.ts'
import type { Model } from '../graph/index.ts'
import type { QatOptions } from './qat.ts'
import { configureQuantization } from './quantize-config.ts'
import type { Runtime } from './runtime.ts'

/** A configuration file, and the options of training that do what it says. */
export interface ConfiguredQat {
  readonly qat: QatOptions
  readonly file: QuantizationConfigFile
  /** What could not be taken over as written. */
  readonly warnings: readonly string[]
}

/**
 * Reads a configuration file of another tool for quantization-aware training: AMCT's JSON and `.cfg` of retraining;
 * AMCT's configuration of calibration, its `record.txt` and ONNX Runtime's `TensorQuantOverrides` say what training
 * starts from. Told apart by contents.
 *
 * Layers that the file leaves out stay in float. Values between layers, of which such files say nothing, follow `given`.
 *
 * @param model as it is given to `finetune`.
 * @param given options that the file's are added to; where both speak of the same layer or value, the file decides.
 * @throws WhittleError `INVALID_FILE` with `FILE:LINE:COLUMN` for what is wrong in the file; and as `quantize`.
 */
export async function configureQat(
  model: Model,
  text: string,
  fileName: string,
  given: QatOptions,
  runtime: Pick<Runtime, 'evaluator'>,
  signal?: AbortSignal,
): Promise<ConfiguredQat> {
  const { only, skip, excluded, weightChoices, tensors, calibrations, ranges } = given
  const found = await configureQuantization(
    model,
    text,
    fileName,
    { only, skip, excluded, layers: weightChoices, tensors, calibrations, ranges, rounding: 'nearest', signal },
    runtime,
  )
  const { options, file, qat } = found
  return {
    file,
    warnings: [...found.warnings, ...untrained(file)],
    qat: {
      ...given,
      excluded: options.excluded,
      weightChoices: options.layers,
      tensors: options.tensors,
      calibrations: options.calibrations,
      ranges: options.ranges,
      layers: { ...given.layers, ...qat },
    },
  }
}

/** What a file says about quantization without training. */
function untrained({ choices: { adaRound, balance } }: QuantizationConfigFile): string[] {
  const warnings: string[] = []
  if (adaRound.size > 0)
    warnings.push(`The configuration asks for AdaRound in ${adaRound.size} layers; their weights are trained instead.`)
  if (balance.size > 0)
    warnings.push(`The configuration asks for balancing before ${balance.size} layers; training does without.`)
  return warnings
}
