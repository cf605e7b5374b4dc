export {
  formatBytes,
  formatChange,
  formatCount,
  formatError,
  formatMilliseconds,
  formatPercent,
  formatShape,
} from './numbers.ts'
export { formatLayers, formatRanks, formatRecord, formatSkips, formatTotals } from './record-text.ts'
export { type Column, formatTable } from './table.ts'
