export {
  type AmctFactors,
  amctFactors,
  type CalibrationTarget,
  rangeOfFactors,
} from './amct-factors.ts'
export {
  formatStatisticsCache,
  parseStatisticsCache,
  STATISTICS_CACHE_VERSION,
  type StatisticsCache,
  type StatisticsKey,
  satisfiesNeeds,
} from './cache.ts'
export {
  CALIBRATION_METHODS,
  type CalibrationMethod,
  type CalibratorOptions,
  calibrate,
  statisticNeeds,
} from './calibrate.ts'
export { entropyThreshold } from './entropy.ts'
export { Extremes, type ExtremesJson } from './extremes.ts'
export { hfmg, hfmgSearchRanges } from './hfmg.ts'
export { HFMG_BINS, HfmgHistogram, type HfmgHistogramJson } from './hfmg-histogram.ts'
export { type CountRun, Histogram, type HistogramJson } from './histogram.ts'
export { type IfmrOptions, type IfmrTarget, ifmr, ifmrOfStatistics, ifmrRank, ifmrRatios } from './ifmr.ts'
export { mseRange, quantizationError } from './mse.ts'
export { percentileRange } from './percentile.ts'
export { type StatisticNeeds, TensorStatistics, type TensorStatisticsJson } from './statistics.ts'
