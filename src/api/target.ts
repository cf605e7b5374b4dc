/** Options of quantization for a place where the network is to run. */
import {
  chooseForTarget,
  type MeasuredIntegers,
  TARGETS,
  type TargetChoice,
  type TargetName,
  targetOf,
} from '../compress/index.ts'
import { type IntegerSupportOptions, integerSupport } from '../engine/index.ts'
import type { QuantizeOptions } from './quantize.ts'
import type { Runtime } from './runtime.ts'

/** Options of {@link optionsForTarget}. */
export interface TargetOptions extends IntegerSupportOptions {
  /** Whether flavours that are slower than float on the target are written all the same; default false. */
  readonly allowSlow?: boolean | undefined
  /**
   * The target that the runtime at hand is; only then its integers are measured. Default: none, so that nothing is
   * measured and profiles alone count.
   */
  readonly own?: TargetName | undefined
}

/** Options of `quantize` with what a target decides filled in. */
export interface TargetedOptions {
  /** What was asked for, completed. */
  readonly options: QuantizeOptions
  /** What the target's profile decided. */
  readonly choice: TargetChoice
  /** What was measured of the runtime at hand, if it was. */
  readonly measured: MeasuredIntegers | undefined
  /** What was changed or is not known to be fast, as sentences. */
  readonly warnings: readonly string[]
}

/**
 * Fills in what a target decides: types, symmetry, bits of weights, operators, float biases.
 *
 * @param options what was chosen; `target` default `'node-cpu'`.
 * @throws WhittleError `INVALID_ARGUMENT` for a flavour that is slow on the target, with the measured ratio and what to
 *   write instead; `ENGINE`; `ABORTED`.
 */
export async function optionsForTarget(
  options: QuantizeOptions,
  runtime: Pick<Runtime, 'evaluator'>,
  settings: TargetOptions = {},
): Promise<TargetedOptions> {
  const target = targetOf(options.target ?? 'node-cpu')
  const { activations, weights } = options
  const isMeasured = TARGETS[target].measurable && settings.own === target
  const measured = isMeasured ? await integerSupport(runtime.evaluator, settings) : undefined
  const { activationsSymmetric, weightBits, reduceRange, operators } = options
  const request = { activationsSymmetric, weightBits, reduceRange, operators, weights, target }
  const choice = chooseForTarget(
    { ...request, allowSlow: settings.allowSlow, activations: activations === 'none' ? undefined : activations },
    measured,
  )
  return {
    options: {
      ...options,
      target,
      activations: choice.activations,
      weights: choice.weights,
      activationsSymmetric: choice.activationsSymmetric,
      reduceRange: choice.reduceRange,
      operators: choice.operators,
      floatBiases: choice.floatBiases,
      perChannel: options.perChannel ?? choice.perChannel,
      perTensorOperators: choice.perTensorOperators,
    },
    choice,
    measured,
    warnings: choice.warnings,
  }
}
