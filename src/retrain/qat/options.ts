/** What quantization-aware training is told. */
import { fail } from '../../core/index.ts'

/**
 * How the range of an activation is learned.
 *
 * `ulq`: both ends, with AMCT's gradients; the lower end stays 0 behind a ReLU. `lsq`: the step between two integers,
 * around the zero point of calibration. `lsq+`: step and offset.
 */
export type QatAlgorithm = 'ulq' | 'lsq' | 'lsq+'

/**
 * Where the scale of a weight comes from.
 *
 * `arq`: from the largest magnitude, anew in every step; nothing is learned, gradients pass unchanged. `ulq`: learned,
 * gradients of the weight pass unchanged (AMCT's `ulq_retrain`). `lsq`: learned, gradients pass where nothing is
 * clipped.
 */
export type QatWeightAlgorithm = 'arq' | 'ulq' | 'lsq'

/** Where learned scales of weights (`lsq`) start: least squared error, or LSQ's 2 · mean |w| / √Qp. */
export type InitialScale = 'mse' | 'mean'

/** Settings of one layer. */
export interface LayerQatOptions {
  /** How the range of the layer's input is learned. */
  readonly algorithm?: QatAlgorithm | undefined
  /** Where the scales of its weight come from. */
  readonly weights?: QatWeightAlgorithm | undefined
  /** Range that the layer's input starts from, instead of the calibrated one. */
  readonly clip?: { readonly min: number; readonly max: number } | undefined
  /** Whether the lower end of the input's range stays 0. Default: where nothing below 0 reaches it. */
  readonly fixedMin?: boolean | undefined
}

/** How fake quantization learns. */
export interface QuantizerOptions {
  /** Default `ulq`. */
  readonly algorithm?: QatAlgorithm | undefined
  /** Default `arq`: with 4 bits it was ahead of learned scales by 0.8 points after an epoch (docs/accuracy.md). */
  readonly weights?: QatWeightAlgorithm | undefined
  /** Factor on the learning rate for ranges and scales, which have no weight decay; default 1. */
  readonly rangeRate?: number | undefined
  /** Whether lower ends of ranges stay 0 with `ulq`. Default: where nothing below 0 arrives. */
  readonly fixedMin?: boolean | undefined
  /** Default `mse`. */
  readonly initial?: InitialScale | undefined
  /** By the layer's name; what is not given is as for all. */
  readonly layers?: Readonly<Record<string, LayerQatOptions>> | undefined
}

const ACTIVATIONS: readonly QatAlgorithm[] = ['ulq', 'lsq', 'lsq+']
const WEIGHTS: readonly QatWeightAlgorithm[] = ['arq', 'ulq', 'lsq']

/** Checks options. @throws WhittleError `INVALID_ARGUMENT` naming the option that is wrong. */
export function checkQuantizerOptions(options: QuantizerOptions): void {
  checkAlgorithms('qat', options)
  const { rangeRate = 1, initial = 'mse', layers = {} } = options
  if (initial !== 'mse' && initial !== 'mean')
    fail('INVALID_ARGUMENT', `Option qat: initial must be mse or mean; got '${String(initial)}'.`)
  if (!(Number.isFinite(rangeRate) && rangeRate >= 0))
    fail('INVALID_ARGUMENT', `Option qat: rangeRate must be a number of at least 0; got ${rangeRate}.`)
  for (const [name, layer] of Object.entries(layers)) {
    checkAlgorithms(`qat, layer '${name}'`, layer)
    const { clip } = layer
    if (clip && !(clip.min <= 0 && clip.max > 0 && Number.isFinite(clip.max - clip.min)))
      fail(
        'INVALID_ARGUMENT',
        `Option qat, layer '${name}': clip must go from at most 0 to above 0; got ${clip.min} … ${clip.max}.`,
      )
  }
}

function checkAlgorithms(where: string, { algorithm, weights }: LayerQatOptions): void {
  if (algorithm !== undefined && !ACTIVATIONS.includes(algorithm))
    fail(
      'INVALID_ARGUMENT',
      `Option ${where}: algorithm must be one of ${ACTIVATIONS.join(', ')}; got '${String(algorithm)}'.`,
    )
  if (weights !== undefined && !WEIGHTS.includes(weights))
    fail('INVALID_ARGUMENT', `Option ${where}: weights must be one of ${WEIGHTS.join(', ')}; got '${String(weights)}'.`)
}
