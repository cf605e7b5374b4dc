/** Ranges of activations from their statistics: one function for every calibration method. */
import { fail } from '../../../core/index.ts'
import type { Range } from '../scheme.ts'
import { bitsOf, type CalibrationTarget, rangeOfFactors } from './amct-factors.ts'
import { entropyMagnitude } from './entropy.ts'
import { hfmg } from './hfmg.ts'
import { type IfmrOptions, ifmrOfStatistics } from './ifmr.ts'
import { mseRange } from './mse.ts'
import { percentileRange } from './percentile.ts'
import type { StatisticNeeds, TensorStatistics } from './statistics.ts'

/** Ways from statistics to a range. */
export const CALIBRATION_METHODS = ['minmax', 'moving-average', 'percentile', 'entropy', 'mse', 'ifmr', 'hfmg'] as const

/** One of {@link CALIBRATION_METHODS}. */
export type CalibrationMethod = (typeof CALIBRATION_METHODS)[number]

/** Which method, and what it takes; parameters of other methods are ignored. */
export interface CalibratorOptions extends IfmrOptions {
  /** How the range is found. */
  readonly method: CalibrationMethod
  /** `moving-average`: weight of a new batch, 0 … 1; default 0.01. */
  readonly averagingConstant?: number | undefined
  /** `percentile`: per cent of numbers that are kept, over 50 … 100; default 99.999. */
  readonly percentile?: number | undefined
  /**
   * `entropy`: levels on one side of zero; default 2^(bits − 1), which is 128 at 8 bits, and twice as many for numbers of
   * one sign under an asymmetric target.
   */
  readonly levels?: number | undefined
  /** `hfmg`: 1024, 2048, 4096 or 8192; default 4096. */
  readonly numOfBins?: number | undefined
}

/** What has to be collected for a method. */
export function statisticNeeds(options: CalibratorOptions): StatisticNeeds {
  switch (options.method) {
    case 'minmax':
      return {}
    case 'moving-average':
      return { averagingConstant: options.averagingConstant ?? 0.01 }
    case 'percentile':
    case 'ifmr':
      return { histogram: true, extremes: true }
    case 'entropy':
    case 'mse':
      return { histogram: true }
    case 'hfmg':
      return { hfmgBins: options.numOfBins ?? 4096 }
    default:
      return unknownMethod(options.method)
  }
}

function unknownMethod(method: never): never {
  return fail(
    'INVALID_ARGUMENT',
    `Calibration: the method must be one of ${CALIBRATION_METHODS.join(', ')}; got '${String(method)}'.`,
  )
}

/**
 * The range to quantize a tensor in.
 *
 * Ranges of `ifmr` and `hfmg` are such that `affineParameters` gives AMCT's scale and offset. Where the target is symmetric,
 * `min` and `max` may still differ for `minmax` and `moving-average`: `affineParameters` makes them even.
 *
 * @param statistics that {@link statisticNeeds} of the same options asks for, of at least one number.
 * @throws WhittleError `INVALID_DATA` when there are no numbers, `INVALID_ARGUMENT` for parameters out of range and for
 * statistics that lack what the method needs.
 */
export function calibrate(statistics: TensorStatistics, options: CalibratorOptions, target: CalibrationTarget): Range {
  const { method } = options
  if (statistics.count === 0)
    fail('INVALID_DATA', `Calibration '${method}': needs at least one number; the tensor was empty in every batch.`)
  const { min, max, histogram } = statistics
  const symmetric = target.symmetric ?? false
  const bits = bitsOf(target)
  switch (method) {
    case 'minmax':
      return { min, max }
    case 'moving-average':
      return { ...statistics.moving }
    case 'percentile':
      if (!statistics.extremes && !histogram) return lacking(method)
      return percentileRange(statistics, options.percentile ?? 99.999, symmetric)
    case 'entropy': {
      if (!histogram) return lacking(method)
      const oneSided = !symmetric && (min >= 0 || max <= 0)
      const levels = options.levels ?? 2 ** (bits - 1) * (oneSided ? 2 : 1)
      if (!(Number.isInteger(levels) && levels >= 2))
        fail('INVALID_ARGUMENT', `Calibration 'entropy': levels must be a whole number of at least 2; got ${levels}.`)
      const most = entropyMagnitude(histogram, Math.max(-min, max), levels)
      return symmetric ? { min: -most, max: most } : { min: Math.max(min, -most), max: Math.min(max, most) }
    }
    case 'mse':
      return histogram ? mseRange(histogram, { min, max }, target) : lacking(method)
    case 'ifmr':
      return rangeOfFactors(ifmrOfStatistics(statistics, { bits, symmetric }, options), target)
    case 'hfmg':
      if (!statistics.hfmg) return lacking(method)
      return rangeOfFactors(hfmg(statistics.hfmg, bits, symmetric), target)
    default:
      return unknownMethod(method)
  }
}

function lacking(method: CalibrationMethod): never {
  return fail(
    'INVALID_ARGUMENT',
    `Calibration '${method}': the statistics lack what it needs; collect them with statisticNeeds().`,
  )
}
