/** Options of learned rounding. */

import type { ObservedShapes, Quantization } from '../../compress/index.ts'
import { fail, type TaskOptions } from '../../core/index.ts'
import type { MatrixEngine } from '../../decompose/index.ts'
import type { Evaluator, TensorMap } from '../../graph/index.ts'
import type { ObserveTypes } from '../../train/index.ts'

/**
 * How integers are chosen. `gptq`: layer by layer, for the least squared error of the layer's output on the data: one
 * weight after the other, those left make up for its error, then single steps up and down until none helps. `adaround`:
 * layer by layer by gradients, with the activation function in the loss. `block`: all layers of a residual block
 * together by gradients, starting from `gptq`.
 */
export type RoundingMethod = 'gptq' | 'adaround' | 'block'

/** Options of {@link learnRounding}. */
export interface RoundingOptions {
  /** How roundings are chosen. */
  readonly method: RoundingMethod
  /** Steps of Adam per layer or block; default 2,000 for `adaround`, 500 for `block`. AMCT's `num_iteration`. */
  readonly iterations?: number | undefined
  /** Adam's rate; default 0.01 for `adaround`, 0.02 for `block`. */
  readonly learningRate?: number | undefined
  /** Weight of the term that drives roundings to 0 or 1; default 0.01 for `adaround`, 0.001 for `block`. AMCT's `reg_param`. */
  readonly regularization?: number | undefined
  /** Its exponent at the start and in the end; default [20, 2]. AMCT's `beta_range`. */
  readonly betas?: readonly [start: number, end: number] | undefined
  /** Share of the steps before it counts; default 0.2. AMCT's `warm_start`. */
  readonly warmUp?: number | undefined
  /**
   * Whose values layers read while their integers are chosen: those of the quantized layers before them (default), whose
   * errors they then make up for, or the original's, so that integers do not depend on what else is quantized. Not for
   * the layers of a `block`.
   */
  readonly inputs?: 'quantized' | 'original' | undefined
  /** Of `block`: share of activations whose rounding is left out at random while learning (QDrop); default 0, there 0.5. */
  readonly drop?: number | undefined
  /** Rows of each layer's input that are looked at; default 16,384, and at least eight for each of a row's elements. */
  readonly rows?: number | undefined
  /** Bytes of activations kept between layers, for each of the two networks; default 512 MiB. */
  readonly keepBytes?: number | undefined
  /** Default 0. */
  readonly seed?: number | undefined
}

/** Options with defaults filled in. */
export interface ResolvedRounding {
  readonly method: RoundingMethod
  readonly iterations: number
  readonly learningRate: number
  readonly regularization: number
  readonly betas: readonly [start: number, end: number]
  readonly warmUp: number
  readonly inputs: 'quantized' | 'original'
  readonly drop: number
  readonly rows: number
  readonly keepBytes: number
  readonly seed: number
}

/** A layer whose weight is to be rounded. */
export interface RoundingLayer {
  /** Name of the node, in both networks. */
  readonly node: string
  readonly quantization: Quantization
}

/** What learned rounding runs on. */
export interface RoundingContext extends TaskOptions {
  readonly evaluator: Evaluator
  readonly matrices: MatrixEngine
  /** Asks for the types and shapes of a model's values; needed for `block`. */
  readonly observe: ObserveTypes
  /** Shapes of the original network's values. */
  readonly shapes: ObservedShapes
  /** Batches of the network's inputs, the same ones for every pass; all of one size, but for the last. */
  readonly data: () => AsyncIterable<TensorMap>
}

/** Checks options and fills in defaults. @throws WhittleError `INVALID_ARGUMENT`. */
export function resolveRounding(options: RoundingOptions): ResolvedRounding {
  const { method } = options
  if (!['gptq', 'adaround', 'block'].includes(method))
    fail('INVALID_ARGUMENT', `Option rounding: must be one of gptq, adaround, block; got '${String(method)}'.`)
  const resolved = {
    method,
    iterations: options.iterations ?? (method === 'block' ? 500 : 2000),
    learningRate: options.learningRate ?? (method === 'block' ? 0.02 : 0.01),
    regularization: options.regularization ?? (method === 'block' ? 0.001 : 0.01),
    betas: options.betas ?? ([20, 2] as const),
    warmUp: options.warmUp ?? 0.2,
    inputs: options.inputs ?? 'quantized',
    drop: options.drop ?? 0,
    rows: options.rows ?? 16384,
    keepBytes: options.keepBytes ?? 512 * 2 ** 20,
    seed: options.seed ?? 0,
  }
  const rule = (holds: boolean, name: keyof typeof resolved, wanted: string): void => {
    if (!holds) fail('INVALID_ARGUMENT', `Option ${name}: must be ${wanted}; got ${JSON.stringify(resolved[name])}.`)
  }
  rule(Number.isInteger(resolved.iterations) && resolved.iterations >= 0, 'iterations', 'a whole number of at least 0')
  rule(resolved.learningRate > 0 && Number.isFinite(resolved.learningRate), 'learningRate', 'a number above 0')
  rule(resolved.regularization > 0 && resolved.regularization < 1, 'regularization', 'a number between 0 and 1')
  const [start, end] = resolved.betas
  rule(resolved.betas.length === 2 && start > end && end > 0, 'betas', 'two falling numbers above 0')
  rule(resolved.warmUp > 0 && resolved.warmUp < 1, 'warmUp', 'a number between 0 and 1')
  rule(['quantized', 'original'].includes(resolved.inputs), 'inputs', "'quantized' or 'original'")
  rule(resolved.drop >= 0 && resolved.drop < 1, 'drop', 'a share of at least 0 and below 1')
  rule(Number.isInteger(resolved.rows) && resolved.rows >= 1, 'rows', 'a whole number of at least 1')
  rule(Number.isSafeInteger(resolved.seed), 'seed', 'a whole number')
  return resolved
}
