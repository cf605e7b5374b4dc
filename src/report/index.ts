export {
  formatBytes,
  formatChange,
  formatCount,
  formatError,
  formatMilliseconds,
  formatPercent,
  formatShape,
} from './numbers.ts'
export {
  type AnalysedLayer,
  type DifferenceMeasures,
  type FindingText,
  formatAnalysis,
  formatDiagnosis,
  formatRollback,
  formatSqnr,
} from './quantization-text.ts'
export { formatLayers, formatRanks, formatRecord, formatSkips, formatTotals } from './record-text.ts'
export { type Column, formatTable } from './table.ts'
