/** What a compression record says, as text. */
import type { CompressionRecord, LayerRecord, Measurement, Skip } from '../compress/index.ts'
import { formatBytes, formatChange, formatCount, formatError, formatMilliseconds, formatPercent } from './numbers.ts'
import { type Column, formatTable } from './table.ts'

const right = (title: string): Column => ({ title, align: 'right' })

/** Ranks as one word: `32`, or `in 16, out 24` when there are several. */
export function formatRanks(ranks: Readonly<Record<string, number>>): string {
  const entries = Object.entries(ranks)
  if (entries.length === 1) return String(entries[0]![1])
  return entries.map(([role, rank]) => `${role} ${rank}`).join(', ')
}

/** A table of the layers that were changed: method, ranks, parameters, MACs and error; of quantized ones the bytes. */
export function formatLayers(layers: readonly LayerRecord[]): string {
  if (layers.some(({ bytes }) => bytes !== undefined)) return formatQuantized(layers)
  const withOutput = layers.some((layer) => layer.outputError !== undefined)
  const columns = [
    'layer',
    'op',
    'method',
    right('rank'),
    right('parameters'),
    right('after'),
    right('MACs'),
    right('after'),
    right('weight error'),
    ...(withOutput ? [right('output error')] : []),
  ]
  const rows = layers.map((layer) => [
    layer.name,
    layer.op,
    layer.method,
    formatRanks(layer.ranks),
    formatCount(layer.parameters.before),
    formatCount(layer.parameters.after),
    formatCount(layer.macs.before),
    formatCount(layer.macs.after),
    formatError(layer.relativeError),
    ...(withOutput ? [layer.outputError === undefined ? '' : formatError(layer.outputError)] : []),
  ])
  return formatTable(columns, rows)
}

function formatQuantized(layers: readonly LayerRecord[]): string {
  const isChosen = layers.some(({ rounding = 'nearest' }) => rounding !== 'nearest')
  const rows = layers.map(({ name, op, method, rounding = 'nearest', parameters, bytes, macs, ...errors }) => [
    name,
    op,
    method,
    ...(isChosen ? [rounding] : []),
    formatCount(parameters.before),
    bytes ? formatBytes(bytes.before) : '',
    bytes ? formatBytes(bytes.after) : '',
    formatCount(macs.before),
    formatError(errors.relativeError),
    typeof errors.sqnr === 'number' ? `${errors.sqnr.toFixed(1)} dB` : 'exact',
    ...(isChosen ? [errors.outputError === undefined ? '' : formatError(errors.outputError)] : []),
  ])
  return formatTable(
    [
      'layer',
      'op',
      'integers',
      ...(isChosen ? ['rounding'] : []),
      right('parameters'),
      right('bytes'),
      right('after'),
      right('MACs'),
      right('weight error'),
      right('weight SQNR'),
      ...(isChosen ? [right('output error')] : []),
    ],
    rows,
  )
}

/** Layers left alone, one line per reason with the names it holds for. */
export function formatSkips(skips: readonly Skip[]): string {
  const byReason = new Map<string, string[]>()
  for (const { name, reason } of skips) byReason.set(reason, [...(byReason.get(reason) ?? []), name])
  return [...byReason].map(([reason, names]) => `  ${names.join(', ')}: ${reason}`).join('\n')
}

/** Parameters, bytes, MACs and measurements of the whole network, before and after. */
export function formatTotals(record: Pick<CompressionRecord, 'before' | 'after' | 'measured'>): string {
  const { before, after, measured } = record
  const count = (label: string, a: number | null, b: number | null, format: (value: number | null) => string) => [
    label,
    format(a),
    format(b),
    formatChange(a, b),
  ]
  return formatTable(
    ['', right('before'), right('after'), right('change')],
    [
      count('parameters', before.parameters, after.parameters, formatCount),
      count('weight bytes', before.bytes, after.bytes, formatBytes),
      count('MACs', before.macs, after.macs, formatCount),
      ...measured.map(measurementRow),
    ],
  )
}

function measurementRow({ metric, before, after, data, samples }: Measurement): string[] {
  const label = `${metric} (${samples} of ${data})`
  const isShare = /^top\d+$/.test(metric)
  const show = isShare ? formatPercent : metric === 'latency' ? formatMilliseconds : formatError
  const cell = (value: number | null): string => (value === null ? '?' : show(value))
  const points = ((after ?? 0) - (before ?? 0)) * 100
  const change =
    isShare && before !== null && after !== null
      ? `${points < 0 ? '−' : '+'}${Math.abs(points).toFixed(2)} pts`
      : formatChange(before, after)
  return [label, cell(before), cell(after), change]
}

/** A whole record: changed layers, layers left alone with their reasons, totals and warnings. */
export function formatRecord(record: CompressionRecord): string {
  const parts = [
    record.layers.length > 0 ? formatLayers(record.layers) : 'No layer was changed.',
    record.skips.length > 0 ? `Left alone:\n${formatSkips(record.skips)}` : '',
    formatTotals(record),
    record.warnings.map((warning) => `Warning: ${warning}`).join('\n'),
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}
